package serde

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
)

// Form says how a Go type holds the values of an Avro type, and so which code reads and writes them.
type Form string

// The forms, and the fields of Shape that go with them.
const (
	FormBool    Form = "boolean"
	FormInt     Form = "int"      // an integer as Avro int; narrower Go types are checked
	FormLong    Form = "long"     // an integer as Avro long
	FormUint64  Form = "unsigned" // uint or uint64 as decimal of scale 0
	FormFloat32 Form = "float"
	FormFloat64 Form = "double"
	FormText    Form = "string"
	FormBytes   Form = "bytes"
	FormFixed   Form = "fixed" // [Size]byte
	FormUUID    Form = "uuid"  // [16]byte as text
	FormTime    Form = "time"  // time.Time in Unit
	FormSpan    Form = "span"  // time.Duration as time of day in Unit
	FormDecimal Form = "decimal"
	FormRat     Form = "rat"     // big.Rat, Precision and Scale as FormDecimal
	FormEnum    Form = "enum"    // a string type, one of Symbols
	FormPointer Form = "pointer" // to Elem, nil is branch Null of a union of two
	FormAlways  Form = "notnull" // pointer to Elem that is never nil; nothing is written for it
	FormSlice   Form = "array"   // of Elem
	FormMap     Form = "map"     // of string type to Elem
	FormRecord  Form = "record"  // struct with Fields
)

// Shape is how the values of a Go type are encoded in the schema that Avro derives for it: what a generator of codecs has to know. The
// shapes of a recursive type are a cyclic graph. Who gets one must not change it.
type Shape struct {
	Form Form
	Type reflect.Type
	// Elem is what a pointer, slice or map holds.
	Elem *Shape
	// Fields of a record, in the order of the schema.
	Fields []ShapeField
	// Shared says of a record that its strings share one copy of the encoding of a value.
	Shared bool
	// Symbols of an enum, in the order of the schema.
	Symbols []string
	// Unit is the logical type of a time: timestamp-millis, timestamp-micros, timestamp-nanos, date, time-millis or time-micros.
	Unit string
	// Precision and Scale of a decimal, in digits.
	Precision, Scale int
	// Size of a fixed type, bytes.
	Size int
	// Null is the index of the null branch of a pointer, 0 or 1.
	Null int
	// BytesMin is the least number of bytes that a value takes. Block counts are checked against it.
	BytesMin int
}

// ShapeField is one field of a record.
type ShapeField struct {
	Name  string   // in the schema
	Path  []string // Go field names, from the struct: more than one for a field of an embedded struct
	Shape *Shape
}

// ShapeOf is the shape of t for the schema that Avro derives without options. Errors are those of Avro.
func ShapeOf(t reflect.Type) (*Shape, error) {
	n, err := avroOptions{}.node(t)
	if err != nil {
		return nil, err
	}
	b, err := bind(n, t)
	if err != nil {
		return nil, err
	}
	return shapes{seen: map[*bound]*Shape{}, sizes: minSizes{}}.of(b), nil
}

// shapes makes a Shape of each bound, once.
type shapes struct {
	seen  map[*bound]*Shape
	sizes minSizes
}

func (c shapes) of(b *bound) *Shape {
	if s := c.seen[b]; s != nil {
		return s
	}
	n := b.n
	s := &Shape{Form: formNames[b.form], Type: b.typ, BytesMin: c.sizes.of(n), Symbols: n.symbols, Precision: n.precision, Scale: n.scale, Size: n.size, Null: b.null}
	c.seen[b] = s
	switch b.form {
	case formInt:
		if n.kind == kLong {
			s.Form = FormLong
		}
	case formTime, formSpan:
		s.Unit = n.logical
	case formPointer, formAlways, formSlice, formMap:
		s.Elem = c.of(b.elem)
	case formRecord:
		s.Shared = b.texts > 1
		for _, f := range b.fields {
			s.Fields = append(s.Fields, ShapeField{Name: f.f.name, Path: strings.Split(f.goName, "."), Shape: c.of(f.b)})
		}
	}
	return s
}

var formNames = map[form]Form{
	formBool: FormBool, formInt: FormInt, formUint64: FormUint64, formFloat32: FormFloat32, formFloat64: FormFloat64, formText: FormText,
	formBytes: FormBytes, formArray: FormFixed, formUUID: FormUUID, formTime: FormTime, formSpan: FormSpan, formDecimal: FormDecimal,
	formRat: FormRat, formEnum: FormEnum, formPointer: FormPointer, formAlways: FormAlways, formSlice: FormSlice, formMap: FormMap,
	formRecord: FormRecord,
}

// shapeVersion is part of every fingerprint. It grows when code of an earlier generator would not do what this package expects of it.
const shapeVersion = "1"

// Fingerprint tells shapes apart, also when only the Go side differs, as by two fields that have exchanged their tags. Names of Go types are
// not part of it, nor are names, aliases and defaults of the schema's types: they change no byte. It is hexadecimal, of a SHA-256.
func (s *Shape) Fingerprint() string {
	var text strings.Builder
	text.WriteString(shapeVersion)
	s.write(&text, map[*Shape]int{})
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:8])
}

// write appends all that decides about the code of s; what was written before is named by its number.
func (s *Shape) write(text *strings.Builder, seen map[*Shape]int) {
	if i, ok := seen[s]; ok {
		fmt.Fprintf(text, "#%d", i)
		return
	}
	seen[s] = len(seen)
	fmt.Fprintf(text, "%s %v %q %s %d %d %d %d %d %v(", s.Form, s.Type.Kind(), s.Symbols, s.Unit, s.Precision, s.Scale, s.Size, s.Null, s.BytesMin, s.Shared)
	if s.Elem != nil {
		s.Elem.write(text, seen)
	}
	for _, f := range s.Fields {
		fmt.Fprintf(text, "%q %q:", f.Name, f.Path)
		f.Shape.write(text, seen)
	}
	text.WriteByte(')')
}

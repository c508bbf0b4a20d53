package serde

import (
	"fmt"
	"reflect"
)

// MaxDepth is how deep records nest in one value at most.
const MaxDepth = maxDepth

// Generated is the codec of T that `millrace gen` writes: straight code for the schema that Avro derives, two to three times as fast. It is
// found by For, Avro, Confluent and SingleObject through the method AvroCodec of *T, and used wherever data is of T's own schema. All else
// stays with the derived codec: data of other schemas, and every value that the generated code refuses, so that errors are the same, with
// the path of the field.
//
// It is written by the generator only; the functions trust each other.
type Generated[T any] struct {
	// Fingerprint of the shape that the code was made for. Another one than the type has now is an error of For: the type was changed,
	// and the code is to be generated again.
	Fingerprint string
	// Append appends the encoding of v. false: v cannot be encoded.
	Append func(dst []byte, v T) ([]byte, bool)
	// Decode reads src, whole, into v, which is zero. Strings are parts of text, which is "" or as long as src. false: src cannot be read.
	Decode func(src []byte, text string, v *T) bool
}

// GeneratedCodec is a Generated of any type: what the method AvroCodec returns.
type GeneratedCodec interface{ fingerprint() string }

func (g Generated[T]) fingerprint() string { return g.Fingerprint }

// StaleError reports generated code that was made for another form of its type.
type StaleError struct {
	Type reflect.Type
}

// Error names the type and the remedy.
func (e *StaleError) Error() string {
	return fmt.Sprintf("serde: the generated codec of %v does not fit the type, which was changed after it was generated, or this version of millrace; "+
		"run go generate in package %s, or delete the file", e.Type, e.Type.PkgPath())
}

// generatedOf is the generated codec of T, nil for none. b is T bound to the derived schema.
func generatedOf[T any](b *bound) (*Generated[T], error) {
	m, ok := any(new(T)).(interface{ AvroCodec() GeneratedCodec })
	if !ok {
		return nil, nil
	}
	g, ok := codecOf(m).(Generated[T])
	if !ok { // the method of an embedded struct
		return nil, nil
	}
	if g.Fingerprint != (shapes{seen: map[*bound]*Shape{}, sizes: minSizes{}}).of(b).Fingerprint() {
		return nil, &StaleError{Type: b.typ}
	}
	return &g, nil
}

// codecOf asks m for its codec. A method that comes from an embedded pointer or interface, which is nil, panics: it is not that of m.
func codecOf(m interface{ AvroCodec() GeneratedCodec }) (g GeneratedCodec) {
	defer func() {
		if recover() != nil {
			g = nil
		}
	}()
	return m.AvroCodec()
}

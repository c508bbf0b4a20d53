package serde

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// form says how a Go type holds the values of a node.
type form uint8

const (
	formBool    form = iota
	formInt          // any integer kind ↔ int, long
	formUint64       // uint, uint64 ↔ decimal of scale 0
	formFloat32      // ↔ float
	formFloat64      // ↔ double
	formText         // string kind ↔ string
	formBytes        // []byte ↔ bytes
	formArray        // [N]byte ↔ fixed
	formUUID         // [16]byte ↔ string (uuid)
	formTime         // time.Time ↔ timestamps and date
	formSpan         // time.Duration ↔ time-millis, time-micros
	formDecimal      // Decimal
	formRat          // big.Rat
	formEnum         // string kind ↔ enum
	formPointer      // pointer ↔ union with null
	formAlways       // pointer that is never nil ↔ the type itself
	formSlice        // ↔ array
	formMap          // map with string keys ↔ map
	formRecord       // struct ↔ record
)

// bound is a node together with the Go type that holds it. Like nodes, bounds of recursive types form a cyclic graph.
type bound struct {
	n      *node
	typ    reflect.Type
	form   form
	elem   *bound       // of a pointer, slice or map
	null   int          // formPointer: index of the null branch
	fields []boundField // formRecord: one per field of n, in order
	texts  int          // formRecord: strings held directly, for the slab
}

// boundField is a field of a record; b is nil when the Go type has no such field and the default is written.
type boundField struct {
	f      *field
	b      *bound
	goName string // path of Go fields
	offset uintptr
}

type bindKey struct {
	n *node
	t reflect.Type
}

// binder matches schema nodes with Go types.
type binder struct {
	root reflect.Type
	seen map[bindKey]*bound
	errs []error
}

// bind matches n with t; all mismatches are in the error.
func bind(n *node, t reflect.Type) (*bound, error) {
	b := binder{root: t, seen: map[bindKey]*bound{}}
	out := b.bind(n, t, "")
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return out, nil
}

func (b *binder) fail(path, format string, args ...any) {
	b.errs = append(b.errs, &TypeError{Type: b.root, Path: path, Reason: fmt.Sprintf(format, args...)})
}

func (b *binder) bind(n *node, t reflect.Type, path string) *bound {
	key := bindKey{n, t}
	if out := b.seen[key]; out != nil {
		return out
	}
	out := &bound{n: n, typ: t}
	b.seen[key] = out
	ok := false
	switch {
	case t.Kind() == reflect.Pointer:
		ok = b.pointer(out, path)
	case n.kind == kRecord:
		ok = t.Kind() == reflect.Struct && !isLeaf(t)
		if ok {
			out.form = formRecord
			b.record(out, path)
		}
	case n.kind == kArray:
		if ok = t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8; ok {
			out.form, out.elem = formSlice, b.bind(n.item, t.Elem(), path+"[]")
		}
	case n.kind == kMap:
		if ok = t.Kind() == reflect.Map && t.Key().Kind() == reflect.String; ok {
			out.form, out.elem = formMap, b.bind(n.item, t.Elem(), path+"{}")
		}
	default:
		out.form, ok = leafForm(n, t)
	}
	if !ok {
		b.fail(path, "the schema has %s, which a Go %v cannot hold", n.describe(), t)
	}
	return out
}

func (b *binder) pointer(out *bound, path string) bool {
	n, t := out.n, out.typ
	if n.kind != kUnion {
		out.form, out.elem = formAlways, b.bind(n, t.Elem(), path)
		return t.Elem().Kind() != reflect.Pointer
	}
	if len(n.branches) != 2 || (n.branches[0].kind == kNull) == (n.branches[1].kind == kNull) {
		return false
	}
	out.form = formPointer
	if n.branches[1].kind == kNull {
		out.null = 1
	}
	out.elem = b.bind(n.branches[1-out.null], t.Elem(), path)
	return true
}

func (b *binder) record(out *bound, path string) {
	sfs, _, errs := structFields(out.typ)
	for _, err := range errs {
		b.fail(path, "%v", err)
	}
	byName := map[string]structField{}
	for _, sf := range sfs {
		byName[sf.name] = sf
	}
	for _, f := range out.n.fields {
		bf := boundField{f: f}
		if sf, ok := byName[f.name]; ok {
			delete(byName, f.name)
			bf.offset, bf.goName = sf.offset, sf.goName
			bf.b = b.bind(f.typ, sf.typ, strings.TrimPrefix(path+"."+sf.goName, "."))
			if bf.b.form == formText || bf.b.form == formEnum {
				out.texts++
			}
		} else if !f.hasDefault {
			b.fail(path, "the schema field %q has no default and the struct has no such field; add it", f.name)
		}
		out.fields = append(out.fields, bf)
	}
	for _, sf := range sfs {
		if _, left := byName[sf.name]; left {
			b.fail(strings.TrimPrefix(path+"."+sf.goName, "."), "the schema has no field %q, so its value would be lost; tag it `avro:\"-\"` to leave it out", sf.name)
		}
	}
}

// leafForm is the form of a value that holds no other values.
func leafForm(n *node, t reflect.Type) (form, bool) {
	switch t {
	case timeType:
		switch n.logical {
		case logicalTimestampMillis, logicalTimestampMicros, logicalTimestampNanos, logicalDate:
			return formTime, true
		}
		return formTime, false
	case decimalType:
		return formDecimal, n.logical == logicalDecimal
	case ratType:
		return formRat, n.logical == logicalDecimal
	}
	if t == durationType && (n.logical == logicalTimeMillis || n.logical == logicalTimeMicros) {
		return formSpan, true
	}
	isFixed := t.Kind() == reflect.Array && t.Elem().Kind() == reflect.Uint8
	switch n.kind {
	case kBoolean:
		return formBool, t.Kind() == reflect.Bool
	case kInt, kLong:
		return formInt, t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64
	case kFloat:
		return formFloat32, t.Kind() == reflect.Float32
	case kDouble:
		return formFloat64, t.Kind() == reflect.Float64
	case kString:
		if n.logical == logicalUUID && isFixed {
			return formUUID, t.Len() == 16
		}
		return formText, t.Kind() == reflect.String
	case kBytes:
		if n.logical == logicalDecimal && n.scale == 0 && (t.Kind() == reflect.Uint || t.Kind() == reflect.Uint64) {
			return formUint64, true
		}
		return formBytes, t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
	case kFixed:
		return formArray, isFixed && t.Len() == n.size
	case kEnum:
		return formEnum, t.Kind() == reflect.String
	}
	return formBool, false
}

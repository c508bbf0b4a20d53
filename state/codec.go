package state

import (
	"errors"
	"reflect"
	"strings"
	"unsafe"

	"github.com/millrace-io/millrace/serde"
)

// sizeOf is the size of a T in a table, in bytes.
func sizeOf[T any]() int64 { var v T; return int64(unsafe.Sizeof(v)) }

// holdsReferences reports whether two copies of a T may share memory that can change. A string shares memory that cannot.
func holdsReferences[T any]() bool { return references(reflect.TypeFor[T]()) }

func references(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && references(t.Elem())
	case reflect.Struct:
		if t.PkgPath() == "time" && t.Name() == "Time" {
			return false // its *Location is never changed
		}
		for i := range t.NumField() {
			if references(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return true
	default:
		return false
	}
}

// fixedSize reports whether every T takes as much memory as its size says.
func fixedSize[T any]() bool {
	t := reflect.TypeFor[T]()
	return !references(t) && !holdsStrings(t)
}

func holdsStrings(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Array:
		return holdsStrings(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsStrings(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// derive is the codec that package serde derives from T.
func derive[T any]() (serde.Serde[T], error) { return serde.For[T]() }

// resolver decodes the values of one state, as this program writes them or, while a snapshot is restored, as another program wrote them.
type resolver[V any] struct {
	codec  serde.Serde[V]
	others map[string]serde.Serde[V] // by the writer's schema
}

// resolve makes values written under schema readable.
func (r *resolver[V]) resolve(schema string) error {
	if _, ok := r.others[schema]; ok {
		return nil
	}
	if opaque(schema) || !derived(r.codec) {
		return errors.New("only the codecs of package serde can read another schema; give the codec that wrote it, or declare another name and drop the old one")
	}
	other, err := serde.Resolve[V](schema, serde.WithSchema(r.codec.Schema()))
	if err != nil {
		return err
	}
	if r.others == nil {
		r.others = map[string]serde.Serde[V]{}
	}
	r.others[schema] = other
	return nil
}

func opaque(schema string) bool { return strings.HasPrefix(schema, "opaque:") }

// derived reports whether package serde made the codec. A codec written by hand may give a schema another meaning than its type has
// under Avro resolution, so it reads what it wrote itself only.
func derived(codec any) bool {
	t := reflect.TypeOf(codec)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == reflect.TypeFor[serde.Decimal]().PkgPath()
}

// decode decodes a value written under schema.
func (r *resolver[V]) decode(src []byte, schema string, v *V) error {
	codec := r.codec
	if other, ok := r.others[schema]; ok {
		codec = other
	}
	return codec.Decode(src, v)
}

// recodeValue is the value of e as this program writes it, appended to dst.
func (r *resolver[V]) recodeValue(dst []byte, value []byte, schema string) ([]byte, error) {
	if _, ok := r.others[schema]; !ok {
		return append(dst, value...), nil
	}
	var v V
	if err := r.decode(value, schema, &v); err != nil {
		return dst, err
	}
	return r.codec.Append(dst, v)
}

package state

import (
	"reflect"
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

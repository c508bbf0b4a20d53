package serde

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// maxDepth bounds how deep records nest in one value. A value of a recursive type that holds itself, and bytes that claim to, end here
// and not in an overflow of the stack, which would end the process.
const maxDepth = 1000

var errDepth = fmt.Errorf("records nest deeper than %d levels", maxDepth)

// encFunc appends the encoding of the value at p, which is of the bound Go type. depth counts the records around it.
type encFunc func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error)

// sliceHeader is the memory of any slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// fieldError adds the field to an error inside a record.
type fieldError struct {
	path string
	err  error
}

// pathMax bounds the path in a message, bytes: a recursive value that is too deep has a path of a thousand fields, and building it would
// take longer than all the decoding before.
const pathMax = 200

// Error is "field a.b[3].c: …".
func (e *fieldError) Error() string { return "field " + e.path + ": " + e.err.Error() }

// Unwrap is the error without the path.
func (e *fieldError) Unwrap() error { return e.err }

// inField puts name before the path of err. name is a field, "[3]" or `{"key"}`.
func inField(name string, err error) error {
	inner, ok := err.(*fieldError)
	switch {
	case !ok:
		return &fieldError{path: name, err: err}
	case len(inner.path) > pathMax:
		if !strings.HasPrefix(inner.path, "…") {
			inner.path = "…" + inner.path
		}
		return inner
	case inner.path[0] == '[' || inner.path[0] == '{':
		return &fieldError{path: name + inner.path, err: inner.err}
	}
	return &fieldError{path: name + "." + inner.path, err: inner.err}
}

func inElement(i int, err error) error { return inField("["+strconv.Itoa(i)+"]", err) }

func inKey(key string, err error) error { return inField("{"+strconv.Quote(key)+"}", err) }

// encoders compiles encoders, each bound once, so that a recursive type refers to its own.
type encoders map[*bound]*encFunc

func (c encoders) compile(b *bound) encFunc {
	if f := c[b]; f != nil {
		if *f != nil {
			return *f
		}
		return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) { return (*f)(dst, p, depth) }
	}
	f := new(encFunc)
	c[b] = f
	switch b.form {
	case formRecord:
		*f = c.record(b)
	case formPointer:
		*f = encPointer(c.compile(b.elem), b.null)
	case formAlways:
		*f = encAlways(c.compile(b.elem))
	case formSlice:
		*f = encSlice(c.compile(b.elem), b.typ.Elem().Size())
	case formMap:
		*f = encMap(c.compile(b.elem), b.typ)
	default:
		*f = encLeaf(b)
	}
	return *f
}

type encField struct {
	enc    encFunc
	offset uintptr
	name   string
}

func (c encoders) record(b *bound) encFunc {
	fields := make([]encField, 0, len(b.fields))
	for _, bf := range b.fields {
		ef := encField{offset: bf.offset, name: bf.f.name}
		if bf.b != nil {
			ef.enc = c.compile(bf.b)
		} else {
			fixed, err := appendDefault(nil, bf.f.typ, bf.f.def, 0)
			ef.enc = func(dst []byte, _ unsafe.Pointer, _ int) ([]byte, error) { return append(dst, fixed...), err }
		}
		fields = append(fields, ef)
	}
	if longs := longsOnly(b); longs != nil {
		return encLongs(longs)
	}
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		if depth >= maxDepth {
			return dst, errDepth
		}
		var err error
		for i := range fields {
			f := &fields[i]
			if dst, err = f.enc(dst, unsafe.Add(p, f.offset), depth+1); err != nil {
				return dst, inField(f.name, err)
			}
		}
		return dst, nil
	}
}

// longsOnly are the offsets of the fields of a record that has none but signed integers of 64 bits written as longs: keys mostly are such records. It is
// nil for any other.
func longsOnly(b *bound) (offsets []uintptr) {
	for _, f := range b.fields {
		if f.b == nil || !plainLong(f.b) {
			return nil
		}
		offsets = append(offsets, f.offset)
	}
	return offsets
}

// encLongs writes a record of longs without a call for each field.
func encLongs(offsets []uintptr) encFunc {
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		if depth >= maxDepth {
			return dst, errDepth
		}
		for _, offset := range offsets {
			dst = appendVarint(dst, *(*int64)(unsafe.Add(p, offset)))
		}
		return dst, nil
	}
}

func encPointer(elem encFunc, null int) encFunc {
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		v := *(*unsafe.Pointer)(p)
		if v == nil {
			return append(dst, byte(null<<1)), nil
		}
		return elem(append(dst, byte((1-null)<<1)), v, depth)
	}
}

func encAlways(elem encFunc) encFunc {
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		v := *(*unsafe.Pointer)(p)
		if v == nil {
			return dst, errors.New("pointer is nil, and the schema has no null here; set it, or use a union with null")
		}
		return elem(dst, v, depth)
	}
}

func encSlice(elem encFunc, size uintptr) encFunc {
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		h := (*sliceHeader)(p)
		if h.len == 0 {
			return append(dst, 0), nil
		}
		dst = binary.AppendVarint(dst, int64(h.len))
		var err error
		for i := range h.len {
			if dst, err = elem(dst, unsafe.Add(h.data, uintptr(i)*size), depth); err != nil {
				return dst, inElement(i, err)
			}
		}
		return append(dst, 0), nil
	}
}

// mapScratch holds one entry of a map while it is written or read, so that entries cost no allocation of their own.
type mapScratch struct{ key, value reflect.Value }

func mapPool(t reflect.Type) *sync.Pool {
	return &sync.Pool{New: func() any {
		return &mapScratch{key: reflect.New(t.Key()).Elem(), value: reflect.New(t.Elem()).Elem()}
	}}
}

func (s *mapScratch) free(pool *sync.Pool) {
	s.key.SetZero()
	s.value.SetZero()
	pool.Put(s)
}

func encMap(elem encFunc, t reflect.Type) encFunc {
	pool := mapPool(t)
	return func(dst []byte, p unsafe.Pointer, depth int) ([]byte, error) {
		m := reflect.NewAt(t, p).Elem()
		if m.Len() == 0 {
			return append(dst, 0), nil
		}
		dst = binary.AppendVarint(dst, int64(m.Len()))
		s := pool.Get().(*mapScratch)
		defer s.free(pool)
		var err error
		for it := m.MapRange(); it.Next(); {
			s.key.SetIterKey(it)
			s.value.SetIterValue(it)
			dst = appendText(dst, s.key.String())
			if dst, err = elem(dst, s.value.Addr().UnsafePointer(), depth); err != nil {
				return dst, inKey(s.key.String(), err)
			}
		}
		return append(dst, 0), nil
	}
}

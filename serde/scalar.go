package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"time"
	"unsafe"
)

// For is the default Serde of T: written by hand for strings, []byte, booleans, integers, floats and time.Time (and types made of
// them, such as type CustomerID string), else Avro[T]. Both have the same schema and the same bytes for the same type, so it is no
// difference for stored data which one is used. Errors are those of Avro.
func For[T any]() (Serde[T], error) {
	a, err := newAvro[T](nil)
	if err != nil {
		return nil, err
	}
	hand, kind := handSerde[T]{schema: a.schema}, reflect.TypeFor[T]().Kind()
	switch a.bound.form {
	case formText:
		return textSerde[T]{hand}, nil
	case formBytes:
		return bytesSerde[T]{hand}, nil
	case formBool, formFloat32, formFloat64, formUint64:
		return scalarSerde[T]{handSerde: hand, kind: kind}, nil
	case formInt:
		return intSerde[T]{handSerde: hand, kind: kind, narrow: a.bound.n.kind == kInt}, nil
	case formTime:
		return timeSerde[T]{hand}, nil
	}
	return a, nil
}

// MustFor is For for variables of examples and tests: it panics on a type without codec.
func MustFor[T any]() Serde[T] {
	s, err := For[T]()
	if err != nil {
		panic(err)
	}
	return s
}

// handSerde is what the codecs written by hand share.
type handSerde[T any] struct{ schema string }

// Schema is the schema of the same type in Avro.
func (s handSerde[T]) Schema() string { return s.schema }

// Resolve reads data of another schema.
func (s handSerde[T]) Resolve(writerSchema string) (Serde[T], error) { return Resolve[T](writerSchema) }

// as reads v as a type of the same memory.
func as[U, T any](v *T) *U { return (*U)(unsafe.Pointer(v)) }

// finish reports what is left after a hand-written decoder.
func finish[T any](r *reader, err error) error {
	if err == nil && r.left() > 0 {
		err = r.corrupt("%d bytes follow the value", r.left())
	}
	if err != nil {
		return fmt.Errorf("serde: decode %v: %w", reflect.TypeFor[T](), err)
	}
	return nil
}

// textSerde is the codec of types made of string.
type textSerde[T any] struct{ handSerde[T] }

// Append writes a length and the bytes of the string.
func (s textSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	return appendText(dst, *as[string](&v)), nil
}

// Decode reads a string.
func (s textSerde[T]) Decode(src []byte, v *T) error {
	r := reader{src: src}
	b, err := r.bytes()
	if err = finish[T](&r, err); err == nil {
		*as[string](v) = string(b)
	}
	return err
}

// DecodeShared takes the string out of text.
func (s textSerde[T]) DecodeShared(src []byte, text string, v *T) error {
	if len(text) != len(src) {
		return unequalText(reflect.TypeFor[T](), src, text)
	}
	r := reader{src: src}
	b, err := r.bytes()
	if err = finish[T](&r, err); err == nil {
		*as[string](v) = text[len(text)-len(b):]
	}
	return err
}

// bytesSerde is the codec of types made of []byte.
type bytesSerde[T any] struct{ handSerde[T] }

// Append writes a length and the bytes.
func (s bytesSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	return appendBytes(dst, *as[[]byte](&v)), nil
}

// Decode reads bytes.
func (s bytesSerde[T]) Decode(src []byte, v *T) error {
	r := reader{src: src}
	b, err := r.bytes()
	if err = finish[T](&r, err); err == nil {
		*as[[]byte](v) = append([]byte(nil), b...)
	}
	return err
}

// intSerde is the codec of types made of an integer, uint and uint64 apart.
type intSerde[T any] struct {
	handSerde[T]
	kind   reflect.Kind
	narrow bool // Avro int
}

// Append writes a zig-zag varint.
func (s intSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	return appendVarint(dst, integer(&v, s.kind)), nil
}

// integer is the value of an integer type.
func integer[T any](v *T, k reflect.Kind) int64 {
	switch k {
	case reflect.Int8:
		return int64(*as[int8](v))
	case reflect.Int16:
		return int64(*as[int16](v))
	case reflect.Int32:
		return int64(*as[int32](v))
	case reflect.Uint8:
		return int64(*as[uint8](v))
	case reflect.Uint16:
		return int64(*as[uint16](v))
	case reflect.Uint32:
		return int64(*as[uint32](v))
	case reflect.Int:
		return int64(*as[int](v))
	case reflect.Uint:
		return int64(*as[uint](v))
	default: // int64 and uint64
		return *as[int64](v)
	}
}

// Decode reads an integer and checks its range.
func (s intSerde[T]) Decode(src []byte, v *T) error {
	r := reader{src: src}
	read := r.long
	if s.narrow {
		read = r.int
	}
	n, err := read()
	if err = finish[T](&r, err); err != nil {
		return err
	}
	if !storeInt(s.kind)(unsafe.Pointer(v), n) {
		return fmt.Errorf("serde: decode %v: %w: %d does not fit", reflect.TypeFor[T](), ErrCorrupt, n)
	}
	return nil
}

// scalarSerde is the codec of types made of bool, float32, float64, uint and uint64.
type scalarSerde[T any] struct {
	handSerde[T]
	kind reflect.Kind
}

// Append writes one byte, IEEE 754 bits, or a decimal.
func (s scalarSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	switch s.kind {
	case reflect.Bool:
		return appendBool(dst, *as[bool](&v)), nil
	case reflect.Float32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(*as[float32](&v))), nil
	case reflect.Float64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(*as[float64](&v))), nil
	default:
		return appendUint64(dst, uint64(integer(&v, s.kind))), nil
	}
}

// Decode reads the same.
func (s scalarSerde[T]) Decode(src []byte, v *T) (err error) {
	r := reader{src: src}
	switch s.kind {
	case reflect.Bool:
		*as[bool](v), err = r.bool()
	case reflect.Float32:
		*as[float32](v), err = r.float()
	case reflect.Float64:
		*as[float64](v), err = r.double()
	default:
		var b []byte
		if b, err = r.bytes(); err == nil {
			u, ok := readUint64(b)
			if s.kind == reflect.Uint {
				*as[uint](v) = uint(u)
				ok = ok && uint64(uint(u)) == u
			} else {
				*as[uint64](v) = u
			}
			if !ok {
				err = r.corrupt("decimal of %d bytes does not fit", len(b))
			}
		}
	}
	return finish[T](&r, err)
}

// timeSerde is the codec of time.Time: milliseconds since 1970 in UTC.
type timeSerde[T any] struct{ handSerde[T] }

// Append writes the milliseconds as a zig-zag varint.
func (s timeSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	out, err := appendTime(dst, *as[time.Time](&v), logicalTimestampMillis)
	if err != nil {
		return dst, fmt.Errorf("serde: encode time.Time: %w", err)
	}
	return out, nil
}

// Decode reads milliseconds.
func (s timeSerde[T]) Decode(src []byte, v *T) error {
	r := reader{src: src}
	ms, err := r.long()
	if err == nil && (ms > maxSeconds*1000 || ms < -maxSeconds*1000) {
		err = r.corrupt("%d is out of range of %s", ms, logicalTimestampMillis)
	}
	if err = finish[T](&r, err); err == nil {
		*as[time.Time](v) = time.UnixMilli(ms).UTC()
	}
	return err
}

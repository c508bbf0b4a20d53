package operators

import (
	"encoding/binary"
	"errors"

	"github.com/millrace-io/millrace/serde"
)

// listCodec encodes lists whose elements have a codec of their own: an Avro array of bytes. nil for nil.
func listCodec[E any](of serde.Serde[E]) serde.Serde[[]E] {
	if of == nil {
		return nil
	}
	return listOf[E]{of}
}

type listOf[E any] struct{ of serde.Serde[E] }

var errCutOff = errors.New("operators: the elements of a window are cut off")

// Append implements serde.Serde.
func (c listOf[E]) Append(dst []byte, v []E) ([]byte, error) {
	if len(v) > 0 {
		dst = binary.AppendVarint(dst, int64(len(v)))
	}
	var buf []byte
	for _, e := range v {
		var err error
		if buf, err = c.of.Append(buf[:0], e); err != nil {
			return dst, err
		}
		dst = append(binary.AppendVarint(dst, int64(len(buf))), buf...)
	}
	return append(dst, 0), nil
}

// Decode implements serde.Serde.
func (c listOf[E]) Decode(src []byte, v *[]E) error {
	n, size := binary.Varint(src)
	if size <= 0 || n < 0 || n > int64(len(src)) {
		return errCutOff
	}
	src = src[size:]
	for range n {
		length, size := binary.Varint(src)
		if size <= 0 || length < 0 || length > int64(len(src)-size) {
			return errCutOff
		}
		var e E
		if err := c.of.Decode(src[size:size+int(length)], &e); err != nil {
			return err
		}
		*v = append(*v, e)
		src = src[size+int(length):]
	}
	if n > 0 {
		if len(src) == 0 || src[0] != 0 {
			return errCutOff
		}
		src = src[1:]
	}
	if len(src) > 0 {
		return errors.New("operators: bytes behind the elements of a window")
	}
	return nil
}

// Schema implements serde.Serde.
func (c listOf[E]) Schema() string { return `{"type":"array","items":"bytes"}` }

// tailCodec encodes the newest elements of a window, given the codec of their list. nil for nil.
func tailCodec[E any](list serde.Serde[[]E]) serde.Serde[bufferTail[E]] {
	if list == nil {
		return nil
	}
	return tailOf[E]{list}
}

type tailOf[E any] struct{ list serde.Serde[[]E] }

// Append implements serde.Serde.
func (c tailOf[E]) Append(dst []byte, v bufferTail[E]) ([]byte, error) {
	return c.list.Append(binary.AppendVarint(dst, v.Chunks), v.Elements)
}

// Decode implements serde.Serde.
func (c tailOf[E]) Decode(src []byte, v *bufferTail[E]) error {
	chunks, n := binary.Varint(src)
	if n <= 0 {
		return errCutOff
	}
	v.Chunks = chunks
	return c.list.Decode(src[n:], &v.Elements)
}

// Schema implements serde.Serde.
func (c tailOf[E]) Schema() string {
	return `{"type":"record","name":"bufferTail","fields":[{"name":"Chunks","type":"long"},{"name":"Elements","type":` + c.list.Schema() + `}]}`
}

// timestampedCodec encodes records with timestamps whose records have a codec of their own. nil for nil.
func timestampedCodec[T any](of serde.Serde[T]) serde.Serde[TimestampedValue[T]] {
	if of == nil {
		return nil
	}
	return timestamped[T]{of}
}

type timestamped[T any] struct{ of serde.Serde[T] }

// Append implements serde.Serde.
func (c timestamped[T]) Append(dst []byte, v TimestampedValue[T]) ([]byte, error) {
	return c.of.Append(binary.AppendVarint(dst, v.TimestampMS), v.Value)
}

// Decode implements serde.Serde.
func (c timestamped[T]) Decode(src []byte, v *TimestampedValue[T]) error {
	ts, n := binary.Varint(src)
	if n <= 0 {
		return errCutOff
	}
	v.TimestampMS = ts
	return c.of.Decode(src[n:], &v.Value)
}

// Schema implements serde.Serde.
func (c timestamped[T]) Schema() string {
	return `{"type":"record","name":"TimestampedValue","fields":[{"name":"timestampMS","type":"long"},{"name":"value","type":` + c.of.Schema() + `}]}`
}

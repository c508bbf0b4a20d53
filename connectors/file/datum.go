package file

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hamba/avro/v2"
)

// datumDepthMax bounds the nesting of a datum of a recursive schema, so that damaged bytes cannot exhaust the stack.
const datumDepthMax = 1000

var errTruncated = errors.New("datum ends too early")

// readLong reads a zig-zag varint.
func readLong(b []byte) (int64, []byte, error) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, errTruncated
	}
	return v, b[n:], nil
}

// readBytes reads a length and that many bytes, which share memory with b.
func readBytes(b []byte) ([]byte, []byte, error) {
	n, b, err := readLong(b)
	if err != nil {
		return nil, nil, err
	}
	return take(b, n)
}

func take(b []byte, n int64) ([]byte, []byte, error) {
	if n < 0 || n > int64(len(b)) {
		return nil, nil, errTruncated
	}
	return b[:n], b[n:], nil
}

// readCount reads the head of a block of an array or map: how many items follow, 0 at the end.
func readCount(b []byte) (int64, []byte, error) {
	n, b, err := readLong(b)
	if err != nil || n >= 0 {
		return n, b, err
	}
	if n == -n {
		return 0, nil, errors.New("block of impossible length")
	}
	_, b, err = readLong(b) // size in bytes, for readers that skip
	return -n, b, err
}

// readBranch reads the index of a union of n branches.
func readBranch(b []byte, n int) (int, []byte, error) {
	i, b, err := readLong(b)
	if err == nil && (i < 0 || i >= int64(n)) {
		err = fmt.Errorf("branch %d of a union of %d", i, n)
	}
	return int(i), b, err
}

// fixedSize is the size of a type whose encoding always has it, in bytes.
func fixedSize(s avro.Schema) (int64, bool) {
	switch s.Type() {
	case avro.Null:
		return 0, true
	case avro.Boolean:
		return 1, true
	case avro.Float:
		return 4, true
	case avro.Double:
		return 8, true
	case avro.Fixed:
		return int64(s.(*avro.FixedSchema).Size()), true
	}
	return 0, false
}

// skipDatum returns what follows the one datum of schema s at the start of b.
// Source: Apache Avro specification 1.12, Binary Encoding.
func skipDatum(s avro.Schema, b []byte, depth int) ([]byte, error) {
	if depth > datumDepthMax {
		return nil, fmt.Errorf("datum is nested more than %d deep", datumDepthMax)
	}
	if n, ok := fixedSize(s); ok {
		_, rest, err := take(b, n)
		return rest, err
	}
	switch s := s.(type) {
	case *avro.RefSchema:
		return skipDatum(s.Schema(), b, depth)
	case *avro.RecordSchema:
		var err error
		for _, f := range s.Fields() {
			if b, err = skipDatum(f.Type(), b, depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case *avro.UnionSchema:
		i, rest, err := readBranch(b, len(s.Types()))
		if err != nil {
			return nil, err
		}
		return skipDatum(s.Types()[i], rest, depth+1)
	case *avro.ArraySchema:
		return skipBlocks(s.Items(), false, b, depth)
	case *avro.MapSchema:
		return skipBlocks(s.Values(), true, b, depth)
	}
	switch s.Type() {
	case avro.Int, avro.Long, avro.Enum:
		_, rest, err := readLong(b)
		return rest, err
	case avro.Bytes, avro.String:
		_, rest, err := readBytes(b)
		return rest, err
	}
	return nil, fmt.Errorf("schema type %q is not known", s.Type())
}

// skipBlocks passes over the blocks of an array, or of a map whose items begin with a key.
func skipBlocks(item avro.Schema, keyed bool, b []byte, depth int) ([]byte, error) {
	for {
		n, rest, err := readCount(b)
		if err != nil || n == 0 {
			return rest, err
		}
		for b = rest; n > 0; n-- {
			before := len(b)
			if keyed {
				if _, b, err = readBytes(b); err != nil {
					return nil, err
				}
			}
			if b, err = skipDatum(item, b, depth+1); err != nil {
				return nil, err
			}
			if len(b) == before {
				break // items without bytes: all alike, however many are announced
			}
		}
	}
}

package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hamba/avro/v2"
	"github.com/parquet-go/parquet-go"
)

// shredder cuts Avro data into Parquet rows. It is used by one goroutine.
type shredder struct {
	root   *column
	src    []byte
	values [][]parquet.Value // by column
	row    parquet.Row
}

func newShredder(root *column) *shredder {
	return &shredder{root: root, values: make([][]parquet.Value, root.end)}
}

// shred returns the row of one datum. It is valid until the next call and shares memory with datum.
func (s *shredder) shred(datum []byte) (parquet.Row, error) {
	s.src = datum
	for i := range s.values {
		s.values[i] = s.values[i][:0]
	}
	if err := s.value(s.root, 0); err != nil {
		return nil, err
	}
	if len(s.src) > 0 {
		return nil, fmt.Errorf("%d bytes after the datum", len(s.src))
	}
	s.row = s.row[:0]
	for _, v := range s.values {
		s.row = append(s.row, v...)
	}
	return s.row, nil
}

// value takes the value of one node; rep is the repetition level of its first leaf values.
func (s *shredder) value(c *column, rep int) error {
	switch c.shape {
	case recordShape:
		for _, child := range c.children {
			if err := s.value(child, rep); err != nil {
				return err
			}
		}
		return nil
	case optionShape:
		i, rest, err := readBranch(s.src, 2)
		if err != nil {
			return err
		}
		if s.src = rest; i == c.null {
			s.nulls(c, rep)
			return nil
		}
		return s.value(c.children[0], rep)
	case listShape, mapShape:
		return s.items(c, rep)
	default:
		v, err := s.leaf(c)
		s.values[c.first] = append(s.values[c.first], v.Level(rep, c.def, c.first))
		return err
	}
}

// items takes an array or a map.
func (s *shredder) items(c *column, rep int) error {
	empty := true
	for {
		n, rest, err := readCount(s.src)
		if err != nil {
			return err
		}
		if s.src = rest; n == 0 {
			break
		}
		for ; n > 0; n-- {
			for _, child := range c.children {
				if err := s.value(child, rep); err != nil {
					return err
				}
			}
			rep, empty = c.rep, false
		}
	}
	if empty {
		s.nulls(c, rep)
	}
	return nil
}

// nulls says in every column below c that its value ends one level above.
func (s *shredder) nulls(c *column, rep int) {
	for i := c.first; i < c.end; i++ {
		s.values[i] = append(s.values[i], parquet.NullValue().Level(rep, c.def-1, i))
	}
}

// leaf takes the value of one column.
func (s *shredder) leaf(c *column) (v parquet.Value, err error) {
	var n int64
	var b []byte
	switch c.typ {
	case avro.Boolean:
		if b, s.src, err = take(s.src, 1); err == nil {
			v = parquet.BooleanValue(b[0] != 0)
		}
	case avro.Int:
		if n, s.src, err = readLong(s.src); err == nil && (n < math.MinInt32 || n > math.MaxInt32) {
			err = fmt.Errorf("int out of range: %d", n)
		}
		v = parquet.Int32Value(int32(n))
	case avro.Long:
		n, s.src, err = readLong(s.src)
		v = parquet.Int64Value(n)
	case avro.Float:
		if b, s.src, err = take(s.src, 4); err == nil {
			v = parquet.FloatValue(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case avro.Double:
		if b, s.src, err = take(s.src, 8); err == nil {
			v = parquet.DoubleValue(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	case avro.Fixed:
		b, s.src, err = take(s.src, int64(c.size))
		v = parquet.FixedLenByteArrayValue(b)
	case avro.Enum:
		if n, s.src, err = readLong(s.src); err == nil && (n < 0 || n >= int64(len(c.symbols))) {
			err = fmt.Errorf("symbol %d of an enum of %d", n, len(c.symbols))
		}
		if err == nil {
			v = parquet.ByteArrayValue([]byte(c.symbols[n]))
		}
	default: // bytes and string
		b, s.src, err = readBytes(s.src)
		v = parquet.ByteArrayValue(b)
	}
	return v, err
}

// assembler puts Parquet rows together to Avro data. It is used by one goroutine.
type assembler struct {
	root *column
	rest [][]parquet.Value // by column: values of the row that were not yet taken
}

// errShape says that the levels of a row do not fit the schema.
var errShape = errors.New("levels of a row do not fit the schema")

// assemble appends the datum of one row to dst.
func (a *assembler) assemble(dst []byte, row parquet.Row) ([]byte, error) {
	if a.rest == nil {
		a.rest = make([][]parquet.Value, a.root.end)
	}
	clear(a.rest)
	for len(row) > 0 {
		n := 1
		for n < len(row) && row[n].Column() == row[0].Column() {
			n++
		}
		if c := row[0].Column(); c < 0 || c >= len(a.rest) || a.rest[c] != nil {
			return nil, errShape
		}
		a.rest[row[0].Column()], row = row[:n], row[n:]
	}
	dst, err := a.value(dst, a.root)
	if err != nil {
		return nil, err
	}
	for _, v := range a.rest {
		if len(v) > 0 {
			return nil, errShape
		}
	}
	return dst, nil
}

func (a *assembler) value(dst []byte, c *column) (_ []byte, err error) {
	if len(a.rest[c.first]) == 0 {
		return nil, errShape
	}
	present := a.rest[c.first][0].DefinitionLevel() >= c.def
	switch c.shape {
	case recordShape:
		for _, child := range c.children {
			if dst, err = a.value(dst, child); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case optionShape:
		if !present {
			return binary.AppendVarint(dst, int64(c.null)), a.drop(c)
		}
		return a.value(binary.AppendVarint(dst, int64(1-c.null)), c.children[0])
	case listShape, mapShape:
		if !present {
			return append(dst, 0), a.drop(c)
		}
		return a.items(dst, c)
	default:
		if !present {
			return nil, errShape
		}
		v := a.rest[c.first][0]
		a.rest[c.first] = a.rest[c.first][1:]
		return appendLeaf(dst, c, v)
	}
}

// items appends an array or map as one block. Its length comes before the items and is known after them.
func (a *assembler) items(dst []byte, c *column) (_ []byte, err error) {
	start, n := len(dst), int64(0)
	for more := true; more; n++ {
		for _, child := range c.children {
			if dst, err = a.value(dst, child); err != nil {
				return nil, err
			}
		}
		more = len(a.rest[c.first]) > 0 && a.rest[c.first][0].RepetitionLevel() >= c.rep
	}
	var head [binary.MaxVarintLen64]byte
	k := binary.PutVarint(head[:], n)
	dst = append(dst, head[:k]...)
	copy(dst[start+k:], dst[start:len(dst)-k])
	copy(dst[start:], head[:k])
	return append(dst, 0), nil
}

// drop takes the value that stands for "nothing here" from every column below c.
func (a *assembler) drop(c *column) error {
	for i := c.first; i < c.end; i++ {
		if len(a.rest[i]) == 0 {
			return errShape
		}
		a.rest[i] = a.rest[i][1:]
	}
	return nil
}

// appendLeaf appends the value of one column.
func appendLeaf(dst []byte, c *column, v parquet.Value) ([]byte, error) {
	switch c.typ {
	case avro.Boolean:
		if v.Boolean() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case avro.Int:
		return binary.AppendVarint(dst, int64(v.Int32())), nil
	case avro.Long:
		return binary.AppendVarint(dst, v.Int64()), nil
	case avro.Float:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v.Float())), nil
	case avro.Double:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Double())), nil
	case avro.Enum:
		i, ok := c.indices[string(v.ByteArray())]
		if !ok {
			return nil, fmt.Errorf("symbol %q is not in the schema", v.ByteArray())
		}
		return binary.AppendVarint(dst, int64(i)), nil
	case avro.Fixed:
		if b := v.ByteArray(); len(b) == c.size {
			return append(dst, b...), nil
		}
		return nil, errShape
	default:
		b := v.ByteArray()
		return append(binary.AppendVarint(dst, int64(len(b))), b...), nil
	}
}

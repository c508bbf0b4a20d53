package serde

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrCorrupt marks bytes that are no valid encoding for the schema they were read with.
var ErrCorrupt = errors.New("serde: corrupt data")

// slabMax is the size up to which all strings of a value share one copy of its encoding. Above it a string that outlives the rest
// would hold too much memory.
const slabMax = 4 << 10

// emptyItems bounds arrays of items that take no bytes (null, empty records): their count has no relation to the size of the input.
const emptyItems = 1 << 16

// reader walks over the encoding of one value.
type reader struct {
	src   []byte
	pos   int
	depth int
	empty int    // items without bytes so far
	slab  string // copy of src that strings point into: one that the caller gave, or made when needed; "" until then
	share bool
}

func (r *reader) left() int { return len(r.src) - r.pos }

func (r *reader) corrupt(format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s", ErrCorrupt, r.pos, fmt.Sprintf(format, args...))
}

func (r *reader) short(want string) error {
	return fmt.Errorf("%w at byte %d of %d: %w, want %s", ErrCorrupt, r.pos, len(r.src), io.ErrUnexpectedEOF, want)
}

// enter counts one more record around the position.
func (r *reader) enter() error {
	if r.depth++; r.depth > maxDepth {
		return fmt.Errorf("%w: %w", ErrCorrupt, errDepth)
	}
	return nil
}

func (r *reader) long() (int64, error) {
	if r.pos < len(r.src) {
		if c := r.src[r.pos]; c < 0x80 {
			r.pos++
			return int64(c>>1) ^ -int64(c&1), nil
		}
	}
	v, n := binary.Varint(r.src[r.pos:])
	switch {
	case n == 0:
		return 0, r.short("an integer")
	case n < 0:
		return 0, r.corrupt("integer of more than 64 bits")
	}
	r.pos += n
	return v, nil
}

func (r *reader) int() (int64, error) {
	at := r.pos
	v, err := r.long()
	if err == nil && v != int64(int32(v)) {
		r.pos = at
		return 0, r.corrupt("%d is no int of 32 bits", v)
	}
	return v, err
}

func (r *reader) bool() (bool, error) {
	if r.left() < 1 {
		return false, r.short("a boolean")
	}
	c := r.src[r.pos]
	if c > 1 {
		return false, r.corrupt("boolean is %d", c)
	}
	r.pos++
	return c == 1, nil
}

func (r *reader) float() (float32, error) {
	if r.left() < 4 {
		return 0, r.short("a float of 4 bytes")
	}
	v := math.Float32frombits(binary.LittleEndian.Uint32(r.src[r.pos:]))
	r.pos += 4
	return v, nil
}

func (r *reader) double() (float64, error) {
	if r.left() < 8 {
		return 0, r.short("a double of 8 bytes")
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.src[r.pos:]))
	r.pos += 8
	return v, nil
}

// take is the next n bytes, which still belong to the input.
func (r *reader) take(n int) ([]byte, error) {
	if r.left() < n {
		return nil, r.short(fmt.Sprintf("%d bytes", n))
	}
	b := r.src[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

// bytes is a length and as many bytes, which still belong to the input.
func (r *reader) bytes() ([]byte, error) {
	n, err := r.long()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(r.left()) {
		return nil, r.corrupt("length %d with %d bytes left", n, r.left())
	}
	b := r.src[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b, nil
}

// text is a string that does not belong to the input.
func (r *reader) text() (string, error) {
	b, err := r.bytes()
	if err != nil || len(b) == 0 {
		return "", err
	}
	if r.slab == "" {
		if !r.share || len(r.src) > slabMax {
			return string(b), nil
		}
		r.slab = string(r.src)
	}
	return r.slab[r.pos-len(b) : r.pos], nil
}

// block reads the count of the next block of an array or map, 0 at the end. size is the least number of bytes of an item.
func (r *reader) block(size int) (int, error) {
	n, err := r.long()
	if err != nil {
		return 0, err
	}
	if n < 0 {
		if n == math.MinInt64 {
			return 0, r.corrupt("block of %d items", n)
		}
		n = -n
		if bytes, err := r.long(); err != nil || bytes < 0 || bytes > int64(r.left()) {
			return 0, r.corrupt("block of %d items claims %d bytes with %d left", n, bytes, r.left())
		}
	}
	if size > 0 {
		if n > int64(r.left()/size) {
			return 0, r.corrupt("block of %d items with %d bytes left", n, r.left())
		}
		return int(n), nil
	}
	if n > emptyItems-int64(r.empty) {
		return 0, r.corrupt("more than %d items without content", emptyItems)
	}
	r.empty += int(n)
	return int(n), nil
}

// index reads the number of a union branch or enum symbol below limit.
func (r *reader) index(limit int, what string) (int, error) {
	i, err := r.long()
	if err != nil {
		return 0, err
	}
	if i < 0 || i >= int64(limit) {
		return 0, r.corrupt("%s %d of %d", what, i, limit)
	}
	return int(i), nil
}

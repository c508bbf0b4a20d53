package serde

import (
	"fmt"
	"math"
	"slices"

	"github.com/zeebo/xxh3"
)

// Raw is an Avro schema by which encoded values are handled without a Go type: cut out of a stream, shown as JSON, made from JSON. Tools that
// look into stored data of any program need it; programs use a Serde. It is never changed: many goroutines may use it.
type Raw struct {
	n    *node
	skip skipFunc
	text string
	maps bool
}

// ParseRaw reads a schema. One of a codec that is not Avro ("opaque:…") is an error.
func ParseRaw(schema string) (*Raw, error) {
	n, err := parseSchema(schema)
	if err != nil {
		return nil, err
	}
	c := skippers{seen: map[*node]*skipFunc{}, sizes: minSizes{}}
	return &Raw{n: n, skip: c.compile(n), text: n.json(), maps: holdsMap(n, map[*node]bool{})}, nil
}

// Schema is the schema without white space, with all that evolution needs.
func (r *Raw) Schema() string { return r.text }

// HoldsMap reports whether values hold maps anywhere: equal values may then have different encodings.
func (r *Raw) HoldsMap() bool { return r.maps }

func holdsMap(n *node, seen map[*node]bool) bool {
	if n == nil || seen[n] {
		return false
	}
	seen[n] = true
	return n.kind == kMap || holdsMap(n.item, seen) ||
		slices.ContainsFunc(n.branches, func(b *node) bool { return holdsMap(b, seen) }) ||
		slices.ContainsFunc(n.fields, func(f *field) bool { return holdsMap(f.typ, seen) })
}

// Scanner cuts encoded values out of bytes, one after the other. The zero value is empty. One goroutine uses it.
type Scanner struct{ r reader }

// Reset begins at the start of src, which the values that are cut out are parts of.
func (s *Scanner) Reset(src []byte) { s.r = reader{src: src} }

// Offset is the number of bytes before the next value.
func (s *Scanner) Offset() int { return s.r.pos }

// Left is the number of bytes that are left.
func (s *Scanner) Left() int { return s.r.left() }

// Next is the encoding of the next value, of the schema of r. Bytes that are no such value are an error that wraps ErrCorrupt; what strings hold is not
// looked at.
func (s *Scanner) Next(r *Raw) ([]byte, error) {
	at := s.r.pos
	s.r.depth, s.r.empty = 0, 0
	if err := r.skip(&s.r); err != nil {
		return nil, err
	}
	return s.r.src[at:s.r.pos], nil
}

// Long reads an Avro long.
func (s *Scanner) Long() (int64, error) { return s.r.long() }

// Int reads an Avro int.
func (s *Scanner) Int() (int64, error) { return s.r.int() }

// Bytes reads a value of type bytes or string; the result is a part of what Reset was given.
func (s *Scanner) Bytes() ([]byte, error) { return s.r.bytes() }

// Fixed reads n bytes; the result is a part of what Reset was given.
func (s *Scanner) Fixed(n int) ([]byte, error) { return s.r.take(n) }

// Hashes are the functions that HashOf may have used for keys of this schema, the most likely first, for encoded keys: several Go types have one
// schema. A function fails for bytes that are no value of the schema. Who has keys with their hashes finds the right one by trying.
func (r *Raw) Hashes() []func(key []byte) (uint64, error) {
	ofBytes := func(key []byte) (uint64, error) { return xxh3.Hash(key), nil }
	scalar := func(f func(*reader) (uint64, error)) func(key []byte) (uint64, error) {
		return func(key []byte) (uint64, error) {
			rd := reader{src: key}
			h, err := f(&rd)
			if err == nil && rd.left() > 0 {
				err = rd.corrupt("%d bytes follow the key", rd.left())
			}
			return h, err
		}
	}
	number := func(v int64, err error) (uint64, error) { return splitMix64(uint64(v)), err }
	float := func(v float64, err error) (uint64, error) { return splitMix64(math.Float64bits(v + 0)), err }
	var own func(*reader) (uint64, error)
	switch r.n.kind {
	case kString:
		own = func(rd *reader) (uint64, error) { b, err := rd.bytes(); return xxh3.Hash(b), err }
	case kEnum:
		own = func(rd *reader) (uint64, error) {
			i, err := rd.index(len(r.n.symbols), "enum symbol")
			if err != nil {
				return 0, err
			}
			return xxh3.HashString(r.n.symbols[i]), nil
		}
	case kInt:
		own = func(rd *reader) (uint64, error) { return number(rd.int()) }
	case kLong:
		own = func(rd *reader) (uint64, error) { return number(rd.long()) }
	case kFloat:
		own = func(rd *reader) (uint64, error) { v, err := rd.float(); return float(float64(v), err) }
	case kDouble:
		own = func(rd *reader) (uint64, error) { return float(rd.double()) }
	case kBytes:
		own = hashUint64
	default:
		return []func([]byte) (uint64, error){ofBytes}
	}
	if r.n.logical != "" && r.n.kind != kBytes { // a time.Time or a UUID rather than a number or a text
		return []func([]byte) (uint64, error){ofBytes, scalar(own)}
	}
	return []func([]byte) (uint64, error){scalar(own), ofBytes}
}

// hashUint64 hashes the decimal that a uint64 is encoded as.
func hashUint64(rd *reader) (uint64, error) {
	b, err := rd.bytes()
	if err != nil {
		return 0, err
	}
	v, ok := readUint64(b)
	if !ok {
		return 0, fmt.Errorf("%w: decimal of %d bytes is no uint64", ErrCorrupt, len(b))
	}
	return splitMix64(v), nil
}

package serde

import (
	"encoding/binary"
	"fmt"
)

// singleHeader is the length of the prefix of the single-object encoding: two marker bytes and a fingerprint of 8.
const singleHeader = 10

// emptyCRC is the fingerprint of no bytes, and the polynomial of CRC-64-AVRO.
// Source: Avro specification 1.12, "Schema Fingerprints".
const emptyCRC = 0xc15d213aa4d7a795

// crcTable is one step of CRC-64-AVRO for each value of a byte.
var crcTable = func() (table [256]uint64) {
	for i := range table {
		fp := uint64(i)
		for range 8 {
			fp = fp>>1 ^ emptyCRC&-(fp&1)
		}
		table[i] = fp
	}
	return table
}()

// Fingerprint is the CRC-64-AVRO of the Parsing Canonical Form of a schema. Schemas that differ in defaults, aliases, documentation
// or logical types alone have the same one.
func Fingerprint(schema string) (uint64, error) {
	n, err := parseSchema(schema)
	if err != nil {
		return 0, err
	}
	return fingerprint(n), nil
}

func fingerprint(n *node) uint64 {
	fp := uint64(emptyCRC)
	text := n.canonical()
	for i := 0; i < len(text); i++ {
		fp = fp>>8 ^ crcTable[byte(fp)^text[i]]
	}
	return fp
}

// singleSerde is the codec of the single-object encoding.
type singleSerde[T any] struct {
	own    *avroSerde[T]
	fp     uint64
	codecs map[uint64]*avroSerde[T]
}

// SingleObject makes a Serde of Avro's single-object encoding: C3 01, the fingerprint of the schema (little-endian) and the body. It
// reads data of T's own schema and of the writer schemas given, each of which must resolve into T. Any other fingerprint is
// ErrUnknownSchema. Its Schema is "opaque:avro-single-object".
func SingleObject[T any](writerSchemas []string, opts ...AvroOption) (Serde[T], error) {
	own, err := newAvro[T](opts)
	if err != nil {
		return nil, err
	}
	s := &singleSerde[T]{own: own, fp: fingerprint(own.bound.n), codecs: map[uint64]*avroSerde[T]{}}
	for i, w := range writerSchemas {
		codec, err := own.resolve(w)
		if err != nil {
			return nil, fmt.Errorf("serde: writer schema %d: %w", i, err)
		}
		fp, err := Fingerprint(w)
		if err != nil {
			return nil, fmt.Errorf("serde: writer schema %d: %w", i, err)
		}
		s.codecs[fp] = codec
	}
	s.codecs[s.fp] = own
	return s, nil
}

// Schema says that the bytes are no plain Avro.
func (s *singleSerde[T]) Schema() string { return opaque + "avro-single-object" }

// Append writes the marker, the fingerprint and the body.
func (s *singleSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	out, err := s.own.Append(binary.LittleEndian.AppendUint64(append(dst, 0xc3, 1), s.fp), v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Decode reads a value of any schema known.
func (s *singleSerde[T]) Decode(src []byte, v *T) error {
	if len(src) < singleHeader || src[0] != 0xc3 || src[1] != 1 {
		return fmt.Errorf("serde: decode %v: %w: single-object encoding begins with c301 and a fingerprint of 8 bytes", s.own.bound.typ, ErrCorrupt)
	}
	fp := binary.LittleEndian.Uint64(src[2:])
	codec := s.codecs[fp]
	if codec == nil {
		return fmt.Errorf("serde: decode %v: %w: fingerprint %016x is none of the schemas given", s.own.bound.typ, ErrUnknownSchema, fp)
	}
	return codec.Decode(src[singleHeader:], v)
}

// derived implements IsDerived.
func (s *singleSerde[T]) derived() bool { return s.own.derived() }

package state

import "encoding/binary"

// A value in a store, and in a table of a checkpoint, is
//
//	flags (1 byte; 1: expires, 2: schema id), hash (8 bytes), [uvarint stamp of expiry], [uvarint schema id], the encoded value
//
// The schema id is an index of Descriptor.Schemas, the schema that the value was written with; without one it is 0. A timer's value is empty.

const (
	storedExpires = 1 << iota
	storedSchema
	storedFlags = storedExpires | storedSchema
)

// valueHead is what precedes the encoded value.
type valueHead struct {
	hash    uint64
	expires int64 // stamp; 0: never
	schema  int
}

func appendValueHead(dst []byte, h valueHead) []byte {
	var flags byte
	if h.expires != 0 {
		flags |= storedExpires
	}
	if h.schema != 0 {
		flags |= storedSchema
	}
	dst = binary.BigEndian.AppendUint64(append(dst, flags), h.hash)
	if h.expires != 0 {
		dst = binary.AppendUvarint(dst, uint64(h.expires))
	}
	if h.schema != 0 {
		dst = binary.AppendUvarint(dst, uint64(h.schema))
	}
	return dst
}

func cutValueHead(src []byte) (h valueHead, value []byte, err error) {
	if len(src) < 9 || src[0]&^storedFlags != 0 {
		return h, nil, errCorrupt
	}
	h.hash, value = binary.BigEndian.Uint64(src[1:]), src[9:]
	if src[0]&storedExpires != 0 {
		x, n := binary.Uvarint(value)
		if n <= 0 || x > stampMax {
			return h, nil, errCorrupt
		}
		h.expires, value = int64(x), value[n:]
	}
	if src[0]&storedSchema != 0 {
		x, n := binary.Uvarint(value)
		if n <= 0 || x >= maxSchemas {
			return h, nil, errCorrupt
		}
		h.schema, value = int(x), value[n:]
	}
	return h, value, nil
}

// maxSchemas bounds the schemas of one state.
const maxSchemas = 1 << 16

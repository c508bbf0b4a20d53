package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// An entry's address in a store and in a state file is
//
//	[key group, 2 bytes][state id, 2 bytes][operator key, escaped][map key | element number | timer]
//
// Integers are big-endian. The escaped key ends with 00 01, and a 00 inside it is written 00 ff: escaped keys are ordered as the
// keys are, and none is a prefix of another.

const addressHead = 4 // bytes before the escaped key

// appendHead appends the key group and the state id.
func appendHead(dst []byte, group, state int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(group))
	return binary.BigEndian.AppendUint16(dst, uint16(state))
}

// appendEscaped appends key, escaped.
func appendEscaped(dst, key []byte) []byte {
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 {
			break
		}
		dst = append(dst, key[:i]...)
		dst = append(dst, 0x00, 0xff)
		key = key[i+1:]
	}
	dst = append(dst, key...)
	return append(dst, 0x00, 0x01)
}

// cutEscaped appends the unescaped key at the start of src to dst and returns it with the bytes that follow the escaped key.
func cutEscaped(dst, src []byte) (key, rest []byte, err error) {
	for {
		i := bytes.IndexByte(src, 0)
		if i < 0 || i+1 >= len(src) {
			return dst, nil, fmt.Errorf("operator key has no end mark")
		}
		dst = append(dst, src[:i]...)
		switch src[i+1] {
		case 0x01:
			return dst, src[i+2:], nil
		case 0xff:
			dst = append(dst, 0)
		default:
			return dst, nil, fmt.Errorf("operator key holds the bytes 00 %02x, which no writer makes", src[i+1])
		}
		src = src[i+2:]
	}
}

// after is the smallest address above every address that begins with prefix; nil when there is none.
func after(dst, prefix []byte) []byte {
	dst = append(dst[:0], prefix...)
	for i := len(dst) - 1; i >= 0; i-- {
		if dst[i]++; dst[i] != 0 {
			return dst[:i+1]
		}
	}
	return nil
}

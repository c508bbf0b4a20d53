package serde

import (
	"encoding/binary"
	"fmt"
)

// wireHeader is the length of the Confluent prefix: a zero byte and the id of the schema, big-endian.
const wireHeader = 5

// AppendWireHeader appends the prefix of the Confluent wire format for a schema id.
func AppendWireHeader(dst []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), uint32(id))
}

// ParseWireHeader splits src into the schema id and the body, which is a part of src. Anything but the Confluent wire format is
// an error that is ErrCorrupt: the format is configured, never guessed, as a plain Avro body can begin with the same byte.
func ParseWireHeader(src []byte) (id int, body []byte, err error) {
	if len(src) < wireHeader {
		return 0, nil, fmt.Errorf("%w: %d bytes are no Confluent wire format, which begins with 5 (a zero and the schema id)", ErrCorrupt, len(src))
	}
	if src[0] != 0 {
		return 0, nil, fmt.Errorf("%w: first byte is 0x%02x, want 0x00 of the Confluent wire format", ErrCorrupt, src[0])
	}
	u := binary.BigEndian.Uint32(src[1:])
	if u > 1<<31-1 {
		return 0, nil, fmt.Errorf("%w: schema id %d is negative", ErrCorrupt, int32(u))
	}
	return int(u), src[wireHeader:], nil
}

// ParseHeaderID reads the schema id that newer Confluent producers put into a record header (__key_schema_id or __value_schema_id)
// before a bare body: 0x00 and 4 bytes. The other form, 0x01 and a GUID, is an error: a GUID is no id.
func ParseHeaderID(header []byte) (int, error) {
	if len(header) == 17 && header[0] == 1 {
		return 0, fmt.Errorf("serde: schema header holds a GUID %x; look its id up in the registry", header[1:])
	}
	id, rest, err := ParseWireHeader(header)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: schema header has %d bytes, want 5 or 17", ErrCorrupt, len(header))
	}
	return id, err
}

package serde

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// FuzzDecode: whatever the bytes are, decoders return an error or a value that is encoded and read again to the same bytes.
func FuzzDecode(f *testing.F) {
	all, rec, old := mustAvro[everything](f), mustAvro[list](f), resolved(f)
	text, num := MustFor[string](), MustFor[uint64]()
	full, err := all.Append(nil, fullValue())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte{2, 2, 4, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0, 2}, 1500))                 // a list deeper than the limit
	f.Add(binary.AppendVarint(nil, 1<<62))                  // a length of 4 EiB
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // a varint without end
	f.Add([]byte{0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0}) // a block with a wrong size in bytes
	f.Fuzz(func(t *testing.T, data []byte) {
		stable(t, all, data)
		stable(t, rec, data)
		stable(t, old, data)
		stable(t, text, data)
		stable(t, num, data)
	})
}

// resolved reads the writer's schema of the same name with fields that are skipped, promoted and filled in.
func resolved(t testing.TB) Serde[list] {
	s, err := Resolve[list](`{"type":"record","name":"list","fields":[{"name":"x","type":{"type":"array","items":["null","list",{"type":"map","values":"null"}]}},` +
		`{"name":"v","type":"int"},{"name":"next","type":["list","null","string"]},` +
		`{"name":"Kids","type":{"type":"array","items":"list"}},{"name":"By","type":{"type":"map","values":"list"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stable[T any](t *testing.T, s Serde[T], data []byte) {
	t.Helper()
	var v T
	if err := s.Decode(data, &v); err != nil {
		if strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
		return
	}
	if _, ok := any(s).(*avroSerde[T]); !ok {
		once, err := s.Append(nil, v)
		if err != nil {
			t.Fatalf("a decoded value is refused: %v", err)
		}
		var again T
		if err := s.Decode(once, &again); err != nil {
			t.Fatalf("an encoded value is refused: %v", err)
		}
		return
	}
	own := mustAvro[T](t)
	once, err := own.Append(nil, v)
	if err != nil {
		// Values that come in by the writer's schema can be out of range of the reader's units, never a panic.
		if strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
		return
	}
	var again T
	if err := own.Decode(once, &again); err != nil {
		t.Fatalf("an encoded value is refused: %v\n%x", err, once)
	}
	twice, err := own.Append(nil, again)
	if err != nil || len(twice) != len(once) { // maps have no order
		t.Fatalf("second encoding %x, %v, first %x", twice, err, once)
	}
}

// FuzzWire: the wire formats take any bytes.
func FuzzWire(f *testing.F) {
	single, err := SingleObject[specRecord](nil)
	if err != nil {
		f.Fatal(err)
	}
	data, err := single.Append(nil, specRecord{A: 27, B: "foo"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("\x00\x00\x00\x00\x01\x36\x06foo"))
	f.Add([]byte("\x00\xff\xff\xff\xff"))
	f.Add([]byte("\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, body, err := ParseWireHeader(data)
		switch {
		case err == nil && !bytes.Equal(append(AppendWireHeader(nil, id), body...), data):
			t.Fatalf("%x parses to id %d and %x", data, id, body)
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Fatal(err)
		}
		if id, err := ParseHeaderID(data); err == nil && !bytes.Equal(AppendWireHeader(nil, id), data) {
			t.Fatalf("header %x parses to id %d", data, id)
		}
		var v specRecord
		if err := single.Decode(data, &v); err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
	})
}

// FuzzSchemaCheck: any two texts can be compared, a schema can read itself, and what is read from a schema can be written and read again.
func FuzzSchemaCheck(f *testing.F) {
	for _, s := range []string{
		mustAvro[everything](f).Schema(), mustAvro[list](f).Schema(), suitsDef, `"int"`, `["null","string"]`,
		`{"type":"record","name":"S","fields":[{"name":"s","type":"S"}]}`,
		`{"type":"record","name":"A","fields":[{"name":"a","type":["A","null"],"default":{}}]}`,
		`{"type":"fixed","name":"F","size":99999999999}`, `{"type":"array","items":{"type":"array","items":"null"}}`, `[[]]`, `{`,
	} {
		f.Add(s, `{"type":"record","name":"R","fields":[{"name":"x","type":"long","default":9007199254740993}]}`)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		Check(a, b)
		Check(b, a)
		n, err := parseSchema(a)
		if err != nil {
			return
		}
		if got := Check(a, a); got != nil {
			t.Fatalf("%s cannot read itself: %v", a, got)
		}
		text := n.json()
		back, err := parseSchema(text)
		if err != nil || back.json() != text {
			t.Fatalf("%s is written as %s, which does not come back: %v", a, text, err)
		}
		if _, err := Resolve[list](a); err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
	})
}

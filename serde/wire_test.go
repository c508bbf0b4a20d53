package serde

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
)

func TestWireHeader(t *testing.T) {
	// Origin: Confluent documentation, "Wire format": a zero byte, the id as 4 bytes big-endian, the data.
	if got := AppendWireHeader([]byte("x"), 0x01020304); string(got) != "x\x00\x01\x02\x03\x04" {
		t.Errorf("header %x", got)
	}
	id, body, err := ParseWireHeader([]byte("\x00\x00\x00\x01\x02body"))
	if err != nil || id != 258 || string(body) != "body" {
		t.Errorf("parsed %d, %q, %v", id, body, err)
	}
	for src, want := range map[string]string{
		"":                     "0 bytes are no Confluent wire format",
		"\x00\x00\x00\x01":     "4 bytes are no Confluent wire format",
		"\x03\x00\x00\x00\x01": "first byte is 0x03",
		"\x00\xff\xff\xff\xff": "schema id -1 is negative",
	} {
		if _, _, err := ParseWireHeader([]byte(src)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseWireHeader(%x): %v, want %q", src, err, want)
		}
	}
	if id, err := ParseHeaderID([]byte{0, 0, 0, 0, 7}); err != nil || id != 7 {
		t.Errorf("header id %d, %v", id, err)
	}
	if _, err := ParseHeaderID([]byte{0, 0, 0, 0, 7, 0}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("header of 6 bytes: %v", err)
	}
	if _, err := ParseHeaderID(append([]byte{1}, make([]byte, 16)...)); err == nil || !strings.Contains(err.Error(), "GUID") {
		t.Errorf("header with a GUID: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	// Origin: share/test/data/schema-tests.txt of Apache Avro, as signed decimals there.
	for schema, want := range map[string]int64{
		`"null"`:    7195948357588979594,
		`"boolean"`: -6970731678124411036,
		`"int"`:     8247732601305521295,
		`"long"`:    -3434872931120570953,
		`"float"`:   5583340709985441680,
		`"double"`:  -8181574048448539266,
		`"bytes"`:   5746618253357095269,
		`"string"`:  -8142146995180207161,
	} {
		if got, err := Fingerprint(schema); err != nil || int64(got) != want {
			t.Errorf("Fingerprint(%s) = %d, %v, want %d", schema, int64(got), err, want)
		}
	}
	// And an independent implementation, on a schema without logical types, which that one does not strip.
	schema := mustAvro[list](t).Schema()
	want, err := avro.MustParse(schema).FingerprintUsing(avro.CRC64Avro)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Fingerprint(schema); err != nil || fmt.Sprintf("%016x", got) != hex.EncodeToString(want) {
		t.Errorf("Fingerprint of a record = %016x, %v, want %x", got, err, want)
	}
}

func TestSingleObject(t *testing.T) {
	old := `{"type":"record","name":"test","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}`
	s, err := SingleObject[specRecord]([]string{old})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Append(nil, specRecord{A: 27, B: "foo"})
	if err != nil || !strings.HasPrefix(string(data), "\xc3\x01") || hex.EncodeToString(data[10:]) != "3606666f6f" {
		t.Fatalf("Append = %x, %v", data, err)
	}
	var v specRecord
	if err := s.Decode(data, &v); err != nil || v.A != 27 || v.B != "foo" {
		t.Errorf("Decode = %+v, %v", v, err)
	}
	was, err := SingleObject[specRecord](nil, WithSchema(old))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = was.Append(nil, specRecord{A: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Decode(data, &v); err != nil || v.A != 1 {
		t.Errorf("Decode of the old schema = %+v, %v", v, err)
	}
	data[2]++
	if err := s.Decode(data, &v); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("unknown fingerprint: %v", err)
	}
	if err := s.Decode([]byte{0xc3, 2}, &v); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no single object: %v", err)
	}
	if _, err := SingleObject[specRecord]([]string{`"int"`}); err == nil {
		t.Error("a writer schema that does not resolve is accepted")
	}
}

package serde

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestHostileBytes: a few bytes that claim much must not make a decoder allocate or work for it.
func TestHostileBytes(t *testing.T) {
	huge := binary.AppendVarint(nil, 1<<40)
	million := binary.AppendVarint(nil, 1_000_000)
	decode := map[string]func() error{
		"string length": func() error { return MustFor[string]().Decode(huge, new(string)) },
		"bytes length":  func() error { return MustFor[[]byte]().Decode(huge, new([]byte)) },
		"array count":   func() error { return MustFor[[]int64]().Decode(huge, new([]int64)) },
		"map count":     func() error { return MustFor[map[string]int64]().Decode(huge, new(map[string]int64)) },
		// The count is possible for the bytes, and the elements take 56 MB, but the first one ends the decoding.
		"large elements": func() error {
			return MustFor[[]list]().Decode(append(million, bytes.Repeat([]byte{0xff}, 4<<20)...), new([]list))
		},
		"empty elements": func() error { return MustFor[[]struct{}]().Decode(huge, new([]struct{})) },
		"blocks of empty elements": func() error {
			return MustFor[[]struct{}]().Decode(bytes.Repeat(binary.AppendVarint(nil, 60_000), 1000), new([]struct{}))
		},
		"skipped empty elements": func() error {
			s, err := Resolve[specRecord](`{"type":"record","name":"test","fields":[{"name":"x","type":{"type":"array","items":"null"}},` +
				`{"name":"a","type":"long"},{"name":"b","type":"string"}]}`)
			if err != nil {
				t.Fatal(err)
			}
			return s.Decode(huge, new(specRecord))
		},
		"negative count": func() error { return MustFor[[]int64]().Decode(binary.AppendVarint(nil, -1<<63), new([]int64)) },
		"negative size":  func() error { return MustFor[[]int64]().Decode([]byte{1, 1, 2, 0}, new([]int64)) },
		"varint of 11 bytes": func() error {
			return MustFor[int64]().Decode(bytes.Repeat([]byte{0x80}, 11), new(int64))
		},
		"decimal of a megabyte": func() error {
			type rat struct {
				V Decimal `avro:"v,precision=9,scale=2"`
			}
			return MustFor[rat]().Decode(append(binary.AppendVarint(nil, 1<<20), make([]byte, 1<<20)...)[:1<<20+2], new(rat))
		},
	}
	for name, f := range decode {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := f()
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		if name == "blocks of empty elements" && (err == nil || !strings.Contains(err.Error(), "more than 65536 items without content")) {
			t.Errorf("%s: %v, want the limit over all blocks", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 { // the inputs themselves are up to 8 MB
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

// TestHostileSchemas: schemas whose graphs or defaults grow with each level must end in an error or a quick answer.
func TestHostileSchemas(t *testing.T) {
	doubling := `{"type":"record","name":"R0","fields":[]}`
	for i := 1; i < 60; i++ {
		name, inner := string(rune('A'+i%26))+string(rune('a'+i/26)), doubling
		doubling = `{"type":"record","name":"` + name + `","fields":[{"name":"x","type":` + inner + `,"default":{}},{"name":"y","type":"` + last(inner) + `","default":{}}]}`
	}
	if _, err := parseSchema(doubling); err == nil {
		t.Error("a default of 2^60 records is accepted")
	}
	if got := Check(doubling, doubling); len(got) != 1 || got[0].Rule != RuleSchema {
		t.Errorf("Check of a default of 2^60 records: %v", got)
	}
	for _, s := range []string{
		`{"type":"fixed","name":"F","size":1000000000000}`, `{"type":"fixed","name":"F","size":-1}`,
		`{"type":"record","name":"A","fields":[{"name":"a","type":"A","default":{}}]}`,
	} {
		if _, err := parseSchema(s); err == nil {
			t.Errorf("%s is accepted", s)
		}
	}
}

// last is the name of the outermost record of a schema.
func last(schema string) string {
	n, err := parseJSON(schema)
	if err != nil {
		panic(err)
	}
	return n.(map[string]any)["name"].(string)
}

func TestDecodeDropsOldContent(t *testing.T) {
	s := mustAvro[everything](t)
	v := fullValue()
	empty, err := s.Append(nil, everything{Out: "A", Level: "LOW", Nanos: fullValue().Nanos})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Decode(empty, &v); err != nil || v.List != nil || v.Map != nil || v.Labels != nil || v.Raw != nil || v.Opt != nil {
		t.Errorf("content of the value before is left: %+v, %v", v, err)
	}
	raw := []byte("old")
	if err := MustFor[[]byte]().Decode([]byte{0}, &raw); err != nil || raw != nil {
		t.Errorf("bytes left: %q, %v", raw, err)
	}
}

func TestDecodeKeepsNothing(t *testing.T) {
	s := mustAvro[everything](t)
	want := fullValue()
	data, err := s.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var got everything
	if err := s.Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	clear(data)
	got.Exact, want.Exact = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the value changes with the input: %+v", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := mustAvro[everything](t)
	want := fullValue()
	data, err := s.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	want.Exact = nil
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				var v everything
				if err := s.Decode(data, &v); err != nil {
					t.Error(err)
					return
				}
				again, err := s.Append(nil, v)
				if err != nil || !bytes.Equal(again, data) {
					t.Errorf("encoded %x, %v", again, err)
					return
				}
				if v.Exact = nil; !reflect.DeepEqual(v, want) {
					t.Errorf("decoded %+v", v)
					return
				}
			}
		})
	}
	wg.Wait()
}

type panics string

func (panics) Symbols() []string { panic("of the user") }

func TestUserPanic(t *testing.T) {
	if _, err := For[panics](); err == nil {
		t.Error("a panic in Symbols gives no error")
	}
}

package serde

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// within reports whether s is memory of text.
func within(s, text string) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(text)))
	return at >= from && at+uintptr(len(s)) <= from+uintptr(len(text))
}

func shared[T any](t *testing.T, s Serde[T]) SharedDecoder[T] {
	t.Helper()
	d, ok := s.(SharedDecoder[T])
	if !ok {
		t.Fatalf("codec %T is no SharedDecoder", s)
	}
	return d
}

// TestDecodeShared reads values out of one buffer: they are those of Decode, and all strings lie in the one copy of it.
func TestDecodeShared(t *testing.T) {
	s := MustFor[everything]()
	one := fullValue()
	one.Text = strings.Repeat("long ", slabMax) // larger than what a value shares by itself
	one.Exact = nil
	first, err := s.Append(nil, one)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := s.Append(bytes.Clone(first), one)
	if err != nil {
		t.Fatal(err)
	}
	text := string(frame)
	for i := range 2 {
		from, to := i*len(first), (i+1)*len(first)
		var got everything
		if err := shared(t, s).DecodeShared(frame[from:to], text[from:to], &got); err != nil || !reflect.DeepEqual(got, one) {
			t.Fatalf("value %d: %+v, %v", i, got, err)
		}
		for _, str := range []string{got.Source, got.Text, *got.OptText, got.Inner.Tags[0], got.List[1].Tags[0], got.Labels["a"]} {
			if str != "" && !within(str, text[from:to]) {
				t.Errorf("value %d: string %.20q has memory of its own", i, str)
			}
		}
		if from == 0 && within(string(got.Out), text) {
			t.Error("an enum symbol is taken from the text")
		}
	}
}

// TestDecodeSharedOfString is the codec of string types, which is written by hand.
func TestDecodeSharedOfString(t *testing.T) {
	type name string
	d := shared(t, MustFor[name]())
	src := []byte("\x06abc")
	text := string(src)
	var got name
	if err := d.DecodeShared(src, text, &got); err != nil || got != "abc" || !within(string(got), text) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "\x06ab", "\x06abcd", "\x05"} {
		want := MustFor[name]().Decode([]byte(bad), new(name))
		if err := d.DecodeShared([]byte(bad), bad, new(name)); err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%x: %v, want %v", bad, err, want)
		}
	}
}

// TestDecodeSharedOfOtherSchema reads what an older program wrote.
func TestDecodeSharedOfOtherSchema(t *testing.T) {
	s, err := Resolve[specRecord](`{"type":"record","name":"test","fields":[{"name":"b","type":"string"},{"name":"a","type":"int"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	src := []byte("\x06foo\x36") // 27 and "foo": the example of the Avro specification with its fields changed about
	text := string(src)
	var got specRecord
	if err := shared(t, s).DecodeShared(src, text, &got); err != nil || got != (specRecord{A: 27, B: "foo"}) || !within(got.B, text) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDecodeSharedRefuses(t *testing.T) {
	src := []byte("\x36\x06foo")
	for _, text := range []string{"", "\x36\x06fo", "\x36\x06fooo"} {
		var v specRecord
		if err := shared(t, MustFor[specRecord]()).DecodeShared(src, text, &v); err == nil {
			t.Errorf("text of %d bytes beside %d is accepted: %+v", len(text), len(src), v)
		}
		var s string
		if err := shared(t, MustFor[string]()).DecodeShared(src[1:], text, &s); len(text) != len(src)-1 && err == nil {
			t.Errorf("string: text of %d bytes beside %d is accepted", len(text), len(src)-1)
		}
	}
}

func TestIsDerived(t *testing.T) {
	conf, err := Confluent[specRecord](&RegistryClient{}, "s", ConfluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	single, err := SingleObject[specRecord](nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		codec any
		want  bool
	}{
		{MustFor[specRecord](), true}, {conf, true}, {single, true}, {MustFor[string](), false}, {MustFor[int64](), false}, {7, false}, {nil, false},
	} {
		if got := IsDerived(c.codec); got != c.want {
			t.Errorf("IsDerived(%T) = %v", c.codec, got)
		}
	}
}

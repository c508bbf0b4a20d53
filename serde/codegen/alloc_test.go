//go:build !race

// The race detector makes sync.Pool drop what it holds at random, so allocations are counted without it.

package codegen_test

import (
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// TestAllocations: none to append, one for all strings of a value, none for those of a shared text.
func TestAllocations(t *testing.T) {
	s := serde.MustFor[fixture.Event]()
	src, err := s.Append(nil, sample)
	if err != nil {
		t.Fatal(err)
	}
	buf, out, text := make([]byte, 0, 256), new(fixture.Event), string(src)
	shared := s.(serde.SharedDecoder[fixture.Event])
	for _, c := range []struct {
		name string
		want float64
		run  func() error
	}{
		{"Append", 0, func() error { buf, err = s.Append(buf[:0], sample); return err }},
		{"Decode", 1, func() error { return s.Decode(src, out) }},
		{"DecodeShared", 0, func() error { return shared.DecodeShared(src, text, out) }},
	} {
		var err error
		if n := testing.AllocsPerRun(200, func() { err = c.run() }); n != c.want || err != nil {
			t.Errorf("%s allocates %v times, %v, want %v", c.name, n, err, c.want)
		}
		if *out != sample && c.name != "Append" {
			t.Errorf("%s gives %+v", c.name, *out)
		}
	}
	numbers := serde.MustFor[fixture.Numbers]()
	list, err := numbers.Append(nil, fixture.Numbers{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	into := new(fixture.Numbers)
	if n := testing.AllocsPerRun(200, func() { err = numbers.Decode(list, into) }); n != 1 || err != nil {
		t.Errorf("a slice of three is decoded with %v allocations, %v, want 1", n, err)
	}
}

//go:build !race

// The race detector makes sync.Pool drop what it holds at random, so allocations are counted without it.

package serde

import (
	"testing"
	"time"
)

func appendAllocs[T any](t *testing.T, s Serde[T], v T, want float64) {
	t.Helper()
	buf := make([]byte, 0, 4096)
	var err error
	if got := testing.AllocsPerRun(200, func() { buf, err = s.Append(buf[:0], v) }); got > want || err != nil {
		t.Errorf("Append(%T) allocates %v times, %v, want %v", v, got, err, want)
	}
}

func decodeAllocs[T any](t *testing.T, s Serde[T], v T, want float64) {
	t.Helper()
	data, err := s.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	out := new(T)
	if got := testing.AllocsPerRun(200, func() { err = s.Decode(data, out) }); got > want || err != nil {
		t.Errorf("Decode(%T) allocates %v times, %v, want %v", v, got, err, want)
	}
}

func both[T any](t *testing.T, v T, decode float64) {
	t.Helper()
	s := MustFor[T]()
	appendAllocs(t, s, v, 0)
	decodeAllocs(t, s, v, decode)
}

func TestAllocations(t *testing.T) {
	both(t, "customer-17", 1)
	both(t, []byte("customer-17"), 1)
	both(t, true, 0)
	both(t, int8(-3), 0)
	both(t, int64(1<<40), 0)
	both(t, uint32(7), 0)
	both(t, uint64(1<<63), 0)
	both(t, 1.5, 0)
	both(t, float32(1.5), 0)
	both(t, time.UnixMilli(1700000000000).UTC(), 0)
	both(t, sample, 1) // three strings, one copy
	both(t, []int64{1, 2, 3}, 1)
	both(t, struct {
		Amount Decimal `avro:"amount,precision=12,scale=2"`
		Out    outcome
		When   time.Time
	}{mustDecimal("12.5"), "B", time.UnixMilli(1).UTC()}, 0)
	appendAllocs(t, MustFor[map[string]int64](), map[string]int64{"a": 1, "b": 2}, 1)

	type key struct {
		A int64
		B string
	}
	hash := HashOf(MustFor[key]())
	if n := testing.AllocsPerRun(200, func() { hash(key{1, "x"}) }); n != 0 {
		t.Errorf("hash of a struct key allocates %v times", n)
	}
}

// TestSharedAllocations: the strings of a value cost nothing of their own when the text is given.
func TestSharedAllocations(t *testing.T) {
	d := shared(t, MustFor[event]())
	src, err := MustFor[event]().Append(nil, sample)
	if err != nil {
		t.Fatal(err)
	}
	text, out := string(src), new(event)
	if n := testing.AllocsPerRun(200, func() { err = d.DecodeShared(src, text, out) }); n != 0 || err != nil || *out != sample {
		t.Errorf("DecodeShared allocates %v times, %v, and gives %+v", n, err, *out)
	}
}

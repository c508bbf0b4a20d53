package exchange

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"pgregory.net/rapid"
)

// recordedAs is what a receiver gets of a batch that is recorded from record from on and replayed.
func recordedAs(t interface{ Fatal(...any) }, sent []got[string], from int, keep func(string, uint64) (bool, error)) (out []got[string], bytes []byte) {
	in := &operators.Context{}
	q := NewQueue(1)
	e := NewEdge[string](q, 0)
	e.SetCodec(serde.MustFor[string]())
	w := NewWriter(context.Background(), in, []*Edge[string]{e})
	for _, g := range sent {
		in.TimestampMS, in.KeyHash, in.At = g.ts, g.hash, g.at
		if err := w.add(0, g.value, g.hash); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Control(Control{Watermark, 1}); err != nil {
		t.Fatal(err)
	}
	bytes, err := (<-q.C).Record([]byte("before"), from)
	if err != nil || string(bytes[:6]) != "before" {
		t.Fatal("what stood before is lost, or ", err)
	}
	bytes = bytes[6:]
	c := &operators.Context{}
	r := NewReplay(c, func(v string) error {
		out = append(out, got[string]{v, c.TimestampMS, c.KeyHash, c.At})
		return nil
	}, nil, serde.MustFor[string](), keep)
	n, err := r.Batch(bytes)
	if err != nil || n != len(out) {
		t.Fatal(n, " records, ", err)
	}
	return out, bytes
}

// TestRecordedBatchesComeBack with time, hash and origin, from any record on, and those alone that are kept.
func TestRecordedBatchesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := connectors.Coordinates{UID: rapid.String().Draw(t, "uid"), Split: "s", Offset: rapid.Int64().Draw(t, "offset"),
			Sequence: rapid.String().Draw(t, "sequence")}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		var sent []got[string]
		for range n {
			sent = append(sent, got[string]{rapid.String().Draw(t, "value"), rapid.Int64().Draw(t, "ts"), rapid.Uint64().Draw(t, "hash"), at})
		}
		from := rapid.IntRange(0, n).Draw(t, "from")
		out, bytes := recordedAs(t, sent, from, nil)
		if !slices.Equal(out, sent[from:]) {
			t.Fatalf("got %+v, want %+v", out, sent[from:])
		}
		even := func(_ string, hash uint64) (bool, error) { return hash%2 == 0, nil }
		kept, _ := recordedAs(t, sent, from, even)
		if want := slices.DeleteFunc(slices.Clone(sent[from:]), func(g got[string]) bool { return g.hash%2 != 0 }); !slices.Equal(kept, want) {
			t.Fatalf("kept %+v, want %+v", kept, want)
		}
		cut := rapid.IntRange(0, len(bytes)-1).Draw(t, "cut")
		delivered := 0
		r := NewReplay(&operators.Context{}, func(string) error { delivered++; return nil }, nil, serde.MustFor[string](), nil)
		if _, err := r.Batch(bytes[:cut]); err == nil || delivered > 0 {
			t.Fatalf("%d of %d bytes: %v, %d records", cut, len(bytes), err, delivered)
		}
		if _, err := r.Batch(append(slices.Clone(bytes), 0)); err == nil || delivered > 0 {
			t.Fatalf("a byte too many: %v, %d records", err, delivered)
		}
	})
}

// FuzzReplay: whatever a batch holds, it is an error or records, never a panic.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 0, 0, 4, 'a', 'b'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, src []byte) {
		n := 0
		r := NewReplay(&operators.Context{}, func(string) error { n++; return nil }, nil, serde.MustFor[string](), nil)
		if got, err := r.Batch(src); err == nil && got != n || err != nil && n > 0 {
			t.Fatalf("%d records told, %d delivered, %v", got, n, err)
		}
	})
}

// TestDeliverInParts: the parts of a batch are the batch, and the hashes of each run of records come before it, once.
func TestDeliverInParts(t *testing.T) {
	for _, parts := range [][]int{{150}, {1, 149}, {64, 64, 22}, {63, 2, 85}, {10, 50, 10, 80}} {
		q, c := NewQueue(1), &operators.Context{}
		e := NewEdge[int](q, 0)
		var seen []int
		var ahead []uint64
		e.Attach(c, func(v int) error {
			if len(ahead) <= len(seen) {
				t.Fatalf("%v: record %d comes before its hash", parts, len(seen))
			}
			seen = append(seen, v)
			return nil
		})
		e.Prefetch(func(h []uint64) { ahead = append(ahead, h...) })
		w := NewWriter(t.Context(), &operators.Context{}, []*Edge[int]{e})
		for v := range 150 {
			if err := w.add(0, v, uint64(v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		d, from := <-q.C, 0
		for _, n := range parts {
			if err := d.Deliver(from, from+n); err != nil {
				t.Fatal(err)
			}
			if from += n; len(seen) != from {
				t.Fatalf("%v: %d records, want %d", parts, len(seen), from)
			}
		}
		for v := range 150 {
			if seen[v] != v || ahead[v] != uint64(v) || len(ahead) != 150 {
				t.Fatalf("%v: record %d is %d, its hash %d of %d", parts, v, seen[v], ahead[v], len(ahead))
			}
		}
	}
}

// failing refuses one value.
type failing struct{ serde.Serde[int] }

var errRefused = errors.New("refused")

func (f failing) Append(dst []byte, v int) ([]byte, error) {
	if v == 2 {
		return dst, errRefused
	}
	return f.Serde.Append(dst, v)
}

// TestRecordNamesWhatCannotBeStored: the error has the place of the record.
func TestRecordNamesWhatCannotBeStored(t *testing.T) {
	q := NewQueue(1)
	e := NewEdge[int](q, 0)
	e.SetCodec(failing{serde.MustFor[int]()})
	w := NewWriter(t.Context(), &operators.Context{}, []*Edge[int]{e})
	for v := range 3 {
		if err := w.add(0, v, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := (<-q.C).Record(nil, 0); !errors.Is(err, errRefused) || err.Error()[:len("exchange: record 2 of the batch")] != "exchange: record 2 of the batch" {
		t.Errorf("got %v", err)
	}
}

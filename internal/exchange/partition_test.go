package exchange

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/operators"
)

// fanOut is a writer over n receivers, of which none takes anything before the test looks.
type fanOut struct {
	w      *Writer[int]
	queues []*Queue
	c      *operators.Context
}

func newFanOut(n int) *fanOut {
	f := &fanOut{c: &operators.Context{}}
	var edges []*Edge[int]
	for range n {
		q := NewQueue(1)
		f.queues = append(f.queues, q)
		edges = append(edges, NewEdge[int](q, 0))
	}
	f.w = NewWriter(context.Background(), &operators.Context{}, edges)
	return f
}

// received flushes and returns what each receiver has got.
func (f *fanOut) received(t *testing.T) [][]int {
	t.Helper()
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	out := make([][]int, len(f.queues))
	for i, q := range f.queues {
		f.w.edges[i].Attach(f.c, func(v int) error { out[i] = append(out[i], v); return nil })
		for len(q.C) > 0 {
			d := <-q.C
			if err := d.Deliver(0, d.Len()); err != nil {
				t.Fatal(err)
			}
			d.Release()
		}
	}
	return out
}

func send(t *testing.T, push func(int) error, n int) {
	t.Helper()
	for v := range n {
		if err := push(v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInTurn(t *testing.T) {
	f := newFanOut(3)
	push := InTurn(f.w, 4) // begins with receiver 1
	send(t, push, 7)
	if got := fmt.Sprint(f.received(t)); got != "[[2 5] [0 3 6] [1 4]]" {
		t.Error(got)
	}
	send(t, push, 2) // a flush does not begin anew
	if got := fmt.Sprint(f.received(t)); got != "[[1] [] [0]]" {
		t.Error(got)
	}
}

func TestAtRandom(t *testing.T) {
	f := newFanOut(4)
	send(t, AtRandom(f.w, rand.New(rand.NewPCG(1, 2))), 600)
	got := f.received(t)
	all := slices.Concat(got...)
	slices.Sort(all)
	if len(all) != 600 || len(slices.Compact(all)) != 600 {
		t.Errorf("%d records", len(all))
	}
	for i, vs := range got { // 150 expected, standard deviation 10.6
		if len(vs) < 100 || len(vs) > 200 || !slices.IsSorted(vs) {
			t.Errorf("receiver %d has %d records, sorted %v", i, len(vs), slices.IsSorted(vs))
		}
	}
	again := newFanOut(4)
	send(t, AtRandom(again.w, rand.New(rand.NewPCG(1, 2))), 600)
	if fmt.Sprint(again.received(t)) != fmt.Sprint(got) {
		t.Error("the same seed sends otherwise")
	}
}

func TestByFunction(t *testing.T) {
	f := newFanOut(3)
	push := ByFunction(f.w, func(v, n int) int { return v - n }, func(got int) error { return fmt.Errorf("got %d", got) })
	for v := 2; v <= 6; v++ {
		err := push(v)
		if bad := v < 3 || v > 5; bad != (err != nil) || bad && err.Error() != fmt.Sprint("got ", v-3) {
			t.Errorf("record %d: %v", v, err)
		}
	}
	if got := fmt.Sprint(f.received(t)); got != "[[3] [4] [5]]" {
		t.Error(got)
	}
}

// BenchmarkPartition is one record to one of four receivers, beside BenchmarkEdge.
func BenchmarkPartition(b *testing.B) {
	for _, c := range []struct {
		name string
		push func(w *Writer[int]) func(int) error
	}{
		{"batch in turn", func(w *Writer[int]) func(int) error { return Rebalance(w, 0) }},
		{"in turn", func(w *Writer[int]) func(int) error { return InTurn(w, 0) }},
		{"at random", func(w *Writer[int]) func(int) error { return AtRandom(w, rand.New(rand.NewPCG(1, 2))) }},
		{"by function", func(w *Writer[int]) func(int) error {
			return ByFunction(w, func(v, n int) int { return v % n }, func(int) error { return nil })
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := newFanOut(4)
			for _, e := range f.w.edges {
				e.Attach(f.c, func(int) error { return nil })
			}
			push := c.push(f.w)
			b.ReportAllocs()
			for v := 0; b.Loop(); v++ {
				if err := push(v); err != nil {
					b.Fatal(err)
				}
				for _, q := range f.queues {
					if len(q.C) > 0 {
						d := <-q.C
						if err := d.Deliver(0, d.Len()); err != nil {
							b.Fatal(err)
						}
						d.Release()
					}
				}
			}
		})
	}
}

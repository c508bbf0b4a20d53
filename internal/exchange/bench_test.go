package exchange

import (
	"context"
	"testing"

	"github.com/millrace-io/millrace/operators"
)

// BenchmarkEdge is the cost of one record from one task to another: a sender on its own goroutine, a receiver that adds numbers up.
func BenchmarkEdge(b *testing.B) {
	b.Run("int64", func(b *testing.B) { benchEdge[int64](b, 1, func(v int64) int64 { return v }) })
	b.Run("string", func(b *testing.B) {
		benchEdge(b, "a record of some bytes", func(v string) int64 { return int64(len(v)) })
	})
}

func benchEdge[T any](b *testing.B, v T, weigh func(T) int64) {
	b.ReportAllocs()
	q := NewQueue(1)
	e := NewEdge[T](q, 0)
	var sum int64
	e.Attach(&operators.Context{}, func(v T) error { sum += weigh(v); return nil })
	w := NewWriter(context.Background(), &operators.Context{}, []*Edge[T]{e})
	send := ToOne(w, 0)
	b.ResetTimer()
	go func() {
		for range b.N {
			if err := send(v); err != nil {
				panic(err)
			}
		}
		if err := w.Control(Control{Kind: End}); err != nil {
			panic(err)
		}
	}()
	for {
		d := <-q.C
		if err := d.Deliver(0, d.Len()); err != nil {
			b.Fatal(err)
		}
		end := d.Control().Kind == End
		d.Release()
		if end {
			break
		}
	}
	if sum == 0 {
		b.Fatal("nothing arrived")
	}
}

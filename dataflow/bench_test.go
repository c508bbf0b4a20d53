package dataflow_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// discard is a sink that counts nothing and keeps nothing: what is left is the data plane.
type discard[T any] struct{}

func (discard[T]) Validate() error { return nil }
func (discard[T]) NewWriter(connectors.WriterContext) (connectors.Writer[T], error) {
	return discard[T]{}, nil
}
func (discard[T]) Write(T, connectors.Meta) error                   { return nil }
func (discard[T]) Idle() error                                      { return nil }
func (discard[T]) Prepare(context.Context, int64) ([][]byte, error) { return nil, nil }
func (discard[T]) Close() error                                     { return nil }

// bid is a record without pointers.
type bid struct {
	Auction int64
	Price   int64
}

// BenchmarkKeyedCount counts 1 M records over 100 k keys per iteration, from a generator through the exchange by key into state and on to a sink that
// drops them. "records/cpu-s" is per second of CPU of the whole process, both tasks and the garbage collector included.
func BenchmarkKeyedCount(b *testing.B) {
	const records, keys = 1_000_000, 100_000
	b.Run("int64", func(b *testing.B) {
		benchCount(b, memory.Source[bid]{Records: records, Value: func(_ int, i int64) bid {
			return bid{Auction: int64(uint64(i) * 0x9E3779B97F4A7C15 % keys), Price: i}
		}}, func(v bid) int64 { return v.Auction })
	})
	b.Run("string", func(b *testing.B) {
		names := make([]string, keys)
		for i := range names {
			names[i] = fmt.Sprintf("customer-%012d", i)
		}
		benchCount(b, memory.Source[string]{Records: records, Value: func(_ int, i int64) string {
			return names[uint64(i)*0x9E3779B97F4A7C15%keys]
		}}, func(v string) string { return v })
	})
}

func benchCount[T any, K comparable](b *testing.B, src memory.Source[T], key func(T) K) {
	b.ReportAllocs()
	records := src.Records
	src.Records *= int64(b.N)
	g := dataflow.New("bench")
	g.From("source", src).
		KeyBy(key).
		Process("count", func(k *operators.Keyed[K, T, int64]) {
			n := k.Value[int64]("n")
			k.OnRecord(func(c *operators.Ctx[K, int64], _ T) error {
				v, err := n.Get()
				if err != nil {
					return err
				}
				if err := n.Set(v + 1); err != nil {
					return err
				}
				return c.Emit(v + 1)
			})
		}).
		To("sink", discard[int64]{})
	before := cpuSeconds()
	b.ResetTimer()
	if err := g.Run(b.Context(), dataflow.Options{}); err != nil {
		b.Fatal(err)
	}
	total := float64(records) * float64(b.N)
	b.ReportMetric(total/(cpuSeconds()-before), "records/cpu-s")
	b.ReportMetric((cpuSeconds()-before)/total*1e9, "cpu-ns/record")
	b.ReportMetric(total/b.Elapsed().Seconds(), "records/s")
}

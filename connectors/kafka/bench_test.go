package kafka

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
)

// BenchmarkTransactionCycle is one checkpoint of one subtask: 100 records, prepare, commit.
func BenchmarkTransactionCycle(b *testing.B) { benchSink(b, ExactlyOnce) }

// BenchmarkFlushCycle is the same at least once: 100 records, flush.
func BenchmarkFlushCycle(b *testing.B) { benchSink(b, AtLeastOnce) }

func benchSink(b *testing.B, d Delivery) {
	for name, c := range benchClusters(b) {
		b.Run(name, func(b *testing.B) {
			topic := c.topic(4)
			r := mustStart(b, stringSink(c, topic, d), 1, savedSink{})
			defer r.crash()
			id := int64(0)
			for b.Loop() {
				id++
				for i := range 100 {
					r.mustWrite(fmt.Sprintf("value %d of checkpoint %d", i, id))
				}
				s := r.mustPrepare(id)
				if r.committer != nil {
					r.mustCommit(s)
				}
			}
		})
	}
}

// BenchmarkRead is a record of 100 bytes from the broker to Emit.
func BenchmarkRead(b *testing.B) {
	for name, c := range benchClusters(b) {
		b.Run(name, func(b *testing.B) {
			topic := c.topic(4)
			fill(b, c, topic, b.N)
			o := stringSource(c, topic)
			o.Decode = func(r *kgo.Record) (string, error) { return "", nil }
			o.Bounded = true
			b.ReportAllocs()
			b.ResetTimer()
			s := startSource(b, o, 1, nil)
			out := &countingOutput{sourceRun: s}
			s.discover()
			for n := 0; n < 4; n = len(s.finished) {
				st, err := s.readers[0].Poll(out, 256)
				if err != nil {
					b.Fatal(err)
				}
				if st == connectors.Idle && len(s.finished) < 4 {
					<-s.readers[0].Wake()
				}
			}
			if out.n != b.N {
				b.Fatalf("%d records, want %d", out.n, b.N)
			}
		})
	}
}

type countingOutput struct {
	*sourceRun
	n int
}

func (o *countingOutput) Emit(string, int64, connectors.Coordinates) error {
	o.n++
	return nil
}

func fill(b *testing.B, c *cluster, topic string, n int) {
	b.Helper()
	value := []byte(strings.Repeat("x", 100))
	for i := range n {
		c.cl.Produce(b.Context(), &kgo.Record{Topic: topic, Partition: int32(i % 4), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := c.cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite is a record of 100 bytes handed to a writer, with the flush of all of them at the end.
func BenchmarkWrite(b *testing.B) {
	for _, d := range []Delivery{AtLeastOnce, ExactlyOnce} {
		for name, c := range benchClusters(b) {
			b.Run(fmt.Sprintf("%s/delivery=%d", name, d), func(b *testing.B) {
				topic := c.topic(4)
				r := mustStart(b, stringSink(c, topic, d), 1, savedSink{})
				defer r.crash()
				value := strings.Repeat("x", 100)
				at := connectors.Meta{TimestampMS: connectors.NoTimestamp, At: connectors.Coordinates{UID: "src", Split: "in"}}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					at.At.Offset = int64(i)
					if err := r.writers[0].Write(value, at); err != nil {
						b.Fatal(err)
					}
				}
				r.mustPrepare(1)
			})
		}
	}
}

package kafka

import (
	"fmt"
	"testing"
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

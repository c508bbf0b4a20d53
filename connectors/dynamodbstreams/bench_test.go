package dynamodbstreams

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// discard counts what a reader emits.
type discard struct{ n int }

func (d *discard) Emit(row, int64, connectors.Coordinates) error { d.n++; return nil }
func (d *discard) DeadLetter(connectors.DeadLetter) error        { return nil }
func (d *discard) Finished(string) error                         { return nil }
func (d *discard) SplitIdle(string)                              {}

// BenchmarkEmit is the path of a record from a fetched page to the job, without the user's decoding.
func BenchmarkEmit(b *testing.B) {
	st := newModel()
	st.some(1000, 10)
	o := Options[row]{Client: st, StreamARN: modelARN, Decode: func(Change) (row, error) { return row{}, nil }}.withDefaults()
	r, err := newReader(connectors.Context{UID: "source", Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now}, o)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var out discard
	b.ReportAllocs()
	for b.Loop() {
		h := &heldShard{id: "shard", pos: position{ARN: modelARN}, taken: make(chan struct{}, 1)}
		if _, err := r.emit(&out, h, &page{records: st.known()[0].records}, 1000); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(out.n), "ns/record")
}

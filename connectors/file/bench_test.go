package file

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// event is a record of the size that archives usually hold.
type event struct {
	ID, Customer string
	Amount       int64
	At           time.Time
	Reason       *string
}

// BenchmarkWrite measures records through the writer into a directory, without the final sync.
func BenchmarkWrite(b *testing.B) {
	for _, format := range []Format{Avro, Parquet} {
		b.Run(format.String(), func(b *testing.B) {
			sink := NewSink(Options[event]{URL: "unused", Format: format})
			sink.connect = func() (objects, error) { return dirOf(b), nil }
			var dead letters
			w, err := sink.NewWriter(writerContext(b, "archive", "one", 0, &dead))
			if err != nil {
				b.Fatal(err)
			}
			e := event{ID: "3f0c9a52-6a0e-4a39-9a53-2d1c9d5a8b11", Customer: "customer-000123", Amount: 12345, At: base}
			m := connectors.Meta{TimestampMS: base.UnixMilli()}
			b.ReportAllocs()
			for b.Loop() {
				e.Amount++
				if err := w.Write(e, m); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := w.Prepare(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
		})
	}
}

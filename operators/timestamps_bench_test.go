package operators_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
)

// BenchmarkTimestamps is one record through Timestamps behind a source with 1 and with 64 splits, read in runs of 256 as a source reads
// them, with an input that runs dry every 4,096 records.
func BenchmarkTimestamps(b *testing.B) {
	for _, splits := range []int{1, 64} {
		b.Run(fmt.Sprintf("splits=%d", splits), func(b *testing.B) {
			t := operators.NewTask(operators.TaskConfig{Name: "timestamps"})
			w := operators.Watermarks[int64]{Timestamp: time.UnixMilli, OutOfOrderness: time.Second}
			push, err := operators.Timestamps(w)(t, func(int64) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			for s := range splits {
				if err := t.Hooks().Split[0](s, operators.SplitAdded); err != nil {
					b.Fatal(err)
				}
			}
			c := t.Context()
			b.ReportAllocs()
			for n := int64(0); b.Loop(); n++ {
				c.Split = int(n/256) % splits
				if err := push(n); err != nil {
					b.Fatal(err)
				}
				if n%4096 == 0 {
					if err := t.Hooks().Dry[0](); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

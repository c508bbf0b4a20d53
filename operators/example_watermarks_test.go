package operators_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// ExampleTimestamps reads two splits at different speeds: the slower one holds the watermark, until it is idle.
func ExampleTimestamps() {
	w := operators.BoundedOutOfOrderness[int64](10 * time.Millisecond).
		WithTimestamp(time.UnixMilli).
		WithIdleness(5 * time.Second).
		WithInterval(time.Second)
	h := operatortest.New(exampleTB{}, operators.Timestamps(w), operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Split(1, operators.SplitAdded)
	h.ProcessSplit(0, 1000, 0)
	h.ProcessSplit(1, 200, 0)
	h.Dry()
	fmt.Println(h.Outputs())
	for now := int64(1); now <= 8; now++ {
		h.ProcessSplit(0, 1000+now, 0)
		h.AdvanceProcessingTime(now * 1000)
		for _, e := range h.Outputs() {
			if e.Kind == operatortest.Watermark {
				fmt.Println("after", now, "s:", e)
			}
		}
	}
	// Output:
	// [1000@1000 200@200 watermark 189]
	// after 8 s: watermark 997
}

// ExamplePunctuatedWatermarks takes the watermark from records that carry one: here from each that closes a batch.
func ExamplePunctuatedWatermarks() {
	type line struct {
		MS     int64
		Closes bool
	}
	w := operators.PunctuatedWatermarks(func(l line, at time.Time) (time.Time, bool) { return at, l.Closes }).
		WithTimestamp(func(l line) time.Time { return time.UnixMilli(l.MS) })
	h := operatortest.New(exampleTB{}, operators.Timestamps(w), operatortest.Options{})
	h.Process(line{10, false}, 0)
	h.Process(line{20, true}, 0)
	fmt.Println(h.Outputs())
	// Output:
	// [{10 false}@10 {20 true}@20 watermark 20]
}

package operators_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// Each reading puts off the timer of its sensor by 30 seconds of event time, so that it fires when the sensor has been silent for as long.
func ExampleProcess() {
	const patience = 30 * time.Second
	silent := operators.Process(sensor, nil, func(b *operators.Keyed[string, reading, string]) {
		due := b.Value[int64]("due") // Unix ms
		b.OnRecord(func(c *operators.Ctx[string, string], _ reading) error {
			ms, ok, err := due.Lookup()
			if err != nil {
				return err
			}
			if ok {
				c.DeleteTimer(time.UnixMilli(ms))
			}
			at := c.Timestamp().Add(patience)
			c.TimerAt(at)
			return due.Set(at.UnixMilli())
		})
		b.OnTimer(func(c *operators.Ctx[string, string], at time.Time) error {
			if err := due.Clear(); err != nil {
				return err
			}
			return c.Emit(fmt.Sprintf("%s is silent since %d s", c.Key(), at.Add(-patience).Unix()))
		})
	})
	h := operatortest.New(exampleTB{}, silent, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a"}, seconds(0))
	h.Process(reading{Sensor: "b"}, seconds(10))
	h.Process(reading{Sensor: "a"}, seconds(20))
	h.Watermark(seconds(45))
	fmt.Println(h.Records())
	// Output: [b is silent since 10 s]
}

package operators_test

import (
	"fmt"
	"math"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// An aggregate keeps a sum and a count for each sensor and window instead of the readings: the window gives their mean.
func ExampleWindowAggregate() {
	type sum struct{ Total, Readings int64 }
	mean := state.Aggregate[reading, sum, float64]{
		Add:    func(s sum, r reading) sum { return sum{s.Total + r.Value, s.Readings + 1} },
		Result: func(s sum) float64 { return float64(s.Total) / float64(s.Readings) },
	}
	stage := operators.WindowAggregate(sensor, nil, operators.Tumbling(10*time.Second), mean, func(k string, w operators.Window, m float64) string {
		return fmt.Sprintf("%s until %d s: %.1f", k, w.EndMS/1000, m)
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(1))
	h.Process(reading{Sensor: "b", Value: 19}, seconds(12))
	h.Process(reading{Sensor: "a", Value: 23}, seconds(9))
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a until 10 s: 21.5
	// b until 20 s: 19.0
}

// The function behind a reduction sees the one record that a window keeps, and here passes it on only if it is a record of its sensor.
func ExampleWindowReduceProcess() {
	hotter := func(a, b reading) reading {
		if b.Value > a.Value {
			return b
		}
		return a
	}
	stage := operators.WindowReduceProcess(sensor, nil, operators.Tumbling(10*time.Second), hotter, func(f *operators.WindowFunc[string, reading, string]) {
		best := f.Value[int64]("best")
		f.OnFire(func(c *operators.WindowCtx[string, string], r reading) error {
			before, ok, err := best.Lookup()
			if err != nil || ok && r.Value <= before {
				return err
			}
			if err := best.Set(r.Value); err != nil {
				return err
			}
			return c.Emit(fmt.Sprintf("%s has a new record before %d s: %d", c.Key(), c.Window().EndMS/1000, r.Value))
		})
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{20, 18, 17, 19, 25, 21} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)*5))
	}
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a has a new record before 10 s: 20
	// a has a new record before 30 s: 25
}

// Early results by the wall clock: every 10 seconds of a window of 30 seconds, from its first record on.
func ExampleContinuousProcessingTimeTrigger() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Tumbling(30 * time.Second).InProcessingTime(),
		Trigger: operators.ContinuousProcessingTimeTrigger[reading](10 * time.Second),
	}
	h := operatortest.New(exampleTB{}, operators.WindowAggregate(sensor, nil, spec, hottest, windowLine), operatortest.Options{}).KeyBy(sensor, nil)
	h.AdvanceProcessingTime(seconds(4))
	h.Process(reading{Sensor: "a", Value: 20}, 0)
	h.AdvanceProcessingTime(seconds(9))
	fmt.Println("9 s:", h.Records())
	h.AdvanceProcessingTime(seconds(10))
	fmt.Println("10 s:", h.Records())
	h.Process(reading{Sensor: "a", Value: 25}, 0)
	h.AdvanceProcessingTime(seconds(20))
	fmt.Println("20 s:", h.Records())
	h.Process(reading{Sensor: "a", Value: 27}, 0)
	h.AdvanceProcessingTime(seconds(30))
	fmt.Println("30 s:", h.Records())
	// Output:
	// 9 s: []
	// 10 s: [a [0 s, 30 s) 20]
	// 20 s: [a [0 s, 30 s) 25]
	// 30 s: [a [0 s, 30 s) 27]
}

// Every second record of a window gives a result of all that the window has; the end of the window gives none, so the fifth reading is in no result.
func ExampleCountTrigger() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Tumbling(10 * time.Second),
		Trigger: operators.CountTrigger[reading](2),
	}
	h := operatortest.New(exampleTB{}, operators.WindowAggregate(sensor, nil, spec, hottest, windowLine), operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{20, 22, 23, 21, 30} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)))
	}
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a [0 s, 10 s) 22
	// a [0 s, 10 s) 23
}

// change is by how much two readings differ.
func change(a, b reading) float64 { return math.Abs(float64(a.Value - b.Value)) }

// A result when the temperature has changed by more than 5 degrees since the last one, of the readings in between.
func ExampleDeltaTrigger() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Global(),
		Trigger: operators.DeltaTrigger(5, change).Purging(),
	}
	stage := operators.WindowAggregate(sensor, nil, spec, operators.Count[reading](), func(k string, _ operators.Window, n int64) string {
		return fmt.Sprintf("%s has changed within %d readings", k, n)
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{20, 22, 27, 24, 22, 21} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)))
		for _, line := range h.Records() {
			fmt.Printf("at %d: %s\n", v, line)
		}
	}
	// Output:
	// at 27: a has changed within 3 readings
	// at 21: a has changed within 3 readings
}

// The hottest of the newest three readings, at every second one.
func ExampleCountEvictor() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Global(),
		Trigger: operators.CountTrigger[reading](2),
		Evictor: operators.CountEvictor[reading](3),
	}
	stage := operators.WindowAggregate(sensor, nil, spec, hottest, func(k string, _ operators.Window, m int64) string { return fmt.Sprint(k, " ", m) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{30, 20, 23, 21, 19, 18} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)))
	}
	fmt.Println(h.Records())
	// Output: [a 30 a 23 a 21]
}

// How many readings in a row agree with the newest, here within less than 5 degrees: after a jump those before it are gone.
func ExampleDeltaEvictor() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Global(),
		Trigger: operators.CountTrigger[reading](1),
		Evictor: operators.DeltaEvictor(5, change),
	}
	stage := operators.WindowAggregate(sensor, nil, spec, operators.Count[reading](), func(_ string, _ operators.Window, n int64) int64 { return n })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{20, 21, 23, 30, 29} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)))
	}
	fmt.Println(h.Records())
	// Output: [1 2 3 1 2]
}

// One window for each sensor that never ends: with a trigger of event time it gives one result, at the end of a bounded input.
func ExampleGlobal() {
	spec := operators.WindowSpec[reading]{Windows: operators.Global(), Trigger: operators.EventTimeTrigger[reading]()}
	stage := operators.WindowAggregate(sensor, nil, spec, hottest, func(k string, _ operators.Window, m int64) string { return fmt.Sprint(k, " ", m) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(0))
	h.Process(reading{Sensor: "b", Value: 18}, seconds(3600))
	h.Process(reading{Sensor: "a", Value: 25}, seconds(7200))
	h.Watermark(seconds(9000))
	fmt.Println(len(h.Records()), "results before the end")
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Unordered output:
	// 0 results before the end
	// a 25
	// b 18
}

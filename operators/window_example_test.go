package operators_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func seconds(n int64) int64 { return n * 1000 }

// A session ends when a sensor has been silent for the gap. A record between two sessions makes one of them.
func ExampleSession() {
	stage := operators.WindowAggregate(sensor, nil, operators.Session(10*time.Second), hottest, windowLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(0))
	h.Process(reading{Sensor: "a", Value: 23}, seconds(16))
	h.Process(reading{Sensor: "a", Value: 21}, seconds(8))
	h.Process(reading{Sensor: "a", Value: 19}, seconds(60))
	h.Watermark(seconds(30))
	fmt.Println(h.Records())
	h.EndInput()
	fmt.Println(h.Records())
	// Output:
	// [a [0 s, 26 s) 23]
	// [a [60 s, 70 s) 19]
}

// The gap of a session may depend on the record: here hot readings keep it open for longer.
func ExampleSessionBy() {
	gap := func(r reading) time.Duration {
		if r.Value >= 30 {
			return time.Minute
		}
		return 10 * time.Second
	}
	stage := operators.WindowAggregate(sensor, nil, operators.SessionBy(gap), operators.Count[reading](), windowLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 31}, seconds(0))
	h.Process(reading{Sensor: "a", Value: 20}, seconds(45))
	h.Process(reading{Sensor: "a", Value: 20}, seconds(75))
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a [0 s, 60 s) 2
	// a [75 s, 85 s) 1
}

// Windows of the wall clock take the moment at which a record comes, whatever its timestamp.
func ExampleWindows_InProcessingTime() {
	stage := operators.WindowAggregate(sensor, nil, operators.Tumbling(10*time.Second).InProcessingTime(), operators.Count[reading](), windowLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a"}, seconds(1000))
	h.AdvanceProcessingTime(seconds(5))
	h.Process(reading{Sensor: "a"}, seconds(2000))
	h.AdvanceProcessingTime(seconds(10))
	fmt.Println(h.Records())
	// Output: [a [0 s, 10 s) 2]
}

// A continuous trigger gives early results: every 10 seconds of a window of one minute.
func ExampleContinuousEventTimeTrigger() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Tumbling(time.Minute),
		Trigger: operators.ContinuousEventTimeTrigger[reading](10 * time.Second),
	}
	h := operatortest.New(exampleTB{}, operators.WindowAggregate(sensor, nil, spec, hottest, windowLine), operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(4))
	h.Watermark(seconds(12))
	fmt.Println("early:", h.Records())
	h.Process(reading{Sensor: "a", Value: 25}, seconds(55))
	h.Watermark(seconds(20))
	fmt.Println("early:", h.Records())
	h.Watermark(seconds(30) - 1)
	h.Process(reading{Sensor: "a", Value: 27}, seconds(58))
	fmt.Println("between:", h.Records())
	h.Watermark(seconds(30))
	fmt.Println("early:", h.Records())
	// Output:
	// early: [a [0 s, 60 s) 20]
	// early: [a [0 s, 60 s) 25]
	// between: []
	// early: [a [0 s, 60 s) 27]
}

// With allowed lateness a window takes records after its end, and each gives a new result. What comes later still is the side output LateRecords.
func ExampleWindowSpec() {
	spec := operators.WindowSpec[reading]{Windows: operators.Tumbling(10 * time.Second), AllowedLateness: 5 * time.Second}
	h := operatortest.New(exampleTB{}, operators.WindowAggregate(sensor, nil, spec, hottest, windowLine), operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(4))
	h.Watermark(seconds(12))
	fmt.Println("complete:", h.Records())
	h.Process(reading{Sensor: "a", Value: 25}, seconds(9))
	fmt.Println("again:", h.Records())
	h.Watermark(seconds(15))
	h.Process(reading{Sensor: "a", Value: 30}, seconds(9))
	fmt.Println("too late:", h.Records(), h.SideOutput(operators.LateRecords[reading]())[0].Value.Value)
	// Output:
	// complete: [a [0 s, 10 s) 20]
	// again: [a [0 s, 10 s) 25]
	// too late: [] 30
}

// An evictor removes records around each result: here only those of the last 5 seconds count, looked at with every record.
func ExampleTimeEvictor() {
	spec := operators.WindowSpec[reading]{
		Windows: operators.Global(),
		Trigger: operators.CountTrigger[reading](1),
		Evictor: operators.TimeEvictor[reading](5 * time.Second),
	}
	stage := operators.WindowAggregate(sensor, nil, spec, hottest, func(k string, _ operators.Window, m int64) string { return fmt.Sprint(k, " ", m) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 30}, seconds(0))
	h.Process(reading{Sensor: "a", Value: 20}, seconds(4))
	h.Process(reading{Sensor: "a", Value: 21}, seconds(6))
	fmt.Println(h.Records())
	// Output: [a 30 a 30 a 21]
}

// Count windows know no time: every third record gives a result.
func ExampleCountWindows() {
	stage := operators.WindowAggregate(sensor, nil, operators.CountWindows[reading](3), hottest,
		func(k string, _ operators.Window, m int64) string { return fmt.Sprint(k, " ", m) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for _, v := range []int64{5, 9, 7, 1, 2, 3, 100} {
		h.Process(reading{Sensor: "a", Value: v}, 0)
	}
	fmt.Println(h.Records())
	// Output: [a 9 a 3]
}

// The newest four records, at every second one.
func ExampleSlidingCountWindows() {
	stage := operators.WindowAggregate(sensor, nil, operators.SlidingCountWindows[reading](4, 2), operators.Count[reading](),
		func(k string, _ operators.Window, n int64) string { return fmt.Sprint(k, " of ", n) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for range 6 {
		h.Process(reading{Sensor: "a"}, 0)
	}
	fmt.Println(h.Records())
	// Output: [a of 2 a of 4 a of 4]
}

// A window function sees all records of the window. Its state is per window, which goes with the window, or per key.
func ExampleWindowProcess() {
	stage := operators.WindowProcess(sensor, nil, operators.Tumbling(10*time.Second), func(f *operators.WindowFunc[string, []reading, string]) {
		last := f.Value[int64]("last window's median")
		f.OnFire(func(c *operators.WindowCtx[string, string], rs []reading) error {
			median := rs[len(rs)/2].Value // of sorted readings
			before, err := last.Get()
			if err != nil {
				return err
			}
			if err := last.Set(median); err != nil {
				return err
			}
			return c.Emit(fmt.Sprintf("%s median %d, before %d", c.Key(), median, before))
		})
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{18, 20, 27, 30, 31, 35} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i/3)*10))
	}
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a median 20, before 0
	// a median 31, before 20
}

// An aggregate keeps windows small, and the function behind it may still drop or multiply results.
func ExampleWindowAggregateProcess() {
	stage := operators.WindowAggregateProcess(sensor, nil, operators.Tumbling(10*time.Second), hottest, func(f *operators.WindowFunc[string, int64, string]) {
		f.OnFire(func(c *operators.WindowCtx[string, string], m int64) error {
			if m < 30 {
				return nil
			}
			return c.Emit(fmt.Sprintf("%s was at %d before %d s", c.Key(), m, c.Window().EndMS/1000))
		})
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(3))
	h.Process(reading{Sensor: "b", Value: 31}, seconds(4))
	h.Process(reading{Sensor: "b", Value: 30}, seconds(5))
	h.EndInput()
	fmt.Println(h.Records())
	// Output: [b was at 31 before 10 s]
}

// Reduce keeps one record for each window: here the hottest reading as it came.
func ExampleWindowReduce() {
	stage := operators.WindowReduce(sensor, nil, operators.Tumbling(10*time.Second), func(a, b reading) reading {
		if b.Value > a.Value {
			return b
		}
		return a
	}, func(_ string, _ operators.Window, r reading) reading { return r })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, seconds(3))
	h.Process(reading{Sensor: "a", Value: 31}, seconds(4))
	h.Process(reading{Sensor: "a", Value: 30}, seconds(5))
	h.EndInput()
	fmt.Println(h.Records()[0].Value)
	// Output: 31
}

// A trigger of one's own, with a sum as its state: a window gives what it has as soon as that is worth 100.
func ExampleNewTrigger() {
	worth := operators.NewTrigger("worth 100", operators.TriggerFuncs[reading, int64]{
		OnRecord: func(_ *operators.TriggerCtx, sum *int64, r reading) operators.TriggerResult {
			if *sum += r.Value; *sum < 100 {
				return operators.Continue
			}
			*sum = 0
			return operators.FireAndPurge
		},
	})
	spec := operators.WindowSpec[reading]{Windows: operators.Tumbling(time.Hour), Trigger: worth}
	stage := operators.WindowAggregate(sensor, nil, spec, operators.Count[reading](), func(k string, _ operators.Window, n int64) string { return fmt.Sprint(n, " readings of ", k) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{60, 30, 20, 100} {
		h.Process(reading{Sensor: "a", Value: v}, seconds(int64(i)))
	}
	fmt.Println(h.Records())
	// Output: [3 readings of a 1 readings of a]
}

// Windows of one's own: the hours of a working day, and none at night.
func ExampleAssignBy() {
	const hour = int64(time.Hour / time.Millisecond)
	working := operators.AssignBy(func(_ reading, tsMS int64, ws []operators.Window) []operators.Window {
		if of := tsMS / hour % 24; of < 8 || of >= 17 {
			return ws
		}
		start := tsMS / hour * hour
		return append(ws, operators.Window{StartMS: start, EndMS: start + hour})
	})
	stage := operators.WindowAggregate(sensor, nil, working, operators.Count[reading](), func(k string, w operators.Window, n int64) string {
		return fmt.Sprintf("%s from %d:00: %d", k, w.StartMS/hour, n)
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for _, minute := range []int64{7*60 + 59, 8 * 60, 8*60 + 30, 16*60 + 59, 17 * 60} {
		h.Process(reading{Sensor: "a"}, seconds(minute*60))
	}
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a from 8:00: 2
	// a from 16:00: 1
}

package operators_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// exampleTB stands for the *testing.T that an example does not have.
type exampleTB struct{}

func (exampleTB) Helper()                        {}
func (exampleTB) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (exampleTB) Cleanup(func())                 {}
func (exampleTB) Context() context.Context       { return context.Background() }

// reading is the record of the examples.
type reading struct {
	Sensor string
	Value  int64
	At     time.Time
}

func sensor(r reading) string { return r.Sensor }

// hottest is the aggregate of the highest value.
var hottest = state.Aggregate[reading, int64, int64]{
	Add:    func(m int64, r reading) int64 { return max(m, r.Value) },
	Merge:  func(a, b int64) int64 { return max(a, b) },
	Result: func(m int64) int64 { return m },
}

func windowLine(k string, w operators.Window, m int64) string {
	return fmt.Sprintf("%s [%d s, %d s) %d", k, w.StartMS/1000, w.EndMS/1000, m)
}

// A tumbling window fires when the watermark reaches its last millisecond; what comes afterwards is late.
func ExampleTumbling() {
	stage := operators.WindowAggregate(sensor, nil, operators.Tumbling(10*time.Second), hottest, windowLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, 1_000)
	h.Process(reading{Sensor: "a", Value: 22}, 9_999)
	h.Process(reading{Sensor: "a", Value: 19}, 10_000)
	h.Watermark(9_998)
	fmt.Println(h.Records())
	h.Watermark(9_999)
	fmt.Println(h.Records())
	h.Process(reading{Sensor: "a", Value: 50}, 9_000)
	fmt.Println(len(h.SideOutput(operators.LateRecords[reading]())), "late")
	h.EndInput()
	fmt.Println(h.Records())
	// Output:
	// []
	// [a [0 s, 10 s) 22]
	// 1 late
	// [a [10 s, 20 s) 19]
}

// A record belongs to every sliding window that holds its time.
func ExampleSliding() {
	stage := operators.WindowAggregate(sensor, nil, operators.Sliding(10*time.Second, 5*time.Second), hottest, windowLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 20}, 7_000)
	h.Process(reading{Sensor: "a", Value: 22}, 12_000)
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// a [0 s, 10 s) 20
	// a [5 s, 15 s) 22
	// a [10 s, 20 s) 22
}

// Event time is read from the record; records may come up to 2 seconds behind the newest.
func ExampleWatermarks() {
	w := operators.Watermarks[reading]{
		Timestamp:      func(r reading) time.Time { return r.At },
		OutOfOrderness: 2 * time.Second,
	}
	h := operatortest.New(exampleTB{}, operators.Timestamps(w), operatortest.Options{})
	for _, second := range []int64{10, 9, 14} {
		h.Process(reading{At: time.Unix(second, 0)}, 0)
		h.Dry() // the input has nothing more for now
	}
	for _, e := range h.Outputs() {
		fmt.Println(e.Kind, e.TimestampMS)
	}
	// Output:
	// record 10000
	// watermark 7999
	// record 9000
	// record 14000
	// watermark 11999
}

// A stage of one's own: it drops a record that equals the one before it. It is a function, as the built-in operators are.
func ExampleStage() {
	distinct := func(t *operators.Task, emit func(string) error) (func(string) error, error) {
		var last string
		var some bool
		return func(v string) error {
			if some && v == last {
				return nil
			}
			last, some = v, true
			return emit(v)
		}, nil
	}
	h := operatortest.New(exampleTB{}, distinct, operatortest.Options{})
	for _, v := range []string{"a", "a", "b", "a"} {
		h.Process(v, 0)
	}
	fmt.Println(h.Records())
	// Output: [a b a]
}

// A record for which the function fails is a dead letter if the graph consumes them.
func ExampleTryMap() {
	h := operatortest.New(exampleTB{}, operators.TryMap(strconv.Atoi), operatortest.Options{DeadLetters: true})
	h.Process("7", 0)
	h.Process("seven", 0)
	fmt.Println(h.Records(), h.DeadLetters()[0].Reason)
	// Output: [7] strconv.Atoi: parsing "seven": invalid syntax
}

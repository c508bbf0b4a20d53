package operators_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// places is what the examples look up.
var places = map[string]string{"s1": "roof", "s2": "cellar"}

// A look-up by a client that blocks. The end of the input waits for all calls, and the results keep the order of the records.
func ExampleAsync() {
	stage := operators.Async(operators.AsyncOptions[reading, string]{Capacity: 10, Timeout: time.Minute},
		func(ctx context.Context, r reading) ([]string, error) {
			place, ok := places[r.Sensor]
			if !ok {
				return nil, nil // no result
			}
			return []string{fmt.Sprintf("%d in the %s", r.Value, place)}, ctx.Err()
		})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{})
	h.Process(reading{Sensor: "s1", Value: 31}, 1_000)
	h.Process(reading{Sensor: "s9", Value: 0}, 1_500)
	h.Process(reading{Sensor: "s2", Value: 12}, 2_000)
	h.EndInput()
	fmt.Println(h.Outputs())
	h.Close()
	// Output:
	// [31 in the roof@1000 12 in the cellar@2000 watermark end]
}

// A client that calls back. A call that fails is made again after 100 ms; while it waits, results of later records go ahead, and a watermark does not.
func ExampleAsyncCallback() {
	calls := 0
	o := operators.AsyncOptions[reading, string]{Unordered: true, Retry: operators.AsyncRetry[string]{Attempts: 3, Delay: 100 * time.Millisecond}}
	stage := operators.AsyncCallback(o, func(_ context.Context, r reading, done func([]string, error)) {
		if calls++; calls == 1 {
			done(nil, errors.New("busy"))
			return
		}
		done([]string{places[r.Sensor]}, nil)
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{})
	h.Process(reading{Sensor: "s1"}, 1_000)
	h.Process(reading{Sensor: "s2"}, 2_000)
	h.Watermark(1_500)
	fmt.Println(h.Outputs())
	h.AdvanceProcessingTime(100)
	fmt.Println(h.Outputs())
	h.Close()
	// Output:
	// [cellar@2000]
	// [roof@1000 watermark 1500]
}

// Records of one key are called for one after the other: the second call for s1 begins when the first has ended.
func ExampleAsyncKeyed() {
	open := map[int64]func([]string, error){}
	stage := operators.AsyncKeyedCallback(sensor, nil, operators.AsyncOptions[reading, string]{}, func(_ context.Context, r reading, done func([]string, error)) {
		fmt.Println("call for", r.Sensor, r.Value)
		open[r.Value] = done
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "s1", Value: 1}, 1_000)
	h.Process(reading{Sensor: "s1", Value: 2}, 2_000)
	h.Process(reading{Sensor: "s2", Value: 3}, 3_000)
	open[3]([]string{"three"}, nil)
	open[1]([]string{"one"}, nil)
	fmt.Println(h.Records())
	open[2]([]string{"two"}, nil)
	fmt.Println(h.Records())
	h.Close()
	// Output:
	// call for s1 1
	// call for s2 3
	// call for s1 2
	// [three one]
	// [two]
}

package operators_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

func TestReduce(t *testing.T) {
	g := newGroup(t, operators.Reduce(who, nil, func(a, b order) order { return order{a.Who, a.N*10 + b.N} }), who, operatortest.Options{})
	g.process(order{"a", 1}, 5)
	g.process(order{"b", 7}, 4)
	g.process(order{"a", 2}, 3)
	g.restore(1)
	g.process(order{"a", 3}, 2)
	want(t, "after the restore", g.subtasks[0].Outputs(), "a123@2")
}

func TestFold(t *testing.T) {
	h := operatortest.New(t, operators.Fold(who, nil, func(acc []int64, o order) []int64 {
		return append(acc[:len(acc):len(acc)], o.N)
	}), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 5)
	h.Process(order{"b", 7}, 4)
	h.Process(order{"a", 2}, 3)
	h.EndInput()
	want(t, "output", h.Outputs(), "[1]@5, [7]@4, [1 2]@3, watermark end")
}

// The result so far is passed on after each record.
func ExampleReduce() {
	stage := operators.Reduce(sensor, nil, func(a, b reading) reading {
		if b.Value > a.Value {
			return b
		}
		return a
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for i, v := range []int64{3, 9, 5} {
		h.Process(reading{Sensor: "a", Value: v}, int64(i))
	}
	for _, r := range h.Records() {
		fmt.Println(r.Sensor, r.Value)
	}
	// Output:
	// a 3
	// a 9
	// a 9
}

// An accumulator may be of another type than the records.
func ExampleFold() {
	stage := operators.Fold(sensor, nil, func(n int, _ reading) int { return n + 1 })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	for _, s := range []string{"a", "b", "a"} {
		h.Process(reading{Sensor: s}, 0)
	}
	fmt.Println(h.Records())
	// Output: [1 1 2]
}

// TestReduceForgets: a result is kept for the time to live.
func TestReduceForgets(t *testing.T) {
	sum := func(a, b order) order { return order{a.Who, a.N + b.N} }
	h := operatortest.New(t, operators.Reduce(who, nil, sum, state.TTL(time.Second)), operatortest.Options{NowMS: 1}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 1)
	h.AdvanceProcessingTime(1000)
	h.Process(order{"a", 2}, 2)
	h.AdvanceProcessingTime(2000)
	h.Process(order{"a", 4}, 3)
	want(t, "output", h.Outputs(), "a1@1, a3@2, a4@3")
}

func TestReduceRefuses(t *testing.T) {
	wantError(t, failureOf(t, operators.Reduce[string, order](who, nil, nil)), "Reduce has no function")
	wantError(t, failureOf(t, operators.Fold[string, order, int](who, nil, nil)), "Fold has no function")
	wantError(t, failureOf(t, operators.Fold(who, nil, func(n int, _ order) int { return n }, state.TTLOnRead())), "TTLOnRead without TTL")
}

// BenchmarkReduce is a record, over 100 000 keys.
func BenchmarkReduce(b *testing.B) {
	benchKnownKeys(b, operators.Reduce(benchKey, nil, func(a, b benchRecord) benchRecord { return benchRecord{a.Key, a.N + b.N} }))
}

// BenchmarkFold is a record, over 100 000 keys.
func BenchmarkFold(b *testing.B) {
	benchKnownKeys(b, operators.Fold(benchKey, nil, func(n int64, r benchRecord) int64 { return n + r.N }))
}

package dataflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/pattern"
)

// bigThenSmall is an order of at least 5.00 and then one below, within ten seconds.
func bigThenSmall() pattern.Pattern[Order] {
	return pattern.Begin[Order]("big").Where(func(o Order) bool { return o.Cents >= 500 }).
		FollowedBy("small").Where(func(o Order) bool { return o.Cents < 500 }).
		Within(10 * time.Second)
}

func pair(customer string, m pattern.Match[Order]) string {
	big, _ := m.First("big")
	small, _ := m.First("small")
	return fmt.Sprintf("%s: %d, then %d after %v", customer, big.Cents, small.Cents, m.Duration())
}

// Big orders that are followed by a small one of the same customer, and those that are not.
func ExampleKeyedStream_Pattern() {
	sink, alone := memory.NewSink[string](), memory.NewSink[string]()
	g := dataflow.New("pairs")
	pairs := g.From("orders", memory.FromSlice(orders())).
		Timestamps(operators.Watermarks[Order]{Timestamp: orderTime, OutOfOrderness: 5 * time.Second}).
		KeyBy(customer).
		Pattern("big-then-small", bigThenSmall(), pair)
	pairs.To("sink", sink)
	pairs.SideOutput(pattern.TimedOut[Order]()).
		Map(func(m pattern.Match[Order]) string {
			big, _ := m.First("big")
			return fmt.Sprintf("%s: %d alone", big.Customer, big.Cents)
		}).
		To("alone", alone)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Join(sink.Values(), "\n"))
	left := alone.Values()
	slices.Sort(left)
	fmt.Println(strings.Join(left, "\n"))
	// Output:
	// ann: 700, then 10 after 6s
	// ann: 1250 alone
	// cid: 5000 alone
}

// TestPatternFaults: the graph is refused with the faults of the pattern, and when no watermarks come to it; processing time needs none.
func TestPatternFaults(t *testing.T) {
	build := func(p pattern.Pattern[Order], o pattern.Options[Order]) error {
		g := dataflow.New("faults")
		g.From("orders", memory.FromSlice(orders())).KeyBy(customer).PatternWith("pairs", p, o, pair).To("sink", memory.NewSink[string]())
		return g.Validate(dataflow.Options{})
	}
	for _, c := range []struct {
		err   error
		wants []string
	}{
		{build(bigThenSmall(), pattern.Options[Order]{}), []string{`"pairs"`, "a pattern in event time", `source "orders"`}},
		{build(bigThenSmall().Next("big").Greedy(), pattern.Options[Order]{ProcessingTime: true}), []string{`"pairs"`, `stage "big" is there twice`, "greedy without a loop"}},
	} {
		for _, part := range c.wants {
			if c.err == nil || !strings.Contains(c.err.Error(), part) {
				t.Errorf("got %v, want an error that says %q", c.err, part)
			}
		}
	}
	if err := build(bigThenSmall(), pattern.Options[Order]{ProcessingTime: true}); err != nil {
		t.Errorf("processing time: %v", err)
	}
}

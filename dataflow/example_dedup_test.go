package dataflow_test

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// The first order of each customer, in the order in which orders come.
func ExampleKeyedStream_Distinct() {
	sink := memory.NewSink[string]()
	g := dataflow.New("customers")
	g.From("orders", memory.FromSlice(orders())).
		KeyBy(customer).
		Distinct("first").
		Map(func(o Order) string { return fmt.Sprint(o.Customer, " ", o.Cents) }).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Values())
	// Output: [ann 1250 bob 300 cid 5000]
}

// The earliest order of each customer by its own time, though a later one came before it.
func ExampleKeyedStream_Deduplicate() {
	sink := memory.NewSink[string]()
	g := dataflow.New("earliest")
	g.From("orders", memory.FromSlice([]Order{
		{"ann", 700, time.Unix(8, 0)}, {"ann", 1250, time.Unix(1, 0)}, {"bob", 300, time.Unix(4, 0)}, {"bob", 99, time.Unix(6, 0)},
	})).
		Timestamps(operators.Watermarks[Order]{Timestamp: orderTime, OutOfOrderness: 10 * time.Second}).
		KeyBy(customer).
		Deduplicate("earliest", operators.KeepFirst).
		Map(func(o Order) string { return fmt.Sprint(o.Customer, " ", o.Cents) }).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Values())
	// Output: [ann 1250 bob 300]
}

// The two largest orders of all so far: each line is a rank that an order has changed.
func ExampleKeyedStream_TopN() {
	sink := memory.NewSink[string]()
	g := dataflow.New("largest")
	g.From("orders", memory.FromSlice(orders())).
		KeyBy(func(Order) string { return "all" }).
		TopN("largest", operators.Top[Order]{N: 2, Compare: func(a, b Order) int { return cmp.Compare(b.Cents, a.Cents) }},
			func(_ string, rank int, o Order, change operators.RankChange) string {
				return fmt.Sprintf("#%d %s %s %d", rank, change, o.Customer, o.Cents)
			}).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range sink.Values() {
		fmt.Println(line)
	}
	// Output:
	// #1 added ann 1250
	// #2 added bob 300
	// #2 changed ann 700
	// #1 changed cid 5000
	// #2 changed ann 1250
}

// Orders of a customer are one session while no more than 5 seconds of event time lie between one and the next.
func ExampleKeyedStream_Window() {
	sink := memory.NewSink[string]()
	g := dataflow.New("sessions")
	g.From("orders", memory.FromSlice(orders())).
		Timestamps(operators.Watermarks[Order]{Timestamp: orderTime, OutOfOrderness: 2 * time.Second}).
		KeyBy(customer).
		Window(operators.Session(5*time.Second)).
		Aggregate("sessions", operators.Count[Order](), func(k string, w operators.Window, n int64) string {
			return fmt.Sprintf("%s %s to %s: %d", k, w.Start().UTC().Format(time.TimeOnly), w.End().UTC().Format(time.TimeOnly), n)
		}).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range sink.Values() {
		fmt.Println(line)
	}
	// Output:
	// ann 12:00:01 to 12:00:06: 1
	// bob 12:00:02 to 12:00:11: 2
	// ann 12:00:08 to 12:00:13: 1
	// ann 12:00:14 to 12:00:19: 1
	// cid 12:00:23 to 12:00:28: 1
}

// A sink has nothing, and the report says why: the job has failed, in another step, and what to do about it.
func ExampleJob_Why() {
	g := dataflow.New("parse")
	g.From("lines", memory.FromSlice([]string{"three"})).
		Transform("numbers", operators.TryMap(strconv.Atoi)).
		To("sink", memory.NewSink[int]())
	job, err := g.Start(context.Background(), dataflow.Options{Restart: dataflow.Restart{Never: true}})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-job.Done()
	report, err := job.Why("sink")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Cause.Kind, "by step", report.Job.LastFailureStep)
	fmt.Println(report.Cause.Remedy)
	// Output:
	// job ended by step numbers
	// repair the cause and start the job again, it goes on from its last checkpoint
}

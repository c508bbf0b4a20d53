package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// Order is the record of the examples.
type Order struct {
	Customer string
	Cents    int64
	At       time.Time
}

func orders() []Order {
	at := func(second int) time.Time { return time.Date(2024, 5, 1, 12, 0, second, 0, time.UTC) }
	return []Order{
		{"ann", 1250, at(1)}, {"bob", 300, at(2)}, {"ann", 700, at(8)}, {"bob", 99, at(6)}, {"ann", 10, at(14)}, {"cid", 5000, at(23)},
	}
}

func customer(o Order) string { return o.Customer }

func orderTime(o Order) time.Time { return o.At }

// A whole job: it reads a bounded source, keeps a running total of each customer and ends when everything is processed and committed.
func ExampleGraph() {
	sink := memory.NewSink[string]()
	g := dataflow.New("totals")
	g.From("orders", memory.FromSlice(orders())).
		Filter(func(o Order) bool { return o.Cents >= 100 }).
		KeyBy(customer).
		Reduce("total", func(a, b Order) Order { return Order{a.Customer, a.Cents + b.Cents, b.At} }).
		Map(func(o Order) string { return fmt.Sprintf("%s %d.%02d", o.Customer, o.Cents/100, o.Cents%100) }).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range sink.Values() {
		fmt.Println(line)
	}
	// Output:
	// ann 12.50
	// bob 3.00
	// ann 19.50
	// cid 50.00
}

// Check reports every fault of a graph at once, and starts nothing.
func ExampleGraph_Validate() {
	g := dataflow.New("faulty")
	g.From("orders", memory.Source[Order]{Records: -1}).
		KeyBy(customer).
		Window(operators.Sliding(0, time.Second)).
		Aggregate("orders", operators.Count[Order](), func(k string, _ operators.Window, n int64) string { return k }).
		To("sink", memory.NewSink[string]())
	fmt.Println(g.Validate(dataflow.Options{}))
	// Output:
	// step "orders": memory: Source has Splits 0, Records -1 and PerCheckpoint 0, want 0 or more
	// memory: Source.Value is nil; it makes the records
	// dataflow: the uid "orders" is given to two steps; a uid is unique in the graph
	// dataflow: step "orders": operators: window size is 0s, want a whole number of ms, at least 1ms
}

// A keyed function with state and a timer: it reports each order that is not paid within 30 seconds of event time.
func ExampleKeyedStream_Process() {
	type event struct {
		Order string
		Paid  bool
		At    time.Time
	}
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	sink := memory.NewSink[string]()
	g := dataflow.New("unpaid")
	g.From("events", memory.FromSlice([]event{
		{"order-1", false, at(1)}, {"order-2", false, at(2)}, {"order-1", true, at(9)}, {"order-3", false, at(7)}, {"order-3", true, at(50)},
	})).
		Timestamps(operators.Watermarks[event]{Timestamp: func(e event) time.Time { return e.At }, OutOfOrderness: 5 * time.Second}).
		KeyBy(func(e event) string { return e.Order }).
		Process("unpaid", func(k *operators.Keyed[string, event, string]) {
			const patience = 30 * time.Second
			placed := k.Value[int64]("placed") // Unix ms
			k.OnRecord(func(c *operators.Ctx[string, string], e event) error {
				if !e.Paid {
					c.TimerAt(e.At.Add(patience))
					return placed.Set(e.At.UnixMilli())
				}
				ms, ok, err := placed.Lookup()
				due := time.UnixMilli(ms).Add(patience)
				if err != nil || !ok || !e.At.Before(due) {
					return err
				}
				c.DeleteTimer(due)
				return placed.Clear()
			})
			k.OnTimer(func(c *operators.Ctx[string, string], due time.Time) error {
				if err := placed.Clear(); err != nil {
					return err
				}
				return c.Emit(fmt.Sprintf("%s is not paid at %d s", c.Key(), due.Unix()))
			})
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
	// order-2 is not paid at 32 s
	// order-3 is not paid at 37 s
}

// Orders of each customer in windows of 10 seconds, with what came too late beside it.
func ExampleWindowedStream_Aggregate() {
	sink, late := memory.NewSink[string](), memory.NewSink[Order]()
	src := memory.FromSlice(append(orders(), Order{"ann", 1, time.Date(2024, 5, 1, 12, 0, 9, 0, time.UTC)}))
	src.PerCheckpoint = 1 // one order at a time, so that the watermark passes between them
	g := dataflow.New("windows")
	counts := g.From("orders", src).
		Timestamps(operators.Watermarks[Order]{Timestamp: orderTime, OutOfOrderness: 2 * time.Second}).
		KeyBy(customer).
		Window(operators.Tumbling(10*time.Second)).
		Aggregate("per-10s", operators.Count[Order](), func(k string, w operators.Window, n int64) string {
			return fmt.Sprintf("%s %s+10s: %d", k, w.Start().UTC().Format(time.TimeOnly), n)
		})
	counts.To("sink", sink)
	counts.SideOutput(operators.LateRecords[Order]()).To("late", late)

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	err = g.Run(context.Background(), dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(dir))})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range sink.Values() {
		fmt.Println(line)
	}
	for _, o := range late.Values() {
		fmt.Println("late:", o.Customer, o.At.UTC().Format(time.TimeOnly))
	}
	// Output:
	// ann 12:00:00+10s: 2
	// bob 12:00:00+10s: 2
	// ann 12:00:10+10s: 1
	// cid 12:00:20+10s: 1
	// late: ann 12:00:09
}

// Split sends records to two streams of different types.
func ExampleStream_Split() {
	large, small := memory.NewSink[string](), memory.NewSink[int64]()
	g := dataflow.New("split")
	big, rest := g.From("orders", memory.FromSlice(orders())).
		Split("by-size", func(o Order, out func(string) error, side func(int64) error) error {
			if o.Cents >= 1000 {
				return out(o.Customer)
			}
			return side(o.Cents)
		})
	big.To("large", large)
	rest.To("small", small)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(large.Values(), small.Values())
	// Output: [ann cid] [300 700 99 10]
}

// Records that a step cannot process go to a sink of their own; without a consumer of its dead letters the first one fails the job.
func ExampleStream_DeadLetters() {
	numbers, refused := memory.NewSink[int](), memory.NewSink[string]()
	g := dataflow.New("parse")
	parsed := g.From("lines", memory.FromSlice([]string{"1", "2", "three", "4"})).TryMap(strconv.Atoi)
	parsed.To("numbers", numbers)
	parsed.DeadLetters().
		Map(func(d connectors.DeadLetter) string { return fmt.Sprintf("%v: %s", d.At, d.Reason) }).
		To("refused", refused)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(numbers.Values())
	fmt.Println(refused.Values())
	// Output:
	// [1 2 4]
	// [lines/0@2: strconv.Atoi: parsing "three": invalid syntax]
}

// Largest is an operator of one's own: it holds the largest number back until the input ends. Held is raw state, so that it is in every
// checkpoint.
func Largest() operators.Stage[int, int] {
	return func(t *operators.Task, emit func(int) error) (func(int) error, error) {
		var held []int
		t.UseRaw(func() ([][]byte, error) {
			var blobs [][]byte
			for _, n := range held {
				blobs = append(blobs, strconv.AppendInt(nil, int64(n), 10))
			}
			return blobs, nil
		}, func(blobs [][]byte) error {
			for _, b := range blobs {
				n, err := strconv.Atoi(string(b))
				if err != nil {
					return fmt.Errorf("largest: state %q is no number: %w", b, err)
				}
				held = append(held, n)
			}
			return nil
		})
		t.OnEnd(func() error {
			var errs []error
			for _, n := range held {
				errs = append(errs, emit(n))
			}
			return errors.Join(errs...)
		})
		return func(n int) error {
			if len(held) == 0 {
				held = append(held, n)
			}
			held[0] = max(held[0], n)
			return nil
		}, nil
	}
}

// Transform takes every operator, also one of your own.
func ExampleStream_Transform() {
	sink := memory.NewSink[int]()
	g := dataflow.New("largest")
	g.From("numbers", memory.FromSlice([]int{4, 1, 9, 7})).
		Transform("largest", Largest()).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Values())
	// Output: [9]
}

// A job is stopped with a savepoint and goes on from there; nothing is lost or counted twice.
func ExampleJob_Stop() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	sink := memory.NewSink[string]()
	job := func(numbers memory.Source[int64], o dataflow.Options) (*dataflow.Job, error) {
		g := dataflow.New("sums")
		g.From("numbers", numbers).
			KeyBy(func(n int64) bool { return n%2 == 0 }).
			Fold("sum", func(sum, n int64) int64 { return sum + n }).
			Map(func(sum int64) string { return strconv.FormatInt(sum, 10) }).
			To("sink", sink)
		return g.Start(context.Background(), o)
	}
	source := memory.Source[int64]{Records: 4, Value: func(_ int, i int64) int64 { return i + 1 }, KeepOpen: true}

	first, err := job(source, dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(dir+"/first"))})
	if err != nil {
		fmt.Println(err)
		return
	}
	for sink.Len() < 4 {
		<-sink.Arrived()
	}
	savepoint, err := first.Stop(context.Background(), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stopped after", sink.Values())

	source.Records, source.KeepOpen = 6, false
	second, err := job(source, dataflow.Options{
		Restore:    dataflow.Restore{From: savepoint},
		Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(dir+"/second")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := second.Wait(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("went on with", sink.Values()[4:])
	// Output:
	// stopped after [1 2 4 6]
	// went on with [9 12]
}

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
	"github.com/millrace-io/millrace/serde"
)

// timed is a stream of orders with their own event time.
func timed(g *dataflow.Graph, uid string, os ...Order) dataflow.Stream[Order] {
	return g.From(uid, memory.FromSlice(os)).Timestamps(operators.Watermarks[Order]{Timestamp: orderTime})
}

func second(n int) time.Time { return time.UnixMilli(int64(n) * 1000) }

func lines(sink *memory.Sink[string]) string {
	got := sink.Values()
	slices.Sort(got)
	return strings.Join(got, "; ")
}

// TestJoins runs every join in one job, at parallelism 2.
func TestJoins(t *testing.T) {
	g := dataflow.New("joins")
	a := timed(g, "a", Order{"ann", 1, second(1)}, Order{"bob", 2, second(20)}, Order{"ann", 3, second(70)}).KeyBy(customer)
	b := timed(g, "b", Order{"ann", 10, second(2)}, Order{"bob", 20, second(50)}, Order{"ann", 30, second(65)}).KeyBy(customer)
	pair := func(l, r Order) string { return fmt.Sprintf("%s%d+%d", l.Customer, l.Cents, r.Cents) }
	sinks := map[string]*memory.Sink[string]{}
	to := func(name string, s dataflow.Stream[string]) {
		sinks[name] = memory.NewSink[string]()
		s.To("to "+name, sinks[name])
	}
	joined := a.IntervalJoin("interval", b, operators.Between(0, 10*time.Second), pair)
	to("interval", joined)
	to("unmatched", joined.SideOutput(operators.UnmatchedLeft[Order]()).Map(func(o Order) string { return o.Customer }))
	to("temporal", a.TemporalJoin("temporal", b, operators.TemporalOptions[Order, Order]{}, pair))
	to("left", a.TemporalLeftJoin("left", b, operators.TemporalOptions[Order, Order]{}, func(o Order, row *Order) string { return fmt.Sprint(o.Cents, " ", row != nil) }))
	to("window", a.WindowJoin("window", b, operators.Tumbling(time.Minute), pair))
	to("coGroup", a.WindowCoGroup("coGroup", b, operators.Tumbling(time.Minute), func(c *operators.WindowCtx[string, string], l, r []Order) error {
		return c.Emit(fmt.Sprintf("%s %d %d", c.Key(), len(l), len(r)))
	}))
	to("lookup", a.LookupJoin("lookup", operators.LookupOptions[Order, string]{Cache: operators.LookupCache{Rows: 9}},
		func(_ context.Context, key string) (int, bool, error) { return len(key), true, nil },
		func(o Order, n int, _ bool) string { return fmt.Sprint(o.Cents, " ", n) }))
	to("function", a.IntervalJoinProcess("function", b, operators.Between(0, time.Second), func(c *operators.JoinCtx[string, string], _, _ Order) error {
		return c.Emit(fmt.Sprintf("%s%d", c.Key(), c.RightMS()-c.LeftMS()))
	}))
	if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"interval": "ann1+10", "unmatched": "ann; bob", "temporal": "ann3+30", "left": "1 false; 2 false; 3 true",
		"window": "ann1+10; ann3+30; bob2+20", "coGroup": "ann 1 1; ann 1 1; bob 1 1", "lookup": "1 3; 2 3; 3 3", "function": "ann1000",
	} {
		if got := lines(sinks[name]); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestConnected runs CoProcess, broadcast state and CoMap in one job.
func TestConnected(t *testing.T) {
	g := dataflow.New("connected")
	orders := timed(g, "orders", Order{"ann", 1, second(1)}, Order{"bob", 2, second(2)})
	other := timed(g, "other", Order{"ann", 10, second(3)})
	process, plain, both := memory.NewSink[string](), memory.NewSink[string](), memory.NewSink[string]()
	orders.KeyBy(customer).Connect(other.KeyBy(customer)).Process("co", func(b *operators.CoKeyed[string, Order, Order, string]) {
		sum := b.Value[int64]("sum")
		add := func(c *operators.Ctx[string, string], o Order) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			c.TimerAt(second(10))
			return sum.Set(n + o.Cents)
		}
		b.OnFirst(add)
		b.OnSecond(add)
		b.OnTimer(func(c *operators.Ctx[string, string], _ time.Time) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			return c.Emit(fmt.Sprintf("%s%d", c.Key(), n))
		})
	}).To("co sink", process)
	orders.ConnectBroadcast(other).Process("plain", func(b *operators.PlainBroadcast[Order, Order, string]) {
		rules := b.Broadcast[string, int64]("rules")
		b.OnRecord(func(c *operators.RecordCtx[string], o Order) error { return c.Emit(o.Customer) })
		b.OnBroadcast(func(c *operators.BroadcastCtx[string], o Order) error { return rules.Put(c, o.Customer, o.Cents) })
	}).To("plain sink", plain)
	orders.Connect(other).Map(customer, func(o Order) string { return fmt.Sprint(o.Cents) }).To("both sink", both)
	if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2}); err != nil {
		t.Fatal(err)
	}
	if got := lines(process) + " | " + lines(plain) + " | " + lines(both); got != "ann11; bob2 | ann; bob | 10; ann; bob" {
		t.Errorf("got %q", got)
	}
}

// otherCodec writes texts as the derived one does and says that it does not.
type otherCodec struct{ serde.Serde[string] }

func (otherCodec) Schema() string { return "opaque:other" }

// TestJoinsAreRefused: every fault of joins is found when the graph is checked, with what to do about it.
func TestJoinsAreRefused(t *testing.T) {
	pair := func(l, r Order) string { return l.Customer }
	refused := func(build func(g *dataflow.Graph, a, b dataflow.KeyedStream[Order, string]) dataflow.Stream[string], parts ...string) {
		t.Helper()
		g := dataflow.New("refused")
		build(g, timed(g, "a").KeyBy(customer), timed(g, "b").KeyBy(customer)).To("sink", memory.NewSink[string]())
		err := g.Validate(dataflow.Options{})
		for _, p := range parts {
			if err == nil || !strings.Contains(err.Error(), p) {
				t.Errorf("got %v, want an error that says %q", err, p)
			}
		}
	}
	type keyed = dataflow.KeyedStream[Order, string]
	refused(func(_ *dataflow.Graph, a, b keyed) dataflow.Stream[string] {
		return a.IntervalJoin("join", b, operators.Between(time.Second, 0), pair)
	}, `step "join"`, "reversed")
	refused(func(_ *dataflow.Graph, a, _ keyed) dataflow.Stream[string] {
		other := timed(dataflow.New("other"), "c").KeyBy(customer)
		return a.IntervalJoin("join", other, operators.Between(0, 0), pair)
	}, `step "join"`, "another graph")
	for _, join := range []func(a, b keyed) dataflow.Stream[string]{
		func(a, b keyed) dataflow.Stream[string] {
			return a.IntervalJoin("join", b, operators.Between(0, 0), pair)
		},
		func(a, b keyed) dataflow.Stream[string] {
			return a.TemporalJoin("join", b, operators.TemporalOptions[Order, Order]{}, pair)
		},
		func(a, b keyed) dataflow.Stream[string] {
			return a.WindowJoin("join", b, operators.Tumbling(time.Second), pair)
		},
	} {
		refused(func(g *dataflow.Graph, a, _ keyed) dataflow.Stream[string] {
			return join(a, g.From("c", memory.FromSlice(orders())).KeyBy(customer))
		}, `step "join"`, `source "c"`, "Timestamps")
	}
	refused(func(_ *dataflow.Graph, a, b keyed) dataflow.Stream[string] {
		text := serde.MustFor[string]()
		return a.WithKeyCodec(text).IntervalJoin("join", b.WithKeyCodec(otherCodec{text}), operators.Between(0, 0), pair)
	}, "different schemas", "WithKeyCodec")
}

// Orders are joined with the payments of up to ten seconds later; the orders that nobody has paid in time come out at the side.
func ExampleKeyedStream_IntervalJoin() {
	second := func(n int) time.Time { return time.Date(2024, 5, 1, 12, 0, n, 0, time.UTC) }
	paid, unpaid := memory.NewSink[string](), memory.NewSink[string]()
	g := dataflow.New("payments")
	stream := func(uid string, os ...Order) dataflow.KeyedStream[Order, string] {
		return g.From(uid, memory.FromSlice(os)).Timestamps(operators.Watermarks[Order]{Timestamp: orderTime}).KeyBy(customer)
	}
	orders := stream("orders", Order{"ann", 1250, second(1)}, Order{"bob", 300, second(2)})
	payments := stream("payments", Order{"ann", 1250, second(9)}, Order{"bob", 300, second(40)})
	joined := orders.IntervalJoin("paid", payments, operators.Between(0, 10*time.Second), func(o, payment Order) string {
		return fmt.Sprint(o.Customer, " paid after ", payment.At.Sub(o.At))
	})
	joined.To("paid sink", paid)
	joined.SideOutput(operators.UnmatchedLeft[Order]()).Map(customer).To("unpaid sink", unpaid)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(paid.Values(), "unpaid:", unpaid.Values())
	// Output:
	// [ann paid after 8s] unpaid: [bob]
}

package dataflow_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/operators"
)

// TestWhySilentSplit: one of four splits has no more records and nobody says that it is idle.
func TestWhySilentSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 4)
		p := plant(t, dataflow.Options{Parallelism: 2}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", src).Timestamps(neverIdle()), "window").To("out", nowhere[int64]())
			for i := range 3 {
				go src.every(ctx, 100*time.Millisecond, i, keys())
			}
			src.put(3, clickAt("x", time.Now()))
		})
		defer p.end()
		time.Sleep(4 * time.Minute)
		p.want("window", why.SilentSplit, "orders/1/orders-3", `split "orders-3": no record for 4m`, "Watermarks.IdleAfter", "look at the producer")
		// The sink has no records because of the same split.
		p.want("out", why.SilentSplit, "orders/1/orders-3")
	})
}

// TestWhySecondsForMilliseconds: the event time is 1970.
func TestWhySecondsForMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", src).Timestamps(byTime()), "window").To("out", nowhere[int64]())
			go src.every(ctx, 100*time.Millisecond, 0, func() click { return click{"a", time.Now().Unix()} })
		})
		defer p.end()
		time.Sleep(time.Minute)
		p.want("window", why.TimestampUnit, "orders/0/orders-0", "near 1970", "seconds where milliseconds", "time.UnixMilli")
		p.want("out", why.TimestampUnit, "orders/0/orders-0")
	})
}

// TestWhyFarAhead: one record of the future has moved the watermark, and all others are late.
func TestWhyFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", src).Timestamps(byTime()), "window").To("out", nowhere[int64]())
			src.put(0, clickAt("a", time.Now().AddDate(10, 0, 0)))
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		r := p.want("window", why.FarAhead, "orders/0/orders-0", "came too late", "2009-12-31T23:59:59", "in the future")
		p.want("out", why.FarAhead, "orders/0/orders-0")
		if late := r.Tasks[0].Operators[0].Late; late < 590 || late > 600 {
			t.Errorf("%d late records, want those of a minute at ten a second", late)
		}
	})
}

// TestWhyPunctuatedNever: records come, and the strategy never makes a watermark of them.
func TestWhyPunctuatedNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", src).Timestamps(operators.PunctuatedWatermarks(func(e click, _ time.Time) (time.Time, bool) { return time.Time{}, e.Key == "mark" }).WithTimestamp(byTime().Timestamp)), "window").To("out", nowhere[int64]())
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		p.want("window", why.NoWatermarks, "orders/0/orders-0", "watermark none", "no higher watermark has been made", "punctuated")
		p.want("out", why.NoWatermarks, "orders/0/orders-0")
	})
}

// TestWhyAligned: a source is paused because another one of its group is slow, and that one goes silent.
func TestWhyAligned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := newFeed("orders", 1), newFeed("payments", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			w := byTime().WithAlignment("both", 10*time.Second).WithoutIdleness()
			a, b := g.From("orders", fast).Timestamps(w), g.From("payments", slow).Timestamps(w)
			counted(a, "window").To("out", nowhere[int64]())
			counted(b, "other").To("other out", nowhere[int64]())
			ms := time.Now().UnixMilli()
			go fast.every(ctx, 100*time.Millisecond, 0, func() click { ms += 1000; return click{"a", ms} }) // ten times as fast as time
			slowly, end := context.WithTimeout(ctx, 2*time.Minute)
			context.AfterFunc(ctx, end)
			go slow.every(slowly, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(85 * time.Second)
		p.want("orders", why.Aligned, "orders/0/orders-0", `because of step "payments", subtask 0`, "more than 10s ahead", "larger drift")
		time.Sleep(2*time.Minute + 5*time.Second)
		for _, step := range []string{"orders", "window", "out", "other"} {
			p.want(step, why.SilentSplit, "payments/0/payments-0", "no record for 1m")
		}
	})
}

package dataflow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/operators"
)

// planted is a job with a cause planted in it.
type planted struct {
	t     *testing.T
	ctx   context.Context
	job   *dataflow.Job
	ended context.CancelFunc
}

// plant starts a graph in a synctest bubble. The job is cancelled and waited for when the bubble's test ends.
func plant(t *testing.T, o dataflow.Options, build func(ctx context.Context, g *dataflow.Graph)) *planted {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g := dataflow.New("planted")
	build(ctx, g)
	j, err := g.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return &planted{t, ctx, j, cancel}
}

// end cancels the job and waits for it.
func (p *planted) end() {
	p.ended()
	<-p.job.Done()
}

// want asks why a step gives nothing and checks kind and place of the cause, and that its sentence and the report hold certain words. Place is "step",
// "step/subtask" or "step/subtask/split".
func (p *planted) want(step string, kind why.Kind, place string, words ...string) why.Report {
	p.t.Helper()
	began := time.Now()
	r, err := p.job.Why(step)
	if err != nil {
		p.t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		p.t.Errorf("the report took %v, want at most 1s", took)
	}
	c := r.Cause
	got := c.Step
	if strings.Contains(place, "/") {
		got += "/" + string(rune('0'+c.Subtask))
	}
	if strings.Count(place, "/") == 2 {
		got += "/" + c.Split
	}
	if c.Kind != kind || got != place {
		p.t.Errorf("step %q: the cause is %q at %q, want %q at %q", step, c.Kind, got, kind, place)
	}
	for _, w := range words {
		if !strings.Contains(c.String(), w) {
			p.t.Errorf("step %q: the cause does not say %q", step, w)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the report:\n%s", r)
	}
	return r
}

// counted counts the records of each key in windows of ten seconds.
func counted(s dataflow.Stream[click], uid string) dataflow.Stream[int64] {
	return s.KeyBy(func(e click) string { return e.Key }).Window(operators.Tumbling(10*time.Second)).
		Aggregate(uid, operators.Count[click](), func(_ string, _ operators.Window, n int64) int64 { return n })
}

// keys gives events of many keys in turn.
func keys() func() click {
	i := 0
	return func() click { i++; return clickAt(string(rune('a'+i%26)), time.Now()) }
}

func TestWhyHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 2)
		p := plant(t, dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(time.Second, checkpointtest.NewMemory("m"))},
			func(ctx context.Context, g *dataflow.Graph) {
				counted(g.From("orders", src).Timestamps(byTime()), "window").To("out", nowhere[int64]())
				go src.every(ctx, 100*time.Millisecond, 0, keys())
				go src.every(ctx, 100*time.Millisecond, 1, keys())
			})
		defer p.end()
		time.Sleep(5*time.Minute + 3*time.Second)
		for _, step := range []string{"orders", "window", "out"} {
			p.want(step, why.Healthy, step, "healthy")
		}
		r := p.want("window", why.Healthy, "window", "its last record came")
		if len(r.Tasks) != 2 || len(r.Tasks[0].Channels) != 2 || !r.Tasks[0].Answered || r.Tasks[0].Operators[0].NextEventTimer == nil || r.Tasks[0].Key == nil {
			t.Errorf("facts are missing:\n%s", r)
		}
	})
}

// TestWhySilentJoinSide: one of two sources that meet has no records at all.
func TestWhySilentJoinSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := newFeed("orders", 1), newFeed("payments", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			a, b := g.From("orders", left).Timestamps(neverIdle()), g.From("payments", right).Timestamps(neverIdle())
			counted(a.Union(b), "window").To("out", nowhere[int64]())
			go left.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(2 * time.Minute)
		p.want("window", why.SilentSplit, "payments/0/payments-0", "no record in the 2m since it was assigned")
		p.want("out", why.SilentSplit, "payments/0/payments-0")
	})
}

// TestWhyFunctionStuck: a user function does not come back; another step of its chain is asked for, and the steps around it.
func TestWhyFunctionStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, stop := newFeed("orders", 1), make(chan struct{})
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			s := g.From("orders", src).Timestamps(byTime()).KeyBy(func(e click) string { return e.Key }).
				Process("look up", func(b *operators.Keyed[string, click, click]) {
					b.OnRecord(func(c *operators.Ctx[string, click], e click) error {
						if e.Key == "trap" {
							<-stop
						}
						return c.Emit(e)
					})
				})
			counted(s, "window").To("out", nowhere[int64]())
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		defer close(stop)
		time.Sleep(time.Minute)
		p.want("look up", why.Healthy, "look up")
		src.put(0, clickAt("trap", time.Now()))
		time.Sleep(30 * time.Second)
		for _, step := range []string{"look up", "window", "out"} {
			p.want(step, why.FunctionStuck, "look up/0", "TestWhyFunctionStuck", "for 30.", "timeout")
		}
	})
}

// TestWhySlowSink: a sink that takes a tenth of a second for each record holds up all before it.
func TestWhySlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", src).KeyBy(func(e click) string { return e.Key }).
				Reduce("latest", func(_, b click) click { return b }).
				To("slow", into[click](func(click) error { time.Sleep(100 * time.Millisecond); return nil })).NewChain()
			go src.every(ctx, time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(5 * time.Minute)
		for _, step := range []string{"orders", "latest", "slow"} {
			p.want(step, why.Bottleneck, "slow/0", "3 of 4 batches queued", "raise its parallelism")
		}
	})
}

// TestWhyHotKey: nine of ten records have one key, and its subtask cannot keep up.
func TestWhyHotKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{Parallelism: 4}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", src).KeyBy(func(e click) string { return e.Key }).
				Reduce("latest", func(_, b click) click { time.Sleep(10 * time.Millisecond); return b }).
				To("out", nowhere[click]())
			next, i := keys(), 0
			go src.every(ctx, time.Millisecond, 0, func() click {
				if i++; i%10 != 0 {
					return clickAt("everybody", time.Now())
				}
				return next()
			})
		})
		defer p.end()
		time.Sleep(10 * time.Minute)
		r := p.want("latest", why.HotKey, "latest", `key "everybody"`, "aggregate before the exchange")
		p.want("orders", why.HotKey, "latest")
		if k := r.Tasks[r.Cause.Subtask].Key; k == nil || k.Share < 0.8 || k.Text != "everybody" {
			t.Errorf("the busiest key is %+v, want everybody with nine tenths", k)
		}
	})
}

// TestWhyBarrierWaits: a checkpoint's barrier has come on one input of a step and not on the other, whose source hangs.
func TestWhyBarrierWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := newFeed("orders", 1), newFeed("payments", 1)
		right.stop = make(chan struct{})
		p := plant(t, dataflow.Options{Checkpoint: checkpoint.Every(time.Second, checkpointtest.NewMemory("m"))}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", left).Union(g.From("payments", right)).KeyBy(func(e click) string { return e.Key }).
				Reduce("latest", func(_, b click) click { return b }).To("out", nowhere[click]())
			go left.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		defer close(right.stop)
		time.Sleep(30 * time.Second)
		for _, step := range []string{"latest", "out", "orders"} {
			r := p.want(step, why.FunctionStuck, "payments/0", "Poll")
			if r.Checkpoint == nil || r.Checkpoint.State != why.Collecting || len(r.Checkpoint.Missing) < 3 {
				t.Errorf("the checkpoint in progress is %+v", r.Checkpoint)
			}
		}
	})
}

// TestWhyRestartLoop: the job fails again and again.
func TestWhyRestartLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{Restart: dataflow.Restart{MaxAttempts: -1, InitialDelay: time.Minute, MaxDelay: time.Hour}},
			func(ctx context.Context, g *dataflow.Graph) {
				g.From("orders", src).KeyBy(func(e click) string { return e.Key }).
					Reduce("latest", func(_, b click) click { return b }).
					To("out", into[click](func(click) error { return errors.New("disk full") }))
				go src.every(ctx, 100*time.Millisecond, 0, keys())
			})
		defer p.end()
		time.Sleep(10 * time.Minute)
		r := p.want("orders", why.RestartLoop, "out", "disk full", "times in a row", "the next attempt begins in")
		if r.Job.Restarts < 2 || r.Job.Phase != why.BackingOff {
			t.Errorf("the job is %+v", r.Job)
		}
	})
}

// TestWhyInputEnded: one source of two has ended, the job goes on.
func TestWhyInputEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := newFeed("orders", 1), newFeed("payments", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", left).Timestamps(byTime()), "window").To("out", nowhere[int64]())
			counted(g.From("payments", right).Timestamps(byTime()), "other").To("other out", nowhere[int64]())
			left.put(0, clickAt("a", time.Now()))
			left.end()
			go right.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		p.want("window", why.InputEnded, "window/0", "has had all its input")
		p.want("other", why.Healthy, "other")
	})
}

// TestWhyJobEnded: the job is over.
func TestWhyJobEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", src).To("out", nowhere[click]())
			src.end()
		})
		if err := p.job.Wait(); err != nil {
			t.Fatal(err)
		}
		p.want("out", why.JobEnded, "out", "all its input processed")
	})
}

// TestWhyCallsOut: an asynchronous step has all the calls out that it may have, and none comes back.
func TestWhyCallsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			s := g.From("orders", src).Timestamps(byTime()).
				Async("enrich", operators.AsyncOptions[click, click]{Capacity: 10}, func(ctx context.Context, e click) ([]click, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
			counted(s, "window").To("out", nowhere[int64]())
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		for _, step := range []string{"enrich", "window", "out"} {
			p.want(step, why.CallsOut, "enrich/0", "one of its 10 calls to come back", "a timeout ends calls")
		}
	})
}

// TestWhyAllIdle: every source is idle: time stands still.
func TestWhyAllIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 2)
		p := plant(t, dataflow.Options{Parallelism: 2}, func(ctx context.Context, g *dataflow.Graph) {
			w := byTime()
			w.IdleAfter = time.Second
			counted(g.From("orders", src).Timestamps(w), "window").To("out", nowhere[int64]())
			src.put(0, clickAt("a", time.Now()))
			src.put(1, clickAt("b", time.Now()))
		})
		defer p.end()
		time.Sleep(2 * time.Minute)
		p.want("window", why.AllIdle, "window", "every input", "idle", "time stands still")
	})
}

// TestWhyNoSplits: a source has found nothing to read.
func TestWhyNoSplits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			src := waitingFeed{newFeed("orders", 0)}
			g.From("orders", src).KeyBy(func(e click) string { return e.Key }).
				Reduce("latest", func(_, b click) click { return b }).To("out", nowhere[click]())
		})
		defer p.end()
		time.Sleep(time.Minute)
		for _, step := range []string{"orders", "latest", "out"} {
			p.want(step, why.NoSplits, "orders/0", "no split for 1m")
		}
	})
}

// TestWhyDropped: a filter lets nothing through.
func TestWhyDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", src).Transform("filter", operators.Filter(func(e click) bool { return e.MS < 0 })).KeyBy(func(e click) string { return e.Key }).
				Reduce("latest", func(_, b click) click { return b }).To("out", nowhere[click]())
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		p.want("latest", why.NoRecords, "filter", "takes records", "passes none on", "filters")
	})
}

// TestWhyNoCheckpoint: an exactly-once sink shows its output with checkpoints, and there are none.
func TestWhyNoCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooks(numbers(0), func(context.Context, string) error { return nil })
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			g.From("orders", src).Map(func(e click) int64 { return e.MS }).To("sink", hooksSink{h})
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		p.want("sink", why.CheckpointWaits, "sink", "none are taken", "Options.Checkpoint")
	})
}

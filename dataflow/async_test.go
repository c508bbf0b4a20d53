package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// flaky is an outside system: it takes its time, and fails in each way in which a call can fail, some times.
type flaky struct {
	mu    sync.Mutex
	rng   *rand.Rand
	fail  int // how often it still may
	fails int
}

// ask takes 0 to 30 ms, in a synctest bubble.
func (f *flaky) ask(ctx context.Context) error {
	f.mu.Lock()
	d, fails := time.Duration(f.rng.IntN(30))*time.Millisecond, f.fail > 0 && f.rng.IntN(40) == 0
	how := f.rng.IntN(4)
	if fails {
		f.fail--
		f.fails++
	}
	f.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case !fails:
		return nil
	case how == 0:
		panic("the client has panicked")
	case how == 1:
		time.Sleep(time.Second) // longer than the timeout, and deaf to the context
		return nil
	}
	return errors.New("no answer")
}

// answers are what a record becomes: none, one or two.
func answers(r rec) (out []rec) {
	for i := range r.N % 3 {
		out = append(out, rec{r.Key, r.N*10 + i})
	}
	return out
}

// async adds an asynchronous step in one of its forms.
func (p *topology) async(l lane, form string, service *flaky, retries int) lane {
	f := func(ctx context.Context, r rec) ([]rec, error) {
		if err := service.ask(ctx); err != nil {
			return nil, err
		}
		return answers(r), nil
	}
	callback := func(ctx context.Context, r rec, done func([]rec, error)) {
		go func() {
			defer func() {
				if v := recover(); v != nil { // a client does not let its own panic end the process
					done(nil, fmt.Errorf("%v", v))
				}
			}()
			done(f(ctx, r))
		}()
	}
	o := operators.AsyncOptions[rec, rec]{Capacity: 20, Unordered: form == "unordered" || form == "callback", Timeout: 500 * time.Millisecond,
		Retry: operators.AsyncRetry[rec]{Attempts: retries}}
	out := lane{}
	switch form {
	case "callback":
		out.s = l.s.AsyncCallback(p.uid("async"), o, callback)
	case "keyed":
		out.s = l.s.KeyBy(func(r rec) int64 { return r.Key }).Async(p.uid("async"), o, f)
	case "keyed callback":
		out.s = l.s.KeyBy(func(r rec) int64 { return r.Key }).AsyncCallback(p.uid("async"), o, callback)
	default:
		out.s = l.s.Async(p.uid("async"), o, f)
	}
	for _, r := range l.want {
		out.want = append(out.want, answers(r)...)
	}
	p.note("async %s", form)
	return out
}

// TestAsyncUnderCrashes runs whole jobs whose calls fail, panic, hang and time out, and which crash at random points: what reaches the sinks, and
// the state behind the step, is that of a replay, once.
func TestAsyncUnderCrashes(t *testing.T) {
	crashed, failed := 0, 0
	for _, form := range []string{"ordered", "unordered", "callback", "keyed", "keyed callback"} {
		t.Run(form, func(t *testing.T) {
			for _, seed := range seeds(t, 4) {
				synctest.Test(t, func(t *testing.T) {
					rng := rand.New(rand.NewPCG(seed, 3))
					service := &flaky{rng: rand.New(rand.NewPCG(seed, 4)), fail: 4}
					p := newTopology()
					l := p.parallel(p.async(p.parallel(p.source(3, 150), rng.IntN(4)), form, service, 1+rng.IntN(3)), rng.IntN(4))
					p.sink(l, 0)
					p.sink(p.counted(l, 9), rng.IntN(3))
					crashed += p.run(t, seed, 1+rng.IntN(3), 2)
					failed += service.fails
					time.Sleep(2 * time.Second) // the client's own goroutines end
				})
			}
		})
	}
	if t.Logf("%d crashes, %d calls failed", crashed, failed); crashed == 0 || failed == 0 {
		t.Error("nothing went wrong: the test shows little")
	}
}

// TestAsyncKeepsTheOrder of all records, or of those of each key, over restarts.
func TestAsyncKeepsTheOrder(t *testing.T) {
	for _, form := range []string{"ordered", "keyed"} {
		for _, seed := range seeds(t, 3) {
			synctest.Test(t, func(t *testing.T) {
				p := newTopology()
				l := p.async(p.source(1, 400), form, &flaky{rng: rand.New(rand.NewPCG(seed, 4)), fail: 6}, 1)
				p.sink(l, 0)
				p.run(t, seed, 1, 3)
				got, want := p.sinks[0].Values(), l.want
				if form == "keyed" {
					byKey := func(a, b rec) int { return int(a.Key - b.Key) }
					want = slices.Clone(want)
					slices.SortStableFunc(got, byKey)
					slices.SortStableFunc(want, byKey)
				}
				if !slices.Equal(got, want) {
					t.Errorf("seed %d, %s: the records are there, but not in order", seed, form)
				}
			})
		}
	}
}

// TestAsyncStopsWithCallsInFlight: a stop with savepoint does not wait for calls; they are made again by the job that goes on, in other subtasks.
func TestAsyncStopsWithCallsInFlight(t *testing.T) {
	for _, form := range []string{"ordered", "keyed"} {
		synctest.Test(t, func(t *testing.T) {
			const records = 12
			store, sink := checkpointtest.NewMemory("m"), memory.NewSink[string]()
			var calls sync.Map
			run := 0
			ask := func(ctx context.Context, e event) ([]string, error) {
				calls.Store(fmt.Sprint(run, "/", e.N), true)
				if run == 0 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return []string{fmt.Sprint(e.N)}, nil
			}
			graph := func() *dataflow.Graph {
				g := dataflow.New("stop")
				src := events(1, records, 5)
				src.KeepOpen = true
				s := g.From("source", src)
				o := operators.AsyncOptions[event, string]{Unordered: true}
				var out dataflow.Stream[string]
				if form == "keyed" {
					out = s.KeyBy(eventKey).Async("ask", o, ask)
				} else {
					out = s.Async("ask", o, ask)
				}
				out.To("sink", sink)
				return g
			}
			began := time.Now()
			j, err := graph().Start(t.Context(), dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(time.Hour, store)})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := j.Stop(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("the stop took %v", took)
			}
			run = 1
			if j, err = graph().Start(t.Context(), dataflow.Options{Parallelism: 3, Checkpoint: checkpoint.Every(time.Hour, store)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := j.Stop(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			first, second := 0, 0
			calls.Range(func(k, _ any) bool {
				if strings.HasPrefix(k.(string), "0/") {
					first++
				} else {
					second++
				}
				return true
			})
			wantFirst := records
			if form == "keyed" {
				wantFirst = 5 // one call of each key at a time
			}
			if first != wantFirst || second != records || sink.Len() != records {
				t.Errorf("%s: %d and %d calls, %d results, want %d, %d and %d", form, first, second, sink.Len(), wantFirst, records, records)
			}
		})
	}
}

// TestAsyncBeforeTimestamps in a source's own chain: watermarks made of the results wait for those of no split that has ended or is idle, and windows
// behind hold every record.
func TestAsyncBeforeTimestamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &flaky{rng: rand.New(rand.NewPCG(1, 2))}
		src := events(5, 40, 3)
		src.KeepOpen = true
		sink := memory.NewSink[int64]()
		g := dataflow.New("before")
		g.From("source", src).Async("ask", operators.AsyncOptions[event, event]{}, func(ctx context.Context, e event) ([]event, error) {
			return []event{e}, service.ask(ctx)
		}).Timestamps(operators.Watermarks[event]{Timestamp: func(e event) time.Time { return time.UnixMilli(e.AtMS) }, OutOfOrderness: time.Hour}).
			KeyBy(func(event) string { return "all" }).Window(operators.Tumbling(time.Hour)).
			Aggregate("windows", operators.Count[event](), func(_ string, _ operators.Window, n int64) int64 { return n }).To("sink", sink)
		j, err := g.Start(t.Context(), dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(time.Second, checkpointtest.NewMemory("m"))})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := j.Stop(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, n := range sink.Values() {
			sum += n
		}
		if sum != 200 {
			t.Errorf("windows hold %d of 200 records", sum)
		}
	})
}

// TestAsyncTimesOutWhileItIsFull: the timeouts of calls end the wait for room, also where the input has already ended.
func TestAsyncTimesOutWhileItIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := memory.NewSink[string]()
		g := dataflow.New("full")
		g.From("source", events(1, 7, 2)).AsyncCallback("ask", operators.AsyncOptions[event, string]{Capacity: 2, Timeout: time.Second,
			OnTimeout: func(e event) ([]string, error) { return []string{fmt.Sprint("none for ", e.N)}, nil },
		}, func(context.Context, event, func([]string, error)) {}).To("sink", sink)
		began := time.Now()
		if err := g.Run(t.Context(), dataflow.Options{}); err != nil {
			t.Fatal(err)
		}
		if got := sink.Values(); len(got) != 7 || got[6] != "none for 6" {
			t.Errorf("got %q", got)
		}
		if took := time.Since(began).Round(100 * time.Millisecond); took != 4*time.Second {
			t.Errorf("7 timeouts of 1 s, 2 at a time, took %v", took)
		}
	})
}

// TestAsyncSendsBeforeItWaits: a result does not wait behind the step for the company of one that takes an hour.
func TestAsyncSendsBeforeItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, arrived := time.Now(), map[int64]time.Duration{}
		g := dataflow.New("wait")
		g.From("source", events(1, 3, 1)).Async("ask", operators.AsyncOptions[event, int64]{Capacity: 1}, func(_ context.Context, e event) ([]int64, error) {
			time.Sleep(time.Duration(e.N) * time.Hour)
			return []int64{e.N}, nil
		}).Map(func(n int64) int64 {
			arrived[n] = time.Since(began)
			return n
		}).NewChain().To("sink", memory.NewSink[int64]())
		if err := g.Run(t.Context(), dataflow.Options{}); err != nil {
			t.Fatal(err)
		}
		for n, d := range arrived {
			if late := d - time.Duration(n*(n+1)/2)*time.Hour; late < 0 || late > 100*time.Millisecond {
				t.Errorf("result %d arrived after %v", n, d)
			}
		}
		if len(arrived) != 3 {
			t.Errorf("%d results", len(arrived))
		}
	})
}

// TestAsyncPanicsNameTheStep, on whatever goroutine they happen.
func TestAsyncPanicsNameTheStep(t *testing.T) {
	boom := func(event) (out []string) { panic("boom") }
	for name, build := range map[string]func(s dataflow.Stream[event]) dataflow.Stream[string]{
		"blocking": func(s dataflow.Stream[event]) dataflow.Stream[string] {
			return s.Async("ask", operators.AsyncOptions[event, string]{}, func(_ context.Context, e event) ([]string, error) { return boom(e), nil })
		},
		"callback": func(s dataflow.Stream[event]) dataflow.Stream[string] {
			return s.AsyncCallback("ask", operators.AsyncOptions[event, string]{}, func(_ context.Context, e event, done func([]string, error)) { done(boom(e), nil) })
		},
		"timeout": func(s dataflow.Stream[event]) dataflow.Stream[string] {
			return s.AsyncCallback("ask", operators.AsyncOptions[event, string]{Timeout: time.Second, OnTimeout: func(e event) ([]string, error) { return boom(e), nil }},
				func(context.Context, event, func([]string, error)) {})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := dataflow.New("panic")
			build(g.From("source", events(1, 1, 1)).Map(func(e event) event { return e })).To("sink", memory.NewSink[string]())
			err := g.Run(t.Context(), dataflow.Options{Restart: dataflow.Restart{Never: true}})
			var te *dataflow.TaskError
			if !errors.As(err, &te) || te.UID != "ask" || !strings.Contains(err.Error(), "boom") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAsyncNeedsAUID(t *testing.T) {
	g := dataflow.New("uid")
	g.From("source", events(1, 1, 1)).Async("", operators.AsyncOptions[event, string]{}, func(context.Context, event) ([]string, error) { return nil, nil }).
		To("sink", memory.NewSink[string]())
	if err := g.Validate(dataflow.Options{}); err == nil || !strings.Contains(err.Error(), "an asynchronous step has no uid") {
		t.Errorf("got %v", err)
	}
}

// A look-up in an outside system for each order, of up to 50 at a time. Results come in the order of the orders.
func ExampleStream_Async() {
	country := func(ctx context.Context, customer string) (string, error) { // a client's call
		return map[string]string{"ann": "AT", "bob": "BE", "cid": "CH"}[customer], ctx.Err()
	}
	sink := memory.NewSink[string]()
	g := dataflow.New("countries")
	g.From("orders", memory.FromSlice(orders())).
		Async("country", operators.AsyncOptions[Order, string]{
			Capacity: 50,
			Timeout:  time.Minute,
			Retry:    operators.AsyncRetry[string]{Attempts: 3, Delay: 100 * time.Millisecond, Factor: 2, Jitter: 0.5},
		}, func(ctx context.Context, o Order) ([]string, error) {
			c, err := country(ctx, o.Customer)
			if err != nil {
				return nil, err
			}
			return []string{fmt.Sprintf("%s in %s: %d", o.Customer, c, o.Cents)}, nil
		}).
		To("sink", sink)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Join(sink.Values(), "\n"))
	// Output:
	// ann in AT: 1250
	// bob in BE: 300
	// ann in AT: 700
	// bob in BE: 99
	// ann in AT: 10
	// cid in CH: 5000
}

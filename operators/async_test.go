package operators_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

type asyncOptions = operators.AsyncOptions[order, string]

// gate is a blocking function whose calls end when they are let go.
type gate struct {
	mu     sync.Mutex
	open   map[int64]chan []string
	runs   int
	most   int
	called int
}

func newGate() *gate { return &gate{open: map[int64]chan []string{}} }

func (g *gate) call(ctx context.Context, o order) ([]string, error) {
	g.mu.Lock()
	c := make(chan []string)
	g.open[o.N] = c
	g.called++
	g.runs++
	g.most = max(g.most, g.runs)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.runs--
		g.mu.Unlock()
	}()
	select {
	case out := <-c:
		return out, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// let ends the call for n, in a synctest bubble.
func (g *gate) let(n int64, out ...string) {
	g.mu.Lock()
	c := g.open[n]
	g.mu.Unlock()
	c <- out
	synctest.Wait()
}

func (g *gate) running() (runs, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs, g.most
}

func TestAsyncBlocksAtItsCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		h := operatortest.New(t, operators.Async(asyncOptions{Capacity: 2}, g.call), operatortest.Options{})
		h.Process(order{"a", 1}, 10)
		h.Process(order{"b", 2}, 20)
		pushed := make(chan struct{})
		go func() {
			h.Process(order{"c", 3}, 30)
			close(pushed)
		}()
		synctest.Wait()
		g.let(2, "two")
		select {
		case <-pushed:
			t.Fatal("the third record came in though the first holds back the second")
		default:
		}
		g.let(1, "one", "uno")
		<-pushed
		g.let(3)
		want(t, "in the order of the records", h.Outputs(), "one@10, uno@10, two@20")
		if runs, most := g.running(); runs != 0 || most != 2 {
			t.Errorf("%d calls run, at most %d did, want 0 and 2", runs, most)
		}
	})
}

// TestAsyncReusesItsGoroutines: calls one after the other run on one.
func TestAsyncReusesItsGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		var most atomic.Int64
		h := operatortest.New(t, operators.Async(asyncOptions{}, func(_ context.Context, o order) ([]string, error) {
			most.Store(max(most.Load(), int64(runtime.NumGoroutine()-before)))
			return []string{fmt.Sprint(o.N)}, nil
		}), operatortest.Options{Discard: true})
		for n := range int64(1000) {
			h.Process(order{"a", n}, n)
			synctest.Wait()
			h.Wake()
		}
		if n := most.Load(); n != 1 {
			t.Errorf("%d goroutines, want 1", n)
		}
		h.Close()
	})
}

func TestAsyncRestoresBeyondItsCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		stage := operators.Async(asyncOptions{Capacity: 2}, g.call)
		var from []*operatortest.Snapshot
		for i := range 3 {
			h := operatortest.New(t, stage, operatortest.Options{Subtask: i, Parallelism: 3})
			h.Process(order{"a", int64(2*i + 1)}, 1)
			h.Process(order{"b", int64(2*i + 2)}, 2)
			synctest.Wait()
			from = append(from, h.Snapshot())
			h.Close()
		}
		h := operatortest.New(t, stage, operatortest.Options{From: from})
		synctest.Wait()
		if runs, _ := g.running(); runs != 2 {
			t.Errorf("%d calls run after the restore, want 2", runs)
		}
		go h.Process(order{"c", 7}, 3)
		synctest.Wait()
		for n := int64(1); n <= 7; n++ {
			g.let(n, fmt.Sprint(n))
		}
		want(t, "all in order", h.Outputs(), "1@1, 2@2, 3@1, 4@2, 5@1, 6@2, 7@3")
		if _, most := g.running(); most != 2 {
			t.Errorf("%d calls ran at once, want 2", most)
		}
	})
}

// TestAsyncRestoredCallsBegin as others end, and their timeouts with them.
func TestAsyncRestoredCallsBegin(t *testing.T) {
	s := newAsyncService()
	o := asyncOptions{Capacity: 2, Timeout: time.Second, OnTimeout: func(o order) ([]string, error) { return []string{fmt.Sprint("late ", o.N)}, nil }}
	stage := operators.AsyncCallback(o, s.call)
	var from []*operatortest.Snapshot
	for i := range int64(2) {
		h := operatortest.New(t, stage, operatortest.Options{Subtask: int(i), Parallelism: 2})
		h.Process(order{"a", 2*i + 1}, 1)
		h.Process(order{"b", 2*i + 2}, 2)
		from = append(from, h.Snapshot())
	}
	s.forget()
	h := operatortest.New(t, stage, operatortest.Options{From: from})
	if len(s.open) != 2 || s.open[1] == nil || s.open[2] == nil {
		t.Fatalf("%d calls, want those for 1 and 2", len(s.open))
	}
	h.AdvanceProcessingTime(900)
	s.end(2, []string{"two"}, nil)
	h.AdvanceProcessingTime(1000)
	want(t, "the first timed out", h.Outputs(), "late 1@1, two@2")
	h.AdvanceProcessingTime(1899)
	want(t, "before that of the third", h.Outputs(), "")
	h.AdvanceProcessingTime(2000)
	want(t, "the others timed out", h.Outputs(), "late 3@1, late 4@2")
}

// TestAsyncTimeout: the call's context ends and what it gives then does not count, whether it comes back at once or never while the task lives.
func TestAsyncTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var causes []error
		late := make(chan func([]string, error), 3)
		o := asyncOptions{Timeout: 100 * time.Millisecond, OnTimeout: func(o order) ([]string, error) { return []string{fmt.Sprint("late ", o.N)}, nil }}
		h := operatortest.New(t, operators.AsyncCallback(o, func(ctx context.Context, o order, done func([]string, error)) {
			context.AfterFunc(ctx, func() {
				mu.Lock()
				defer mu.Unlock()
				causes = append(causes, ctx.Err())
			})
			late <- done
		}), operatortest.Options{})
		h.Process(order{"a", 1}, 10)
		h.AdvanceProcessingTime(99)
		want(t, "before the timeout", h.Outputs(), "")
		h.AdvanceProcessingTime(100)
		want(t, "at the timeout", h.Outputs(), "late 1@10")
		synctest.Wait()
		if len(causes) != 1 || !errors.Is(causes[0], context.Canceled) {
			t.Errorf("the context ended with %v", causes)
		}
		h.Process(order{"b", 2}, 20) // takes the place of the first one
		(<-late)([]string{"too late"}, nil)
		want(t, "after the timeout", h.Outputs(), "")
		second := <-late
		second([]string{"two"}, nil)
		second([]string{"twice"}, nil)
		want(t, "in time", h.Outputs(), "two@20")
		h.Process(order{"c", 3}, 30)
		synctest.Wait()
		if len(causes) != 1 {
			t.Error("a call that is not over, or has given its result, was cancelled")
		}
		h.Close()
		synctest.Wait()
		(<-late)([]string{"closed"}, nil)
		if len(causes) == 1 {
			t.Error("the context of the call that is not over did not end with the task")
		}
	})
}

// TestAsyncResultBeforeTheTimeout: of a result and a timeout that the task sees at once, the result counts.
func TestAsyncResultBeforeTheTimeout(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{Timeout: time.Second}, s.call), operatortest.Options{})
	h.Process(order{"a", 1}, 10)
	s.end(1, []string{"one"}, nil)
	h.AdvanceProcessingTime(5000)
	want(t, "the result", h.Outputs(), "one@10")
}

// TestAsyncResultDuringTheTimeout: a result that comes while records time out, and too late for its own, does not count.
func TestAsyncResultDuringTheTimeout(t *testing.T) {
	s := newAsyncService()
	o := asyncOptions{Timeout: time.Second, OnTimeout: func(o order) ([]string, error) {
		if o.N == 1 {
			s.end(2, []string{"two"}, nil)
		}
		return []string{fmt.Sprint("late ", o.N)}, nil
	}}
	h := operatortest.New(t, operators.AsyncCallback(o, s.call), operatortest.Options{})
	h.Process(order{"a", 1}, 10)
	h.Process(order{"b", 2}, 20)
	h.AdvanceProcessingTime(1000)
	h.Process(order{"c", 3}, 30) // takes the place of the second one
	h.Process(order{"d", 4}, 40)
	s.end(4, []string{"four"}, nil)
	want(t, "each once", h.Outputs(), "late 1@10, late 2@20")
	s.end(3, []string{"three"}, nil)
	want(t, "the others", h.Outputs(), "three@30, four@40")
}

func TestAsyncFailures(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(ctx context.Context, o order) ([]string, error)
		says string
	}{
		{"error", func(context.Context, order) ([]string, error) { return nil, errors.New("no answer") }, "no answer"},
		{"bad record nobody wants", func(context.Context, order) ([]string, error) {
			return nil, operators.BadRecord(errors.New("nonsense"))
		}, "nonsense"},
		{"panic", func(context.Context, order) ([]string, error) { panic("boom") }, "panic: boom"},
		{"panic with an error", func(context.Context, order) ([]string, error) { panic(errAsyncBroken) }, "panic: broken"},
		{"the end of its goroutine", func(context.Context, order) ([]string, error) { runtime.Goexit(); return nil, nil }, "runtime.Goexit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := operatortest.New(t, operators.Async(asyncOptions{}, c.f), operatortest.Options{UID: "look-up"})
				err := h.TryProcess(order{"a", 1}, 10)
				if synctest.Wait(); err == nil { // else the call was over before the record was in
					h.Task().Context().At = connectors.Coordinates{} // the task has gone on to something else
					err = h.TryWake()
				}
				wantError(t, err, c.says, `step "look-up"`, "operatortest/0@0")
				if c.name == "panic with an error" && !errors.Is(err, errAsyncBroken) {
					t.Error("the cause is lost")
				}
			})
		})
	}
}

func TestAsyncTimeoutFailsTheTask(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{Timeout: time.Second}, s.call), operatortest.Options{UID: "look-up"})
	h.Process(order{"a", 1}, 10)
	err := h.Task().Hooks().FireTimers(1000)
	wantError(t, err, `step "look-up"`, "no result within 1s", "OnTimeout")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error("the error is no DeadlineExceeded")
	}
}

func TestAsyncDeadLetters(t *testing.T) {
	s := newAsyncService()
	o := asyncOptions{Timeout: time.Second, OnTimeout: func(order) ([]string, error) { return nil, operators.BadRecord(errors.New("too slow")) },
		Retry: operators.AsyncRetry[string]{Attempts: 5}}
	h := operatortest.New(t, operators.AsyncCallback(o, s.call), operatortest.Options{DeadLetters: true})
	for n := range int64(3) {
		h.Process(order{"a", n}, 10*n)
	}
	s.end(1, nil, errAsyncBad)
	if d := h.DeadLetters(); len(d) != 0 {
		t.Errorf("dead letters %+v before those of earlier records", d)
	}
	h.AdvanceProcessingTime(1000)
	d := h.DeadLetters()
	if len(d) != 3 || d[0].Reason != "too slow" || d[1].Reason != "bad" || d[1].At.Offset != 1 || d[1].TimestampMS != 10 || !strings.Contains(string(d[1].Raw), "a") {
		t.Errorf("dead letters %+v", d)
	}
}

// TestAsyncEndOfInput waits for all that is in the step, also for retries.
func TestAsyncEndOfInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		h := operatortest.New(t, operators.Async(asyncOptions{Unordered: true}, g.call), operatortest.Options{})
		h.Process(order{"a", 1}, 1)
		h.Watermark(5)
		h.Process(order{"b", 2}, 2)
		ended := make(chan struct{})
		go func() {
			h.EndInput()
			close(ended)
		}()
		synctest.Wait()
		g.let(2, "two")
		select {
		case <-ended:
			t.Fatal("the input has ended with a record in the step")
		default:
		}
		g.let(1, "one")
		<-ended
		want(t, "all", h.Outputs(), "one@1, watermark 5, two@2, watermark end")
	})
}

func TestAsyncIdleness(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{}, s.call), operatortest.Options{})
	h.Idle(true)
	h.Idle(false)
	want(t, "with nothing in the step", h.Outputs(), "idle, active")
	h.Process(order{"a", 1}, 1)
	h.Watermark(7)
	h.Idle(true)
	h.Process(order{"a", 2}, 2)
	want(t, "with records in the step", h.Outputs(), "")
	s.end(1, []string{"one"}, nil)
	want(t, "behind the first", h.Outputs(), "one@1, watermark 7, idle")
	h.Idle(false)
	s.end(2, nil, nil)
	want(t, "active again", h.Outputs(), "active")
	h.Process(order{"a", 3}, 3)
	for range 1000 { // gathers nothing
		h.Idle(true)
		h.Idle(false)
	}
	s.end(3, []string{"three"}, nil)
	want(t, "idle for no time", h.Outputs(), "three@3")
}

// TestAsyncBoundsWatermarks: a call that takes for ever does not gather watermarks for ever.
func TestAsyncBoundsWatermarks(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{Capacity: 3}, s.call), operatortest.Options{})
	h.Process(order{"a", 1}, 1)
	for ms := range int64(10_000) {
		h.Watermark(ms)
	}
	s.end(1, nil, nil)
	out := h.Outputs()
	if len(out) > 5 || out[len(out)-1].TimestampMS != 9999 {
		t.Errorf("%d watermarks, the last %v", len(out), out[len(out)-1])
	}
}

// TestAsyncKeepsTheContext: results have the time, key hash and origin of their record, and the step behind another consumer of the same record finds
// that one's.
func TestAsyncKeepsTheContext(t *testing.T) {
	s := newAsyncService()
	async := operators.AsyncCallback(asyncOptions{Unordered: true}, s.call)
	var seen []string
	h := operatortest.New(t, func(t *operators.Task, emit func(string) error) (func(order) error, error) {
		c := t.Context()
		push, err := async(t, func(v string) error {
			seen = append(seen, fmt.Sprintf("%s %d %x %d %d", v, c.TimestampMS, c.KeyHash, c.At.Offset, c.Split))
			c.TimestampMS, c.KeyHash = -1, 0 // as a step behind may do
			return nil
		})
		return func(o order) error {
			c.KeyHash = uint64(o.N)
			if err := push(o); err != nil {
				return err
			}
			if c.TimestampMS != 10*o.N || c.KeyHash != uint64(o.N) || c.At.Offset != o.N || c.Split != int(5+o.N) {
				seen = append(seen, fmt.Sprintf("after record %d: %+v", o.N, *c))
			}
			return nil
		}, err
	}, operatortest.Options{})
	for n := range int64(3) {
		h.ProcessSplit(int(5+n), order{"a", n}, 10*n)
		if n == 1 {
			s.end(0, []string{"zero", "nil"}, nil)
		}
	}
	s.end(2, []string{"two"}, nil)
	h.Wake()
	if got := strings.Join(seen, ", "); got != "zero 0 0 0 -1, nil 0 0 0 -1, two 20 2 2 -1" {
		t.Error(got)
	}
}

// TestAsyncCloseWaitsForCalls: no goroutine outlives the task, and one that does not look at its context is named.
func TestAsyncCloseWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		core, log := observer.New(zap.WarnLevel)
		h := operatortest.New(t, operators.Async(asyncOptions{}, func(ctx context.Context, o order) ([]string, error) {
			<-ctx.Done()
			time.Sleep(25 * time.Second)
			ended++
			return nil, ctx.Err()
		}), operatortest.Options{UID: "stubborn", Logger: zap.New(core)})
		h.Process(order{"a", 1}, 1)
		synctest.Wait()
		h.Close()
		if ended != 1 {
			t.Error("Close returned before the call")
		}
		if n := log.FilterMessageSnippet("does not come back").Len(); n != 2 {
			t.Errorf("%d warnings in 25 s, want 2", n)
		}
	})
}

func TestAsyncRetryDelays(t *testing.T) {
	s := newAsyncService()
	random := []float64{0, 0.5, 0.999}
	o := asyncOptions{Retry: operators.AsyncRetry[string]{
		Attempts: 4, Delay: 100 * time.Millisecond, Factor: 3, MaxDelay: 500 * time.Millisecond, Jitter: 0.5,
		Rand:    func() float64 { r := random[0]; random = random[1:]; return r },
		OnError: func(err error) bool { return errors.Is(err, errAsyncBroken) },
	}}
	h := operatortest.New(t, operators.AsyncCallback(o, s.call), operatortest.Options{})
	h.Process(order{"a", 1}, 1)
	now := int64(0)
	// 100, 300 and 500 (not 900) ms, less half of it times what chance gives, rounded up.
	for _, delay := range []int64{100, 225, 251} {
		s.end(1, nil, errAsyncBroken)
		h.Wake()
		if due, ok := h.Task().Hooks().NextTimer(); !ok || due != now+delay {
			t.Fatalf("the next call is due at %d (%v), want %d", due, ok, now+delay)
		}
		now += delay
		h.AdvanceProcessingTime(now)
		if len(s.open) != 1 {
			t.Fatalf("no call at %d", now)
		}
	}
	s.end(1, nil, errAsyncBroken)
	wantError(t, h.TryWake(), "broken")
}

// TestAsyncRetryGrowsWithoutBound: the delay is long then, and never negative.
func TestAsyncRetryGrowsWithoutBound(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{Retry: operators.AsyncRetry[string]{
		Attempts: 3, Delay: time.Hour, Factor: math.MaxFloat64, Jitter: 1, Rand: func() float64 { return 0 }}}, s.call), operatortest.Options{})
	h.Process(order{"a", 1}, 1)
	for _, least := range []int64{3_600_000, 1 << 42} {
		s.end(1, nil, errAsyncBroken)
		h.Wake()
		due, ok := h.Task().Hooks().NextTimer()
		if !ok || due < least {
			t.Fatalf("the next call is due at %d (%v), want %d or later", due, ok, least)
		}
		h.AdvanceProcessingTime(due)
	}
}

// TestAsyncForgetsCallsThatNeverBegan: a record that has timed out while functions that do not look at their context had all goroutines is not called
// for when one comes back.
func TestAsyncForgetsCallsThatNeverBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf, called := make(chan struct{}), make(chan int64, 10)
		o := asyncOptions{Capacity: 1, Timeout: time.Second, OnTimeout: func(o order) ([]string, error) { return []string{fmt.Sprint("late ", o.N)}, nil }}
		h := operatortest.New(t, operators.Async(o, func(_ context.Context, o order) ([]string, error) {
			called <- o.N
			<-deaf
			return []string{fmt.Sprint(o.N)}, nil
		}), operatortest.Options{})
		for n := int64(1); n <= 2; n++ {
			h.Process(order{"a", n}, n)
			synctest.Wait()
			h.AdvanceProcessingTime(1000 * n)
		}
		h.Process(order{"a", 3}, 3)
		synctest.Wait()
		close(deaf)
		synctest.Wait()
		want(t, "the last one in time", h.Outputs(), "late 1@1, late 2@2, 3@3")
		if close(called); <-called != 1 || <-called != 3 || <-called != 0 {
			t.Error("called for others than 1 and 3")
		}
	})
}

func TestAsyncPanicIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h := operatortest.New(t, operators.Async(asyncOptions{Retry: operators.AsyncRetry[string]{Attempts: 3, OnError: func(error) bool { return true }}},
			func(context.Context, order) ([]string, error) { calls.Add(1); panic("boom") }), operatortest.Options{})
		err := h.TryProcess(order{"a", 1}, 1)
		if synctest.Wait(); err == nil {
			err = h.TryWake()
		}
		wantError(t, err, "boom")
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// TestAsyncKeyedCallsOneByOne of each key, and keeps to the owner of a key at another parallelism.
func TestAsyncKeyedCallsOneByOne(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncKeyedCallback(who, nil, asyncOptions{}, s.call), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 1)
	h.Process(order{"a", 2}, 2)
	h.Process(order{"b", 3}, 3)
	h.Watermark(9)
	h.Process(order{"b", 4}, 4)
	if len(s.open) != 2 || s.open[1] == nil || s.open[3] == nil {
		t.Fatalf("%d calls, want those of 1 and 3", len(s.open))
	}
	s.end(3, []string{"three"}, nil)
	h.Wake()
	s.end(4, []string{"four"}, nil)
	want(t, "not across the watermark", h.Outputs(), "three@3")
	s.end(1, []string{"one"}, nil)
	h.Wake()
	s.end(2, []string{"two"}, nil)
	want(t, "all", h.Outputs(), "one@1, two@2, watermark 9, four@4")
}

func TestAsyncMisuse(t *testing.T) {
	f := func(context.Context, order) ([]string, error) { return nil, nil }
	err := operatortest.Check(operators.Async(asyncOptions{Capacity: -1, Timeout: -1, Retry: operators.AsyncRetry[string]{Attempts: -1, Factor: math.NaN(), Jitter: 2,
		Delay: 2, MaxDelay: 1}}, f), operatortest.Options{})
	wantError(t, err, "Capacity is -1", "Timeout is -1ns", "Attempts is -1", "Factor is NaN", "Jitter is 2", "MaxDelay is 1ns")
	err = operatortest.Check(operators.Async(asyncOptions{OnTimeout: func(order) ([]string, error) { return nil, nil },
		Retry: operators.AsyncRetry[string]{Delay: time.Second}}, f), operatortest.Options{})
	wantError(t, err, "OnTimeout is set without a Timeout", "Attempts is 0; set it to 2")
	wantError(t, operatortest.Check(operators.Async(asyncOptions{}, nil), operatortest.Options{}), "needs a function")
	wantError(t, operatortest.Check(operators.AsyncKeyed(who, nil, asyncOptions{}, nil), operatortest.Options{}), "needs a key function and a function")
	wantError(t, operatortest.Check(operators.Async(operators.AsyncOptions[chan int, int]{}, func(context.Context, chan int) ([]int, error) { return nil, nil }), operatortest.Options{}),
		"are in its checkpoints", "AsyncOptions.Codec")
}

// olderSnapshot has a record of a release whose type order was another one.
func olderSnapshot(t *testing.T) *operatortest.Snapshot {
	type order struct {
		Who string
		N   int32
	}
	h := operatortest.New(t, operators.AsyncCallback(operators.AsyncOptions[order, string]{}, func(context.Context, order, func([]string, error)) {}), operatortest.Options{})
	h.Process(order{"ann", 7}, 70)
	return h.Snapshot()
}

// TestAsyncReadsOlderRecords: records in the state are resolved to the type of today, like other state.
func TestAsyncReadsOlderRecords(t *testing.T) {
	s := newAsyncService()
	h := operatortest.New(t, operators.AsyncCallback(asyncOptions{}, s.call), operatortest.Options{From: []*operatortest.Snapshot{olderSnapshot(t)}})
	s.end(7, []string{"seven"}, nil)
	want(t, "the record", h.Outputs(), "seven@70")
}

// FuzzAsyncState: whatever the state holds, reading it never panics.
func FuzzAsyncState(f *testing.F) {
	s := newAsyncService()
	stage := operators.AsyncCallback(asyncOptions{}, s.call)
	h := operatortest.New(f, stage, operatortest.Options{})
	h.Process(order{"ann", 1}, 10)
	h.Watermark(5)
	h.Process(order{"bob", 2}, connectors.NoTimestamp)
	h.Watermark(6)
	raw, err := h.Task().Hooks().SaveRaw()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[0])
	for i := range raw[0] {
		f.Add(raw[0][:i])
	}
	f.Add(append(raw[0][:len(raw[0]):len(raw[0])], 0))
	f.Fuzz(func(t *testing.T, blob []byte) {
		task := operators.NewTask(operators.TaskConfig{Name: "fuzzed", Parallelism: 1, MaxParallelism: 1})
		if _, err := stage(task, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		err := task.Hooks().RestoreRaw([][]byte{blob})
		if string(blob) == string(raw[0]) {
			if err != nil {
				t.Errorf("the state as written: %v", err)
			}
			again, err := task.Hooks().SaveRaw()
			if err != nil || string(again[0]) != string(blob) {
				t.Errorf("saved again: %x, %v, want %x", again, err, blob)
			}
		} else if err == nil && len(blob) <= len(raw[0]) && string(blob) == string(raw[0][:len(blob)]) {
			t.Errorf("the first %d of %d bytes are taken", len(blob), len(raw[0]))
		}
	})
}

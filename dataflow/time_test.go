package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// hooks is a source and a sink around memory's whose calls run a function first: an error, a panic or a wait at any point of a
// connector's life. It counts what is open.
type hooks struct {
	memory.Source[int64]
	at   func(ctx context.Context, call string) error
	ctx  context.Context
	open *atomic.Int64
}

func numbers(n int64) memory.Source[int64] {
	return memory.Source[int64]{Records: n, Value: func(_ int, i int64) int64 { return i },
		Timestamp: func(v int64) time.Time { return time.UnixMilli(v) }}
}

func newHooks(src memory.Source[int64], at func(ctx context.Context, call string) error) hooks {
	return hooks{Source: src, at: at, ctx: context.Background(), open: &atomic.Int64{}}
}

func (h hooks) graph() *dataflow.Graph {
	g := dataflow.New("hooks")
	g.From("source", h).KeyBy(func(v int64) int64 { return v % 7 }).
		Reduce("sum", func(a, b int64) int64 { return a + b }).
		To("sink", hooksSink{h})
	return g
}

type hooksEnumerator struct {
	connectors.Enumerator
	h hooks
}

func (h hooks) NewEnumerator(c connectors.Context, restored []byte) (connectors.Enumerator, error) {
	if err := h.at(h.ctx, "NewEnumerator"); err != nil {
		return nil, err
	}
	h.open.Add(1)
	e, err := h.Source.NewEnumerator(c, restored)
	return hooksEnumerator{e, h}, err
}

func (e hooksEnumerator) Discover(ctx context.Context) (time.Duration, error) {
	return 0, e.h.at(ctx, "Discover")
}

func (e hooksEnumerator) Snapshot() ([]byte, error) {
	if err := e.h.at(e.h.ctx, "Enumerator.Snapshot"); err != nil {
		return nil, err
	}
	return e.Enumerator.Snapshot()
}

func (e hooksEnumerator) Close() error {
	e.h.open.Add(-1)
	return e.h.at(e.h.ctx, "Enumerator.Close")
}

type hooksReader struct {
	connectors.Reader[int64]
	h hooks
}

func (h hooks) NewReader(c connectors.Context) (connectors.Reader[int64], error) {
	if err := h.at(h.ctx, fmt.Sprint("NewReader ", c.Subtask)); err != nil {
		return nil, err
	}
	h.open.Add(1)
	r, err := h.Source.NewReader(c)
	return hooksReader{r, h}, err
}

func (r hooksReader) Poll(out connectors.Output[int64], max int) (connectors.Status, error) {
	if err := r.h.at(r.h.ctx, "Poll"); err != nil {
		return connectors.Idle, err
	}
	return r.Reader.Poll(out, max)
}

func (r hooksReader) Snapshot() ([]connectors.Split, error) {
	if err := r.h.at(r.h.ctx, "Reader.Snapshot"); err != nil {
		return nil, err
	}
	return r.Reader.Snapshot()
}

func (r hooksReader) Close() error {
	r.h.open.Add(-1)
	return r.h.at(r.h.ctx, "Reader.Close")
}

type hooksSink struct{ h hooks }

func (s hooksSink) Validate() error { return nil }

func (s hooksSink) NewWriter(c connectors.WriterContext) (connectors.Writer[int64], error) {
	h := s.h
	h.ctx = c.Ctx
	if err := h.at(h.ctx, "NewWriter"); err != nil {
		return nil, err
	}
	h.open.Add(1)
	return hooksWriter{h}, nil
}

func (s hooksSink) NewCommitter(connectors.Context) (connectors.Committer, error) {
	if err := s.h.at(s.h.ctx, "NewCommitter"); err != nil {
		return nil, err
	}
	s.h.open.Add(1)
	return hooksCommitter(s), nil
}

type hooksWriter struct{ h hooks }

func (w hooksWriter) Write(int64, connectors.Meta) error { return w.h.at(w.h.ctx, "Write") }
func (w hooksWriter) Idle() error                        { return w.h.at(w.h.ctx, "Writer.Idle") }

func (w hooksWriter) Prepare(ctx context.Context, _ int64) ([][]byte, error) {
	return [][]byte{{1}}, w.h.at(ctx, "Prepare")
}

func (w hooksWriter) Close() error {
	w.h.open.Add(-1)
	return w.h.at(w.h.ctx, "Writer.Close")
}

type hooksCommitter struct{ h hooks }

func (c hooksCommitter) Commit(ctx context.Context, _ int64, _ [][]byte) error {
	return c.h.at(ctx, "Commit")
}

func (c hooksCommitter) Recover(ctx context.Context, _ int64, _ [][]byte) error {
	return c.h.at(ctx, "Recover")
}

func (c hooksCommitter) Close() error {
	c.h.open.Add(-1)
	return c.h.at(c.h.ctx, "Committer.Close")
}

// TestFailuresEverywhere lets one call of a connector fail, panic or end its goroutine: the job must end with that cause, with everything closed
// and no goroutine left (synctest fails on one that is).
func TestFailuresEverywhere(t *testing.T) {
	boom := errors.New("boom")
	ways := map[string]func() error{
		"error": func() error { return boom },
		"panic": func() error { panic(boom) },
		"exit":  func() error { goruntime.Goexit(); return nil },
	}
	for _, call := range []string{"NewEnumerator", "Discover", "Enumerator.Snapshot", "NewReader 0", "NewReader 1", "Poll", "Reader.Snapshot",
		"NewWriter", "NewCommitter", "Write", "Writer.Idle", "Prepare", "Commit", "Recover"} {
		for way, fail := range ways {
			onTask := call == "Poll" || call == "Write" || call == "NewWriter" || call == "Writer.Idle" || call == "Prepare" || call == "Reader.Snapshot"
			if way == "exit" && !onTask {
				continue // only functions of tasks may be the user's tests'
			}
			t.Run(call+" "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src := numbers(2000)
					src.KeepOpen = true // no end before a call that comes late
					h := newHooks(src, func(_ context.Context, c string) error {
						if c == call {
							return fail()
						}
						return nil
					})
					err := h.graph().Run(t.Context(), dataflow.Options{Parallelism: 2, Restart: dataflow.Restart{Never: true},
						Checkpoint: checkpoint.Every(time.Second, checkpointtest.NewMemory("m"))})
					if way == "exit" && (err == nil || !strings.Contains(err.Error(), "runtime.Goexit")) || way != "exit" && !errors.Is(err, boom) {
						t.Errorf("got %v", err)
					}
					if way == "panic" && (err == nil || !strings.Contains(err.Error(), "panic")) {
						t.Errorf("the error does not say that it was a panic: %v", err)
					}
					if n := h.open.Load(); n != 0 {
						t.Errorf("%d parts are still open", n)
					}
				})
			})
		}
	}
}

// TestCloseNeverStartsAFinishedJobAgain: an error or panic of a Close is no reason to.
func TestCloseNeverStartsAFinishedJobAgain(t *testing.T) {
	for _, call := range []string{"Enumerator.Close", "Reader.Close", "Writer.Close", "Committer.Close"} {
		for _, way := range []string{"error", "panic"} {
			t.Run(call+" "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHooks(numbers(100), func(_ context.Context, c string) error {
						if c != call {
							return nil
						}
						if way == "panic" {
							panic("close")
						}
						return errors.New("close")
					})
					j, err := h.graph().Start(t.Context(), dataflow.Options{Parallelism: 2})
					if err != nil {
						t.Fatal(err)
					}
					if err := j.Wait(); err != nil || j.Restarts() != 0 {
						t.Errorf("got %v after %d restarts", err, j.Restarts())
					}
					if n := h.open.Load(); n != 0 {
						t.Errorf("%d parts are still open", n)
					}
				})
			})
		}
	}
}

// TestBackoffDoublesAndGivesUp: the waits lie in [d/2, d) for d = 1, 2, 4, 5, 5 s, and then the job fails with the cause.
func TestBackoffDoublesAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		var at []time.Time
		src := numbers(10)
		src.KeepOpen = true // or the job might finish before Discover has failed
		h := newHooks(src, func(_ context.Context, call string) error {
			if call == "Discover" {
				at = append(at, time.Now())
				return boom
			}
			return nil
		})
		j, err := h.graph().Start(t.Context(), dataflow.Options{Restart: dataflow.Restart{MaxAttempts: 5, InitialDelay: time.Second, MaxDelay: 5 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		err = j.Wait()
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), `"hooks" gave up after 5 restarts`) {
			t.Errorf("got %v", err)
		}
		if len(at) != 6 || j.Restarts() != 5 {
			t.Fatalf("%d attempts and %d restarts, want 6 and 5", len(at), j.Restarts())
		}
		for i, d := range []time.Duration{1, 2, 4, 5, 5} {
			d *= time.Second
			if wait := at[i+1].Sub(at[i]); wait < d/2 || wait >= d {
				t.Errorf("restart %d after %v, want [%v, %v)", i+1, wait, d/2, d)
			}
		}
	})
}

// TestBackoffBeginsAgain after a completed checkpoint, and after a long run.
func TestBackoffBeginsAgain(t *testing.T) {
	for name, store := range map[string]checkpoint.Storage{"checkpoint": checkpointtest.NewMemory("m"), "long run": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				attempts := 0
				src := numbers(10)
				src.KeepOpen = true
				h := newHooks(src, func(ctx context.Context, call string) error {
					if call != "Discover" {
						return nil
					}
					if attempts++; attempts == 6 {
						cancel()
					}
					life := time.NewTimer(3 * time.Minute)
					defer life.Stop()
					select {
					case <-life.C:
						return errors.New("boom")
					case <-ctx.Done():
						return nil
					}
				})
				o := dataflow.Options{Restart: dataflow.Restart{MaxAttempts: 1, ResetAfter: 2 * time.Minute}}
				if store != nil {
					o.Checkpoint, o.Restart.ResetAfter = checkpoint.Every(time.Minute, store), time.Hour
				}
				if err := h.graph().Run(ctx, o); !errors.Is(err, context.Canceled) || attempts != 6 {
					t.Errorf("%d attempts, then %v; one restart in a row is allowed, and none of these was in a row", attempts, err)
				}
			})
		})
	}
}

// TestCheckpointTimeoutFailsTheAttempt and says which task it waited for.
func TestCheckpointTimeoutFailsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooks(numbers(10), func(ctx context.Context, call string) error {
			if call == "Prepare" {
				<-ctx.Done()
			}
			return nil
		})
		start := time.Now()
		err := h.graph().Run(t.Context(), dataflow.Options{Restart: dataflow.Restart{Never: true},
			Checkpoint: checkpoint.Every(10*time.Second, checkpointtest.NewMemory("m"), checkpoint.Timeout(time.Minute))})
		if err == nil || !strings.Contains(err.Error(), "timed out after 1m0s: waiting for sum-0") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("failed after %v, want 1m: the final checkpoint begins at once", took)
		}
		if n := h.open.Load(); n != 0 {
			t.Errorf("%d parts are still open", n)
		}
	})
}

// TestProcessingTimersFireOnTime through the runtime, in order, at the millisecond, and again after a restart.
func TestProcessingTimersFireOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var fired []string
		failed := false
		src := numbers(1)
		src.KeepOpen = true
		g := dataflow.New("timers")
		g.From("source", src).KeyBy(func(int64) string { return "k" }).
			Process("timers", func(b *operators.Keyed[string, int64, int64]) {
				b.OnRecord(func(c *operators.Ctx[string, int64], _ int64) error {
					for _, d := range []time.Duration{time.Hour, 1500 * time.Millisecond, 10 * time.Minute} {
						c.ProcessingTimerAt(start.Add(d))
					}
					return nil
				})
				b.OnProcessingTimer(func(c *operators.Ctx[string, int64], at time.Time) error {
					if at.Sub(start) == 10*time.Minute && !failed {
						failed = true
						return errors.New("once")
					}
					fired = append(fired, fmt.Sprint(at.Sub(start), " at ", time.Since(start).Truncate(time.Minute)))
					return c.Emit(at.Sub(start).Milliseconds())
				})
			}).To("sink", memory.NewSink[int64]())
		j, err := g.Start(t.Context(), dataflow.Options{Restart: dataflow.Restart{InitialDelay: 2 * time.Minute, MaxDelay: 2 * time.Minute},
			Checkpoint: checkpoint.Every(5*time.Minute, checkpointtest.NewMemory("m"))})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := j.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(fired, ", ")
		// The restart takes between one and two minutes, in which the timer of minute 10 waits.
		if got != "1.5s at 0s, 10m0s at 11m0s, 1h0m0s at 1h0m0s" || j.Restarts() != 1 {
			t.Errorf("%d restarts, fired %s", j.Restarts(), got)
		}
	})
}

// TestStopWhileBackpressured: a sink that takes nothing holds a stop up, whose context ends it; cancelling the job ends everything.
func TestStopWhileBackpressured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		h := newHooks(numbers(100_000), func(ctx context.Context, call string) error {
			if call == "Write" {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		})
		j, err := h.graph().Start(ctx, dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(time.Hour, checkpointtest.NewMemory("m"))})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // everything is full
		short, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		if _, err := j.Stop(short, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop returned %v", err)
		}
		enough := errors.New("enough")
		cancel(enough)
		if err := j.Wait(); !errors.Is(err, enough) {
			t.Errorf("Wait returned %v, want the cause", err)
		}
		if n := h.open.Load(); n != 0 {
			t.Errorf("%d parts are still open", n)
		}
	})
}

// TestSavepointDuringARestart waits for the next attempt; one that an attempt takes with it is refused and may be asked again.
func TestSavepointDuringARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var once sync.Once
		release := make(chan struct{})
		src := numbers(10)
		src.KeepOpen = true
		h := newHooks(src, func(ctx context.Context, call string) (err error) {
			if call == "Prepare" {
				once.Do(func() {
					<-release
					err = errors.New("boom")
				})
			}
			return err
		})
		j, err := h.graph().Start(t.Context(), dataflow.Options{Restart: dataflow.Restart{InitialDelay: time.Hour, MaxDelay: time.Hour},
			Checkpoint: checkpoint.Every(24*time.Hour, checkpointtest.NewMemory("m"))})
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error, 1)
		go func() {
			_, err := j.Savepoint(t.Context())
			first <- err
		}()
		synctest.Wait()
		close(release)
		if err := <-first; err == nil || !strings.Contains(err.Error(), "boom") && !errors.Is(err, checkpoint.ErrJobFailed) {
			t.Errorf("the savepoint of the failed attempt: %v", err)
		}
		start := time.Now()
		if _, err := j.Savepoint(t.Context()); err != nil {
			t.Errorf("the savepoint asked for during the restart: %v", err)
		}
		if took := time.Since(start); took < 30*time.Minute || took >= time.Hour {
			t.Errorf("it took %v, want the back-off", took)
		}
		if _, err := j.Stop(t.Context(), false); err != nil {
			t.Error(err)
		}
	})
}

// brokenStorage panics when it is opened once broken is set.
type brokenStorage struct {
	checkpoint.Storage
	broken *atomic.Bool
}

func (s brokenStorage) Open(ctx context.Context) (checkpoint.Objects, error) {
	if s.broken.Load() {
		panic("broken storage")
	}
	return s.Storage.Open(ctx)
}

// TestPanicOfTheStorage during a restart counts as a failed restart and does not end the process.
func TestPanicOfTheStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &atomic.Bool{}
		h := newHooks(numbers(10), func(_ context.Context, call string) error {
			if call == "Prepare" {
				broken.Store(true)
				return errors.New("boom")
			}
			return nil
		})
		store := brokenStorage{checkpointtest.NewMemory("m"), broken}
		err := h.graph().Run(t.Context(), dataflow.Options{Restart: dataflow.Restart{MaxAttempts: 3}, Checkpoint: checkpoint.Every(time.Second, store)})
		if err == nil || !strings.Contains(err.Error(), "gave up after 3 restarts") || !strings.Contains(err.Error(), "broken storage") {
			t.Errorf("got %v", err)
		}
	})
}

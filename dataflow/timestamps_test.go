package dataflow_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// TestSilentPartition: one that never has a record holds the watermark for a minute and no longer, whether it shares its subtask with others or
// not; with NeverIdle it holds it for ever.
func TestSilentPartition(t *testing.T) {
	for _, c := range []struct {
		name        string
		parallelism int
		w           operators.Watermarks[int64]
		from, until time.Duration // of the first watermark
	}{
		{"one subtask", 1, inOrder(), time.Minute, time.Minute + time.Second},
		{"two subtasks", 2, inOrder(), time.Minute, time.Minute + time.Second},
		{"sooner", 2, inOrder().WithIdleness(5 * time.Second), 5 * time.Second, 6 * time.Second},
		{"never", 2, inOrder().WithoutIdleness(), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []watched
				src := paced{start: time.Now(), splits: []pace{{step: 1000, records: 300, every: time.Second}, {open: true}}}
				g := dataflow.New("silent")
				g.From("source", src).Timestamps(c.w).Transform("", watch(src.start, &seen)).Parallelism(1).To("out", memory.NewSink[int64]())
				j, err := g.Start(t.Context(), dataflow.Options{Parallelism: c.parallelism, Checkpoint: hourly()})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Minute)
				if _, err := j.Stop(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				switch {
				case c.until == 0:
					if len(seen) > 0 {
						t.Errorf("watermarks %v, want none", seen)
					}
				case len(seen) == 0 || seen[0].after < c.from || seen[0].after > c.until:
					t.Errorf("the first watermark is that of %v, want one between %v and %v", seen, c.from, c.until)
				case seen[len(seen)-1].ms < 178_000:
					t.Errorf("the last watermark is %v, want that of the third minute", seen[len(seen)-1])
				}
			})
		})
	}
}

// TestBackpressureIsNotSilence: a step that stands still for ten minutes holds the source up; the split that could not be read meanwhile is not
// idle, so its records are not late.
func TestBackpressureIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := paced{start: time.Now(), splits: []pace{
			{step: 1, records: 20_000, after: 3 * time.Second}, {step: 100, records: 100, after: 5 * time.Second, every: time.Second}}}
		var once sync.Once
		late := 0
		slow := func(task *operators.Task, emit func(int64) error) (func(int64) error, error) {
			return func(v int64) error {
				once.Do(func() { time.Sleep(10 * time.Minute) })
				if v <= task.Watermark() {
					late++
				}
				return emit(v)
			}, nil
		}
		g := dataflow.New("blocked")
		g.From("source", src).Timestamps(inOrder()).Transform("", slow).NewChain().To("out", memory.NewSink[int64]())
		if err := g.Run(t.Context(), dataflow.Options{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(src.start); took < 10*time.Minute {
			t.Fatalf("it took %v: nothing was blocked", took)
		}
		if late > 0 {
			t.Errorf("%d records were late", late)
		}
	})
}

// lead measures how far the records of one source are ahead of another's.
type lead struct{ slow, fast, most atomic.Int64 }

func (l *lead) sawSlow(v int64) { l.slow.Store(v) }

func (l *lead) sawFast(v int64) {
	l.fast.Add(1)
	l.most.Store(max(l.most.Load(), v-l.slow.Load()))
}

// racers are two sources: slow takes 20 s for 20 s of event time, and fast has its 20 s, in two splits, at hand.
func racers(pauses bool, w operators.Watermarks[int64], slowly pace) (*dataflow.Graph, *lead, *memory.Sink[int64]) {
	l, sink := &lead{}, memory.NewSink[int64]()
	g := dataflow.New("racers")
	start := time.Now()
	fast := g.From("fast", paced{start: start, pauses: pauses, emit: l.sawFast, splits: []pace{{step: 1, records: 20_000}, {step: 1, records: 20_000}}})
	slow := g.From("slow", paced{start: start, emit: l.sawSlow, splits: []pace{slowly}})
	fast.Timestamps(w).Union(slow.Timestamps(w)).To("out", sink)
	return g, l, sink
}

var slowly = pace{step: 100, records: 200, every: 100 * time.Millisecond}

// TestAlignment: the fast source is ahead by the drift, a batch per split and the slow one's next record, and no more; without alignment by all it has.
func TestAlignment(t *testing.T) {
	for _, c := range []struct {
		name        string
		pauses      bool
		parallelism int
		w           operators.Watermarks[int64]
		from, until int64
	}{
		{"pausing splits", true, 1, inOrder().WithAlignment("g", time.Second), 900, 1400},
		{"whole readers", false, 1, inOrder().WithAlignment("g", time.Second), 900, 1700},
		{"two subtasks", false, 2, inOrder().WithAlignment("g", time.Second), 900, 1400},
		{"no alignment", true, 1, inOrder(), 19_000, 20_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, l, sink := racers(c.pauses, c.w, slowly)
				j, err := g.Start(t.Context(), dataflow.Options{Parallelism: c.parallelism})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10*time.Second + 50*time.Millisecond)
				checkAlignmentShown(t, j, c.w.Alignment.Group, c.parallelism)
				if err := j.Wait(); err != nil {
					t.Fatal(err)
				}
				if got := l.most.Load(); got < c.from || got > c.until {
					t.Errorf("the fast source was ahead by %d ms at most, want %d…%d", got, c.from, c.until)
				}
				if n := len(sink.Values()); n != 40_200 {
					t.Errorf("%d records came out, want all 40200", n)
				}
			})
		})
	}
}

// checkAlignmentShown checks what a job shows of its alignment when slow has come to 10 s.
func checkAlignmentShown(t *testing.T, j *dataflow.Job, group string, parallelism int) {
	t.Helper()
	states := j.Alignment()
	if group == "" {
		if len(states) > 0 {
			t.Errorf("alignment %+v, want none", states)
		}
		return
	}
	if len(states) != 2*parallelism {
		t.Fatalf("the alignment of %d subtasks, want %d", len(states), 2*parallelism)
	}
	for _, s := range states {
		switch {
		case s.Group != group || s.MaxDrift != time.Second || s.GroupMS != 9999:
			t.Errorf("alignment %+v, want group %q with drift 1s and watermark 9999", s, group)
		case s.UID == "fast" && (len(s.Paused) != 2/parallelism || s.Since.IsZero() || s.DriftMS() < 900):
			t.Errorf("alignment %+v, want its splits held back, and ahead", s)
		case s.UID == "slow" && (len(s.Paused) > 0 || !s.Since.IsZero() || s.DriftMS() != 0):
			t.Errorf("alignment %+v, want nothing held back", s)
		}
	}
}

// TestAlignmentOfSplits of one source: a reader that can pauses the fast one, and the slow one goes on; another reads both.
func TestAlignmentOfSplits(t *testing.T) {
	for pauses, want := range map[bool][2]int64{true: {900, 1700}, false: {19_000, 20_000}} {
		synctest.Test(t, func(t *testing.T) {
			var slow, most int64
			src := paced{start: time.Now(), pauses: pauses, splits: []pace{{step: 2, records: 10_000}, {from: 1, step: 100, records: 200, every: 100 * time.Millisecond}},
				emit: func(v int64) {
					if v%2 == 1 {
						slow = v
					}
					most = max(most, v-slow)
				}}
			sink := memory.NewSink[int64]()
			g := dataflow.New("splits")
			g.From("source", src).Timestamps(inOrder().WithAlignment("g", time.Second)).To("out", sink)
			if err := g.Run(t.Context(), dataflow.Options{}); err != nil {
				t.Fatal(err)
			}
			if n := len(sink.Values()); n != 10_200 || most < want[0] || most > want[1] {
				t.Errorf("pauses %v: %d records, ahead by %d ms at most, want 10200 and %d…%d", pauses, n, most, want[0], want[1])
			}
		})
	}
}

// TestAlignmentDoesNotWaitForTheClock: of two sources that have all at hand the one that is held back goes on as soon as the other has caught up.
func TestAlignmentDoesNotWaitForTheClock(t *testing.T) {
	for _, pauses := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g, _, sink := racers(pauses, inOrder().WithAlignment("g", 10*time.Millisecond), pace{step: 10, records: 2000})
			start := time.Now()
			wantNoError(t, g.Run(t.Context(), dataflow.Options{}))
			if took := time.Since(start); took > 100*time.Millisecond || len(sink.Values()) != 42_000 {
				t.Errorf("pauses %v: it took %v for %d records, want no time for 42000", pauses, took, len(sink.Values()))
			}
		})
	}
}

// TestAlignmentHoldsNothingUp: barriers, stops and the end pass a source that is held back; idle and finished splits hold back nobody.
func TestAlignmentHoldsNothingUp(t *testing.T) {
	silent := pace{step: 100, records: 10, every: 100 * time.Millisecond, open: true}
	for _, pauses := range []bool{true, false} {
		for name, do := range map[string]func(t *testing.T, j *dataflow.Job){
			"savepoint": func(t *testing.T, j *dataflow.Job) { _, err := j.Savepoint(t.Context()); wantNoError(t, err) },
			"stop":      func(t *testing.T, j *dataflow.Job) { _, err := j.Stop(t.Context(), false); wantNoError(t, err) },
			"drain":     func(t *testing.T, j *dataflow.Job) { _, err := j.Stop(t.Context(), true); wantNoError(t, err) },
		} {
			t.Run(fmt.Sprint(name, " pauses=", pauses), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g, l, _ := racers(pauses, inOrder().WithoutIdleness().WithAlignment("g", time.Second), silent)
					j, err := g.Start(t.Context(), dataflow.Options{Checkpoint: hourly()})
					wantNoError(t, err)
					time.Sleep(10 * time.Minute)
					if n := l.fast.Load(); n < 2000 || n > 6000 {
						t.Fatalf("the fast source has %d records out, want it held back", n)
					}
					before := time.Now()
					do(t, j)
					if took := time.Since(before); took > time.Second {
						t.Errorf("it took %v", took)
					}
					if name == "savepoint" {
						_, err := j.Stop(t.Context(), false)
						wantNoError(t, err)
					}
				})
			})
		}
		t.Run(fmt.Sprint("idle and finished pauses=", pauses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, l, _ := racers(pauses, inOrder().WithAlignment("g", time.Second), silent)
				j, err := g.Start(t.Context(), dataflow.Options{Checkpoint: hourly()})
				wantNoError(t, err)
				time.Sleep(time.Minute)
				if n := l.fast.Load(); n > 6000 {
					t.Fatalf("after a minute the fast source has %d records out, want it held back", n)
				}
				time.Sleep(10 * time.Second)
				if n := l.fast.Load(); n != 40_000 {
					t.Errorf("the slow source is idle and the fast one has %d records out, want all", n)
				}
				_, err = j.Stop(t.Context(), false)
				wantNoError(t, err)
				g, l, _ = racers(pauses, inOrder().WithoutIdleness().WithAlignment("g", time.Second), pace{step: 100, records: 10, every: 100 * time.Millisecond})
				wantNoError(t, g.Run(t.Context(), dataflow.Options{}))
				if n := l.fast.Load(); n != 40_000 {
					t.Errorf("the slow source has ended and the fast one has %d records out, want all", n)
				}
			})
		})
	}
}

// hourly are checkpoints that a test does not live to see, and a storage for its savepoints.
func hourly() checkpoint.Config { return checkpoint.Every(time.Hour, checkpointtest.NewMemory("m")) }

func wantNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlignmentIsRefused where it cannot hold anything back, with the remedy.
func TestAlignmentIsRefused(t *testing.T) {
	w := inOrder().WithAlignment("g", time.Second)
	for name, c := range map[string]struct {
		build func(s dataflow.Stream[int64]) dataflow.Stream[int64]
		says  []string
	}{
		"behind an exchange": {func(s dataflow.Stream[int64]) dataflow.Stream[int64] { return s.Rebalance().Timestamps(w) },
			[]string{`group "g"`, "call Timestamps directly on the source"}},
		"twice": {func(s dataflow.Stream[int64]) dataflow.Stream[int64] { return s.Timestamps(w).Timestamps(w) },
			[]string{`both align source "source"`, "leave Alignment to one"}},
	} {
		g := dataflow.New("refused")
		c.build(g.From("source", paced{})).To("out", memory.NewSink[int64]())
		err := g.Validate(dataflow.Options{Parallelism: 2})
		for _, s := range c.says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%s: got %v, want an error that says %q", name, err, s)
			}
		}
	}
}

// both passes on the records of two inputs with the watermark that they find, and at the end says so: the last result must be made durable.
func both(t *operators.Task, emit func(string) error) (func(int64) error, func(int64) error, error) {
	note := func(input string) func(int64) error {
		return func(v int64) error { return emit(fmt.Sprint(input, " ", v, " late=", v <= t.Watermark())) }
	}
	t.OnWatermark(func(ms int64) error {
		if ms != operators.EndOfTime {
			return nil
		}
		t.Context().TimestampMS = ms
		return emit("end of time")
	})
	return note("a"), note("b"), nil
}

// TestInputsThatEndAtDifferentTimes: of two sources one ends after 10 s, and the other after 3 minutes, with a split that is silent for most of them;
// the job ends, each record in time, and the final checkpoint makes the last result visible.
func TestInputsThatEndAtDifferentTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, sink := time.Now(), memory.NewSink[string]()
		g := dataflow.New("ends")
		a := g.From("a", paced{start: start, splits: []pace{{step: 1000, records: 10, every: time.Second}, {step: 1000, records: 5, every: time.Second}}}).Timestamps(inOrder())
		b := g.From("b", paced{start: start, splits: []pace{{step: 1000, records: 180, every: time.Second},
			{from: 170_000, step: 1000, records: 10, every: time.Second, after: 170 * time.Second}}}).Timestamps(inOrder())
		a.KeyBy(func(int64) int { return 0 }).Transform2("both", b.KeyBy(func(int64) int { return 0 }), both).Parallelism(1).To("out", sink)
		if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2, Checkpoint: hourly()}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 170*time.Second || took > 3*time.Minute+time.Second {
			t.Errorf("it took %v, want 3 minutes", took)
		}
		got := sink.Values()
		late := 0
		for _, v := range got {
			if strings.Contains(v, "late=true") {
				late++
			}
		}
		if len(got) != 10+5+180+10+1 || !slices.Contains(got, "end of time") || late > 0 {
			t.Errorf("%d results, %d of them late, want 206 with the end of time, and none", len(got), late)
		}
	})
}

// TestLateStaysLateWithTwoInputs: an operator with two inputs goes on from its watermark after a restore, though its inputs begin without one; the
// record that comes then was late before.
func TestLateStaysLateWithTwoInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := checkpointtest.NewMemory("m")
		start, sink := time.Now(), memory.NewSink[string]()
		graph := func() *dataflow.Graph {
			g := dataflow.New("late")
			a := g.From("a", paced{start: start, splits: []pace{{step: 1000, records: 10, open: true}}}).Timestamps(inOrder())
			b := g.From("b", paced{start: start, splits: []pace{{step: 1000, records: 10, open: true}, {from: 500, records: 1, after: time.Hour, open: true}}}).
				Timestamps(inOrder())
			a.KeyBy(func(int64) int { return 0 }).Transform2("both", b.KeyBy(func(int64) int { return 0 }), both).To("out", sink).Parallelism(1)
			return g
		}
		for _, d := range []time.Duration{10 * time.Minute, 2 * time.Hour} {
			j, err := graph().Start(t.Context(), dataflow.Options{Checkpoint: checkpoint.Every(24*time.Hour, store)})
			wantNoError(t, err)
			time.Sleep(d)
			_, err = j.Stop(t.Context(), false)
			wantNoError(t, err)
		}
		got := sink.Values()
		if len(got) != 21 || got[20] != "b 500 late=true" {
			t.Errorf("results %q, want 21, the last a late record of b", got)
		}
	})
}

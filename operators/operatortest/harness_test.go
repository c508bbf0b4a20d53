package operatortest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// spy is an operator that notes every call of a hook, in order.
func spy(log *[]string, own bool) operators.Stage[int, int] {
	return func(t *operators.Task, emit func(int) error) (func(int) error, error) {
		note := func(format string, args ...any) error {
			*log = append(*log, fmt.Sprintf(format, args...))
			return nil
		}
		if own {
			t.OwnWatermarks()
		}
		t.OnOpen(func(context.Context) error { return note("open") })
		t.OnWatermark(func(ms int64) error { return errors.Join(note("watermark %d, current %d", ms, t.Watermark()), emit(1)) })
		t.OnIdleness(func(idle bool) error { return note("idle %v", idle) })
		t.OnSplit(func(split int, e operators.SplitEvent) error { return note("split %d %d", split, e) })
		t.OnBarrier(func(_ context.Context, id int64) error { return errors.Join(note("barrier %d", id), emit(2)) })
		t.Hooks().Committables = func(_ context.Context, id int64) ([][]byte, error) {
			return [][]byte{fmt.Append(nil, id)}, note("prepare %d", id)
		}
		t.UseRaw(func() ([][]byte, error) { return [][]byte{fmt.Append(nil, t.Subtask())}, note("save") },
			func(blobs [][]byte) error { return note("restore %s", blobs) })
		t.OnCompleted(func(id int64) { _ = note("completed %d", id) })
		t.OnDry(func() error { return note("dry") })
		t.OnEnd(func() error { return note("end") })
		t.OnClose(func() error { return note("close") })
		t.UseTimers(func() (int64, bool) { return 100, true }, func(ms int64) error { return note("fire %d", ms) })
		return func(v int) error { return errors.Join(note("record %d of %v", v, t.Context().At), emit(v)) }, nil
	}
}

func texts[T any](es []operatortest.Element[T]) string {
	var s []string
	for _, e := range es {
		s = append(s, e.String())
	}
	return strings.Join(s, ", ")
}

// TestOrderOfHooks: SetWatermark, the watermark hooks, then the watermark itself; at a barrier the hooks, then committables and raw
// state; EndOfTime before the end.
func TestOrderOfHooks(t *testing.T) {
	var log []string
	h := operatortest.New(t, spy(&log, false), operatortest.Options{})
	h.Process(7, 1)
	h.Watermark(5)
	h.Watermark(5)
	h.Idle(true)
	h.Split(3, operators.SplitIdle)
	h.Dry()
	s := h.Snapshot()
	h.Completed()
	h.AdvanceProcessingTime(99)
	h.AdvanceProcessingTime(100)
	h.EndInput()
	h.AdvanceProcessingTime(200)
	h.Close()
	h.Close()
	want := []string{"open", "record 7 of operatortest/0@0", "watermark 5, current 5", "idle true", "split 3 1", "dry", "barrier 1", "prepare 1", "save",
		"completed 1", "fire 100", fmt.Sprintf("watermark %d, current %[1]d", operators.EndOfTime), "end", "close"}
	if !slices.Equal(log, want) {
		t.Errorf("got  %q\nwant %q", log, want)
	}
	if got := texts(h.Outputs()); got != "7@1, 1@1, watermark 5, idle, 2@1, 1@1, watermark end" {
		t.Errorf("output %s", got)
	}
	if string(s.Committables[0]) != "1" || s.WatermarkMS != 5 {
		t.Errorf("snapshot %+v", s)
	}
}

// TestOwnWatermarks: those of the input end in the operator, except EndOfTime, and idleness does.
func TestOwnWatermarks(t *testing.T) {
	var log []string
	h := operatortest.New(t, spy(&log, true), operatortest.Options{})
	h.Watermark(5)
	h.Idle(true)
	h.EndInput()
	if got := texts(h.Outputs()); got != "1@none, 1@none, watermark end" {
		t.Errorf("output %s", got)
	}
}

// TestRestoredWatermark is passed on first; an operator that had ended does not end again.
func TestRestoredWatermark(t *testing.T) {
	var log []string
	h := operatortest.New(t, spy(&log, false), operatortest.Options{})
	h.Watermark(10)
	running := h.Snapshot()
	h.EndInput()
	ended := h.Snapshot()

	log = nil
	h = operatortest.New(t, spy(&log, false), operatortest.Options{From: []*operatortest.Snapshot{running}})
	h.Watermark(10)
	h.EndInput()
	if got := texts(h.Outputs()); got != "watermark 10, 1@none, watermark end" {
		t.Errorf("output %s", got)
	}
	log = nil
	h = operatortest.New(t, spy(&log, false), operatortest.Options{From: []*operatortest.Snapshot{ended}})
	h.EndInput()
	h.AdvanceProcessingTime(500)
	if got := texts(h.Outputs()); got != "watermark end" || slices.Contains(log, "end") {
		t.Errorf("output %s, hooks %q", got, log)
	}
}

// TestRestoreRaw deals the blobs of all subtasks out, and takes the least watermark.
func TestRestoreRaw(t *testing.T) {
	var from []*operatortest.Snapshot
	for i := range 3 {
		var log []string
		h := operatortest.New(t, spy(&log, false), operatortest.Options{Subtask: i, Parallelism: 3})
		h.Watermark(int64(10 * (i + 1)))
		from = append(from, h.Snapshot())
	}
	for i, want := range []string{"[restore [0 2] open]", "[restore [1] open]"} {
		var log []string
		h := operatortest.New(t, spy(&log, false), operatortest.Options{Subtask: i, Parallelism: 2, From: from})
		if fmt.Sprint(log) != want || h.Task().Watermark() != 10 {
			t.Errorf("subtask %d: %v at watermark %d, want %s at 10", i, log, h.Task().Watermark(), want)
		}
		h = operatortest.New(t, spy(&log, false), operatortest.Options{Subtask: i, Parallelism: 2, From: from, ForgetWatermark: true})
		if h.Task().Watermark() != operators.NoWatermark {
			t.Errorf("watermark %d, want none", h.Task().Watermark())
		}
	}
}

func counter(name string) operators.Stage[string, int64] {
	return operators.Process(strings.ToLower, nil, func(b *operators.Keyed[string, string, int64]) {
		n := b.Value[int64](name)
		b.OnRecord(func(c *operators.Ctx[string, int64], _ string) error {
			v, err := n.Get()
			return errors.Join(err, n.Set(v+1), c.Emit(v+1))
		})
	})
}

// TestRescaleTwice: state moves from one subtask to three and back, and a snapshot that a restored operator takes holds what it was
// restored from.
func TestRescaleTwice(t *testing.T) {
	h := operatortest.New(t, counter("n"), operatortest.Options{}).KeyBy(strings.ToLower, nil)
	keys := strings.Fields("a b c d e f g h")
	for _, k := range keys {
		h.Process(k, 1)
	}
	var from []*operatortest.Snapshot
	spread := 0
	for i := range 3 {
		h := operatortest.New(t, counter("n"), operatortest.Options{Subtask: i, Parallelism: 3, From: []*operatortest.Snapshot{h.Snapshot()}}).KeyBy(strings.ToLower, nil)
		mine := 0
		for _, k := range keys {
			if h.Owner(k) == i {
				mine++
				h.Process(k, 1)
			} else if err := h.TryProcess(k, 1); err == nil || !strings.Contains(err.Error(), "belongs to subtask") {
				t.Errorf("the record of another subtask: %v", err)
			}
		}
		if got := h.Records(); len(got) != mine || slices.ContainsFunc(got, func(n int64) bool { return n != 2 }) {
			t.Errorf("subtask %d counts %v", i, got)
		}
		if mine > 0 {
			spread++
		}
		from = append(from, h.Snapshot())
	}
	if spread < 2 {
		t.Fatal("all keys belong to one subtask: the test shows nothing")
	}
	h = operatortest.New(t, counter("n"), operatortest.Options{From: from}).KeyBy(strings.ToLower, nil)
	for _, k := range keys {
		h.Process(strings.ToUpper(k), 1)
	}
	if got := h.Records(); slices.ContainsFunc(got, func(n int64) bool { return n != 3 }) || len(got) != len(keys) {
		t.Errorf("counts %v", got)
	}
}

// failed is a TB that notes the failure instead of ending the test.
type failed struct {
	*testing.T
	text string
}

func (f *failed) Fatalf(format string, args ...any) {
	if f.text == "" {
		f.text = fmt.Sprintf(format, args...)
	}
	panic(f)
}

func failure(t *testing.T, use func(operatortest.TB)) string {
	f := &failed{T: t}
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(f) {
				panic(v)
			}
		}()
		use(f)
	}()
	return f.text
}

func TestMisuseIsSaid(t *testing.T) {
	old := operatortest.New(t, counter("n"), operatortest.Options{}).KeyBy(strings.ToLower, nil)
	old.Process("a", 1)
	from := []*operatortest.Snapshot{old.Snapshot()}
	for _, c := range []struct {
		says string
		use  func(operatortest.TB)
	}{
		{"call KeyBy", func(t operatortest.TB) { operatortest.New(t, counter("n"), operatortest.Options{}).Process("a", 1) }},
		{"never goes back", func(t operatortest.TB) {
			operatortest.New(t, counter("n"), operatortest.Options{NowMS: 5}).AdvanceProcessingTime(4)
		}},
		{"Parallelism 3 and MaxParallelism 2", func(t operatortest.TB) {
			operatortest.New(t, counter("n"), operatortest.Options{Parallelism: 3, MaxParallelism: 2})
		}},
		{"Subtask is 2, want 0…1", func(t operatortest.TB) {
			operatortest.New(t, counter("n"), operatortest.Options{Parallelism: 2, Subtask: 2})
		}},
		{"the stage is nil", func(t operatortest.TB) { operatortest.New[int, int](t, nil, operatortest.Options{}) }},
		{`"n"`, func(t operatortest.TB) { operatortest.New(t, counter("m"), operatortest.Options{From: from}) }},
		{"taken with max parallelism 128, the harness has 7", func(t operatortest.TB) {
			operatortest.New(t, counter("n"), operatortest.Options{From: from, MaxParallelism: 7})
		}},
	} {
		if got := failure(t, c.use); !strings.Contains(got, c.says) {
			t.Errorf("got %q, want a failure that says %q", got, c.says)
		}
	}
	operatortest.New(t, counter("m"), operatortest.Options{From: from, Drop: []string{"n"}})
}

func TestDeadLettersAndSplitContext(t *testing.T) {
	h := operatortest.New(t, func(t *operators.Task, emit func(int) error) (func(int) error, error) {
		return func(v int) error {
			if v < 0 {
				return operators.Refuse(t, v, errors.New("negative"))
			}
			return emit(t.Context().Split)
		}, nil
	}, operatortest.Options{DeadLetters: true})
	h.Process(1, 1)
	h.ProcessSplit(4, 1, connectors.NoTimestamp)
	h.Process(-1, 3)
	if got := texts(h.Outputs()); got != "-1@1, 4@none" {
		t.Errorf("output %s", got)
	}
	if d := h.DeadLetters(); len(d) != 1 || d[0].Reason != "negative" || len(h.DeadLetters()) != 0 {
		t.Errorf("dead letters %+v", d)
	}
}

// exampleTB stands for the *testing.T that an example does not have.
type exampleTB struct{}

func (exampleTB) Helper()                        {}
func (exampleTB) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (exampleTB) Cleanup(func())                 {}
func (exampleTB) Context() context.Context       { return context.Background() }

// Example tests a keyed function with a timer, and that its state survives a restore.
func Example() {
	t := exampleTB{} // in a test: its *testing.T
	type visit struct{ User string }
	user := func(v visit) string { return v.User }
	sessions := operators.Process(user, nil, func(b *operators.Keyed[string, visit, string]) {
		visits := b.Value[int64]("visits")
		b.OnRecord(func(c *operators.Ctx[string, string], _ visit) error {
			n, err := visits.Get()
			if err != nil {
				return err
			}
			c.TimerAt(c.Timestamp().Add(10 * time.Second))
			return visits.Set(n + 1)
		})
		b.OnTimer(func(c *operators.Ctx[string, string], _ time.Time) error {
			n, err := visits.Get()
			if err != nil {
				return err
			}
			return c.Emit(fmt.Sprint(c.Key(), " has visited ", n, " times"))
		})
	})

	h := operatortest.New(t, sessions, operatortest.Options{}).KeyBy(user, nil)
	h.Process(visit{"ann"}, 1_000)
	h.Process(visit{"ann"}, 2_000)
	h.Watermark(10_999)
	fmt.Println(h.Outputs())

	restored := operatortest.New(t, sessions, operatortest.Options{From: []*operatortest.Snapshot{h.Snapshot()}}).KeyBy(user, nil)
	restored.Watermark(11_000)
	fmt.Println(restored.Outputs())
	// Output:
	// [watermark 10999]
	// [watermark 10999 ann has visited 2 times@11000 watermark 11000]
}

package operators_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// sumOrders adds up order.N.
func sumOrders() state.Aggregate[order, int64, int64] {
	return state.Aggregate[order, int64, int64]{
		Add:    func(n int64, o order) int64 { return n + o.N },
		Merge:  func(a, b int64) int64 { return a + b },
		Result: func(n int64) int64 { return n },

		Commutative: true,
	}
}

func windowText(k string, w operators.Window, n int64) string {
	return fmt.Sprintf("%s[%d,%d)=%d", k, w.StartMS, w.EndMS, n)
}

func windowed(t *testing.T, w operators.Windows, o operatortest.Options) *operatortest.Harness[order, string] {
	t.Helper()
	return operatortest.New(t, operators.WindowAggregate(who, nil, w, sumOrders(), windowText), o).KeyBy(who, nil)
}

// TestTumblingBorders: a record at the start belongs to the window, one at its end to the next; the window fires when the watermark
// reaches end − 1, not a millisecond before.
func TestTumblingBorders(t *testing.T) {
	h := windowed(t, operators.Tumbling(10*time.Millisecond), operatortest.Options{})
	for _, ts := range []int64{-11, -10, -1, 0, 9, 10} {
		h.Process(order{"a", 1}, ts)
	}
	h.Watermark(-12)
	want(t, "-12", h.Outputs(), "watermark -12")
	h.Watermark(-11)
	want(t, "-11", h.Outputs(), "a[-20,-10)=1@-11, watermark -11")
	h.Watermark(8)
	want(t, "8", h.Outputs(), "a[-10,0)=2@-1, watermark 8")
	h.Watermark(9)
	want(t, "9", h.Outputs(), "a[0,10)=2@9, watermark 9")
	h.EndInput()
	want(t, "end", h.Outputs(), "a[10,20)=1@19, watermark end")
}

// TestLateRecords: late is what has no window left, from the watermark end − 1 on; the record keeps its timestamp and changes nothing.
func TestLateRecords(t *testing.T) {
	h := windowed(t, operators.Tumbling(10*time.Millisecond), operatortest.Options{})
	h.Process(order{"a", 1}, 5)
	h.Watermark(8)
	h.Process(order{"a", 2}, 3) // out of order and in time
	h.Watermark(9)
	h.Process(order{"a", 4}, 9)
	h.Process(order{"a", 8}, 10)
	h.Watermark(30)
	want(t, "main", h.Outputs(), "watermark 8, a[0,10)=3@9, watermark 9, a[10,20)=8@19, watermark 30")
	want(t, "late", h.SideOutput(operators.LateRecords[order]()), "a4@9")
}

func TestTumblingOffset(t *testing.T) {
	for _, c := range []struct {
		offset time.Duration
		text   string
	}{
		{3 * time.Millisecond, "a[-7,3)=2@2, a[3,13)=4@12, watermark end"},
		{-7 * time.Millisecond, "a[-7,3)=2@2, a[3,13)=4@12, watermark end"},
	} {
		h := windowed(t, operators.Windows{Size: 10 * time.Millisecond, Slide: 10 * time.Millisecond, Offset: c.offset}, operatortest.Options{})
		h.Process(order{"a", 2}, 2)
		h.Process(order{"a", 4}, 3)
		h.EndInput()
		want(t, fmt.Sprint("offset ", c.offset), h.Outputs(), c.text)
	}
}

// TestSliding: every window that holds the record, also with a slide that does not divide the size, and with a record that is late
// for some of its windows only.
func TestSliding(t *testing.T) {
	h := windowed(t, operators.Sliding(10*time.Millisecond, 4*time.Millisecond), operatortest.Options{})
	h.Process(order{"a", 1}, 0)
	h.Process(order{"a", 2}, 9)
	h.Watermark(3)
	want(t, "watermark 3", h.Outputs(), "a[-8,2)=1@1, watermark 3")
	h.Process(order{"a", 4}, 1) // its windows [-8,2) has fired, [-4,6) and [0,10) have not
	h.Watermark(9)
	want(t, "watermark 9", h.Outputs(), "a[-4,6)=5@5, a[0,10)=7@9, watermark 9")
	h.Process(order{"a", 8}, 3)
	want(t, "late for all", h.SideOutput(operators.LateRecords[order]()), "a8@3")
	h.EndInput()
	want(t, "end", h.Outputs(), "a[4,14)=2@13, a[8,18)=2@17, watermark end")
}

// TestGapsBetweenWindows: slide > size. A record in a gap is dropped, and is late when the watermark has passed it.
func TestGapsBetweenWindows(t *testing.T) {
	h := windowed(t, operators.Sliding(4*time.Millisecond, 10*time.Millisecond), operatortest.Options{})
	for _, ts := range []int64{0, 3, 4, 9, 10, -1, -7, -6} {
		h.Process(order{"a", 1}, ts)
	}
	h.Watermark(14)
	h.Process(order{"a", 1}, 15)
	h.Process(order{"a", 1}, 14)
	h.Process(order{"a", 1}, 5)
	h.EndInput()
	want(t, "main", h.Outputs(), "a[-10,-6)=1@-7, a[0,4)=2@3, a[10,14)=1@13, watermark 14, watermark end")
	want(t, "late", h.SideOutput(operators.LateRecords[order]()), "a1@14, a1@5")
}

// TestWindowsLeaveNothingBehind: when the last window of all records has fired, a snapshot is empty.
func TestWindowsLeaveNothingBehind(t *testing.T) {
	for _, w := range []operators.Windows{
		operators.Tumbling(10 * time.Millisecond),
		operators.Sliding(10*time.Millisecond, 3*time.Millisecond),
		operators.Sliding(3*time.Millisecond, 10*time.Millisecond),
		{Size: 10 * time.Millisecond, Slide: 5 * time.Millisecond, Offset: -2 * time.Millisecond},
	} {
		h := windowed(t, w, operatortest.Options{})
		for ts := range int64(100) {
			h.Process(order{fmt.Sprint(ts % 3), 1}, ts)
			if ts%20 == 19 {
				h.Watermark(ts - 5)
			}
			if ts == 92 && h.Snapshot().Bytes() == 0 {
				t.Fatalf("%+v: open windows take no space: the test shows nothing", w)
			}
		}
		h.Watermark(110)
		if n := h.Snapshot().Bytes(); n != 0 {
			t.Errorf("%+v: %d bytes of state are left after every window has fired", w, n)
		}
	}
}

// TestChangedWindows: the panes of other windows are refused; when they are dropped by name, their timers do nothing.
func TestChangedWindows(t *testing.T) {
	h := windowed(t, operators.Windows{Size: 10 * time.Millisecond, Slide: 10 * time.Millisecond, Offset: 3 * time.Millisecond}, operatortest.Options{})
	h.Process(order{"a", 1}, 4)
	from := []*operatortest.Snapshot{h.Snapshot()}
	same := windowed(t, operators.Windows{Size: 10 * time.Millisecond, Slide: 10 * time.Millisecond, Offset: -7 * time.Millisecond}, operatortest.Options{From: from})
	same.EndInput()
	want(t, "an offset that is the same", same.Outputs(), "a[3,13)=1@12, watermark end")

	sliding := operators.Sliding(10*time.Millisecond, 5*time.Millisecond)
	f := &failing{TB: t}
	f.run(func() {
		operatortest.New(f, operators.WindowAggregate(who, nil, sliding, sumOrders(), windowText), operatortest.Options{From: from})
	})
	name := "panes of 10ms every 10ms plus 3ms"
	if !strings.Contains(f.text, name) {
		t.Fatalf("the restore into other windows gives %q, want an error that names %q", f.text, name)
	}
	changed := windowed(t, sliding, operatortest.Options{From: from, Drop: []string{name}})
	changed.Process(order{"a", 2}, 7)
	changed.EndInput()
	want(t, "changed windows", changed.Outputs(), "a[0,10)=2@9, a[5,15)=2@14, watermark end")
}

// failing is a TB that keeps the failure.
type failing struct {
	operatortest.TB
	text string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

func (f *failing) run(do func()) {
	defer func() {
		if v := recover(); v != nil && v != any(f) {
			panic(v)
		}
	}()
	do()
}

// TestKeysOfOneWindow fire in the order of their encoding.
func TestKeysOfOneWindow(t *testing.T) {
	h := windowed(t, operators.Tumbling(10*time.Millisecond), operatortest.Options{})
	for _, k := range []string{"c", "a", "b"} {
		h.Process(order{k, 1}, 1)
	}
	h.Watermark(9)
	want(t, "output", h.Outputs(), "a[0,10)=1@9, b[0,10)=1@9, c[0,10)=1@9, watermark 9")
}

// TestAccumulators begins with Create, folds with Add and gives what Result says; Merge leaves its arguments alone.
func TestAccumulators(t *testing.T) {
	agg := state.Aggregate[order, []int64, string]{
		Create: func() []int64 { return []int64{-1} },
		Add:    func(a []int64, o order) []int64 { return append(a, o.N) },
		Merge:  func(a, b []int64) []int64 { return append(append([]int64{}, a...), b...) },
		Result: func(a []int64) string { return fmt.Sprint(a) },
	}
	h := operatortest.New(t, operators.WindowAggregate(who, nil, operators.Sliding(20*time.Millisecond, 10*time.Millisecond), agg,
		func(_ string, w operators.Window, s string) string {
			return fmt.Sprint(w.Start().UnixMilli(), "-", w.End().UnixMilli(), s)
		}), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 15)
	h.Process(order{"a", 2}, 5)
	h.Process(order{"a", 3}, 6)
	h.EndInput()
	// The records of each window in the order of arrival, as the aggregate does not say that it is commutative.
	want(t, "output", h.Outputs(), "-10-10[-1 2 3]@9, 0-20[-1 1 2 3]@19, 10-30[-1 1]@29, watermark end")
}

func TestCount(t *testing.T) {
	h := operatortest.New(t, operators.WindowAggregate(who, nil, operators.Sliding(20*time.Millisecond, 10*time.Millisecond), operators.Count[order](), windowText),
		operatortest.Options{}).KeyBy(who, nil)
	for range 3 {
		h.Process(order{"a", 100}, 5)
	}
	h.Process(order{"a", 100}, 12)
	h.EndInput()
	want(t, "output", h.Outputs(), "a[-10,10)=3@9, a[0,20)=4@19, a[10,30)=1@29, watermark end")
}

func TestWindowRecordWithoutTimestamp(t *testing.T) {
	h := windowed(t, operators.Tumbling(time.Second), operatortest.Options{DeadLetters: true})
	h.Process(order{"a", 1}, connectors.NoTimestamp)
	if d := h.DeadLetters(); len(d) != 1 || d[0].Reason != "the record has no timestamp; call Timestamps before the window" {
		t.Errorf("dead letters %+v", d)
	}
	wantError(t, windowed(t, operators.Tumbling(time.Second), operatortest.Options{}).TryProcess(order{"a", 1}, connectors.NoTimestamp), "no timestamp")
}

func TestFaultsOfWindows(t *testing.T) {
	err := operators.Windows{Size: 0, Slide: time.Microsecond, Offset: time.Nanosecond}.Validate()
	wantError(t, err, "window size is 0s", "window slide is 1µs", "window offset is 1ns")
	for _, offset := range []time.Duration{time.Minute, -time.Minute} {
		wantError(t, operators.Tumbling(time.Minute).WithOffset(offset).Validate(), "less than the slide 1m0s")
	}
	if err := (operators.Windows{Size: time.Second, Slide: time.Minute, Offset: time.Millisecond - time.Minute}).Validate(); err != nil {
		t.Error(err)
	}
	check := func(w operators.Windows, agg state.Aggregate[order, int64, int64], result func(string, operators.Window, int64) string) error {
		return operatortest.Check(operators.WindowAggregate(who, nil, w, agg, result), operatortest.Options{})
	}
	wantError(t, check(operators.Windows{}, sumOrders(), windowText), "window size is 0s")
	noMerge := sumOrders()
	noMerge.Merge = nil
	wantError(t, check(operators.Session(time.Second), noMerge, windowText), "needs Merge")
	if err := check(operators.Tumbling(time.Second), noMerge, windowText); err != nil {
		t.Errorf("tumbling windows do not merge: %v", err)
	}
	wantError(t, check(operators.Tumbling(time.Second), state.Aggregate[order, int64, int64]{}, windowText), "Add and Result")
	wantError(t, check(operators.Tumbling(time.Second), sumOrders(), nil), "needs a function")
}

func TestErrorsOfTheConsumerFailTheWindow(t *testing.T) {
	gone := errors.New("gone")
	stage := operators.WindowAggregate(who, nil, operators.Tumbling(10*time.Millisecond), sumOrders(), windowText)
	h := operatortest.New(t, func(task *operators.Task, _ func(string) error) (func(order) error, error) {
		return stage(task, func(string) error { return gone })
	}, operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 1)
	if err := h.TryWatermark(9); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

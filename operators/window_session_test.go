package operators_test

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// gapOfN makes sessions whose gap is the record's number, in ms.
func gapOfN() operators.WindowSpec[order] {
	return operators.SessionBy(func(o order) time.Duration { return ms(o.N) })
}

func sessions[W operators.Windowing[order]](t *testing.T, w W, o operatortest.Options) *operatortest.Harness[order, string] {
	t.Helper()
	return operatortest.New(t, operators.WindowAggregate(who, nil, w, operators.Count[order](), windowText), o).KeyBy(who, nil)
}

// TestSessionsMerge: windows that overlap or touch become one, also when a record joins two, and each gives one result.
func TestSessionsMerge(t *testing.T) {
	h := sessions(t, operators.Session(10*time.Millisecond), operatortest.Options{})
	for _, ts := range []int64{0, 30, 10, 61} { // [0,10) and [10,20) touch; [30,40) and [61,71) stand alone
		h.Process(order{"a", 1}, ts)
	}
	h.Watermark(18)
	want(t, "still open", h.Outputs(), "watermark 18")
	h.Process(order{"a", 1}, 20) // [20,30) joins [0,20) and [30,40)
	h.Watermark(39)
	want(t, "merged", h.Outputs(), "a[0,40)=4@39, watermark 39")
	h.EndInput()
	want(t, "end", h.Outputs(), "a[61,71)=1@70, watermark end")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestSessionsOfEqualWindows: Flink loses the first two records, because the window [90,130) of the third equals the merged one.
func TestSessionsOfEqualWindows(t *testing.T) {
	for name, trigger := range map[string]operators.Trigger[order]{
		"default": {}, "asked": operators.EventTimeTrigger[order]().Purging(),
	} {
		s := gapOfN()
		s.Trigger = trigger
		h := sessions(t, s, operatortest.Options{})
		h.Process(order{"a", 10}, 100)
		h.Process(order{"a", 40}, 90)
		h.Process(order{"a", 40}, 90)
		h.EndInput()
		want(t, name, h.Outputs(), "a[90,130)=3@129, watermark end")
	}
}

// TestLateSessions: a record is late by the window that it becomes part of, not by its own.
func TestLateSessions(t *testing.T) {
	h := sessions(t, operators.Session(10*time.Millisecond), operatortest.Options{})
	h.Process(order{"a", 1}, 25)
	h.Watermark(30)
	h.Process(order{"a", 2}, 17) // [17,27) would be late, [17,35) is not
	h.Process(order{"a", 3}, 5)
	h.EndInput()
	want(t, "main", h.Outputs(), "watermark 30, a[17,35)=2@34, watermark end")
	want(t, "late", h.SideOutput(operators.LateRecords[order]()), "a3@5")
}

// TestSessionsWithLateness: within the lateness a session gives a new result for each record, and, when a record makes it longer than the watermark, another
// at its new end.
func TestSessionsWithLateness(t *testing.T) {
	h := sessions(t, operators.WindowSpec[order]{Windows: operators.Session(10 * time.Millisecond), AllowedLateness: 20 * time.Millisecond}, operatortest.Options{})
	h.Process(order{"a", 1}, 0)
	h.Watermark(9)
	h.Process(order{"a", 1}, 5) // [0,15): open again
	h.Watermark(14)
	h.Process(order{"a", 1}, 2)
	want(t, "in time", h.Outputs(), "a[0,10)=1@9, watermark 9, a[0,15)=2@14, watermark 14, a[0,15)=3@14")
	h.Watermark(34)
	h.Process(order{"a", 1}, 2)
	want(t, "gone", h.Outputs(), "watermark 34")
	want(t, "late", h.SideOutput(operators.LateRecords[order]()), "a1@2")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestSessionTimers: a longer session does not move its timer, and the timer of one that was merged away does nothing.
func TestSessionTimers(t *testing.T) {
	h := sessions(t, operators.Session(10*time.Millisecond), operatortest.Options{})
	for ts := int64(0); ts < 100; ts += 5 {
		h.Process(order{"a", 1}, ts)
	}
	h.Process(order{"a", 1}, 200)
	h.Watermark(50) // the timer of the first record
	h.Watermark(103)
	want(t, "open", h.Outputs(), "watermark 50, watermark 103")
	h.Process(order{"a", 1}, 104)
	h.EndInput()
	want(t, "end", h.Outputs(), "a[0,114)=21@113, a[200,210)=1@209, watermark end")
}

func TestBadSessionRecords(t *testing.T) {
	h := sessions(t, gapOfN(), operatortest.Options{DeadLetters: true})
	h.Process(order{"a", 0}, 5)
	h.Process(order{"a", -3}, 5)
	h.Process(order{"a", 3}, operators.EndOfTime-1)
	h.Process(order{"a", 3}, 5)
	var reasons []string
	for _, d := range h.DeadLetters() {
		reasons = append(reasons, d.Reason)
	}
	if len(reasons) != 3 || reasons[0] != "the session gap of the record is 0s, want at least 1ms" ||
		reasons[1] != "the session gap of the record is -3ms, want at least 1ms" || reasons[2] != "the timestamp 9223372036854775806 is too near to the end of time to have windows" {
		t.Errorf("dead letters %q", reasons)
	}
	h.EndInput()
	want(t, "the good record", h.Outputs(), "a[5,8)=1@7, watermark end")
}

// TestSessionsOfProcessingTime end by the clock, ignore timestamps and are never late.
func TestSessionsOfProcessingTime(t *testing.T) {
	h := sessions(t, operators.Session(10*time.Millisecond).InProcessingTime(), operatortest.Options{})
	h.Watermark(1000)
	h.Process(order{"a", 1}, 7)
	h.AdvanceProcessingTime(9)
	h.Process(order{"a", 1}, -1)
	want(t, "open", h.Outputs(), "watermark 1000, a[0,10)=1@9")
	h.AdvanceProcessingTime(12)
	h.Process(order{"a", 1}, 0)
	h.AdvanceProcessingTime(30)
	want(t, "closed", h.Outputs(), "a[9,22)=2@21")
}

func TestFaultsOfSessions(t *testing.T) {
	check := func(s operators.WindowSpec[order]) error {
		return operatortest.Check(operators.WindowAggregate(who, nil, s, operators.Count[order](), windowText), operatortest.Options{})
	}
	wantError(t, check(operators.SpecOf[order](operators.Session(-time.Second))), "window gap is -1s")
	s := operators.SpecOf[order](operators.Session(time.Second))
	s.Trigger = operators.CountTrigger[order](2).WithTimeout(operators.Timeout{After: time.Second})
	s.Evictor = operators.CountEvictor[order](2)
	wantError(t, check(s), `trigger "count or timeout" cannot`, "TriggerFuncs.Merge", `evictor "count" needs`, "TimeEvictor")
	s.Gap = func(order) time.Duration { return time.Second }
	wantError(t, check(s), "several of Windows, Gap and Assign")
	wantError(t, operators.Windows{Gap: time.Second, All: true}.Validate(), "of several kinds")
	wantError(t, operatortest.Check(operators.WindowProcess(who, nil, operators.Session(time.Second), func(f *operators.WindowFunc[string, []order, string]) {
		f.WindowValue[int64]("n", nil)
		f.OnFire(func(*operators.WindowCtx[string, string], []order) error { return nil })
	}), operatortest.Options{}), `state "n" of session windows needs a merge function`)
}

// TestMergedSessionsKeepNoTimer: the timers that a trigger has set for sessions go when these become one.
func TestMergedSessionsKeepNoTimer(t *testing.T) {
	s := operators.WindowSpec[order]{Windows: operators.Session(time.Millisecond), Trigger: operators.ContinuousProcessingTimeTrigger[order](time.Hour)}
	h := sessions(t, s, operatortest.Options{})
	h.Process(order{"a", 1}, 5)
	h.Process(order{"a", 1}, 7)
	h.Process(order{"a", 1}, 6) // [5,6), [6,7) and [7,8) touch
	h.EndInput()
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left of sessions that are no more", n)
	}
}

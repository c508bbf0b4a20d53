package operators

import (
	"sync/atomic"
	"time"
)

// Facts is what an operator tells of itself when somebody asks why nothing comes out (dataflow.Job.Why). What it leaves unset is not known.
type Facts struct {
	// EventTimerMS is the earliest pending event-time timer, Unix ms. Processing-time timers are known from UseTimers.
	EventTimerMS *int64
	// Splits are those of an operator that makes watermarks in a source's chain, by number.
	Splits map[int]SplitFacts
	// Idle says that an operator that makes watermarks has declared its output idle.
	Idle bool
	// Holds is what else keeps results or watermarks back, as in "3 calls that have not come back"; HoldsSince is since when.
	Holds      string
	HoldsSince time.Time
}

// SplitFacts is what is known of one split of a source.
type SplitFacts struct {
	WatermarkMS int64 // NoWatermark before the first
	Idle        bool  // it does not hold the watermark back
}

// OnWhy declares f to be called on the task's goroutine when somebody asks for the facts of the operator: rarely, by a person. It sets what it
// knows.
func (t *Task) OnWhy(f func(*Facts)) { t.hooks.Why = append(t.hooks.Why, f) }

// CountLate counts one record that came too late for its windows, its pattern or its join; call it once for each such record.
func (t *Task) CountLate() { t.late.Add(1) }

// counted is out, a side output of late records, with each of them counted.
func counted[S any](t *Task, out func(S) error) func(S) error {
	return func(v S) error {
		t.CountLate()
		return out(v)
	}
}

// Late is the number of records that were counted as late since the task began; any goroutine may ask.
func (t *Task) Late() int64 { return t.late.Load() }

// Wait is something other than its input for which an operator stops: while it waits its task takes nothing and answers nobody, so others see
// it in here. Make it with Task.Waits when the operator is built.
type Wait struct {
	what  string
	since atomic.Int64 // Unix ns; 0: does not wait
}

// Waits declares that the operator may stop and wait; what reads after "waits for", as in "one of its 10 calls to come back".
func (t *Task) Waits(what string) *Wait {
	w := &Wait{what: what}
	t.waits = append(t.waits, w)
	return w
}

// Begin says that the operator begins to wait. It is called by the task's goroutine and allocates nothing.
func (w *Wait) Begin() { w.since.Store(time.Now().UnixNano()) }

// End says that it goes on.
func (w *Wait) End() { w.since.Store(0) }

// Waiting is what the operator waits for, and since when; ok is false when it does not wait. Any goroutine may ask.
func (t *Task) Waiting() (what string, since time.Time, ok bool) {
	for _, w := range t.waits {
		if ns := w.since.Load(); ns != 0 {
			return w.what, time.Unix(0, ns), true
		}
	}
	return "", time.Time{}, false
}

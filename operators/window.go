package operators

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Window is the half-open interval [Start, End) of event time, Unix ms.
type Window struct {
	StartMS int64
	EndMS   int64
}

// Start is the first instant of the window.
func (w Window) Start() time.Time { return time.UnixMilli(w.StartMS) }

// End is the first instant after the window.
func (w Window) End() time.Time { return time.UnixMilli(w.EndMS) }

// Windows describes windows of one length at regular distances.
type Windows struct {
	// Size of each window and Slide from the start of one to the start of the next, whole ms, at least 1 ms. Windows start at
	// multiples of Slide plus Offset.
	Size, Slide, Offset time.Duration
}

// Tumbling are windows of the given size that follow each other without gap or overlap.
func Tumbling(size time.Duration) Windows { return Windows{Size: size, Slide: size} }

// Sliding are windows of the given size, one starting each slide; a record belongs to all that contain it.
func Sliding(size, slide time.Duration) Windows { return Windows{Size: size, Slide: slide} }

// Validate reports every fault.
func (w Windows) Validate() error {
	var errs []error
	if w.Size < time.Millisecond || w.Size%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("operators: window size is %v, want a whole number of ms, at least 1ms", w.Size))
	}
	if w.Slide < time.Millisecond || w.Slide%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("operators: window slide is %v, want a whole number of ms, at least 1ms", w.Slide))
	}
	if w.Offset%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("operators: window offset is %v, want a whole number of ms", w.Offset))
	}
	return errors.Join(errs...)
}

// pane is the length of the longest slices of which all windows are made, ms.
func (w Windows) pane() int64 {
	a, b := w.Size.Milliseconds(), w.Slide.Milliseconds()
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// stateName is the name of the state. It holds the description of the windows, because panes of other windows cannot be merged into
// these: a savepoint of a step whose windows were changed is refused instead.
func (w Windows) stateName() string {
	offset := floor(w.Offset.Milliseconds(), w.Slide.Milliseconds(), 0)
	return fmt.Sprintf("panes of %v every %v plus %v", w.Size, w.Slide, w.Offset-time.Duration(offset)*time.Millisecond)
}

// floor is the largest multiple of step, plus offset, that is ≤ ts; exact for negative ts.
func floor(ts, step, offset int64) int64 {
	r := (ts - offset) % step
	if r < 0 {
		r += step
	}
	return ts - r
}

// LateRecords is the tag under which a window operator over records of T passes on records that come too late for all their windows.
func LateRecords[T any]() Tag[T] { return NewTag[T]("late") }

// WindowAggregate folds the records of each key and window into an accumulator, and passes on result(key, window, value) when the
// watermark reaches the window's last ms, with that ms as timestamp. Records are folded once, into the pane (the slice shared by overlapping
// windows) that holds them; a window merges its panes when it fires, so Merge is needed unless windows tumble, and must leave both its
// arguments as they are. Within a pane records are folded in the order in which they come, and panes are merged in the order of
// time: an aggregate that depends on the order of records sees them so, in overlapping windows not in the order of arrival.
//
// A record whose windows have all fired goes to the side output LateRecords and changes nothing. A record between two windows (Slide > Size)
// is dropped, or is late if the watermark has passed it. A record without timestamp becomes a dead letter, or fails the task without
// consumer for them. Changed windows do not go on with the state of the old ones: their state must be dropped by name at the restore.
// State kept: one accumulator per key and pane, dropped with the last window that contains it; one timer per key
// and window. On the end of a bounded input every window fires; processing time plays no part.
// Source: Flink's event-time windows with lateness 0; panes after Krishnamurthy, Wu, Franklin, "On-the-Fly Sharing for Streamed Aggregation"
// (2006).
func WindowAggregate[K comparable, T, Acc, R, Out any](key func(T) K, codec serde.Serde[K], w Windows, agg state.Aggregate[T, Acc, R], result func(K, Window, R) Out) Stage[T, Out] {
	return func(t *Task, emit func(Out) error) (func(T) error, error) {
		if err := w.Validate(); err != nil {
			return nil, err
		}
		if agg.Add == nil || agg.Result == nil || result == nil {
			return nil, errors.New("a window aggregation needs Add, Result and a result function")
		}
		if w.Size != w.Slide && agg.Merge == nil {
			return nil, errors.New("sliding windows merge panes: the aggregate needs Merge")
		}
		t.UserFuncs(agg.Create, agg.Add, agg.Merge, agg.Result, result)
		late := SideOutput(t, LateRecords[T]())
		return Process(key, codec, func(b *Keyed[K, T, Out]) {
			p := &panes[K, T, Acc, R, Out]{w: w, agg: agg, result: result, late: late, pane: w.pane(),
				size: w.Size.Milliseconds(), slide: w.Slide.Milliseconds(), offset: w.Offset.Milliseconds()}
			p.state = b.Map[int64, Acc](w.stateName())
			b.OnRecord(p.onRecord)
			b.OnTimer(p.onTimer)
		})(t, emit)
	}
}

// panes is a window aggregation in one subtask.
type panes[K comparable, T, Acc, R, Out any] struct {
	w                         Windows
	agg                       state.Aggregate[T, Acc, R]
	result                    func(K, Window, R) Out
	late                      func(T) error
	state                     *state.Map[int64, Acc]
	pane, size, slide, offset int64
}

func (p *panes[K, T, Acc, R, Out]) onRecord(c *Ctx[K, Out], v T) error {
	ts := c.TimestampMS()
	if ts == connectors.NoTimestamp {
		return BadRecord(errors.New("the record has no timestamp; call Timestamps before the window"))
	}
	last := floor(ts, p.slide, p.offset)
	if ts-last >= p.size { // between two windows
		if ts <= c.WatermarkMS() {
			return p.late(v)
		}
		return nil
	}
	live := false
	pane := floor(ts, p.pane, p.offset)
	acc, ok, err := p.state.Get(pane)
	if err != nil {
		return err
	}
	for start := last; start > ts-p.size; start -= p.slide {
		if start+p.size-1 <= c.WatermarkMS() {
			break
		}
		live = true
		if ok {
			break // the pane's timers are registered
		}
		c.TimerAt(time.UnixMilli(start + p.size - 1))
	}
	if !live {
		return p.late(v)
	}
	if !ok && p.agg.Create != nil {
		acc = p.agg.Create()
	}
	return p.state.Put(pane, p.agg.Add(acc, v))
}

// onTimer fires the window whose last ms is at.
func (p *panes[K, T, Acc, R, Out]) onTimer(c *Ctx[K, Out], at time.Time) error {
	win := Window{StartMS: at.UnixMilli() + 1 - p.size, EndMS: at.UnixMilli() + 1}
	if floor(win.StartMS, p.slide, p.offset) != win.StartMS {
		return nil // a timer of other windows, which this step had before and whose state was dropped
	}
	var sum Acc
	have := false
	for pane := win.StartMS; pane < win.EndMS; pane += p.pane {
		acc, ok, err := p.state.Get(pane)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if have {
			sum = p.agg.Merge(sum, acc)
		} else {
			sum, have = acc, true
		}
	}
	if have {
		if err := c.Emit(p.result(c.Key(), win, p.agg.Result(sum))); err != nil {
			return err
		}
	}
	for pane := win.StartMS; pane < min(win.StartMS+p.slide, win.EndMS); pane += p.pane {
		if err := p.state.Remove(pane); err != nil {
			return err
		}
	}
	return nil
}

// Count is the aggregate that counts records.
func Count[T any]() state.Aggregate[T, int64, int64] {
	return state.Aggregate[T, int64, int64]{
		Add:    func(n int64, _ T) int64 { return n + 1 },
		Merge:  func(a, b int64) int64 { return a + b },
		Result: func(n int64) int64 { return n },
	}
}

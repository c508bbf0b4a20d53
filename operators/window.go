package operators

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/millrace-io/millrace/state"
)

// Window is the half-open interval [Start, End) of time, Unix ms.
type Window struct {
	StartMS int64
	EndMS   int64
}

// Everything is the one global window: all of time.
var Everything = Window{StartMS: math.MinInt64, EndMS: math.MaxInt64}

// Start is the first instant of the window.
func (w Window) Start() time.Time { return time.UnixMilli(w.StartMS) }

// End is the first instant after the window.
func (w Window) End() time.Time { return time.UnixMilli(w.EndMS) }

// LastMS is the last millisecond of the window, Unix ms: the timestamp of its results, and the time at which it is complete. That of the
// global window is EndOfTime.
func (w Window) LastMS() int64 {
	if w.EndMS == math.MaxInt64 {
		return math.MaxInt64
	}
	return w.EndMS - 1
}

// before orders windows by end, then start.
func (w Window) before(o Window) bool {
	return w.EndMS < o.EndMS || w.EndMS == o.EndMS && w.StartMS < o.StartMS
}

// Windows says into which windows records go by their time alone. Make one with Tumbling, Sliding, Session or Global.
type Windows struct {
	// Size of each window and Slide from the start of one to the start of the next, whole ms, at least 1 ms. Windows start at
	// multiples of Slide plus Offset; Offset is less than Slide, and more than -Slide.
	Size, Slide, Offset time.Duration
	// Gap makes session windows, instead of Size and Slide: whole ms, at least 1 ms.
	Gap time.Duration
	// All makes the one window Everything, instead of Size and Slide.
	All bool
	// ProcessingTime takes the wall clock when the record comes, instead of the record's timestamp.
	ProcessingTime bool
}

// Tumbling are windows of the given size that follow each other without gap or overlap.
// Source: Flink TumblingEventTimeWindows.
func Tumbling(size time.Duration) Windows { return Windows{Size: size, Slide: size} }

// Sliding are windows of the given size, one starting each slide; a record belongs to all that contain it.
// Source: Flink SlidingEventTimeWindows.
func Sliding(size, slide time.Duration) Windows { return Windows{Size: size, Slide: slide} }

// Session are windows that end when no record has come for gap: each record opens the window [ts, ts+gap), and windows of one key that
// overlap or touch are merged into one. For a gap that depends on the record see SessionBy.
// Source: Flink EventTimeSessionWindows.
func Session(gap time.Duration) Windows { return Windows{Gap: gap} }

// Global is one window for each key, Everything, which never ends: it needs a Trigger.
// Source: Flink GlobalWindows.
func Global() Windows { return Windows{All: true} }

// WithOffset shifts tumbling or sliding windows: those of a day start at 22:00 UTC with an offset of -2 h.
func (w Windows) WithOffset(d time.Duration) Windows {
	w.Offset = d
	return w
}

// InProcessingTime makes them windows of the wall clock: a record belongs to the windows that hold the moment when it comes, whatever its
// timestamp, and is never late. A window is complete when the clock reaches its last ms, and results still have that ms as timestamp.
// Windows that are open when a bounded input ends give no result.
func (w Windows) InProcessingTime() Windows {
	w.ProcessingTime = true
	return w
}

func (w Windows) aligned() bool { return w.Gap == 0 && !w.All }

// Validate reports every fault.
func (w Windows) Validate() error {
	var errs []error
	check := func(what string, d time.Duration) {
		if d < time.Millisecond || d%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("operators: window %s is %v, want a whole number of ms, at least 1ms", what, d))
		}
	}
	switch {
	case w.All || w.Gap != 0:
		if w.Gap != 0 {
			check("gap", w.Gap)
		}
		if w.Size != 0 || w.Slide != 0 || w.Offset != 0 || w.All && w.Gap != 0 {
			errs = append(errs, fmt.Errorf("operators: Windows %+v are of several kinds; make them with Tumbling, Sliding, Session or Global", w))
		}
	case w.Size == 0 && w.Slide == 0:
		errs = append(errs, errors.New("operators: window size is 0s and session gap is 0s, want one of them, a whole number of ms, at least 1ms"))
	default:
		check("size", w.Size)
		check("slide", w.Slide)
		if w.Offset%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("operators: window offset is %v, want a whole number of ms", w.Offset))
		}
		if w.Slide > 0 && (w.Offset >= w.Slide || -w.Offset >= w.Slide) {
			errs = append(errs, fmt.Errorf("operators: window offset is %v, want less than the slide %v in either direction; windows repeat every slide", w.Offset, w.Slide))
		}
	}
	return errors.Join(errs...)
}

// describe is how the windows are called in the names of states, so that a savepoint of a step whose windows were changed is refused
// instead of being misread. A session carries its bounds itself, so another gap may go on with it.
func (w Windows) describe() string {
	text := ""
	switch {
	case w.All:
		text = "everything"
	case w.Gap != 0:
		text = "sessions"
	default:
		offset := floor(w.Offset.Milliseconds(), w.Slide.Milliseconds(), 0)
		text = fmt.Sprintf("%v every %v plus %v", w.Size, w.Slide, w.Offset-time.Duration(offset)*time.Millisecond)
	}
	if w.ProcessingTime {
		text += " of processing time"
	}
	return text
}

// floor is the largest multiple of step, plus offset, that is ≤ ts; exact for negative ts.
func floor(ts, step, offset int64) int64 {
	r := (ts - offset) % step
	if r < 0 {
		r += step
	}
	return ts - r
}

// addMS is a+b for b ≥ 0, at most the end of time.
func addMS(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// LateRecords is the tag under which a window operator over records of T passes on records that come too late for all their windows.
func LateRecords[T any]() Tag[T] { return NewTag[T]("late") }

// Count is the aggregate that counts records.
func Count[T any]() state.Aggregate[T, int64, int64] {
	return state.Aggregate[T, int64, int64]{
		Add:         func(n int64, _ T) int64 { return n + 1 },
		Merge:       func(a, b int64) int64 { return a + b },
		Result:      func(n int64) int64 { return n },
		Commutative: true,
	}
}

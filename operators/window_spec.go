package operators

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// WindowSpec says how records of T go into windows and when the windows give results. The zero value of every field but the first three
// works; exactly one of Windows, Gap and Assign says where records go.
type WindowSpec[T any] struct {
	// Windows by time alone.
	Windows Windows
	// Gap makes session windows with a gap for each record, whole ms. A record with a gap below 1 ms is a bad record. See SessionBy.
	Gap func(T) time.Duration
	// Assign appends the windows of the record v to ws and returns the result; tsMS is the record's time in the domain of the windows. Equal
	// calls give equal windows. Of Windows only ProcessingTime counts then. See AssignBy.
	Assign func(v T, tsMS int64, ws []Window) []Window
	// Trigger says when a window gives its result. Default: when it is complete, and for each record that still comes within
	// AllowedLateness after that.
	Trigger Trigger[T]
	// Evictor removes records from a window around each result. With it windows keep all their records, also those of an aggregate.
	Evictor Evictor[T]
	// AllowedLateness is how long after the end of an event-time window records are still taken, whole ms. Default 0. It has no effect on
	// windows of processing time and on global windows, to which no record is late.
	AllowedLateness time.Duration
	// Codec encodes records that windows keep. Default: the one that package serde derives.
	Codec serde.Serde[T]
}

// Windowing is either: Windows alone, or a WindowSpec.
type Windowing[T any] interface {
	Windows | WindowSpec[T]
}

// SessionBy are session windows whose gap depends on the record: it opens the window [ts, ts+gap(record)), see Session.
// Source: Flink DynamicEventTimeSessionWindows. There a record whose window equals the live merged one makes the window lose what it
// held; here it does not.
func SessionBy[T any](gap func(T) time.Duration) WindowSpec[T] { return WindowSpec[T]{Gap: gap} }

// AssignBy are windows of one's own: assign appends the windows of the record v with timestamp tsMS, Unix ms, to ws and returns the result. They do
// not merge. A record for which it appends none is dropped, or is late when the watermark has passed it.
// Source: Flink WindowAssigner.
func AssignBy[T any](assign func(v T, tsMS int64, ws []Window) []Window) WindowSpec[T] {
	return WindowSpec[T]{Assign: assign}
}

// InProcessingTime makes them windows of the wall clock, see Windows.InProcessingTime.
func (s WindowSpec[T]) InProcessingTime() WindowSpec[T] {
	s.Windows.ProcessingTime = true
	return s
}

// SpecOf is w as a WindowSpec.
func SpecOf[T any, W Windowing[T]](w W) WindowSpec[T] {
	if s, ok := any(w).(WindowSpec[T]); ok {
		return s
	}
	return WindowSpec[T]{Windows: any(w).(Windows)}
}

// sessions reports whether windows merge.
func (s WindowSpec[T]) sessions() bool { return s.Gap != nil || s.Windows.Gap != 0 }

// eventTime reports whether windows end by the watermark. The global window ends by nothing.
func (s WindowSpec[T]) eventTime() bool {
	return !s.Windows.ProcessingTime && (!s.Windows.All || s.Assign != nil || s.Gap != nil)
}

func (s WindowSpec[T]) latenessMS() int64 {
	if !s.eventTime() {
		return 0
	}
	return s.AllowedLateness.Milliseconds()
}

// aligned reports whether a window is known by its end.
func (s WindowSpec[T]) aligned() bool {
	return s.Gap == nil && s.Assign == nil && s.Windows.aligned()
}

// describe is how the windows are called in the names of states.
func (s WindowSpec[T]) describe() string {
	switch {
	case s.Gap != nil:
		s.Windows = Windows{Gap: 1, ProcessingTime: s.Windows.ProcessingTime}
	case s.Assign != nil:
		return "own windows"
	}
	return s.Windows.describe()
}

// Validate reports every fault that does not depend on the function of the windows.
func (s WindowSpec[T]) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("operators: "+format, args...)) }
	plain := s.Windows
	plain.ProcessingTime = false
	switch {
	case s.Gap != nil && s.Assign != nil, (s.Gap != nil || s.Assign != nil) && plain != (Windows{}):
		fault("WindowSpec has several of Windows, Gap and Assign, want one")
	case s.Gap == nil && s.Assign == nil:
		errs = append(errs, s.Windows.Validate())
	}
	if s.AllowedLateness < 0 || s.AllowedLateness%time.Millisecond != 0 {
		fault("allowed lateness is %v, want a whole number of ms, at least 0", s.AllowedLateness)
	}
	if s.Windows.All && s.Trigger.host == nil {
		fault("global windows never end; give them a trigger, as CountTrigger, or EventTimeTrigger for one result at the end of a bounded input")
	}
	errs = append(errs, s.Trigger.fault, s.Evictor.fault)
	if s.sessions() && s.Trigger.host != nil && !s.Trigger.merges {
		fault("session windows merge, which trigger %q cannot; take another, or give it TriggerFuncs.Merge", s.Trigger.name)
	}
	if s.sessions() && s.Evictor.set() && !s.Evictor.Merges {
		fault("session windows merge, and the order in which their records came is lost, which evictor %q needs; take TimeEvictor, or set Evictor.Merges", s.Evictor.Name)
	}
	return errors.Join(errs...)
}

// reach is how far the windows of a record may lie from its time, ms: time this near to either end of time cannot be put into windows.
func (w Windows) reach() int64 {
	return max(w.Gap.Milliseconds(), w.Size.Milliseconds()+w.Slide.Milliseconds())
}

// assignAligned appends the windows that hold ts, the latest first.
func (w Windows) assignAligned(ts int64, ws []Window) []Window {
	size, slide := w.Size.Milliseconds(), w.Slide.Milliseconds()
	for start := floor(ts, slide, w.Offset.Milliseconds()); start > ts-size; start -= slide {
		ws = append(ws, Window{StartMS: start, EndMS: start + size})
	}
	return ws
}

// errTooFar is a record whose windows would not lie within time.
func errTooFar(ts int64) error {
	return BadRecord(fmt.Errorf("the timestamp %d is too near to the end of time to have windows", ts))
}

// inReach reports whether windows of reach ms around ts lie within time.
func inReach(ts, reach int64) bool {
	return ts < math.MaxInt64-reach && ts > math.MinInt64+reach
}

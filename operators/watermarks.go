package operators

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Watermarks says how event time is read from records and how watermarks are made of it. The zero value keeps the source's timestamps and
// expects them in order. It may be written as a struct or built:
//
//	operators.BoundedOutOfOrderness[Order](5 * time.Second).
//		WithTimestamp(func(o Order) time.Time { return o.At }).
//		WithAlignment("orders", time.Minute)
type Watermarks[T any] struct {
	// Timestamp gives the event time of a record, in whole ms. Nil: the timestamp that the source gave.
	Timestamp func(T) time.Time
	// OutOfOrderness is how much older than the newest record a record may be without being late. The watermark is the newest
	// timestamp − OutOfOrderness − 1 ms. Default 0; whole ms, not negative; 0 with a Generator.
	// Source: Flink BoundedOutOfOrdernessWatermarks.
	OutOfOrderness time.Duration
	// Generator makes a generator of one's own, one for each split. Nil: bounded out-of-orderness. It is also called once when the graph is
	// checked.
	Generator func() WatermarkGenerator[T]
	// Interval is the processing time between two periodic looks at an input that never runs dry: watermarks are made and idleness is seen.
	// Default 200 ms, as in Flink; whole ms, at least 1.
	Interval time.Duration
	// IdleAfter is the processing time after which a split that has had no record no longer holds the watermark back; elsewhere than
	// behind a source, the input as a whole. It is looked at each Interval, so it takes up to three of them more. Time in which the task
	// is held up, or the split paused, does not count. Whole ms.
	//
	// Default 0 is DefaultIdleAfter; NeverIdle switches it off, and then only the source's word counts. Shorter makes results of a quiet
	// input come sooner; the danger is that what a split that was silent brings later is late, and windows have fired without it. Longer, or
	// NeverIdle, lets one silent split stop all results that wait for a watermark.
	IdleAfter time.Duration
	// Alignment holds splits back that are far ahead of others. Zero: none is.
	Alignment Alignment
}

// DefaultIdleAfter is the idleness timeout that Watermarks has by default: longer than what a healthy split may be silent for although it has
// data (the choice of a new leader, a retried request, a restarted producer: 30 s and less), and short enough that a partition without traffic
// does not stop a job for ever. Flink has none by default; there a single empty partition does.
const DefaultIdleAfter = time.Minute

// NeverIdle as Watermarks.IdleAfter switches the detection of idleness off.
const NeverIdle time.Duration = -1

const defaultWatermarkInterval = 200 * time.Millisecond

// Alignment holds sources and their splits together in event time: one whose watermark is more than MaxDrift ahead of the least watermark of
// the group is not read until the others have caught up. Without it, joining a fast and a slow source means to keep in state all that the
// fast one is ahead. Idle and finished splits do not hold others back; a split that has shown no watermark yet does, until it has or is idle.
//
// Single splits are held back if the source can (connectors.SplitPauser); a subtask of another source is held back when all its splits are
// ahead.
//
// Source: Flink's watermark alignment (WatermarkStrategy.withWatermarkAlignment).
type Alignment struct {
	// Group names the sources that are aligned with each other, within one job; a source alone in its group has its splits aligned.
	Group string
	// MaxDrift in whole ms, more than 0. Sources read in batches of some hundred records and may be ahead by a batch more.
	MaxDrift time.Duration
}

// WatermarkGenerator makes the watermarks of one split, or of one input elsewhere than behind a source. It is called by the task's goroutine
// only. A watermark is Unix ms and says that no record with a timestamp at or below it is expected. One that is not above the split's last
// changes nothing, except that its split is active. EndOfTime is not a generator's to give; it counts as 1 ms less.
//
// Source: Flink WatermarkGenerator.
type WatermarkGenerator[T any] interface {
	// OnRecord sees a record after it was passed on. With emit true, the watermark counts at once.
	OnRecord(v T, timestampMS int64) (watermarkMS int64, emit bool)
	// OnPeriodic is called each Watermarks.Interval of processing time, except while the split is idle or paused.
	OnPeriodic(now time.Time) (watermarkMS int64, emit bool)
}

// MonotonousTimestamps expects the records of each split in order.
func MonotonousTimestamps[T any]() Watermarks[T] { return Watermarks[T]{} }

// BoundedOutOfOrderness expects records to be at most d older than the newest record of their split; see Watermarks.OutOfOrderness.
func BoundedOutOfOrderness[T any](d time.Duration) Watermarks[T] {
	return Watermarks[T]{OutOfOrderness: d}
}

// PunctuatedWatermarks takes watermarks from records: for a record that carries one, f returns it and true. It counts at once, behind that
// record.
func PunctuatedWatermarks[T any](f func(v T, timestamp time.Time) (watermark time.Time, ok bool)) Watermarks[T] {
	if f == nil {
		return Watermarks[T]{Generator: func() WatermarkGenerator[T] { return nil }} // Validate says so
	}
	return Watermarks[T]{Generator: func() WatermarkGenerator[T] { return punctuated[T](f) }}
}

type punctuated[T any] func(v T, timestamp time.Time) (time.Time, bool)

// OnRecord implements WatermarkGenerator.
func (p punctuated[T]) OnRecord(v T, timestampMS int64) (int64, bool) {
	at, ok := p(v, time.UnixMilli(timestampMS))
	return at.UnixMilli(), ok
}

// OnPeriodic implements WatermarkGenerator.
func (punctuated[T]) OnPeriodic(time.Time) (int64, bool) { return 0, false }

// GeneratedWatermarks takes watermarks from a generator of one's own, one for each split.
func GeneratedWatermarks[T any](f func() WatermarkGenerator[T]) Watermarks[T] {
	if f == nil {
		f = func() WatermarkGenerator[T] { return nil } // Validate says so
	}
	return Watermarks[T]{Generator: f}
}

// WithTimestamp returns w with Timestamp set.
func (w Watermarks[T]) WithTimestamp(f func(T) time.Time) Watermarks[T] {
	w.Timestamp = f
	return w
}

// WithInterval returns w with Interval set.
func (w Watermarks[T]) WithInterval(d time.Duration) Watermarks[T] {
	w.Interval = d
	return w
}

// WithIdleness returns w with IdleAfter set.
func (w Watermarks[T]) WithIdleness(d time.Duration) Watermarks[T] {
	w.IdleAfter = d
	return w
}

// WithoutIdleness returns w with IdleAfter NeverIdle.
func (w Watermarks[T]) WithoutIdleness() Watermarks[T] { return w.WithIdleness(NeverIdle) }

// WithAlignment returns w with Alignment set.
func (w Watermarks[T]) WithAlignment(group string, maxDrift time.Duration) Watermarks[T] {
	w.Alignment = Alignment{group, maxDrift}
	return w
}

// Validate reports every fault.
func (w Watermarks[T]) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("operators: Watermarks has "+format, args...))
	}
	if !wholeMS(w.OutOfOrderness) {
		fault("OutOfOrderness %v, want 0 or more whole ms", w.OutOfOrderness)
	}
	if w.IdleAfter != NeverIdle && !wholeMS(w.IdleAfter) {
		fault("IdleAfter %v, want 0 (the default of %v), more whole ms, or NeverIdle", w.IdleAfter, DefaultIdleAfter)
	}
	if !wholeMS(w.Interval) {
		fault("Interval %v, want 0 (the default of %v) or more whole ms", w.Interval, defaultWatermarkInterval)
	}
	if a := w.Alignment; a != (Alignment{}) && (a.Group == "" || a.MaxDrift == 0 || !wholeMS(a.MaxDrift)) {
		fault("Alignment with group %q and MaxDrift %v, want the name of a group and 1 or more whole ms", a.Group, a.MaxDrift)
	}
	if w.Generator != nil {
		if w.OutOfOrderness != 0 {
			fault("OutOfOrderness %v beside a Generator; that is for the generator to decide", w.OutOfOrderness)
		}
		if isNil(w.Generator()) {
			fault("a Generator that returns nil, want a new WatermarkGenerator at each call")
		}
	}
	return errors.Join(errs...)
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Func || r.Kind() == reflect.Pointer) && r.IsNil()
}

func wholeMS(d time.Duration) bool { return d >= 0 && d%time.Millisecond == 0 }

// idleAfterMS is the idleness timeout, 0 for none.
func (w Watermarks[T]) idleAfterMS() int64 {
	switch w.IdleAfter {
	case NeverIdle:
		return 0
	case 0:
		return DefaultIdleAfter.Milliseconds()
	}
	return w.IdleAfter.Milliseconds()
}

func (w Watermarks[T]) intervalMS() int64 {
	if w.Interval == 0 {
		return defaultWatermarkInterval.Milliseconds()
	}
	return w.Interval.Milliseconds()
}

// userFuncs are the functions of the user that w calls, for messages about panics.
func (w Watermarks[T]) userFuncs() []any {
	var fs []any
	if w.Timestamp != nil {
		fs = append(fs, w.Timestamp)
	}
	if w.Generator == nil {
		return fs
	}
	g := w.Generator()
	if p, ok := g.(punctuated[T]); ok {
		return append(fs, (func(T, time.Time) (time.Time, bool))(p))
	}
	// The methods themselves: a method value of the interface would name the interface.
	for _, name := range []string{"OnRecord", "OnPeriodic"} {
		if m, ok := reflect.TypeOf(g).MethodByName(name); ok {
			fs = append(fs, m.Func.Interface())
		}
	}
	return append(fs, w.Generator)
}

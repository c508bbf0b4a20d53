package operators

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// Watermarks says how event time is read from records and how far out of order they may come. The zero value keeps the source's timestamps
// and expects them in order.
type Watermarks[T any] struct {
	// Timestamp gives the event time of a record, in whole ms. Nil: the timestamp that the source gave.
	Timestamp func(T) time.Time
	// OutOfOrderness is how much older than the newest record a record may be without being late. The watermark is the newest
	// timestamp − OutOfOrderness − 1 ms. Default 0; whole ms, not negative.
	// Source: Flink BoundedOutOfOrdernessWatermarks.
	OutOfOrderness time.Duration
	// IdleAfter is the processing time after which this subtask's input, if it has had no record, no longer holds the watermark of
	// other inputs back; from the start of the task on. It is about all splits together, beside what the source itself reports of
	// single ones. Default 0: only the source's word counts; whole ms, not negative.
	IdleAfter time.Duration
}

// Validate reports every fault.
func (w Watermarks[T]) Validate() error {
	if wholeMS(w.OutOfOrderness) && wholeMS(w.IdleAfter) {
		return nil
	}
	return fmt.Errorf("operators: Watermarks has OutOfOrderness %v and IdleAfter %v, want 0 or more whole ms", w.OutOfOrderness, w.IdleAfter)
}

func wholeMS(d time.Duration) bool { return d >= 0 && d%time.Millisecond == 0 }

// watermarkEvery is the number of records after which a watermark is emitted though more are at hand: one in 1,000 costs nothing
// measurable.
const watermarkEvery = 1000

// Timestamps assigns event time and emits watermarks. Directly behind a source it keeps one watermark per split and emits the smallest
// over the active ones, so that splits may be read at different speeds; elsewhere its whole input counts as one. A split counts from its
// assignment on, idle ones do not count, and when none does the watermark stays. Watermarks go out when the input runs dry, at barriers and
// every 1,000 records; those of its input end here, except EndOfTime. It keeps no state: after a restore the watermark is made from
// the records that come, and the operators behind go on from theirs.
//
// A record without timestamp becomes a dead letter if the graph consumes the step's dead letters, and otherwise fails the task.
// Source: Flink BoundedOutOfOrdernessWatermarks; emission by input instead of by a periodic timer.
func Timestamps[T any](w Watermarks[T]) Stage[T, T] {
	return func(t *Task, emit func(T) error) (func(T) error, error) {
		if err := w.Validate(); err != nil {
			return nil, err
		}
		if w.Timestamp != nil {
			t.UserFuncs(w.Timestamp)
		}
		g := &generator{t: t, delay: w.OutOfOrderness.Milliseconds() + 1, idleAfterMS: w.IdleAfter.Milliseconds()}
		g.declare()
		c := t.Context()
		return func(v T) error {
			given := c.TimestampMS
			if w.Timestamp != nil {
				c.TimestampMS = w.Timestamp(v).UnixMilli()
			}
			if c.TimestampMS == connectors.NoTimestamp {
				return Refuse(t, v, errors.New("the record has no timestamp; give Watermarks.Timestamp"))
			}
			if err := g.see(c.Split, c.TimestampMS); err != nil {
				return err
			}
			err := emit(v)
			// The next consumer of the same stream in this chain sees the record as it came.
			c.TimestampMS = given
			if err == nil && g.pending >= watermarkEvery {
				err = g.emit()
			}
			return err
		}, nil
	}
}

// generator makes the watermarks of one subtask from the newest timestamp of each split.
type generator struct {
	t           *Task
	delay       int64
	idleAfterMS int64
	splits      []splitTime // by number; number 0 stands for the whole input where there are no splits
	pending     int         // records since the last watermark
	seenMS      int64       // processing time of the last record or of the start of activity, kept only with idleAfterMS
	idle        bool
}

type splitTime struct {
	known, idle bool
	newest      int64
}

func (g *generator) declare() {
	t := g.t
	t.OwnWatermarks()
	t.OnSplit(g.onSplit)
	t.OnDry(g.emit)
	t.OnBarrier(func(context.Context, int64) error { return g.emit() })
	t.OnIdleness(func(idle bool) error {
		if err := g.emit(); err != nil {
			return err
		}
		g.seenMS = t.Now().UnixMilli()
		return g.setIdle(idle)
	})
	if g.idleAfterMS > 0 {
		t.OnOpen(func(context.Context) error {
			g.seenMS = t.Now().UnixMilli()
			return nil
		})
		t.UseTimers(g.nextIdle, g.fireIdle)
	}
}

func (g *generator) at(split int) *splitTime {
	split = max(split, 0)
	for len(g.splits) <= split {
		g.splits = append(g.splits, splitTime{newest: NoWatermark})
	}
	return &g.splits[split]
}

func (g *generator) see(split int, ms int64) error {
	s := g.at(split)
	s.known, s.idle = true, false
	if ms > s.newest {
		s.newest = ms
	}
	if g.idleAfterMS > 0 {
		g.seenMS = g.t.Now().UnixMilli()
		if err := g.setIdle(false); err != nil {
			return err
		}
	}
	g.pending++
	return nil
}

func (g *generator) onSplit(split int, e SplitEvent) error {
	// What the split's records have shown counts before the split no longer does.
	if err := g.emit(); err != nil {
		return err
	}
	s := g.at(split)
	switch e {
	case SplitAdded:
		*s = splitTime{known: true, newest: NoWatermark} // the number may be that of a finished split
	case SplitIdle:
		s.idle = true
	case SplitFinished:
		s.known = false
	}
	return g.emit()
}

// emit passes on the smallest watermark of the active splits.
func (g *generator) emit() error {
	g.pending = 0
	low, any := EndOfTime, false
	for _, s := range g.splits {
		if s.known && !s.idle {
			low, any = min(low, s.newest), true
		}
	}
	if !any || low <= NoWatermark+g.delay {
		return nil
	}
	return g.t.EmitWatermark(low - g.delay)
}

func (g *generator) setIdle(idle bool) error {
	if g.idle == idle {
		return nil
	}
	g.idle = idle
	return g.t.EmitIdle(idle)
}

func (g *generator) nextIdle() (int64, bool) {
	return g.seenMS + g.idleAfterMS, !g.idle
}

func (g *generator) fireIdle(nowMS int64) error {
	if nowMS < g.seenMS+g.idleAfterMS {
		return nil
	}
	if err := g.emit(); err != nil {
		return err
	}
	return g.setIdle(true)
}

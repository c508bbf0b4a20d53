package operators

import (
	"context"
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
	// timestamp − OutOfOrderness − 1 ms. Default 0; not negative.
	// Source: Flink BoundedOutOfOrdernessWatermarks.
	OutOfOrderness time.Duration
	// IdleAfter is the processing time after which an input without records no longer holds the watermark back, beside what the
	// source itself reports of its splits. Default 0: only the source's word counts.
	IdleAfter time.Duration
}

// Validate reports every fault.
func (w Watermarks[T]) Validate() error {
	if w.OutOfOrderness < 0 || w.IdleAfter < 0 {
		return fmt.Errorf("operators: Watermarks has OutOfOrderness %v and IdleAfter %v, want 0 or more", w.OutOfOrderness, w.IdleAfter)
	}
	return nil
}

// watermarkEvery is the number of records after which a watermark is emitted though more are at hand: one in 1,000 costs nothing
// measurable.
const watermarkEvery = 1000

// Timestamps assigns event time and emits watermarks. Directly behind a source it keeps one watermark per split and emits the smallest
// over the active ones, so that splits may be read at different speeds. Watermarks go out when the input runs dry and every 1,000
// records; those of its input end here.
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
			if w.Timestamp != nil {
				c.TimestampMS = w.Timestamp(v).UnixMilli()
			}
			if c.TimestampMS == connectors.NoTimestamp {
				return Refuse(t, v, fmt.Errorf("the record has no timestamp; give Watermarks.Timestamp"))
			}
			if err := g.see(c.Split, c.TimestampMS); err != nil {
				return err
			}
			return emit(v)
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
	seenMS      int64       // processing time of the last look at a record, kept only with idleAfterMS
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
		return g.setIdle(idle)
	})
	if g.idleAfterMS > 0 {
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
	if g.pending++; g.pending >= watermarkEvery {
		return g.emit()
	}
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
		s.known, s.idle = true, false
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
	if !any || low == NoWatermark {
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
	if g.idle || g.seenMS == 0 {
		return 0, false
	}
	return g.seenMS + g.idleAfterMS, true
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

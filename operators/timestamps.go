package operators

import (
	"context"
	"errors"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/watermark"
)

// watermarkEvery is the number of records after which a watermark is emitted though more are at hand: one in 1,000 costs nothing
// measurable.
const watermarkEvery = 1000

// Timestamps assigns event time and emits watermarks.
//
// Directly behind a source it has one generator per split, so that splits may be read at different speeds, and emits the least watermark of
// those that are not idle; when all are idle, the newest of all. A split counts from its assignment on: before its first record it
// holds the watermark where it is. Elsewhere the whole input has one generator, and what the steps before it say of idleness ends here: its own
// timeout counts.
//
// Watermarks go out when the input runs dry, at barriers, every 1,000 records and each Watermarks.Interval. A watermark that a generator
// gives for a record goes out behind that record. Those of the input end here, except EndOfTime.
//
// A split without records for Watermarks.IdleAfter is idle, which is on by default; when every split is, the output is idle. Behind a source
// it is active again with the next record; elsewhere with the next watermark that grows, as in Flink.
//
// It keeps no state: after a restore the watermark is made from the records that come, and the operators behind go on from theirs, so what was
// late stays late. A generator of one's own begins anew as well.
//
// A record without timestamp becomes a dead letter if the graph consumes the step's dead letters, and otherwise fails the task.
// Source: Flink TimestampsAndWatermarksOperator, and ProgressiveTimestampsAndWatermarks for sources; emission by input is ours.
func Timestamps[T any](w Watermarks[T]) Stage[T, T] {
	return func(t *Task, emit func(T) error) (func(T) error, error) {
		if err := w.Validate(); err != nil {
			return nil, err
		}
		t.UserFuncs(w.userFuncs()...)
		s := &stamper[T]{t: t, w: w, mux: watermark.NewMultiplexer(), bounded: watermark.NewBounded(w.OutOfOrderness.Milliseconds()),
			idleAfterMS: w.idleAfterMS(), source: t.Config().InSource}
		s.declare()
		c := t.Context()
		return func(v T) error {
			given := c.TimestampMS
			if w.Timestamp != nil {
				c.TimestampMS = w.Timestamp(v).UnixMilli()
			}
			if c.TimestampMS == connectors.NoTimestamp {
				return Refuse(t, v, errors.New("the record has no timestamp; give Watermarks.Timestamp"))
			}
			split := max(c.Split, 0)
			if split >= len(s.splits) || !s.splits[split].known || s.idle {
				if err := s.prepare(split); err != nil {
					return err
				}
			}
			s.splits[split].see(c.TimestampMS)
			s.pending++
			err := emit(v)
			if err == nil && w.Generator != nil {
				err = s.generate(split, v, c.TimestampMS)
			}
			// The next consumer of the same stream in this chain sees the record as it came.
			c.TimestampMS = given
			if err == nil && s.pending >= watermarkEvery {
				err = s.update()
			}
			return err
		}, nil
	}
}

// stamper makes the watermarks of one subtask.
type stamper[T any] struct {
	t   *Task
	w   Watermarks[T]
	mux *watermark.Multiplexer
	// splits by number; number 0 stands for the whole input where there are no splits.
	splits      []splitStamper[T]
	bounded     watermark.Bounded // of a new split
	idleAfterMS int64             // 0: never
	dueMS       int64             // of the next periodic look
	pending     int               // records since the last update
	source      bool              // splits are told of
	idle        bool              // what was last passed on
}

type splitStamper[T any] struct {
	bounded watermark.Bounded
	own     WatermarkGenerator[T]
	timer   watermark.IdleTimer
	known   bool
	fresh   bool // records since the multiplexer was last told
	paused  bool
}

func (s *stamper[T]) declare() {
	t := s.t
	t.OwnWatermarks()
	t.OnOpen(func(context.Context) error {
		s.dueMS = t.Now().UnixMilli() + s.w.intervalMS()
		if !s.source {
			s.add(0)
		}
		return nil
	})
	t.OnSplit(s.onSplit)
	t.OnWhy(s.facts)
	t.OnDry(s.update)
	t.OnBarrier(func(context.Context, int64) error { return s.update() })
	t.OnIdleness(s.onIdleness)
	t.OnWatermark(func(ms int64) error {
		if ms != EndOfTime {
			return nil
		}
		return s.setIdle(false)
	})
	t.UseTimers(func() (int64, bool) { return s.dueMS, true }, s.look)
	if a := s.w.Alignment; a.Group != "" {
		t.AlignSplits(SplitAlignment{Group: a.Group, MaxDriftMS: a.MaxDrift.Milliseconds(), Mark: s.mark})
	}
}

func (s *stamper[T]) add(split int) {
	for len(s.splits) <= split {
		s.splits = append(s.splits, splitStamper[T]{})
	}
	p := &s.splits[split]
	*p = splitStamper[T]{known: true, bounded: s.bounded} // the number may be that of a finished split
	if s.w.Generator != nil {
		p.own = s.w.Generator()
	}
	s.mux.Register(split)
}

// see takes the timestamp of a record.
func (p *splitStamper[T]) see(ms int64) {
	p.bounded.See(ms)
	p.timer.Seen()
	p.fresh = true
}

// prepare is for the first record of an input that is not split, and for those that come while the output is idle.
func (s *stamper[T]) prepare(split int) error {
	if split >= len(s.splits) || !s.splits[split].known {
		s.add(split)
	}
	if s.idle && s.source {
		s.mux.SetIdleLater(split, false)
		return s.setIdle(false)
	}
	return nil
}

// generate shows a record that was passed on to a generator of the user's.
func (s *stamper[T]) generate(split int, v T, tsMS int64) error {
	ms, ok := s.splits[split].own.OnRecord(v, tsMS)
	if !ok {
		return nil
	}
	return s.pass(s.mux.Watermark(split, min(ms, EndOfTime-1)))
}

func (s *stamper[T]) onSplit(split int, e SplitEvent) error {
	if !s.source {
		s.source = true
		if s.mux.Registered(0) {
			s.mux.Unregister(0)
			s.splits[0] = splitStamper[T]{}
		}
	}
	// What the split's records have shown counts before the split no longer does, or before another one holds the watermark back.
	if err := s.update(); err != nil {
		return err
	}
	switch e {
	case SplitAdded:
		s.add(split)
		return s.setIdle(false)
	case SplitIdle:
		return s.pass(s.mux.SetIdle(split, true))
	case SplitFinished:
		s.splits[split] = splitStamper[T]{}
		s.mux.Unregister(split)
		return s.pass(s.mux.Update())
	case SplitPaused:
		s.splits[split].paused = true
	case SplitResumed:
		s.splits[split].paused = false
		s.splits[split].timer.Restart()
	}
	return nil
}

// onIdleness takes the word of the source, which speaks of the subtask as a whole: it has no split, or one that is not idle.
func (s *stamper[T]) onIdleness(idle bool) error {
	if !s.source || idle && s.mux.Len() > 0 {
		return nil
	}
	return s.setIdle(idle)
}

// update passes on what the records since the last update have shown.
func (s *stamper[T]) update() error {
	if s.pending == 0 {
		return nil
	}
	s.tell()
	return s.pass(s.mux.Update())
}

// tell tells the multiplexer what the records since the last time have shown.
func (s *stamper[T]) tell() {
	s.pending = 0
	for i := range s.splits {
		p := &s.splits[i]
		if !p.fresh {
			continue
		}
		p.fresh = false
		if p.own == nil {
			s.mux.WatermarkLater(i, p.bounded.Watermark())
		} else {
			s.mux.SetIdleLater(i, false)
		}
	}
}

// look is the periodic look.
func (s *stamper[T]) look(nowMS int64) error {
	s.dueMS = nowMS + s.w.intervalMS()
	s.tell()
	clockMS := nowMS - s.t.HeldUp().Milliseconds()
	for i := range s.splits {
		p := &s.splits[i]
		switch {
		case !p.known || p.paused:
		case s.idleAfterMS > 0 && p.timer.Idle(clockMS, s.idleAfterMS):
			s.mux.SetIdleLater(i, true)
		case p.own != nil:
			ms, ok := p.own.OnPeriodic(time.UnixMilli(nowMS))
			// A split of which the source has said that it is idle is so until it shows something new.
			if ok && (ms > s.mux.Mark(i) || !s.mux.IsIdle(i)) {
				s.mux.WatermarkLater(i, min(ms, EndOfTime-1))
			}
		}
	}
	return s.pass(s.mux.Update())
}

// pass passes on what has come out of an update.
func (s *stamper[T]) pass(m watermark.Merged) error {
	rose := m.Rose && m.MS > s.t.Watermark()
	if rose || s.source && m.Changed && !m.Idle {
		if err := s.setIdle(false); err != nil {
			return err
		}
	}
	if rose {
		if err := s.t.EmitWatermark(m.MS); err != nil {
			return err
		}
	}
	if m.Idle && s.mux.Len() > 0 {
		return s.setIdle(true)
	}
	return nil
}

func (s *stamper[T]) setIdle(idle bool) error {
	if s.idle == idle {
		return nil
	}
	s.idle = idle
	return s.t.EmitIdle(idle)
}

// facts says what of the splits is known.
func (s *stamper[T]) facts(f *Facts) {
	f.Idle, f.Splits = s.idle, map[int]SplitFacts{}
	for i := range s.splits {
		ms, counts := s.mark(i)
		f.Splits[i] = SplitFacts{WatermarkMS: ms, Idle: !counts}
	}
}

// mark implements SplitAlignment.Mark.
func (s *stamper[T]) mark(split int) (ms int64, counts bool) {
	if split >= len(s.splits) || !s.splits[split].known {
		return NoWatermark, false
	}
	p := &s.splits[split]
	counts = p.fresh || !s.mux.IsIdle(split)
	if p.own != nil {
		return s.mux.Mark(split), counts
	}
	return p.bounded.Watermark(), counts
}

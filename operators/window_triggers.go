package operators

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// EventTimeTrigger fires when the watermark reaches the window's last ms, and for each record that comes to the window after that. On the
// global window it fires once, at the end of a bounded input.
// Source: Flink EventTimeTrigger.
func EventTimeTrigger[T any]() Trigger[T] {
	t := NewTrigger("event time", TriggerFuncs[T, struct{}]{
		OnRecord: func(c *TriggerCtx, _ *struct{}, _ T) TriggerResult {
			if last := c.window.LastMS(); last > c.WatermarkMS() {
				c.EventTimer(last)
				return Continue
			}
			return Fire
		},
		OnEventTime: func(c *TriggerCtx, _ *struct{}, atMS int64) TriggerResult { return fireIf(atMS == c.window.LastMS()) },
		Merge:       func(_, _ *struct{}) {},
		OnMerge: func(c *TriggerCtx, _ *struct{}) {
			if last := c.window.LastMS(); last > c.WatermarkMS() {
				c.EventTimer(last)
			}
		},
		Clear: func(c *TriggerCtx, _ *struct{}) { c.DeleteEventTimer(c.window.LastMS()) },
	})
	t.end = endOfEventTime
	return t
}

// ProcessingTimeTrigger fires when the wall clock reaches the window's last ms.
// Source: Flink ProcessingTimeTrigger.
func ProcessingTimeTrigger[T any]() Trigger[T] {
	t := NewTrigger("processing time", TriggerFuncs[T, struct{}]{
		OnRecord: func(c *TriggerCtx, _ *struct{}, _ T) TriggerResult {
			c.ProcessingTimer(c.window.LastMS())
			return Continue
		},
		OnProcessingTime: func(c *TriggerCtx, _ *struct{}, atMS int64) TriggerResult { return fireIf(atMS == c.window.LastMS()) },
		Merge:            func(_, _ *struct{}) {},
		OnMerge: func(c *TriggerCtx, _ *struct{}) {
			if last := c.window.LastMS(); last > c.Now().UnixMilli() {
				c.ProcessingTimer(last)
			}
		},
		Clear: func(c *TriggerCtx, _ *struct{}) { c.DeleteProcessingTimer(c.window.LastMS()) },
	})
	t.end = endOfProcessingTime
	return t
}

func fireIf(due bool) TriggerResult {
	if due {
		return Fire
	}
	return Continue
}

type countState struct{ Records int64 }

// CountTrigger fires at every nth record of a window, n at least 1. It does not fire when the window ends: what came since the last result is
// dropped then. Windows that merge add their counts, and the record that merges them may fire.
// Source: Flink CountTrigger.
func CountTrigger[T any](n int64) Trigger[T] {
	t := NewTrigger("count", TriggerFuncs[T, countState]{
		OnRecord: func(_ *TriggerCtx, s *countState, _ T) TriggerResult {
			if s.Records++; s.Records < n {
				return Continue
			}
			s.Records = 0
			return Fire
		},
		Merge: func(s, other *countState) { s.Records += other.Records },
	})
	if n < 1 {
		t.fault = fmt.Errorf("operators: CountTrigger fires at every %dth record, want at least 1", n)
	}
	return t
}

// continuousState is when a continuous trigger fires next.
type continuousState struct {
	NextMS int64
	Set    bool
}

func (s *continuousState) merge(o *continuousState) {
	if o.Set && (!s.Set || o.NextMS < s.NextMS) {
		*s = *o
	}
}

// after makes next the first multiple of interval after atMS, rounded towards 0 as Flink does, but at most the window's last ms.
func (s *continuousState) after(atMS, intervalMS int64, w Window) int64 {
	s.NextMS, s.Set = min(addMS(atMS-atMS%intervalMS, intervalMS), w.LastMS()), true
	return s.NextMS
}

// ContinuousEventTimeTrigger gives early results: it fires at every multiple of interval that the watermark reaches while the window is open, and
// as EventTimeTrigger. interval is whole ms, at least 1 ms. The global window fires so until the end of a bounded input, and then once.
// Source: Flink ContinuousEventTimeTrigger.
func ContinuousEventTimeTrigger[T any](interval time.Duration) Trigger[T] {
	every := interval.Milliseconds()
	t := NewTrigger("continuous event time", TriggerFuncs[T, continuousState]{
		OnRecord: func(c *TriggerCtx, s *continuousState, _ T) TriggerResult {
			last := c.window.LastMS()
			if last <= c.WatermarkMS() {
				return Fire
			}
			c.EventTimer(last)
			if s.Set {
				return Continue
			}
			if c.TimestampMS() == connectors.NoTimestamp {
				c.Fail(BadRecord(errors.New("the record has no timestamp, by which its window fires; call Timestamps before the window")))
				return Continue
			}
			c.EventTimer(s.after(c.TimestampMS(), every, c.window))
			return Continue
		},
		OnEventTime: func(c *TriggerCtx, s *continuousState, atMS int64) TriggerResult {
			if atMS == c.window.LastMS() {
				return Fire
			}
			if !s.Set || s.NextMS != atMS {
				return Continue
			}
			s.NextMS = min(addMS(atMS, every), c.window.LastMS())
			if c.WatermarkMS() == EndOfTime && c.window == Everything {
				s.NextMS = EndOfTime // else it would fire until the end of time
			}
			c.EventTimer(s.NextMS)
			return Fire
		},
		Merge: (*continuousState).merge,
		OnMerge: func(c *TriggerCtx, s *continuousState) {
			if s.Set {
				c.EventTimer(s.NextMS)
			}
		},
		Clear: func(c *TriggerCtx, s *continuousState) {
			c.DeleteEventTimer(c.window.LastMS())
			if s.Set {
				c.DeleteEventTimer(s.NextMS)
			}
		},
	})
	t.fault, t.byWatermark = faultOfInterval("ContinuousEventTimeTrigger fires every", interval), true
	return t
}

// ContinuousProcessingTimeTrigger gives early results: it fires at every multiple of interval of the wall clock that follows a record, until
// the clock passes the window's last ms. interval is whole ms, at least 1 ms. In windows of event time it never fires once the clock has
// passed their end.
// Source: Flink ContinuousProcessingTimeTrigger.
func ContinuousProcessingTimeTrigger[T any](interval time.Duration) Trigger[T] {
	every := interval.Milliseconds()
	t := NewTrigger("continuous processing time", TriggerFuncs[T, continuousState]{
		OnRecord: func(c *TriggerCtx, s *continuousState, _ T) TriggerResult {
			if !s.Set {
				c.ProcessingTimer(s.after(c.Now().UnixMilli(), every, c.window))
			}
			return Continue
		},
		OnProcessingTime: func(c *TriggerCtx, s *continuousState, atMS int64) TriggerResult {
			if atMS == c.window.LastMS() {
				return Fire
			}
			if !s.Set || s.NextMS != atMS {
				return Continue
			}
			s.NextMS = min(addMS(atMS, every), c.window.LastMS())
			c.ProcessingTimer(s.NextMS)
			return Fire
		},
		Merge: (*continuousState).merge,
		OnMerge: func(c *TriggerCtx, s *continuousState) {
			if s.Set {
				c.ProcessingTimer(s.NextMS)
			}
		},
		Clear: func(c *TriggerCtx, s *continuousState) {
			if s.Set {
				c.DeleteProcessingTimer(s.NextMS)
			}
		},
	})
	t.fault = faultOfInterval("ContinuousProcessingTimeTrigger fires every", interval)
	return t
}

func faultOfInterval(what string, d time.Duration) error {
	if d < time.Millisecond || d%time.Millisecond != 0 {
		return fmt.Errorf("operators: %s %v, want a whole number of ms, at least 1ms", what, d)
	}
	return nil
}

type deltaState[T any] struct {
	Reference T
	Set       bool
}

// DeltaTrigger fires when delta(reference, record) > threshold, and the record becomes the reference then; the first record of a window is its
// first reference. It does not merge.
// Source: Flink DeltaTrigger.
func DeltaTrigger[T any](threshold float64, delta func(reference, v T) float64) Trigger[T] {
	t := NewTrigger("delta", TriggerFuncs[T, deltaState[T]]{
		OnRecord: func(_ *TriggerCtx, s *deltaState[T], v T) TriggerResult {
			if !s.Set {
				s.Reference, s.Set = v, true
				return Continue
			}
			if !(delta(s.Reference, v) > threshold) {
				return Continue
			}
			s.Reference = v
			return Fire
		},
	})
	if delta == nil {
		t.fault = errors.New("operators: DeltaTrigger needs a delta function")
	}
	t.funcs = append(t.funcs, delta)
	return t
}

// Purging drops the window's contents after every result, so that the next one holds only what came since.
// Source: Flink PurgingTrigger.
func (t Trigger[T]) Purging() Trigger[T] {
	if t.host == nil {
		t.fault = errors.New("operators: the default trigger cannot purge; take EventTimeTrigger or ProcessingTimeTrigger")
		return t
	}
	t.host, t.end = &purgingTrigger[T]{t.host}, notEnd
	return t
}

// purgingTrigger implements triggerHost.
type purgingTrigger[T any] struct{ triggerHost[T] }

func (p *purgingTrigger[T]) onRecord(c *TriggerCtx, s triggerState, v T) TriggerResult {
	return purge(p.triggerHost.onRecord(c, s, v))
}

func (p *purgingTrigger[T]) onTime(c *TriggerCtx, s triggerState, d state.Domain, atMS int64) TriggerResult {
	return purge(p.triggerHost.onTime(c, s, d, atMS))
}

func purge(r TriggerResult) TriggerResult {
	if r&Fire != 0 {
		return FireAndPurge
	}
	return r
}

// Timeout is for Trigger.WithTimeout.
type Timeout struct {
	// After is how long after a record the window fires, by the wall clock, whole ms, at least 1 ms.
	After time.Duration
	// ResetOnRecord begins anew with each record. Default: the first record since the last result counts.
	ResetOnRecord bool
	// KeepState goes on with the state of the trigger within after a time-out. Default: it begins afresh, as in a new window.
	KeepState bool
}

// WithTimeout fires when t does, and after a time without a result. As in Flink, any timer of the window fires it, also those of t, and
// the clean-up of the window, so that the last records are not dropped. It does not merge.
// Source: Flink ProcessingTimeoutTrigger.
func (t Trigger[T]) WithTimeout(o Timeout) Trigger[T] {
	if t.host == nil {
		t.fault = errors.New("operators: the default trigger has no timeout; take EventTimeTrigger or ProcessingTimeTrigger")
		return t
	}
	t.fault = errors.Join(t.fault, faultOfInterval("Timeout.After is", o.After))
	t.host = &timeoutTrigger[T]{inner: t.host, o: o, afterMS: o.After.Milliseconds()}
	t.name, t.merges, t.end = t.name+" or timeout", false, notEnd
	return t
}

// timeoutTrigger implements triggerHost.
type timeoutTrigger[T any] struct {
	inner   triggerHost[T]
	o       Timeout
	afterMS int64
}

func (t *timeoutTrigger[T]) codec() (serde.Serde[triggerState], error) {
	inner, err := t.inner.codec()
	return timeoutCodec{inner}, err
}

func (t *timeoutTrigger[T]) fresh() triggerState {
	return triggerState{&timeoutState{inner: t.inner.fresh()}}
}

func (t *timeoutTrigger[T]) onRecord(c *TriggerCtx, state triggerState, v T) TriggerResult {
	s := state.of.(*timeoutState)
	r := t.inner.onRecord(c, s.inner, v)
	if r&Fire != 0 {
		t.clear(c, state)
		return r
	}
	if s.set && t.o.ResetOnRecord {
		c.DeleteProcessingTimer(s.atMS)
		s.set = false
	}
	if !s.set {
		s.atMS, s.set = addMS(c.Now().UnixMilli(), t.afterMS), true
		c.ProcessingTimer(s.atMS)
	}
	return r
}

func (t *timeoutTrigger[T]) onTime(c *TriggerCtx, s triggerState, d state.Domain, atMS int64) TriggerResult {
	r := t.inner.onTime(c, s.of.(*timeoutState).inner, d, atMS)
	if !t.o.KeepState {
		t.clear(c, s)
	}
	return Fire | r
}

func (t *timeoutTrigger[T]) copyOf(state triggerState) triggerState {
	s := *state.of.(*timeoutState)
	s.inner = t.inner.copyOf(s.inner)
	return triggerState{&s}
}

func (t *timeoutTrigger[T]) merge(_, _ triggerState) {}

func (t *timeoutTrigger[T]) onMerge(*TriggerCtx, triggerState) {}

func (t *timeoutTrigger[T]) clear(c *TriggerCtx, state triggerState) {
	s := state.of.(*timeoutState)
	if s.set {
		c.DeleteProcessingTimer(s.atMS)
		s.set = false
	}
	t.inner.clear(c, s.inner)
	s.inner = t.inner.fresh()
}

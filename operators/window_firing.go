package operators

import (
	"time"

	"github.com/millrace-io/millrace/state"
)

// This file is what a window operator does when a timer fires.

func (op *windowOperator[K, T, V, Out]) onEventTimer(c *Ctx[K, Out], at time.Time) error {
	return op.onTimer(c, state.EventTime, at.UnixMilli())
}

func (op *windowOperator[K, T, V, Out]) onProcessingTimer(c *Ctx[K, Out], at time.Time) error {
	return op.onTimer(c, state.ProcessingTime, at.UnixMilli())
}

func (op *windowOperator[K, T, V, Out]) onTimer(c *Ctx[K, Out], d state.Domain, atMS int64) error {
	if op.timers == nil {
		if d != op.domain() {
			return nil
		}
		if op.sessions != nil {
			return op.onSessionTimer(c, atMS)
		}
		return op.onEnd(atMS)
	}
	e, ok, err := op.timers.take(d, atMS)
	if err != nil || !ok {
		return err
	}
	if err := op.onWindowTimer(d, atMS, e.First); err != nil {
		return err
	}
	for _, w := range e.More {
		if err := op.onWindowTimer(d, atMS, w); err != nil {
			return err
		}
	}
	return nil
}

// onEnd fires the aligned window whose last ms is at, and drops it.
func (op *windowOperator[K, T, V, Out]) onEnd(at int64) error {
	w := Window{StartMS: at + 1 - op.size, EndMS: at + 1}
	if floor(w.StartMS, op.spec.Windows.Slide.Milliseconds(), op.spec.Windows.Offset.Milliseconds()) != w.StartMS {
		return nil // a timer of other windows, which this step had before and whose state was dropped
	}
	if err := op.fire(w, w); err != nil {
		return err
	}
	return op.clear(w, w)
}

// onWindowTimer is a timer of w: of its trigger, of its clean-up, or both.
func (op *windowOperator[K, T, V, Out]) onWindowTimer(d state.Domain, at int64, w Window) error {
	id := w
	var live []session
	i := -1
	if op.sessions != nil {
		var err error
		if live, err = op.sessions.Get(); err != nil {
			return err
		}
		if i = findSession(live, w); i < 0 {
			return nil // it has been merged into another
		}
		id = live[i].ID
	}
	if err := op.ask(d, at, w, id); err != nil {
		return err
	}
	if d != op.domain() || at < op.cleanupMS(w) || op.cleanupMS(w) == EndOfTime {
		return nil
	}
	if err := op.clear(w, id); err != nil {
		return err
	}
	if i >= 0 {
		return op.keepSessions(dropSessions(live, i, i+1))
	}
	return nil
}

// ask does what the trigger decides at a timer.
func (op *windowOperator[K, T, V, Out]) ask(d state.Domain, at int64, w, id Window) error {
	tr := op.trigger
	if tr == nil {
		if d == op.domain() && at == w.LastMS() {
			return op.fire(w, id)
		}
		return nil
	}
	s, err := op.triggerState(id)
	if err != nil {
		return err
	}
	tr.ctx.window = w
	return op.decided(w, id, s, tr.host.onTime(&tr.ctx, s, d, at))
}

// add implements windowTimer.
func (op *windowOperator[K, T, V, Out]) add(d state.Domain, atMS int64, w Window) error {
	return op.timers.add(d, atMS, w)
}

// remove implements windowTimer. The clean-up timer is not the trigger's to delete.
func (op *windowOperator[K, T, V, Out]) remove(d state.Domain, atMS int64, w Window) error {
	if d == op.domain() && atMS == op.cleanupMS(w) {
		return nil
	}
	return op.timers.remove(d, atMS, w)
}

package operators

import (
	"context"
	"slices"

	"github.com/millrace-io/millrace/state"
)

// windowTimers are timers that belong to a window: keyed timers know a time only, so the windows that wait for it are kept beside them.
type windowTimers[K comparable] struct {
	timers *state.Timers[K]
	at     [2]*state.Map[int64, windowsAt] // by domain
}

// windowsAt are the windows that have a timer at one time, in their order.
type windowsAt struct {
	First Window
	More  []Window // mostly none
}

func newWindowTimers[K comparable, In, Out any](b *Keyed[K, In, Out], of string) *windowTimers[K] {
	return &windowTimers[K]{timers: b.timers, at: [2]*state.Map[int64, windowsAt]{
		state.EventTime:      b.Map[int64, windowsAt]("event timers of " + of),
		state.ProcessingTime: b.Map[int64, windowsAt]("processing timers of " + of),
	}}
}

func (t *windowTimers[K]) add(d state.Domain, atMS int64, w Window) error {
	e, ok, err := t.at[d].Get(atMS)
	switch {
	case err != nil:
		return err
	case !ok:
		e.First = w
		t.timers.Register(d, atMS)
	case e.First == w || slices.Contains(e.More, w):
		return nil
	default:
		if w.before(e.First) {
			e.First, w = w, e.First
		}
		i := 0
		for i < len(e.More) && e.More[i].before(w) {
			i++
		}
		e.More = slices.Insert(e.More, i, w)
	}
	return t.at[d].Put(atMS, e)
}

func (t *windowTimers[K]) remove(d state.Domain, atMS int64, w Window) error {
	e, ok, err := t.at[d].Get(atMS)
	if err != nil || !ok {
		return err
	}
	if i := slices.Index(e.More, w); i >= 0 {
		e.More = slices.Delete(e.More, i, i+1)
	} else if e.First != w {
		return nil
	} else if len(e.More) > 0 {
		e.First = e.More[0]
		e.More = slices.Delete(e.More, 0, 1)
	} else {
		t.timers.Delete(d, atMS)
		return t.at[d].Remove(atMS)
	}
	return t.at[d].Put(atMS, e)
}

// take removes the timers at one time and returns their windows.
func (t *windowTimers[K]) take(d state.Domain, atMS int64) (e windowsAt, ok bool, err error) {
	if e, ok, err = t.at[d].Get(atMS); err != nil || !ok {
		return e, false, err
	}
	return e, true, t.at[d].Remove(atMS)
}

// forgetful tells whether an operator was restored without its watermark, as some harnesses do: windows that gave their result, or went,
// may then take records again, which cannot happen in a job.
type forgetful struct {
	state.Operator
	restored bool
}

// Restore implements state.Operator.
func (f *forgetful) Restore(ctx context.Context, r state.Restore) error {
	f.restored = true
	return f.Operator.Restore(ctx, r)
}

// watchForRestore calls forgot at the start of an operator that has state and no watermark. It follows UseState.
func watchForRestore(t *Task, forgot func()) {
	f := &forgetful{Operator: t.hooks.State}
	t.hooks.State = f
	t.OnOpen(func(context.Context) error {
		if f.restored && t.Watermark() == NoWatermark {
			forgot()
		}
		return nil
	})
}

package operators

import (
	"fmt"
	"slices"
)

// session is a session window of a key. The sessions of a key neither overlap nor touch, and are kept in the order of time.
type session struct {
	StartMS, EndMS int64
	// ID is the window of the session's first record: what the session holds is kept under it, so that a longer session moves nothing.
	ID Window
	// TimerMS is, with the default trigger, the one pending timer that the session heeds: at its end or earlier, so that a record that makes the
	// session longer need not move it.
	TimerMS int64
}

func (s session) window() Window { return Window{StartMS: s.StartMS, EndMS: s.EndMS} }

// findSession is the index of the session with exactly the window w, or -1.
func findSession(live []session, w Window) int {
	return slices.IndexFunc(live, func(s session) bool { return s.StartMS == w.StartMS && s.EndMS == w.EndMS })
}

// dropSessions removes live[i:j].
func dropSessions(live []session, i, j int) []session { return slices.Delete(live, i, j) }

// meeting is the range of sessions that overlap or touch w.
func meeting(live []session, w Window) (i, j int) {
	i = len(live)
	for i > 0 && live[i-1].EndMS >= w.StartMS { // records mostly come to the last session
		i--
	}
	j = i
	for j < len(live) && live[j].StartMS <= w.EndMS {
		j++
	}
	return i, j
}

func (op *windowOperator[K, T, V, Out]) keepSessions(live []session) error {
	if len(live) == 0 {
		return op.sessions.Clear()
	}
	return op.sessions.Set(live)
}

// onSessionRecord takes a record with timestamp ts whose time is at: it opens a session, or joins one or several, which become one.
func (op *windowOperator[K, T, V, Out]) onSessionRecord(c *Ctx[K, Out], v T, ts, at int64) error {
	gap := op.spec.Windows.Gap.Milliseconds()
	if op.spec.Gap != nil {
		if gap = op.spec.Gap(v).Milliseconds(); gap < 1 {
			return BadRecord(fmt.Errorf("the session gap of the record is %v, want at least 1ms", op.spec.Gap(v)))
		}
	}
	if !inReach(at, gap) {
		return errTooFar(at)
	}
	w := Window{StartMS: at, EndMS: at + gap}
	live, err := op.sessions.Get()
	if err != nil {
		return err
	}
	i, j := meeting(live, w)
	if i == j {
		if op.isLate(w) {
			return op.skipped(c, v, ts)
		}
		live = slices.Insert(live, i, session{StartMS: w.StartMS, EndMS: w.EndMS, ID: w, TimerMS: EndOfTime})
	} else {
		w = Window{StartMS: min(w.StartMS, live[i].StartMS), EndMS: max(w.EndMS, live[j-1].EndMS)}
		if live, err = op.join(live, i, j, w); err != nil {
			return err
		}
	}
	s := &live[i]
	if op.trigger == nil {
		op.armSession(c, s)
	}
	id := s.ID
	if err := op.keepSessions(live); err != nil {
		return err
	}
	fresh, err := op.contents.add(id, v, ts)
	if err != nil {
		return err
	}
	if op.trigger == nil {
		if op.event && w.LastMS() <= c.WatermarkMS() {
			return op.fire(w, id)
		}
		return nil
	}
	return op.added(c, w, id, v, fresh)
}

// join makes live[i:j] the one session w.
func (op *windowOperator[K, T, V, Out]) join(live []session, i, j int, w Window) ([]session, error) {
	s := live[i]
	if j == i+1 && s.window() == w {
		return live, nil
	}
	for _, other := range live[i+1 : j] {
		if err := op.contents.merge(s.ID, other.ID); err != nil {
			return nil, err
		}
		for _, st := range op.f.states {
			if err := st.merge(s.ID, other.ID); err != nil {
				return nil, err
			}
		}
	}
	if op.trigger != nil {
		if err := op.joinTriggers(live[i:j], w); err != nil {
			return nil, err
		}
	}
	s.StartMS, s.EndMS = w.StartMS, w.EndMS
	for _, other := range live[i:j] {
		s.TimerMS = min(s.TimerMS, other.TimerMS)
	}
	live[i] = s
	return dropSessions(live, i+1, j), nil
}

// joinTriggers merges the trigger's states of sessions into that of the first, and lets go of the timers of the windows that are no more. Flink
// clears these windows when their state is merged already, so that timers which the trigger finds by its state stay until they are due.
func (op *windowOperator[K, T, V, Out]) joinTriggers(parts []session, w Window) error {
	tr, id := op.trigger, parts[0].ID
	s, err := op.triggerState(id)
	if err != nil {
		return err
	}
	for i, p := range parts {
		part := tr.host.copyOf(s)
		if i > 0 {
			other, err := op.triggerState(p.ID)
			if err != nil {
				return err
			}
			part = tr.host.copyOf(other)
			tr.host.merge(s, other)
			if tr.state != nil {
				if err := tr.state.Remove(p.ID); err != nil {
					return err
				}
			}
		}
		tr.ctx.window = p.window()
		tr.host.clear(&tr.ctx, part)
		if err := op.timers.remove(op.domain(), op.cleanupMS(p.window()), p.window()); err != nil {
			return err
		}
	}
	tr.ctx.window = w
	tr.host.onMerge(&tr.ctx, s)
	if err := op.decided(w, id, s, Continue); err != nil {
		return err
	}
	return op.armCleanup(w)
}

// armSession makes sure that a timer of s is pending no later than the next thing that happens to it.
func (op *windowOperator[K, T, V, Out]) armSession(c *Ctx[K, Out], s *session) {
	next := s.window().LastMS()
	if op.event && next <= c.WatermarkMS() {
		next = op.cleanupMS(s.window())
	}
	if next < s.TimerMS {
		s.TimerMS = next
		c.timers.Register(op.domain(), next)
	}
}

// onSessionTimer is a timer of the sessions of the default trigger: several may wait for one time, one for its end, others for their clean-up.
func (op *windowOperator[K, T, V, Out]) onSessionTimer(c *Ctx[K, Out], at int64) error {
	for {
		live, err := op.sessions.Get()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(live, func(s session) bool { return s.TimerMS == at })
		if i < 0 {
			return nil // none is left, or it was of a session that is now part of another
		}
		if err := op.sessionDue(c, live, i, at); err != nil {
			return err
		}
	}
}

// sessionDue is the timer of live[i].
func (op *windowOperator[K, T, V, Out]) sessionDue(c *Ctx[K, Out], live []session, i int, at int64) error {
	w, id := live[i].window(), live[i].ID
	last, cleanup := w.LastMS(), op.cleanupMS(w)
	if at >= cleanup {
		live = dropSessions(live, i, i+1)
	} else {
		live[i].TimerMS = cleanup
		if at < last {
			live[i].TimerMS = last
		}
		c.timers.Register(op.domain(), live[i].TimerMS)
	}
	if err := op.keepSessions(live); err != nil {
		return err
	}
	if at == last {
		if err := op.fire(w, id); err != nil {
			return err
		}
	}
	if at >= cleanup {
		return op.clear(w, id)
	}
	return nil
}

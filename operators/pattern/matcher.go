package pattern

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// errExplosion says that an event would make more partial matches than are allowed.
var errExplosion = errors.New("pattern: too many partial matches")

// matcher runs the automaton for one key at a time. One belongs to each subtask; its slices are kept from event to event.
type matcher[T any] struct {
	a      *automaton[T]
	limit  int
	flink  bool // arithmetic of times as in Flink
	match  func(m Match[T], tsMS int64) error
	expire func(m Match[T], tsMS int64) error

	s       *keyState[T]
	value   T
	tsMS    int64
	event   int32 // index of the current event in the key's state, noLink before it is taken
	id      int64 // number of the current event
	memo    []uint8
	partial Partial[T]
	current partialMatch // of which the outcome is computed
	began   bool         // the current event began a partial match

	next    []partialMatch // heap: partial matches after the current event
	done    []partialMatch // heap: matches that the current event completes
	outcome []partialMatch // of one partial match
	over    []overdue
	edges   []edge[T]
	visit   []int32
	counts  []int   // events of each stage in a match
	chain   []int32 // links of a match, from the last to the first
	events  []T     // of Partial.Events
}

// edge is a transition that applies, with the state it leaves.
type edge[T any] struct {
	from int32
	t    *transition[T]
}

// overdue is a partial match that has timed out.
type overdue struct {
	deadlineMS int64
	link       int32
}

func newMatcher[T any](a *automaton[T], limit int) *matcher[T] {
	m := &matcher[T]{a: a, limit: limit, memo: make([]uint8, a.simple)}
	m.partial.m = m
	return m
}

// load makes s the state that is worked on.
func (m *matcher[T]) load(s *keyState[T]) {
	m.s = s
	if len(s.Partials) == 0 {
		s.Partials = append(s.Partials, partialMatch{State: int32(m.a.start), Link: noLink, StartID: noLink})
	}
}

// process takes the next event, in the order of time, and passes on the matches that it completes. With errExplosion nothing has changed.
func (m *matcher[T]) process(v T, tsMS int64) error {
	s := m.s
	m.value, m.tsMS, m.event, s.SeenMS = v, tsMS, noLink, tsMS
	clear(m.memo)
	m.next, m.done = m.next[:0], m.done[:0]
	for i := range s.Partials {
		if err := m.step(&s.Partials[i]); err != nil {
			m.undo()
			return err
		}
	}
	for i := range s.Partials {
		s.release(s.Partials[i].Link)
	}
	s.Partials, m.next = m.next, s.Partials
	m.endEvent()
	if len(m.done) == 0 && len(s.Completed) == 0 {
		return nil
	}
	return m.complete(tsMS)
}

// endEvent drops what the matcher itself held of the current event.
func (m *matcher[T]) endEvent() {
	if m.event != noLink {
		m.s.releaseEvent(m.event)
	}
	var zero T
	m.value = zero
}

// undo drops what the current event has led to.
func (m *matcher[T]) undo() {
	for _, list := range [][]partialMatch{m.next, m.done, m.outcome} {
		for i := range list {
			m.s.release(list[i].Link)
		}
	}
	m.endEvent()
}

// step adds what becomes of p at the current event to next and done.
func (m *matcher[T]) step(p *partialMatch) error {
	m.advance(p)
	refuted := false
	for i := range m.outcome {
		if m.a.states[m.outcome[i].State].role == stopState {
			refuted = true
		}
	}
	for i := range m.outcome {
		o := m.outcome[i]
		switch r := m.a.states[o.State].role; {
		case r == finalState:
			m.done = push(m.done, o)
		case refuted && !o.isStart():
			m.s.release(o.Link)
		default:
			m.next = push(m.next, o)
		}
	}
	m.outcome = m.outcome[:0]
	kept := len(m.next) - 1 // without the start
	if m.a.skip.kind != skipNone {
		kept += len(m.done) + len(m.s.Completed) // may be held back
	}
	if m.limit > 0 && kept > m.limit {
		return errExplosion
	}
	return nil
}

// advance puts into outcome what becomes of p, each with a reference to its link.
func (m *matcher[T]) advance(p *partialMatch) {
	m.current = *p
	m.decide(p.State)
	for _, e := range m.edges {
		switch {
		case e.t.action == take:
			m.take(p, e)
		case !p.isStart():
			o := *p
			o.State = int32(e.t.target)
			m.s.retain(o.Link)
			m.outcome = append(m.outcome, o)
		}
	}
	if p.isStart() {
		m.outcome = append(m.outcome, *p)
	}
}

// decide collects the transitions that apply to the current event in state and in those that it proceeds to.
func (m *matcher[T]) decide(state int32) {
	m.edges, m.visit = m.edges[:0], append(m.visit[:0], state)
	for len(m.visit) > 0 {
		from := m.visit[len(m.visit)-1]
		m.visit = m.visit[:len(m.visit)-1]
		out := m.a.states[from].out
		for i := range out {
			t := &out[i]
			if t.gapMS > 0 && !m.current.isStart() && m.passed(m.current.LastMS, t.gapMS, m.tsMS) || t.test != nil && !t.test(m) {
				continue
			}
			if t.action == proceed {
				m.visit = append(m.visit, int32(t.target))
			} else {
				m.edges = append(m.edges, edge[T]{from, t})
			}
		}
	}
}

// take lets p take the current event.
func (m *matcher[T]) take(p *partialMatch, e edge[T]) {
	s := m.s
	if m.event == noLink {
		m.event, m.id = s.register(m.value, m.tsMS), s.Next-1
	}
	o := partialMatch{State: int32(e.t.target), StartMS: p.StartMS, StartID: p.StartID, LastMS: m.tsMS}
	if p.isStart() {
		o.StartMS, o.StartID = m.tsMS, m.id
		m.began = true
	}
	o.Link = s.extend(m.event, int32(m.a.states[e.from].stage), p.Link)
	m.outcome = append(m.outcome, o)
	if final := m.finalBehind(o.State); final != noLink {
		s.retain(o.Link)
		o.State = final
		m.outcome = append(m.outcome, o)
	}
}

// finalBehind is the final state that state proceeds to, or noLink.
func (m *matcher[T]) finalBehind(state int32) int32 {
	m.visit = append(m.visit[:0], state)
	for len(m.visit) > 0 {
		from := m.visit[len(m.visit)-1]
		m.visit = m.visit[:len(m.visit)-1]
		for _, t := range m.a.states[from].out {
			if t.action != proceed || t.test != nil && !t.test(m) {
				continue
			}
			if m.a.states[t.target].role == finalState {
				return int32(t.target)
			}
			m.visit = append(m.visit, int32(t.target))
		}
	}
	return noLink
}

// advanceTime drops what has outlived its time: no event before nowMS is to come. Matches that only waited for their time, or for an earlier
// partial match, are passed on with the deadline that ended the wait: results do not depend on how often watermarks come. In Flink, all that
// has expired is dealt with together, and these matches have the time nowMS.
func (m *matcher[T]) advanceTime(nowMS int64) error {
	if m.flink || !m.a.ordered {
		return m.expireUpTo(nowMS)
	}
	for {
		ms, ok := m.deadline()
		if !ok || ms > nowMS {
			return nil
		}
		if err := m.expireUpTo(ms); err != nil {
			return err
		}
	}
}

func (m *matcher[T]) expireUpTo(nowMS int64) error {
	s := m.s
	if m.a.windowMS == 0 && !m.a.gaps || !m.anyExpired(nowMS) {
		return nil
	}
	m.next, m.done, m.over = m.next[:0], m.done[:0], m.over[:0]
	for i := range s.Partials {
		p := s.Partials[i]
		deadlineMS, expired := m.expired(&p, nowMS)
		switch {
		case !expired:
			m.next = push(m.next, p)
		case m.a.states[p.State].role == pendingState:
			m.done = push(m.done, p)
		default:
			if !m.flink {
				// What passed an event over may be over since before it; to say so now would be late.
				deadlineMS = max(deadlineMS, s.SeenMS)
			}
			m.over = append(m.over, overdue{deadlineMS, p.Link})
		}
	}
	s.Partials, m.next = m.next, s.Partials
	if !m.flink {
		slices.SortStableFunc(m.over, func(a, b overdue) int { return cmp.Compare(a.deadlineMS, b.deadlineMS) })
	}
	for _, o := range m.over {
		if err := m.expire(m.extract(o.link), o.deadlineMS); err != nil {
			return err
		}
		s.release(o.link)
	}
	return m.complete(nowMS)
}

func (m *matcher[T]) anyExpired(nowMS int64) bool {
	for i := range m.s.Partials {
		if _, expired := m.expired(&m.s.Partials[i], nowMS); expired {
			return true
		}
	}
	return false
}

// expired reports whether p has outlived its window or gap, and since when: the first of both, in Flink the gap.
func (m *matcher[T]) expired(p *partialMatch, nowMS int64) (deadlineMS int64, expired bool) {
	if p.isStart() {
		return 0, false
	}
	if gap := m.a.states[p.State].gapMS; gap > 0 && m.passed(p.LastMS, gap, nowMS) {
		deadlineMS, expired = m.plus(p.LastMS, gap), true
		if m.flink {
			return deadlineMS, true
		}
	}
	if w := m.a.windowMS; w > 0 && m.passed(p.StartMS, w, nowMS) {
		if end := m.plus(p.StartMS, w); !expired || end < deadlineMS {
			deadlineMS = end
		}
		expired = true
	}
	return deadlineMS, expired
}

// passed reports whether d ms have passed from fromMS to nowMS.
func (m *matcher[T]) passed(fromMS, d, nowMS int64) bool {
	if m.flink {
		return nowMS-fromMS >= d
	}
	return nowMS >= m.plus(fromMS, d)
}

// plus is the time d ms after ms, at most the end of time.
func (m *matcher[T]) plus(ms, d int64) int64 {
	if sum := ms + d; sum >= ms || m.flink {
		return sum
	}
	return math.MaxInt64
}

// deadline is the earliest time at which a partial match will have outlived its window or gap.
func (m *matcher[T]) deadline() (ms int64, ok bool) {
	if m.a.windowMS == 0 && !m.a.gaps {
		return 0, false
	}
	ms = math.MaxInt64
	for i := range m.s.Partials {
		p := &m.s.Partials[i]
		if p.isStart() {
			continue
		}
		if m.a.windowMS > 0 {
			ms, ok = min(ms, m.plus(p.StartMS, m.a.windowMS)), true
		}
		if gap := m.a.states[p.State].gapMS; gap > 0 {
			ms, ok = min(ms, m.plus(p.LastMS, gap)), true
		}
		if !m.a.gaps {
			break // the first of the heap began first
		}
	}
	return ms, ok
}

// complete passes on the matches that are ripe, and discards by the skip strategy. tsMS is their timestamp.
func (m *matcher[T]) complete(tsMS int64) error {
	s := m.s
	for i := range m.done {
		s.Completed = push(s.Completed, m.done[i])
	}
	for len(s.Completed) > 0 {
		c := s.Completed[0]
		if m.a.skip.kind != skipNone && len(s.Partials) > 0 && s.Partials[0].before(&c) {
			return nil
		}
		s.Completed = poll(s.Completed)
		match := m.extract(c.Link)
		if err := m.skip(); err != nil {
			return err
		}
		s.release(c.Link)
		if err := m.match(match, tsMS); err != nil {
			return err
		}
	}
	return nil
}

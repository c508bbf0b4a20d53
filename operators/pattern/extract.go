package pattern

import (
	"fmt"
	"slices"
)

// follow puts the links of the match that ends with link into chain, from the last to the first.
func (m *matcher[T]) follow(link int32) {
	m.chain = m.chain[:0]
	for ; link != noLink; link = m.s.Links[link].Prev {
		m.chain = append(m.chain, link)
	}
}

// eventsOf is the events that the named stage has taken in the current partial match.
func (m *matcher[T]) eventsOf(stage string) []T {
	clear(m.events)
	m.events = m.events[:0]
	at := slices.Index(m.a.names, stage)
	s := m.s
	for link := m.current.Link; link != noLink; link = s.Links[link].Prev {
		if int(s.Links[link].Stage) == at {
			m.events = append(m.events, s.Events[s.Links[link].Event].Value)
		}
	}
	slices.Reverse(m.events)
	return m.events
}

// extract makes the match that ends with link, and leaves its links in chain.
func (m *matcher[T]) extract(link int32) Match[T] {
	m.follow(link)
	s := m.s
	m.counts = append(m.counts[:0], make([]int, len(m.a.names))...)
	stages := 0
	for _, l := range m.chain {
		n := &m.counts[s.Links[l].Stage]
		if *n == 0 {
			stages++
		}
		*n++
	}
	match := Match[T]{Stages: make([]StageEvents[T], 0, stages)}
	all := make([]T, len(m.chain)) // all events in one array, stage by stage
	for stage, n := range m.counts {
		if n == 0 {
			continue
		}
		events := all[:n:n]
		all = all[n:]
		for _, l := range m.chain {
			if int(s.Links[l].Stage) == stage {
				n--
				events[n] = s.Events[s.Links[l].Event].Value
			}
		}
		match.Stages = append(match.Stages, StageEvents[T]{m.a.names[stage], events})
	}
	match.StartMS = s.Events[s.Links[m.chain[len(m.chain)-1]].Event].TimestampMS
	match.EndMS = s.Events[s.Links[m.chain[0]].Event].TimestampMS
	return match
}

// skip discards what the skip strategy says for the match whose links are in chain.
func (m *matcher[T]) skip() error {
	strategy := m.a.skip
	if strategy.kind == skipNone {
		return nil
	}
	to, err := m.skipTo()
	if to == nil || err != nil {
		return err
	}
	s, limit := m.s, partialMatch{StartMS: to.TimestampMS, StartID: to.ID}
	keep := func(p *partialMatch) bool {
		c := p.compare(&limit)
		if p.isStart() || c > 0 || c == 0 && strategy.kind.named() {
			return true
		}
		s.release(p.Link)
		return false
	}
	s.Partials = filter(s.Partials, keep)
	s.Completed = filter(s.Completed, keep)
	return nil
}

// skipTo is the event of the match in chain that the strategy skips to, or nil.
func (m *matcher[T]) skipTo() (*takenEvent[T], error) {
	strategy := m.a.skip
	var first, to *takenEvent[T]
	for _, l := range slices.Backward(m.chain) {
		link := &m.s.Links[l]
		e := &m.s.Events[link.Event]
		if first == nil || e.before(first) {
			first = e
		}
		named := strategy.kind.named() && m.a.names[link.Stage] == strategy.stage
		switch {
		case strategy.kind == skipToFirst && named && to != nil:
		case named, strategy.kind == skipPastLast && (to == nil || to.before(e)):
			to = e
		}
	}
	switch {
	case strategy.kind == skipToNext:
		return first, nil
	case strategy.onMiss && to == nil:
		return nil, fmt.Errorf("pattern: AfterMatch(%v): the match that began at %d has no event of the stage; drop FailOnMiss, or name a stage that is in every match",
			strategy, first.TimestampMS)
	case strategy.onMiss && to == first:
		return nil, fmt.Errorf("pattern: AfterMatch(%v): the event to skip to is the first of the match that began at %d, nothing would be skipped; drop FailOnMiss, or use SkipToNext",
			strategy, first.TimestampMS)
	}
	return to, nil
}

func (e *takenEvent[T]) before(o *takenEvent[T]) bool {
	return e.TimestampMS < o.TimestampMS || e.TimestampMS == o.TimestampMS && e.ID < o.ID
}

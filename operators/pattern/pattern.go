package pattern

import (
	"slices"
	"time"
)

// link is how a stage follows the one before it.
type link int

const (
	linkBegin         link = iota
	linkNext               // strict: no event between
	linkFollowedBy         // relaxed: what does not match is passed over
	linkFollowedByAny      // relaxed and non-deterministic: what matches may be passed over too
	linkNotNext
	linkNotFollowedBy
)

// String is the name of the method that makes the link.
func (l link) String() string {
	return [...]string{"Begin", "Next", "FollowedBy", "FollowedByAny", "NotNext", "NotFollowedBy"}[l]
}

func (l link) negative() bool { return l == linkNotNext || l == linkNotFollowedBy }

// contiguity is how the events of one loop follow each other.
type contiguity int

const (
	relaxed contiguity = iota
	strict
	combinations
)

// stage is one stage of a pattern: a single event, a loop of events, an absence, or a group of stages.
type stage[T any] struct {
	name     string
	group    *Pattern[T]
	link     link
	where    *condition[T] // nil: every event
	until    *condition[T]
	loop     bool // min or more
	min, max int  // 0, 0: a single event
	inner    contiguity
	greedy   bool
	optional bool
	gap      time.Duration // 0: none
}

func (s *stage[T]) quantified() bool { return s.loop || s.max > 0 }

// Pattern is a sequence of stages that the events of one key are compared with. It is a value: each method returns a changed copy, so
// that patterns can share a beginning. Conditions, quantifiers and WithinPrevious concern the stage that was added last. Faults are
// collected and reported together by Validate, which Stage calls.
// Source: Flink org.apache.flink.cep.pattern.Pattern.
type Pattern[T any] struct {
	stages []stage[T]
	within time.Duration // 0: none
	skip   SkipStrategy
	faults []error
}

// Begin starts a pattern with a stage that takes one event.
func Begin[T any](name string) Pattern[T] { return Pattern[T]{}.add(stage[T]{name: name}) }

// BeginGroup starts a pattern with a group: the stages of g, which can be repeated or left out as a whole.
func BeginGroup[T any](g Pattern[T]) Pattern[T] { return Pattern[T]{}.addGroup(linkBegin, g) }

// Next adds a stage whose event directly follows the event before it (strict contiguity).
func (p Pattern[T]) Next(name string) Pattern[T] { return p.add(stage[T]{name: name, link: linkNext}) }

// FollowedBy adds a stage that takes the first event that matches it; events that do not match are passed over (relaxed contiguity).
func (p Pattern[T]) FollowedBy(name string) Pattern[T] {
	return p.add(stage[T]{name: name, link: linkFollowedBy})
}

// FollowedByAny adds a stage that takes any later event that matches it: there is a match for each (non-deterministic relaxed contiguity).
func (p Pattern[T]) FollowedByAny(name string) Pattern[T] {
	return p.add(stage[T]{name: name, link: linkFollowedByAny})
}

// NotNext adds a stage that must not match the event directly after the one before it.
func (p Pattern[T]) NotNext(name string) Pattern[T] {
	return p.add(stage[T]{name: name, link: linkNotNext})
}

// NotFollowedBy adds a stage that must not match any event between the stage before and the stage after it. As the last stage it needs
// Within: the match is complete when the time has passed without such an event.
func (p Pattern[T]) NotFollowedBy(name string) Pattern[T] {
	return p.add(stage[T]{name: name, link: linkNotFollowedBy})
}

// NextGroup is Next for a group of stages.
func (p Pattern[T]) NextGroup(g Pattern[T]) Pattern[T] { return p.addGroup(linkNext, g) }

// FollowedByGroup is FollowedBy for a group of stages.
func (p Pattern[T]) FollowedByGroup(g Pattern[T]) Pattern[T] { return p.addGroup(linkFollowedBy, g) }

// FollowedByAnyGroup is FollowedByAny for a group of stages.
func (p Pattern[T]) FollowedByAnyGroup(g Pattern[T]) Pattern[T] {
	return p.addGroup(linkFollowedByAny, g)
}

// Where requires f of the stage's events, beside all conditions given before. f is pure: it is called once for an event, whatever the
// number of partial matches.
func (p Pattern[T]) Where(f func(T) bool) Pattern[T] {
	return p.condition("Where", opAnd, simple(f))
}

// Or lets the stage also take events for which f holds.
func (p Pattern[T]) Or(f func(T) bool) Pattern[T] { return p.condition("Or", opOr, simple(f)) }

// WhereIterative requires f of the stage's events, beside all conditions given before. f sees the events that this partial match has taken so
// far, and is called for each partial match. f is pure.
func (p Pattern[T]) WhereIterative(f func(v T, m *Partial[T]) bool) Pattern[T] {
	return p.condition("WhereIterative", opAnd, iterative(f))
}

// OrIterative lets the stage also take events for which f holds; see WhereIterative.
func (p Pattern[T]) OrIterative(f func(v T, m *Partial[T]) bool) Pattern[T] {
	return p.condition("OrIterative", opOr, iterative(f))
}

// Until ends the loop of the stage: an event for which f holds is not taken, nor is any after it. It needs OneOrMore or TimesOrMore.
func (p Pattern[T]) Until(f func(T) bool) Pattern[T] { return p.endLoop("Until", simple(f)) }

// UntilIterative is Until with a condition that sees the events taken so far.
func (p Pattern[T]) UntilIterative(f func(v T, m *Partial[T]) bool) Pattern[T] {
	return p.endLoop("UntilIterative", iterative(f))
}

// Times has the stage take exactly n events, n ≥ 1.
func (p Pattern[T]) Times(n int) Pattern[T] { return p.quantify("Times", n, n, false) }

// TimesRange has the stage take from min to max events, 0 ≤ min ≤ max, 1 ≤ max. With min 0 the stage is optional.
func (p Pattern[T]) TimesRange(min, max int) Pattern[T] {
	if min == 0 {
		p = p.Optional()
		min = 1
	}
	return p.quantify("TimesRange", min, max, false)
}

// TimesOrMore has the stage take n events or more, n ≥ 1. Without Within such a loop keeps its partial matches for ever, unless Until or a
// skip strategy ends them.
func (p Pattern[T]) TimesOrMore(n int) Pattern[T] { return p.quantify("TimesOrMore", n, n, true) }

// OneOrMore is TimesOrMore(1).
func (p Pattern[T]) OneOrMore() Pattern[T] { return p.quantify("OneOrMore", 1, 1, true) }

// Optional lets a match do without the stage.
func (p Pattern[T]) Optional() Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case s.optional:
			p.fault(s, "is made optional twice; drop one Optional (TimesRange from 0 is optional already)")
		case s.link.negative():
			p.fault(s, "is a %v and cannot be optional; leave it out of the pattern, or use two patterns", s.link)
		case len(p.stages) > 1 && p.stages[len(p.stages)-2].greedy:
			p.fault(s, "is optional behind a greedy stage; drop Greedy of that, or use two patterns")
		}
		s.optional = true
	})
}

// Greedy has the loop take an event whenever it can, instead of also trying the next stage with it. It does not apply to groups.
func (p Pattern[T]) Greedy() Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case s.link.negative():
			p.fault(s, "is a %v and cannot be greedy; drop Greedy", s.link)
		case s.group != nil:
			p.fault(s, "is a group and cannot be greedy; make loops inside the group greedy instead")
		case !s.quantified():
			p.fault(s, "is greedy without a loop; call Times, TimesRange, TimesOrMore or OneOrMore first")
		}
		s.greedy = true
	})
}

// Consecutive has the events of the stage's loop directly follow each other. Without it the loop is relaxed.
func (p Pattern[T]) Consecutive() Pattern[T] { return p.inner("Consecutive", strict) }

// AllowCombinations has the loop of the stage make a match for each choice of events, not only for those without a gap. The number of partial
// matches doubles with every event; see Options.MaxPartialMatches.
func (p Pattern[T]) AllowCombinations() Pattern[T] { return p.inner("AllowCombinations", combinations) }

// Within bounds the whole match: the time from its first to its last event is less than d, whole ms, at least 1 ms. Partial matches that
// outlive it are dropped, to the side output TimedOut. Called again, the shorter time counts.
func (p Pattern[T]) Within(d time.Duration) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		p.checkDuration(s, "Within", d)
		if p.within == 0 || d < p.within {
			p.within = d
		}
	})
}

// WithinPrevious bounds the time from the event before to an event of this stage: less than d, whole ms, at least 1 ms. It applies while the
// match waits for the stage, so an optional stage that was entered by passing over an event is no longer bound.
// Source: Flink WithinType.PREVIOUS_AND_CURRENT; there, a stage with a quantifier ignores it, here each of its events is bound.
func (p Pattern[T]) WithinPrevious(d time.Duration) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		p.checkDuration(s, "WithinPrevious", d)
		if s.group != nil {
			p.fault(s, "is a group with WithinPrevious; put it on a stage inside the group")
		}
		if len(p.stages) == 1 && !s.quantified() {
			p.fault(s, "begins the pattern and has no event before it; drop WithinPrevious")
		}
		s.gap = d
	})
}

// AfterMatch says which partial matches a match discards. Default NoSkip().
func (p Pattern[T]) AfterMatch(s SkipStrategy) Pattern[T] {
	p.skip = s
	return p
}

// add appends a stage to a copy of p.
func (p Pattern[T]) add(s stage[T]) Pattern[T] {
	p.stages = append(slices.Clip(p.stages), s)
	p.faults = slices.Clip(p.faults)
	n := len(p.stages)
	if s.link.negative() && n > 1 && p.stages[n-2].optional {
		p.fault(&s, "is a %v behind an optional stage; use two patterns, one with and one without the optional stage", s.link)
	}
	if s.link != linkBegin && n == 1 {
		p.fault(&s, "has no stage before it; start the pattern with Begin")
	}
	return p
}

func (p Pattern[T]) addGroup(l link, g Pattern[T]) Pattern[T] {
	p = p.add(stage[T]{group: &g, link: l})
	if g.within != 0 {
		p.fault(p.last(), "has Within inside the group; put it on the whole pattern")
	}
	if g.skip.kind != skipNone {
		p.fault(p.last(), "has AfterMatch inside the group; put it on the whole pattern")
	}
	return p
}

func (p *Pattern[T]) last() *stage[T] { return &p.stages[len(p.stages)-1] }

// change applies f to a copy of p and of its last stage.
func (p Pattern[T]) change(f func(p *Pattern[T], s *stage[T])) Pattern[T] {
	p.stages, p.faults = slices.Clone(p.stages), slices.Clip(p.faults)
	if len(p.stages) == 0 {
		p.faults = append(p.faults, errEmpty)
		return p
	}
	f(&p, p.last())
	return p
}

func (p Pattern[T]) condition(method string, op operation, c *condition[T]) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case c == nil:
			p.fault(s, "has a nil function in %s; give a condition or drop the call", method)
		case s.group != nil:
			p.fault(s, "is a group with %s; put conditions on the stages inside the group", method)
		case s.where == nil:
			s.where = c
		default:
			s.where = &condition[T]{op: op, left: s.where, right: c}
		}
	})
}

func (p Pattern[T]) endLoop(method string, c *condition[T]) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case c == nil:
			p.fault(s, "has a nil function in %s; give a condition or drop the call", method)
		case !s.loop:
			p.fault(s, "has %s without an open loop; call OneOrMore or TimesOrMore first", method)
		case s.until != nil:
			p.fault(s, "has two conditions that end its loop; join them in one function")
		}
		s.until = c
	})
}

func (p Pattern[T]) quantify(method string, min, max int, loop bool) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case s.link.negative():
			p.fault(s, "is a %v and cannot be repeated; drop %s", s.link, method)
		case s.quantified():
			p.fault(s, "has two quantifiers; drop %s or the one before it", method)
		case min < 1 || max < min:
			p.fault(s, "has %s from %d to %d, want 1 ≤ min ≤ max; make a stage that may be missing Optional", method, min, max)
		case max > maxTimes:
			p.fault(s, "has %s up to %d, the limit is %d; use TimesOrMore and look at the number in the next stage's condition", method, max, maxTimes)
		}
		s.min, s.max, s.loop = min, max, loop
	})
}

func (p Pattern[T]) inner(method string, c contiguity) Pattern[T] {
	return p.change(func(p *Pattern[T], s *stage[T]) {
		switch {
		case !s.quantified():
			p.fault(s, "has %s without a loop; call Times, TimesRange, TimesOrMore or OneOrMore first", method)
		case s.inner != relaxed:
			p.fault(s, "has two of Consecutive and AllowCombinations; keep one")
		}
		s.inner = c
	})
}

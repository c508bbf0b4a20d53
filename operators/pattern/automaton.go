package pattern

// action is what a transition does with the current event.
type action int

const (
	take    action = iota // the event joins the match
	ignore                // the event is passed over
	proceed               // the target decides about the same event
)

// role is what reaching a state means.
type role int

const (
	normalState  role = iota
	finalState        // the match is complete
	stopState         // the match is refuted by an event that must not come
	pendingState      // the match is complete when its time has passed
)

// transition of the automaton. test nil holds always.
type transition[T any] struct {
	action action
	target int
	test   test[T]
	gapMS  int64 // of an event to take: the time from the event before is less; 0: any
}

// node is one state of the automaton.
type node[T any] struct {
	role  role
	stage int // index into automaton.names
	out   []transition[T]
	gapMS int64 // after which time without an event a partial match here is over; 0: never
}

// automaton is a compiled pattern. It is immutable and shared by all keys of a subtask.
type automaton[T any] struct {
	states   []node[T]
	start    int
	names    []string // of the stages, in the order of the pattern
	windowMS int64    // 0: none
	gaps     bool     // some state has a gap
	ordered  bool     // the end of one partial match may decide about another, so that they end one deadline after the other
	skip     SkipStrategy
	simple   int   // number of simple conditions
	users    []any // the user's functions
}

// draft is a state under construction. unique tells apart the states of one stage, as stop states are found by it.
type draft[T any] struct {
	unique string
	stage  int
	role   role
	out    []*draftTransition[T]
	gapMS  int64
	index  int
}

type draftTransition[T any] struct {
	action action
	target *draft[T]
	cond   *condition[T]
	gapMS  int64
}

func (d *draft[T]) add(a action, target *draft[T], c *condition[T]) *draftTransition[T] {
	e := &draftTransition[T]{action: a, target: target, cond: c}
	d.out = append(d.out, e)
	return e
}

// patience is the time for which a partial match in d can still take an event: the longest of the gaps of all stages that it may go on with, or
// 0 when one of them has none. ok is false when it can take nothing.
func (d *draft[T]) patience(seen map[*draft[T]]bool) (gapMS int64, ok bool) {
	if seen[d] {
		return 0, false
	}
	seen[d] = true
	for _, e := range d.out {
		gap, takes := e.gapMS, e.action == take
		if e.action == proceed {
			gap, takes = e.target.patience(seen)
		}
		switch {
		case !takes || e.target.role == stopState:
		case gap == 0:
			return 0, true
		default:
			gapMS, ok = max(gapMS, gap), true
		}
	}
	return gapMS, ok
}

// compile makes the automaton of a valid pattern.
func compile[T any](p *Pattern[T], flinkGaps bool) *automaton[T] {
	c := &compiler[T]{flink: flinkGaps, windowMS: p.within.Milliseconds(), stages: map[*stage[T]]int{}, unique: map[string]int{},
		stops: map[*stage[T]]*draft[T]{}, originals: map[*draft[T]]*draft[T]{}, inLoop: map[*stage[T]]bool{}}
	a := &automaton[T]{windowMS: c.windowMS, skip: p.skip}
	for i, s := range p.flat() {
		c.stages[s] = i
		a.names = append(a.names, s.name)
	}
	c.begin(p)
	start := c.chain(c.newState("", -1, finalState))
	t := &tests[T]{simple: map[*condition[T]]int{}, compiled: map[*condition[T]]test[T]{}}
	for i, d := range c.states {
		d.index = i
	}
	for _, d := range c.states {
		n := node[T]{role: d.role, stage: d.stage, gapMS: d.gapMS}
		for _, e := range d.out {
			n.out = append(n.out, transition[T]{e.action, e.target.index, t.compile(e.cond), e.gapMS})
		}
		if !flinkGaps && n.gapMS == 0 {
			n.gapMS, _ = d.patience(map[*draft[T]]bool{})
		}
		a.gaps = a.gaps || n.gapMS > 0
		a.ordered = a.ordered || d.role == pendingState || p.skip.kind != skipNone
		a.states = append(a.states, n)
	}
	a.start, a.simple, a.users = start.index, len(t.simple), t.users
	return a
}

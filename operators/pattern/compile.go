package pattern

import "fmt"

// compiler turns a pattern into an automaton, from its last stage to its first: each stage is given the state that its last event leads to.
// The states, their transitions and the order of these are those of Flink's NFACompiler, because the order decides which of several matches
// of one event comes first, and with skip strategies which of them survive.
// Source: Flink org.apache.flink.cep.nfa.compiler.NFACompiler, after Agrawal, Diao, Gyllstrom, Immerman, "Efficient Pattern Matching over
// Event Streams" (2008).
type compiler[T any] struct {
	states   []*draft[T]
	unique   map[string]int
	stages   map[*stage[T]]int
	windowMS int64
	// flink has gaps as Flink has them: on states, not on the taking of events, and not on those of loops, on copies, or on those in which an
	// event was passed over before an optional stage.
	flink bool
	stops map[*stage[T]]*draft[T]
	// originals are copies, made before a greedy loop changed them, of the states behind greedy loops with Until.
	originals map[*draft[T]]*draft[T]
	// inLoop says of a group that another repetition than its first is being compiled.
	inLoop map[*stage[T]]bool

	list      []stage[T] // the pattern or group being compiled
	at        int        // the current stage in list
	group     *stage[T]  // the group that list belongs to, nil for the pattern
	following *stage[T]  // the stage compiled before, which follows in the pattern
}

func (c *compiler[T]) begin(p *Pattern[T]) { c.list, c.at = p.stages, len(p.stages)-1 }

func (c *compiler[T]) current() *stage[T] { return &c.list[c.at] }

// newState makes a state. The first state of a name is called by it.
func (c *compiler[T]) newState(name string, stage int, r role) *draft[T] {
	n := c.unique[name]
	c.unique[name]++
	d := &draft[T]{unique: name, stage: stage, role: r}
	if n > 0 {
		d.unique = fmt.Sprintf("%s:%d", name, n-1)
	}
	c.states = append(c.states, d)
	return d
}

// stageState makes a state of the current stage; taking says that it is entered by taking an event, not by passing one over.
func (c *compiler[T]) stageState(r role, taking bool) *draft[T] {
	s := c.current()
	d := c.newState(s.name, c.stageOf(s), r)
	if s.link.negative() || c.flink && taking && !s.quantified() {
		d.gapMS = s.gap.Milliseconds()
	}
	return d
}

// takes lets d take an event of the current stage.
func (c *compiler[T]) takes(d, target *draft[T], cond *condition[T]) {
	e := d.add(take, target, cond)
	if !c.flink {
		e.gapMS = c.current().gap.Milliseconds()
	}
}

func (c *compiler[T]) stageOf(s *stage[T]) int {
	if i, ok := c.stages[s]; ok {
		return i
	}
	return -1
}

// chain compiles the current list of stages in front of sink, and returns the state that it begins with.
func (c *compiler[T]) chain(sink *draft[T]) *draft[T] {
	for ; c.at > 0; c.at-- {
		s := c.current()
		switch s.link {
		case linkNotFollowedBy:
			sink = c.notFollowedBy(sink)
		case linkNotNext:
			sink = c.notNext(sink)
		default:
			sink = c.convert(sink)
		}
		c.following = s
	}
	return c.convert(sink)
}

// notFollowedBy makes a state of its own only at the end of the pattern, where the match waits for its time to pass. Elsewhere the absence is a
// condition on the states around it.
func (c *compiler[T]) notFollowedBy(sink *draft[T]) *draft[T] {
	s := c.current()
	if sink.role != finalState || s.gap == 0 && c.windowMS == 0 {
		return sink
	}
	d := c.stageState(pendingState, true)
	cond := c.takeCondition(s)
	d.add(proceed, c.stop(s, cond), cond)
	d.add(ignore, d, not(cond))
	return d
}

func (c *compiler[T]) notNext(sink *draft[T]) *draft[T] {
	s := c.current()
	d := c.stageState(normalState, true)
	cond := c.takeCondition(s)
	stop := c.stop(s, cond)
	if sink.role == finalState {
		d.add(ignore, sink, not(cond)) // the event decides: the match is not complete before it
	} else {
		d.add(proceed, sink, not(cond))
	}
	d.add(proceed, stop, cond)
	return d
}

// stop is the state that refutes a match because of stage s.
func (c *compiler[T]) stop(s *stage[T], cond *condition[T]) *draft[T] {
	d := c.stops[s]
	if d == nil {
		d = c.newState(s.name, c.stageOf(s), stopState)
		d.add(take, d, cond)
		c.stops[s] = d
	}
	return d
}

// absence is a NotFollowedBy in force at the current stage.
type absence[T any] struct {
	s    *stage[T]
	cond *condition[T]
}

// absences are those directly before the current stage, and before optional stages that are before it.
func (c *compiler[T]) absences() []absence[T] {
	var all []absence[T]
	for i := c.at - 1; i >= 0; i-- {
		s := &c.list[i]
		if s.link == linkNotFollowedBy {
			all = append(all, absence[T]{s, c.takeCondition(s)})
		} else if !s.optional {
			break
		}
	}
	return all
}

func (c *compiler[T]) addStops(d *draft[T]) {
	for _, n := range c.absences() {
		d.add(proceed, c.stop(n.s, n.cond), n.cond)
	}
}

// addStopToLoop refutes a match within a loop that is followed by a NotFollowedBy.
func (c *compiler[T]) addStopToLoop(d *draft[T]) {
	if s := c.following; s != nil && s.link == linkNotFollowedBy {
		cond := c.takeCondition(s)
		d.add(proceed, c.stop(s, cond), cond)
	}
}

// convert compiles the current stage in front of sink.
func (c *compiler[T]) convert(sink *draft[T]) *draft[T] {
	s := c.current()
	var d *draft[T]
	switch {
	case s.loop:
		c.inLoop[s] = true
		loop := c.looping(c.withoutAbsences(sink))
		c.inLoop[s] = false
		d = c.repeated(loop, sink)
	case s.quantified():
		d = c.repeated(sink, sink)
	default:
		d = c.singleton(sink, sink, c.takeCondition(s), c.ignoreCondition(s), s.optional)
	}
	c.addStops(d)
	return d
}

// withoutAbsences is sink, or its copy, as it is after the current optional stage has taken an event: the absences before the stage no longer
// refute.
func (c *compiler[T]) withoutAbsences(sink *draft[T]) *draft[T] {
	nots := c.absences()
	if len(nots) == 0 || !c.current().optional {
		return sink
	}
	d := c.newState(sink.unique, sink.stage, sink.role)
	c.copyGap(d, sink)
	for _, e := range sink.out {
		target := e.target
		switch {
		case e.action != proceed:
			if target == sink {
				target = d
			}
		case target.role == stopState:
			if refutes(nots, target) {
				continue
			}
		default:
			target = c.withoutAbsences(target)
		}
		d.add(e.action, target, e.cond).gapMS = e.gapMS
	}
	return d
}

// refutes reports whether stop is the state of one of the absences.
func refutes[T any](nots []absence[T], stop *draft[T]) bool {
	for _, n := range nots {
		if stop.unique == n.s.name {
			return true
		}
	}
	return false
}

func (c *compiler[T]) copyOf(s *draft[T]) *draft[T] {
	d := &draft[T]{unique: s.unique, stage: s.stage, role: s.role}
	c.copyGap(d, s)
	c.states = append(c.states, d)
	for _, e := range s.out {
		target := e.target
		if target == s {
			target = d
		}
		d.add(e.action, target, e.cond).gapMS = e.gapMS
	}
	return d
}

func (c *compiler[T]) copyGap(d, from *draft[T]) {
	if !c.flink {
		d.gapMS = from.gapMS
	}
}

// yield keeps d from using an event that a greedy loop in front of it takes.
func (c *compiler[T]) yield(d *draft[T], taken *condition[T]) {
	for _, e := range d.out {
		e.cond = and(e.cond, not(taken))
	}
}

// repeated compiles the states of a closed loop, or of the first events of an open one, which go on to sink. skip is where a match goes on
// that has enough events.
func (c *compiler[T]) repeated(sink, skip *draft[T]) *draft[T] {
	s := c.current()
	c.inLoop[s] = true
	inner := until(c.innerIgnoreCondition(s), s.until)
	taken := until(c.takeCondition(s), s.until)
	if s.greedy && s.min != s.max {
		c.yield(sink, taken)
	}
	d := sink
	for i := s.min; i < s.max; i++ {
		d = c.singleton(d, skip, taken, inner, true)
		c.addStopToLoop(d)
	}
	for range s.min - 1 {
		d = c.singleton(d, nil, taken, inner, false)
		c.addStopToLoop(d)
	}
	c.inLoop[s] = false
	return c.singleton(d, skip, taken, c.ignoreCondition(s), s.optional)
}

// singleton compiles one event of the current stage. sink is where the match goes on with the event, skip where without.
func (c *compiler[T]) singleton(sink, skip *draft[T], taken, ignored *condition[T], optional bool) *draft[T] {
	s := c.current()
	if s.group != nil {
		return c.grouped(sink, skip, optional)
	}
	d := c.stageState(normalState, true)
	sink = c.withoutAbsences(sink)
	c.takes(d, sink, taken)
	if optional {
		c.leave(d, skip)
	}
	if !ignored.isNever() {
		passed := d
		if optional || c.headOfOptionalGroup() {
			// The state after an event was passed over cannot leave the stage without taking one: leaving makes a branch of its own, once.
			passed = c.stageState(normalState, false)
			c.takes(passed, sink, taken)
			passed.add(ignore, passed, ignored)
			c.addStops(passed)
		}
		d.add(ignore, passed, ignored)
	}
	return d
}

// leave lets d go on to skip without taking an event.
func (c *compiler[T]) leave(d, skip *draft[T]) {
	s, always := c.current(), c.always()
	if !s.greedy || s.until == nil {
		d.add(proceed, skip, always)
		return
	}
	if original := c.originals[skip]; original != nil {
		d.add(proceed, original, and(always, s.until))
	}
	d.add(proceed, skip, and(always, not(s.until)))
}

// nested compiles the stages of the current group in front of sink.
func (c *compiler[T]) nested(sink *draft[T]) *draft[T] {
	list, at, group, following := c.list, c.at, c.group, c.following
	c.group = c.current()
	c.begin(c.group.group)
	d := c.chain(sink)
	c.list, c.at, c.group, c.following = list, at, group, following
	return d
}

func (c *compiler[T]) grouped(sink, skip *draft[T], optional bool) *draft[T] {
	always := c.always()
	d := c.nested(sink)
	if optional {
		d.add(proceed, skip, always)
	}
	return d
}

// looping compiles the open part of a loop: a state that takes events for ever and can go on to sink at any time.
func (c *compiler[T]) looping(sink *draft[T]) *draft[T] {
	s := c.current()
	if s.group != nil {
		always := c.always()
		again := c.stageState(normalState, true)
		d := c.nested(again)
		d.add(proceed, sink, always)
		again.add(proceed, d, always)
		return d
	}
	ignored := until(c.innerIgnoreCondition(s), s.until)
	taken := until(c.takeCondition(s), s.until)
	d := c.stageState(normalState, true)
	if s.greedy && s.until != nil {
		c.originals[sink] = c.copyOf(sink)
	}
	c.leave(d, sink)
	if s.greedy {
		c.yield(sink, c.takeCondition(s))
	}
	c.takes(d, d, taken)
	c.addStopToLoop(d)
	if !ignored.isNever() {
		passed := c.stageState(normalState, false)
		c.takes(passed, d, taken)
		passed.add(ignore, passed, ignored)
		d.add(ignore, passed, ignored)
		c.addStopToLoop(passed)
	}
	return d
}

// headOfGroup reports whether the current stage begins a group.
func (c *compiler[T]) headOfGroup() bool { return c.group != nil && c.at == 0 }

func (c *compiler[T]) headOfOptionalGroup() bool {
	return c.headOfGroup() && !c.inLoop[c.group] && c.group.optional
}

// innerIgnoreCondition is which events are passed over inside the loop of s.
func (c *compiler[T]) innerIgnoreCondition(s *stage[T]) *condition[T] {
	inner := s.inner
	if c.headOfGroup() {
		inner = c.group.inner
	}
	return c.passedOver(s, inner)
}

// ignoreCondition is which events are passed over before the first of s.
func (c *compiler[T]) ignoreCondition(s *stage[T]) *condition[T] {
	l := s.link
	if c.headOfGroup() {
		if c.inLoop[c.group] {
			return c.passedOver(s, c.group.inner)
		}
		l = c.group.link
	}
	switch l {
	case linkFollowedBy:
		return c.passedOver(s, relaxed)
	case linkFollowedByAny:
		return c.passedOver(s, combinations)
	}
	return c.passedOver(s, strict)
}

func (c *compiler[T]) passedOver(s *stage[T], how contiguity) *condition[T] {
	var cond *condition[T]
	switch how {
	case strict:
		return never[T]()
	case relaxed:
		cond = not(s.where)
	}
	return c.inGroup(cond)
}

// takeCondition is which events s takes.
func (c *compiler[T]) takeCondition(s *stage[T]) *condition[T] { return c.inGroup(s.where) }

// always is the condition that holds until the loop of the group ends.
func (c *compiler[T]) always() *condition[T] { return c.inGroup(nil) }

func (c *compiler[T]) inGroup(cond *condition[T]) *condition[T] {
	if c.group == nil || c.group.until == nil {
		return cond
	}
	return and(not(c.group.until), cond)
}

// until is cond as it is in a loop that ends with end.
func until[T any](cond, end *condition[T]) *condition[T] {
	if end == nil || cond.isNever() {
		return cond
	}
	return and(not(end), cond)
}

package pattern

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxTimes bounds the number of events of a closed loop: the automaton has a state for each.
const maxTimes = 1000

var errEmpty = errors.New("pattern: a pattern without stages; start it with Begin or BeginGroup")

// fault records a fault of stage s.
func (p *Pattern[T]) fault(s *stage[T], format string, args ...any) {
	what := fmt.Sprintf("stage %q", s.name)
	if s.group != nil {
		what = fmt.Sprintf("group %q", groupName(s.group))
	}
	p.faults = append(p.faults, fmt.Errorf("pattern: "+what+" "+format, args...))
}

// groupName names a group by its stages.
func groupName[T any](g *Pattern[T]) string {
	name := ""
	for i, s := range g.stages {
		if i > 0 {
			name += " "
		}
		if s.group != nil {
			name += "(" + groupName(s.group) + ")"
		} else {
			name += s.name
		}
	}
	return name
}

func (p *Pattern[T]) checkDuration(s *stage[T], method string, d time.Duration) {
	if d < time.Millisecond || d%time.Millisecond != 0 {
		p.fault(s, "has %s %v, want a whole number of ms, at least 1ms", method, d)
	}
}

// Validate reports every fault of the pattern at once, each with its remedy.
func (p Pattern[T]) Validate() error {
	faults := p.allFaults()
	if len(p.stages) == 0 {
		if !slices.Contains(faults, errEmpty) {
			faults = append(faults, errEmpty)
		}
		return errors.Join(faults...)
	}
	p.faults = slices.Clip(faults)
	seen := map[string]bool{}
	for _, s := range p.flat() {
		switch {
		case s.name == "":
			p.fault(s, "has no name; events of a match are found by the names of stages")
		case seen[s.name]:
			p.fault(s, "is there twice; names of stages are unique in a pattern, also across groups")
		}
		seen[s.name] = true
		if s.greedy && s.inner == combinations {
			p.fault(s, "has Greedy and AllowCombinations, which contradict each other; keep one")
		}
		if p.within > 0 && s.gap > p.within {
			p.fault(s, "has WithinPrevious %v, longer than Within %v of the whole match; shorten it or drop it", s.gap, p.within)
		}
	}
	if last := p.last(); last.link == linkNotFollowedBy && p.within == 0 && last.gap == 0 {
		p.fault(last, "is a NotFollowedBy at the end without Within; say how long the event must stay away")
	}
	p.checkGroups(&p)
	if name := p.skip.stage; p.skip.kind.named() && !seen[name] {
		p.faults = append(p.faults, fmt.Errorf("pattern: AfterMatch(%v) names no stage of the pattern; name one of them", p.skip))
	}
	return errors.Join(p.faults...)
}

// mayBeEmpty reports whether p can be passed without taking an event.
func (p *Pattern[T]) mayBeEmpty() bool {
	return !slices.ContainsFunc(p.stages, func(s stage[T]) bool {
		return !s.optional && !s.link.negative() && (s.group == nil || !s.group.mayBeEmpty())
	})
}

// allFaults are those that were found while p and its groups were built.
func (p *Pattern[T]) allFaults() []error {
	faults := slices.Clone(p.faults)
	for i := range p.stages {
		if g := p.stages[i].group; g != nil {
			faults = append(faults, g.allFaults()...)
		}
	}
	return faults
}

// flat are the stages of p in order, those of groups in the place of the group.
func (p *Pattern[T]) flat() []*stage[T] {
	var all []*stage[T]
	for i := range p.stages {
		s := &p.stages[i]
		if s.group == nil {
			all = append(all, s)
			continue
		}
		all = append(all, s.group.flat()...)
	}
	return all
}

// checkGroups finds groups that are empty, end with an absence, or are repeated for ever without taking an event.
func (p *Pattern[T]) checkGroups(root *Pattern[T]) {
	for i := range p.stages {
		g := p.stages[i].group
		if g == nil {
			continue
		}
		if len(g.stages) == 0 {
			root.faults = append(root.faults, errors.New("pattern: a group without stages; start it with Begin"))
			continue
		}
		if l := g.last(); l.link == linkNotFollowedBy {
			root.fault(l, "is a NotFollowedBy at the end of a group; put it behind the group, or another stage after it")
		}
		if p.stages[i].loop && g.mayBeEmpty() {
			root.fault(&p.stages[i], "is repeated, but all of its stages are optional; leave one of them without Optional")
		}
		g.checkGroups(root)
	}
}

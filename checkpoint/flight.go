package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/state"
)

type phase int

const (
	phaseCollecting phase = iota // barriers are on their way
	phaseReady                   // every task has acknowledged; another checkpoint is being completed
	phasePersisting              // completion is being written
	phaseCommitting              // durable, committers are at work
)

// flight is one checkpoint between its trigger and its end.
type flight struct {
	phase    phase
	trigger  Trigger
	ref      any
	began    time.Time
	deadline time.Time // when the phase is given up; zero: never

	acked     map[TaskID]bool
	operators []OperatorState // in the order of CoordinatorConfig.Operators, which is by uid
	have      [][]bool        // operator × subtask: snapshot has come
	prepared  [][][]Prepared  // operator × subtask
	enums     []bool
	channels  []ChannelState
}

func newFlight(c *CoordinatorConfig, t Trigger, ref any, now time.Time) *flight {
	n := len(c.Operators)
	f := &flight{trigger: t, ref: ref, began: now, acked: map[TaskID]bool{}, operators: make([]OperatorState, n), have: make([][]bool, n),
		prepared: make([][][]Prepared, n), enums: make([]bool, n)}
	f.within(c.Timeout, now)
	for i, o := range c.Operators {
		f.operators[i] = OperatorState{UID: o.UID, Parallelism: o.Parallelism, States: sortedStates(o.States), Subtasks: make([]SubtaskState, o.Parallelism)}
		f.have[i] = make([]bool, o.Parallelism)
		f.prepared[i] = make([][]Prepared, o.Parallelism)
	}
	return f
}

func sortedStates(ds []state.Descriptor) []state.Descriptor {
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b state.Descriptor) int { return strings.Compare(a.Name, b.Name) })
	return ds
}

// within sets the deadline; 0 is none.
func (f *flight) within(timeout time.Duration, now time.Time) {
	f.deadline = time.Time{}
	if timeout > 0 {
		f.deadline = now.Add(timeout)
	}
}

// alone reports whether no other checkpoint is taken beside this one: its manifest has to come next, or nothing may follow it.
func (f *flight) alone() bool { return f.trigger.Savepoint || f.trigger.Stop || f.trigger.Final }

// take adds one snapshot. An error is a fault of the runtime: going on would store a checkpoint that lacks something.
func (f *flight) take(c *CoordinatorConfig, i int, s SubtaskSnapshot) error {
	o := &c.Operators[i]
	switch {
	case s.Subtask < 0 || s.Subtask >= o.Parallelism:
		return fmt.Errorf("snapshot of uid %q subtask %d, want 0 to %d", s.UID, s.Subtask, o.Parallelism-1)
	case f.have[i][s.Subtask]:
		return fmt.Errorf("second snapshot of uid %q subtask %d", s.UID, s.Subtask)
	}
	last := c.FirstID - 1
	for _, p := range s.Prepared {
		switch {
		case !o.Committer && len(p.Committables) > 0:
			return fmt.Errorf("uid %q gave %d committables but has no committer", s.UID, len(p.Committables))
		case p.ID <= last || p.ID > f.trigger.ID:
			return fmt.Errorf("uid %q gave committables of checkpoint %d, want ascending ids from %d to %d", s.UID, p.ID, last+1, f.trigger.ID)
		}
		last = p.ID
	}
	f.have[i][s.Subtask] = true
	// The group range follows from the parallelism: it is set here, so that no task can record another one.
	s.State.Groups = state.RangeOf(s.Subtask, o.Parallelism, c.MaxParallelism)
	f.operators[i].Subtasks[s.Subtask] = s.State
	f.prepared[i][s.Subtask] = s.Prepared
	return nil
}

// missing names what the checkpoint waits for, tasks in the order of the configuration; "" for nothing.
func (f *flight) missing(c *CoordinatorConfig) string {
	var names []string
	for _, t := range c.Tasks {
		if !f.acked[t] {
			names = append(names, t.String())
		}
	}
	for i, o := range c.Operators {
		if o.Enumerator && !f.enums[i] {
			names = append(names, "enumerator of "+o.UID)
		}
	}
	const shown = 10
	if n := len(names); n > shown {
		names = append(names[:shown:shown], fmt.Sprintf("%d more", n-shown))
	}
	if len(names) == 0 {
		return ""
	}
	return "waiting for " + strings.Join(names, ", ")
}

// lacking reports a snapshot that no task gave although all have acknowledged.
func (f *flight) lacking() error {
	for i, subtasks := range f.have {
		for s, have := range subtasks {
			if !have {
				return fmt.Errorf("checkpoint: every task has acknowledged %d, but none gave a snapshot of uid %q subtask %d", f.trigger.ID, f.operators[i].UID, s)
			}
		}
	}
	return nil
}

// settle puts what the sinks have prepared since checkpoint done, which was the last whose commits were done, into the operators' states: by
// checkpoint, and within one in the order of the subtasks, not of the acknowledgements, so that the manifest does not depend on timing.
func (f *flight) settle(done int64) {
	for i := range f.operators {
		o, byID := &f.operators[i], map[int64][][]byte{}
		for _, subtask := range f.prepared[i] {
			for _, p := range subtask {
				if p.ID > done {
					byID[p.ID] = append(byID[p.ID], p.Committables...)
				}
			}
		}
		o.Committables = byID[f.trigger.ID]
		delete(byID, f.trigger.ID)
		for id, cs := range byID {
			if len(cs) > 0 {
				o.Earlier = append(o.Earlier, Prepared{id, cs})
			}
		}
		slices.SortFunc(o.Earlier, func(a, b Prepared) int { return int(a.ID - b.ID) })
	}
}

// commits are the committables that settle has found.
func (f *flight) commits() []UIDCommittables {
	var out []UIDCommittables
	for i := range f.operators {
		if p := f.operators[i].Prepared(f.trigger.ID); len(p) > 0 {
			out = append(out, UIDCommittables{UID: f.operators[i].UID, Prepared: p})
		}
	}
	return out
}

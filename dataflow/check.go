package dataflow

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/operators"
)

// checkNode runs the step's stage once so that its declarations are known.
func checkNode(n *runtime.Node, o Options) (checkpoint.OperatorInfo, operators.Hooks, error) {
	info := checkpoint.OperatorInfo{UID: n.UID, Parallelism: n.Parallelism, Committer: n.Committer != nil, Enumerator: n.Source != nil}
	var errs []error
	var hooks operators.Hooks
	declared := map[string]bool{"": true, operators.DeadLetterPort: true}
	if n.Build != nil {
		t := operators.NewTask(operators.TaskConfig{UID: n.UID, Name: n.Label(), Check: true, Parallelism: n.Parallelism, MaxParallelism: o.MaxParallelism, Now: o.Now})
		_, err := n.Build(t, n.NoOutput)
		if err != nil {
			errs = append(errs, fmt.Errorf("dataflow: step %q: %w", n.Label(), err))
		}
		errs = append(errs, t.Err())
		h := t.Hooks()
		hooks = *h
		if n.UID == "" && (h.State != nil || h.Broadcast != nil || h.SaveRaw != nil) {
			errs = append(errs, fmt.Errorf("dataflow: step %q keeps state and has no uid; give it one that is unique in the graph and never changes", n.Label()))
		}
		if h.State != nil {
			info.States = h.State.Descriptors()
		}
		if h.Broadcast != nil {
			info.States = append(info.States, h.Broadcast.Descriptors()...)
		}
		for name := range t.SideTypes() {
			declared[name] = true
		}
	}
	for _, e := range n.Outputs {
		if !declared[e.Port] {
			errs = append(errs, fmt.Errorf("dataflow: step %q has no side output %q, which step %q reads; declare it there with operators.SideOutput", n.Label(), e.Port, e.To.Label()))
		}
	}
	return info, hooks, errors.Join(errs...)
}

// preparesAhead refuses checkpoints that may fail or overlap where a sink can hold only one that is prepared and not committed.
func preparesAhead(n *runtime.Node, c checkpoint.Config) error {
	if n.Committer == nil || n.PreparesAhead || c.TolerableFailures == 0 && c.MaxConcurrent <= 1 {
		return nil
	}
	return fmt.Errorf("dataflow: sink %q can hold one checkpoint that is prepared and not committed, and Options.Checkpoint has TolerableFailures %d and MaxConcurrent %d: "+
		"output of a checkpoint that failed would have no owner; set them to 0 and 1, or use a sink that implements connectors.PreparesAhead",
		n.Label(), c.TolerableFailures, c.MaxConcurrent)
}

// checks are those of a step that go by what the steps before it declare. Steps are given from the sources on.
type checks struct {
	plan *runtime.Plan
	// keyed holds the steps whose records come by key.
	keyed map[*runtime.Node]bool
	// without is, per step, a source whose records reach it without passing a step that makes watermarks.
	without map[*runtime.Node]*runtime.Node
	// later holds the steps of a source's tasks that have its records later than the source emits them.
	later map[*runtime.Node]bool
	// aligned is, per source, the step that aligns it.
	aligned map[*runtime.Node]*runtime.Node
}

func newChecks(p *runtime.Plan) *checks {
	return &checks{plan: p, keyed: map[*runtime.Node]bool{}, without: map[*runtime.Node]*runtime.Node{},
		later: map[*runtime.Node]bool{}, aligned: map[*runtime.Node]*runtime.Node{}}
}

// step checks n, which has declared h.
func (c *checks) step(n *runtime.Node, h operators.Hooks) error {
	return errors.Join(c.partition(n, h), c.watermarks(n, h), c.alignment(n, h))
}

// partition refuses keyed state in several subtasks where the records do not come by key: those of one key would meet in no one place.
func (c *checks) partition(n *runtime.Node, h operators.Hooks) error {
	all := n.Source == nil
	for _, e := range n.Inputs {
		switch {
		case e.Kind == runtime.Hash, e.Kind == runtime.Broadcast && n.TwoInputs:
		case e.Kind == runtime.Forward && e.From.Parallelism == n.Parallelism:
			all = all && c.keyed[e.From]
		default:
			all = false
		}
	}
	c.keyed[n] = all
	if h.State == nil || all || n.Parallelism == 1 {
		return nil
	}
	return fmt.Errorf("dataflow: step %q keeps state by key in %d subtasks, and its records do not come by key; call KeyBy before it, or give it Parallelism(1)", n.Label(), n.Parallelism)
}

// watermarks refuses a step that needs watermarks where they do not come on every path to it: the least of all inputs counts.
func (c *checks) watermarks(n *runtime.Node, h operators.Hooks) error {
	if n.Source != nil {
		c.without[n] = n
	}
	for _, e := range n.Inputs {
		if src := c.without[e.From]; src != nil && c.without[n] == nil {
			c.without[n] = src
		}
	}
	src := c.without[n]
	if h.OwnWatermarks && !h.HoldsWatermarks {
		c.without[n] = nil
	}
	if src == nil || h.NeedsWatermarks == "" {
		return nil
	}
	return fmt.Errorf("dataflow: step %q gives no result without watermarks (%s), and none come with the records of source %q; call Timestamps on that stream", n.Label(), h.NeedsWatermarks, src.Label())
}

// alignment refuses alignment where there are no splits to hold back (behind another task, or behind calls
// that give the records later), and a second one of the same source.
func (c *checks) alignment(n *runtime.Node, h operators.Hooks) error {
	c.later[n] = h.HoldsWatermarks || len(n.Inputs) == 1 && c.later[n.Inputs[0].From]
	if h.Alignment == nil {
		return nil
	}
	src := c.plan.Source(n)
	if src == nil || c.later[n] {
		return fmt.Errorf("dataflow: step %q aligns watermarks (group %q) and is not told of the splits of a source, so it cannot hold any back; call Timestamps directly on the source, with its parallelism",
			n.Label(), h.Alignment.Group)
	}
	if other := c.aligned[src]; other != nil {
		return fmt.Errorf("dataflow: steps %q and %q both align source %q; leave Alignment to one of them", other.Label(), n.Label(), src.Label())
	}
	c.aligned[src] = n
	return nil
}

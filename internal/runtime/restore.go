package runtime

import (
	"context"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// assigned are the operators of the graph with their states numbered as this attempt goes on from what it was restored from: its stores are
// opened with these numbers, and its manifests name them.
func (a *attempt) assigned() []checkpoint.OperatorInfo {
	infos := slices.Clone(a.job.operators)
	for i := range infos {
		if r := a.restore(infos[i].UID); len(r.States) > 0 {
			infos[i].States = r.States
		} else {
			infos[i].States = state.Assign(nil, infos[i].States, nil)
		}
	}
	return infos
}

// openState opens the state of every operator and loads what the checkpoint holds for it.
func (a *attempt) openState(ctx context.Context, t *task) error {
	for _, o := range t.ops {
		if err := a.openStateOf(ctx, t, o); err != nil {
			return failIn(o, err)
		}
	}
	return nil
}

func (a *attempt) openStateOf(ctx context.Context, t *task, o *op) error {
	h, from := o.hooks(), a.restore(o.node.UID)
	open := state.OpenOptions{UID: o.node.UID, Subtask: t.subtask, Attempt: a.name, NoSnapshots: a.journal == nil}
	if h.State != nil {
		open.Groups, open.States = state.RangeOf(t.subtask, t.chain.parallelism, a.cfg.MaxParallelism), a.statesOf(o, h.State)
		if err := h.State.Open(a.cfg.State, open); err != nil {
			return err
		}
	}
	if h.Broadcast != nil {
		// It is one key in one group, in memory on every backend.
		open.Groups, open.States = state.GroupRange{Start: 0, End: 1}, a.statesOf(o, h.Broadcast)
		if err := h.Broadcast.Open(memstate.New(), open); err != nil {
			return err
		}
	}
	if !from.Known {
		return nil
	}
	sub := from.Subtasks[t.subtask]
	if o.node.Source == nil { // a source makes its own again when its input ends
		o.task.SetWatermark(sub.WatermarkMS)
		// EndOfTime and the end of input lie on the same side of every barrier: the operator has drained, its hooks do not run again.
		o.ended = sub.WatermarkMS == operators.EndOfTime
	}
	if h.State != nil && len(sub.Files) > 0 {
		r := a.restoreOf(from, h.Broadcast)
		r.Handles, r.MaxParallelism = sub.Files, from.MaxParallelism
		if err := h.State.Restore(ctx, r); err != nil {
			return err
		}
	}
	if h.Broadcast != nil && len(sub.Broadcast) > 0 {
		r := a.restoreOf(from, h.State)
		r.Handles = sub.Broadcast
		if err := h.Broadcast.Restore(ctx, r); err != nil {
			return err
		}
	}
	if h.RestoreRaw != nil && len(sub.Raw) > 0 {
		return h.RestoreRaw(sub.Raw)
	}
	return nil
}

// statesOf are those of the operator's assigned states that s declares: keyed and broadcast state are numbered together.
func (a *attempt) statesOf(o *op, s state.Operator) []state.Descriptor {
	i := slices.IndexFunc(a.operators, func(i checkpoint.OperatorInfo) bool { return i.UID == o.node.UID })
	own := s.Descriptors()
	return slices.DeleteFunc(slices.Clone(a.operators[i].States), func(d state.Descriptor) bool { return !declares(own, d.Name) })
}

// restoreOf is what a part of an operator's state needs to be restored but for its files. other is the operator's other part, of which
// nothing is in these files; nil if there is none.
func (a *attempt) restoreOf(from checkpoint.OperatorRestore, other state.Operator) state.Restore {
	r := state.Restore{Files: a.restoreFiles, Rename: from.Rename, Drop: from.DropStates}
	var theirs []state.Descriptor
	if other != nil {
		theirs = other.Descriptors()
	}
	for _, d := range from.OldStates {
		name := d.Name
		if n, ok := from.Rename[name]; ok {
			name = n
		}
		if !declares(theirs, name) {
			r.States = append(r.States, d)
		}
	}
	return r
}

func declares(ds []state.Descriptor, name string) bool {
	return slices.ContainsFunc(ds, func(d state.Descriptor) bool { return d.Name == name })
}

// restore is what the checkpoint that the attempt began from holds for uid; empty when there is none.
func (a *attempt) restore(uid string) checkpoint.OperatorRestore {
	if a.restored == nil || uid == "" {
		return checkpoint.OperatorRestore{}
	}
	r, _ := a.restored.Operator(uid)
	return r
}

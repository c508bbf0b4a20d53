package runtime

import (
	"context"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"go.uber.org/zap"
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
	own := state.Restore{States: from.OldStates, Rename: from.Rename, Drop: from.DropStates, MaxParallelism: from.MaxParallelism}
	if err := a.restoreState(ctx, h, own, sub.Files, sub.Broadcast); err != nil {
		return err
	}
	for _, m := range from.More {
		r := state.Restore{States: m.OldStates, Rename: m.Rename, Drop: m.Drop, MaxParallelism: from.MaxParallelism}
		if err := a.restoreState(ctx, h, r, m.Files[t.subtask], m.Broadcast[t.subtask]); err != nil {
			return err
		}
	}
	if h.RestoreRaw != nil && len(sub.Raw) > 0 {
		return h.RestoreRaw(sub.Raw)
	}
	return nil
}

// restoreState gives both parts of an operator's state what files of one operator of the checkpoint hold for them. all has the states of both.
func (a *attempt) restoreState(ctx context.Context, h *operators.Hooks, all state.Restore, files, broadcast []state.File) error {
	all.Files = a.restoreFiles
	if h.State != nil && len(files) > 0 {
		r := without(all, h.Broadcast)
		r.Handles = files
		if err := h.State.Restore(ctx, r); err != nil {
			return err
		}
	}
	if h.Broadcast != nil && len(broadcast) > 0 {
		r := without(all, h.State)
		r.Handles, r.MaxParallelism = broadcast, 0
		return h.Broadcast.Restore(ctx, r)
	}
	return nil
}

// statesOf are those of the operator's assigned states that s declares: keyed and broadcast state are numbered together.
func (a *attempt) statesOf(o *op, s state.Operator) []state.Descriptor {
	i := slices.IndexFunc(a.operators, func(i checkpoint.OperatorInfo) bool { return i.UID == o.node.UID })
	own := s.Descriptors()
	return slices.DeleteFunc(slices.Clone(a.operators[i].States), func(d state.Descriptor) bool { return !declares(own, d.Name) })
}

// without is r without the states of the operator's other part, of which nothing is in the files; nil if there is none.
func without(r state.Restore, other state.Operator) state.Restore {
	if other == nil {
		return r
	}
	theirs := other.Descriptors()
	r.States = slices.DeleteFunc(slices.Clone(r.States), func(d state.Descriptor) bool {
		name := d.Name
		if n, ok := r.Rename[name]; ok {
			name = n
		}
		return declares(theirs, name)
	})
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

// precheck refuses to start from a checkpoint that does not fit the graph while another job may still run on the storage: becoming the
// leader would end it. What cannot be read is left to those who read it again as the leader.
func (j *Job) precheck(ctx context.Context) error {
	report, err := CheckStart(ctx, j.operators, j.cfg, "")
	if report == nil && err != nil {
		j.cfg.Logger.Info("the checkpoint to start from cannot be read yet", zap.String("job", j.plan.Name), zap.Error(err))
		return nil
	}
	return err
}

// CheckStart compares the operators of a graph with the checkpoint from which a job would start: the one at uri, or, with "", the newest in the
// job's own storage, else that of Config.From, else none. It becomes nobody's leader and changes nothing. The error is the report's, with
// the report, or about reading, without one.
func CheckStart(ctx context.Context, ops []checkpoint.OperatorInfo, c Config, uri string) (*checkpoint.StartReport, error) {
	m, err := startManifest(ctx, c, uri)
	if err != nil {
		return nil, err
	}
	report := checkpoint.CheckStart(m, ops, c.MaxParallelism, c.Mapping)
	return report, report.Err()
}

// startManifest is nil when the job would start from nothing.
func startManifest(ctx context.Context, c Config, uri string) (*checkpoint.Manifest, error) {
	if s := c.Checkpoint.Storage; s != nil && uri == "" {
		checkpoints, _, err := checkpoint.List(ctx, s)
		if err != nil {
			return nil, err
		}
		if len(checkpoints) > 0 {
			m, _, err := checkpoint.LoadFrom(ctx, s, "")
			return m, err
		}
	}
	if uri == "" {
		uri = c.From
	}
	if uri == "" {
		return nil, nil
	}
	m, _, err := checkpoint.Load(ctx, uri)
	return m, err
}

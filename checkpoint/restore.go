package checkpoint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/state"
)

// RestorePlan says what each operator and subtask of a graph gets back from a checkpoint.
type RestorePlan struct {
	// ID of the checkpoint.
	ID int64
	// Operators has one entry for each uid of the graph, sorted by uid; those that the checkpoint does not know are empty.
	Operators []OperatorRestore
}

// OperatorRestore is what one uid gets back.
type OperatorRestore struct {
	UID string
	// Known says that the checkpoint has an entry of this uid.
	Known    bool
	Subtasks []SubtaskRestore // index = new subtask
	// Enumerator is the state of a source's enumerator; nil for a fresh start.
	Enumerator []byte
	// Finished are the splits that readers have read to the end: the enumerator is told again. Sorted, each once.
	Finished []string
	// Prepared is what the sink's writers, of all old subtasks, had prepared; it is committed again in this order before any writer is made.
	Prepared []Prepared
	// Committables are those of Prepared.
	Committables [][]byte
	// DropStates are names of keyed states to skip in the files, for state.Operator.Restore: those that are given up and those that go to
	// other operators. Sorted.
	DropStates []string
	// States are the declared states as state.Assign has numbered them behind OldStates: what the stores are opened with and what later
	// manifests hold. Sorted by name.
	States []state.Descriptor
	// OldStates are the states of the checkpoint, by which its tables are read.
	OldStates []state.Descriptor
	// Rename maps names in OldStates to the declared ones; nil where none was renamed.
	Rename map[string]string
	// MaxParallelism is the number of key groups in the files.
	MaxParallelism int
	// More are states that come from other operators of the checkpoint. They are restored after the operator's own.
	More []StateSource
}

// StateSource are states of one operator of the checkpoint that go to an operator which does not go on from it.
type StateSource struct {
	UID string // in the checkpoint
	// OldStates, Rename and Drop are what state.Operator.Restore needs.
	OldStates []state.Descriptor
	Rename    map[string]string
	Drop      []string
	// Files and Broadcast are as in SubtaskRestore, by new subtask.
	Files, Broadcast [][]state.File
}

// SubtaskRestore is what one new subtask of an operator gets back.
type SubtaskRestore struct {
	Groups state.GroupRange
	// Files that hold groups of this subtask, those of one old subtask in their order. Groups of a handle is narrowed to what the
	// file speaks for: entries of other groups in it are somebody else's, and stale.
	Files []state.File
	// Broadcast are the files of the state that is the same in every subtask: all of them, in each.
	Broadcast []state.File
	Splits    []SplitState
	Raw       [][]byte
	// WatermarkMS is the least watermark of the old subtasks, Unix ms; NoWatermark when one of them had none.
	WatermarkMS int64
}

// Operator returns the part of one uid.
func (p *RestorePlan) Operator(uid string) (OperatorRestore, bool) {
	i, ok := slices.BinarySearchFunc(p.Operators, uid, func(o OperatorRestore, uid string) int { return strings.Compare(o.UID, uid) })
	if !ok {
		return OperatorRestore{}, false
	}
	return p.Operators[i], true
}

// UnmatchedStateError reports state in a checkpoint that the graph does not claim.
type UnmatchedStateError struct {
	ID     int64    // of the checkpoint
	UIDs   []string // that are in the checkpoint only, sorted
	States []string // keyed states that their operator no longer declares, as "uid/state", sorted
}

// Error names the states and the two remedies.
func (e *UnmatchedStateError) Error() string {
	var parts []string
	if len(e.UIDs) > 0 {
		parts = append(parts, fmt.Sprintf("state of unknown operators %q", e.UIDs))
	}
	if len(e.States) > 0 {
		parts = append(parts, fmt.Sprintf("keyed states %q that their operators no longer declare", e.States))
	}
	return fmt.Sprintf("checkpoint: %d holds %s; rename them back, say by Rename where they go, or list them in Drop to give the state up", e.ID, strings.Join(parts, " and "))
}

// StateMismatchError reports a keyed state that the graph declares in another way than the checkpoint holds it.
type StateMismatchError struct {
	UID, State string
	// From is "uid/state" in the checkpoint, where that is another; else "".
	From string
	// What differs: "kind", "key schema", "map key schema" or "value schema".
	What     string
	Old, New string
	// Reasons say which field breaks which rule of Avro resolution; nil where no resolution can help.
	Reasons []string
}

// Error names the state and both declarations.
func (e *StateMismatchError) Error() string {
	reasons := ""
	if len(e.Reasons) > 0 {
		reasons = " (" + strings.Join(e.Reasons, "; ") + ")"
	}
	return fmt.Sprintf("checkpoint: state %q of %q has %s %s in the checkpoint and %s in the graph%s; declare it as it was, give a migration, or give the new "+
		"state another name and list %q in Drop", e.State, e.UID, e.What, e.Old, e.New, reasons, cmp.Or(e.From, e.UID+"/"+e.State))
}

// PlanRestore distributes the content of a checkpoint over the operators of a graph, at any parallelism and max parallelism: each key group,
// split, blob of raw state and committable goes to exactly one place, and broadcast state to every subtask. Where keys may belong to other groups than
// before, every subtask gets the files of all, of which it takes its own. It is pure, and equal arguments give equal plans. Every fault is
// reported at once: the error is that of CheckStart.
func PlanRestore(m *Manifest, ops []OperatorInfo, maxParallelism int, by Mapping) (*RestorePlan, error) {
	r := newRestore(m, ops, maxParallelism, by)
	if err := r.report.Err(); err != nil {
		return nil, err
	}
	return r.plan(), nil
}

func (o *OperatorState) empty() bool {
	for _, s := range o.Subtasks {
		if len(s.objects())+len(s.Splits)+len(s.Finished)+len(s.Raw) > 0 {
			return false
		}
	}
	return len(o.Enumerator)+len(o.Committables)+len(o.Earlier) == 0
}

func (r *restore) plan() *RestorePlan {
	p := &RestorePlan{ID: r.m.ID}
	main := map[string]*OperatorState{}
	for old, now := range r.routes.whole {
		main[now] = operatorOf(r.m, old)
	}
	for _, op := range r.ops {
		out := r.empty(op)
		if old := main[op.UID]; old != nil {
			r.own(&out, old, op)
		}
		r.more(&out, main[op.UID])
		p.Operators = append(p.Operators, out)
	}
	slices.SortFunc(p.Operators, func(a, b OperatorRestore) int { return strings.Compare(a.UID, b.UID) })
	return p
}

func (r *restore) empty(op OperatorInfo) OperatorRestore {
	out := OperatorRestore{UID: op.UID, Subtasks: make([]SubtaskRestore, op.Parallelism), MaxParallelism: r.m.MaxParallelism,
		States: state.Assign(nil, op.States, nil)}
	for i := range out.Subtasks {
		out.Subtasks[i] = SubtaskRestore{Groups: state.RangeOf(i, op.Parallelism, r.maxPar), WatermarkMS: NoWatermark}
	}
	return out
}

// own gives an operator what the one that it goes on from has.
func (r *restore) own(out *OperatorRestore, old *OperatorState, op OperatorInfo) {
	out.Known, out.Enumerator, out.OldStates, out.Prepared = true, old.Enumerator, old.States, old.Prepared(r.m.ID)
	for _, p := range out.Prepared {
		out.Committables = append(out.Committables, p.Committables...)
	}
	out.Rename, out.DropStates = r.taken(old, op.UID)
	rewritten, reread := r.moves(old, op)
	if !rewritten {
		out.States = state.Assign(old.States, op.States, out.Rename)
	}
	var splits []SplitState
	var raw [][]byte
	watermark := old.Subtasks[0].WatermarkMS
	for _, s := range old.Subtasks {
		watermark = min(watermark, s.WatermarkMS)
		splits = append(splits, s.Splits...)
		out.Finished = append(out.Finished, s.Finished...)
		raw = append(raw, s.Raw...)
	}
	files, broadcast := r.files(old, op, reread)
	slices.Sort(out.Finished)
	out.Finished = slices.Compact(out.Finished)
	// Dealt out in the order of their ids, so that no subtask has more than one split above another, whatever the old one was.
	slices.SortFunc(splits, func(a, b SplitState) int { return strings.Compare(a.ID, b.ID) })
	for i, s := range splits {
		t := &out.Subtasks[i%op.Parallelism]
		t.Splits = append(t.Splits, s)
	}
	for i, b := range raw {
		t := &out.Subtasks[i%op.Parallelism]
		t.Raw = append(t.Raw, b)
	}
	for i := range out.Subtasks {
		out.Subtasks[i].WatermarkMS, out.Subtasks[i].Files, out.Subtasks[i].Broadcast = watermark, files[i], broadcast[i]
	}
}

// more gives an operator the states that come from others than own. Its watermark is then no later than theirs.
func (r *restore) more(out *OperatorRestore, own *OperatorState) {
	op := r.ops[out.UID]
	for i := range r.m.Operators {
		old := &r.m.Operators[i]
		if own != nil && old.UID == own.UID {
			continue
		}
		rename, drop := r.taken(old, op.UID)
		if len(drop) == len(old.States) {
			continue
		}
		_, reread := r.moves(old, op)
		src := StateSource{UID: old.UID, OldStates: old.States, Rename: rename, Drop: drop}
		src.Files, src.Broadcast = r.files(old, op, reread)
		watermark := old.Subtasks[0].WatermarkMS
		for _, s := range old.Subtasks {
			watermark = min(watermark, s.WatermarkMS)
		}
		for k := range out.Subtasks {
			if out.Known {
				watermark = min(watermark, out.Subtasks[k].WatermarkMS)
			}
			out.Subtasks[k].WatermarkMS = watermark
		}
		out.Known = true
		out.More = append(out.More, src)
	}
}

// taken says how the states of old are called in the operator uid, and which of them do not go there.
func (r *restore) taken(old *OperatorState, uid string) (rename map[string]string, drop []string) {
	for _, d := range old.States {
		to, ok := r.routes.states[place{old.UID, d.Name}]
		switch {
		case !ok || to.uid != uid:
			drop = append(drop, d.Name)
		case to.state != d.Name:
			if rename == nil {
				rename = map[string]string{}
			}
			rename[d.Name] = to.state
		}
	}
	return rename, drop
}

// moves reports whether the entries that go from old to op are written anew, so that numbers of states and schemas begin anew too, and whether
// their keys may belong to other groups.
func (r *restore) moves(old *OperatorState, op OperatorInfo) (rewritten, reread bool) {
	reread = r.m.MaxParallelism != r.maxPar
	rewritten = reread
	tables := false
	for _, s := range old.Subtasks {
		for _, f := range s.Files {
			tables = tables || f.Kind == state.FileBase || f.Kind == state.FileDelta
		}
	}
	for _, d := range old.States {
		to, ok := r.routes.states[place{old.UID, d.Name}]
		if !ok || to.uid != op.UID {
			rewritten = true // the number of the state would be given again while entries of it are there
			continue
		}
		i := slices.IndexFunc(op.States, func(n state.Descriptor) bool { return n.Name == to.state })
		c := state.Compare(d, op.States[i])
		rewritten, reread = rewritten || c.Rewrite, reread || c.Rehash
	}
	return rewritten || !tables, reread
}

// files are those of old that each subtask of op needs.
func (r *restore) files(old *OperatorState, op OperatorInfo, reread bool) (files, broadcast [][]state.File) {
	files, broadcast = make([][]state.File, op.Parallelism), make([][]state.File, op.Parallelism)
	for _, s := range old.Subtasks {
		for i := range op.Parallelism {
			broadcast[i] = append(broadcast[i], s.Broadcast...)
		}
		for _, f := range s.Files {
			f.Groups = intersect(f.Groups, s.Groups)
			if f.Groups.Start == f.Groups.End {
				continue // it speaks for nobody
			}
			for i := range op.Parallelism {
				if reread || f.Groups.Overlaps(state.RangeOf(i, op.Parallelism, r.maxPar)) {
					files[i] = append(files[i], f)
				}
			}
		}
	}
	return files, broadcast
}

func intersect(a, b state.GroupRange) state.GroupRange {
	r := state.GroupRange{Start: max(a.Start, b.Start), End: min(a.End, b.End)}
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

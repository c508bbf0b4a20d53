package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/serde"
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
	// Committables of all old subtasks; they are committed again before any writer is made.
	Committables [][]byte
	// DropStates are names of keyed states to skip in the files, for state.Operator.Restore. Sorted.
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
	return fmt.Sprintf("checkpoint: %d holds %s; rename them back, or list them in Drop to give the state up", e.ID, strings.Join(parts, " and "))
}

// StateMismatchError reports a keyed state that the graph declares in another way than the checkpoint holds it.
type StateMismatchError struct {
	UID, State string
	// What differs: "kind", "key schema", "map key schema" or "value schema".
	What     string
	Old, New string
	// Reasons say, for value schemas, which field breaks which rule of Avro resolution; nil when the schemas have to be equal.
	Reasons []string
}

// Error names the state and both declarations.
func (e *StateMismatchError) Error() string {
	reasons := ""
	if len(e.Reasons) > 0 {
		reasons = " (" + strings.Join(e.Reasons, "; ") + ")"
	}
	return fmt.Sprintf("checkpoint: state %q of %q has %s %s in the checkpoint and %s in the graph%s; declare it as it was, or give the new "+
		"state another name and list %q in Drop", e.State, e.UID, e.What, e.Old, e.New, reasons, e.UID+"/"+e.State)
}

// PlanRestore distributes the content of a checkpoint over the operators of a graph, at any parallelism: each key group, split, blob of
// raw state and committable goes to exactly one place, and broadcast state to every subtask. It is pure, and equal arguments give equal plans. Every fault is reported
// at once.
//
// drop names state to give up: "uid" for all of an operator, "uid/state" for one keyed state. Only what the graph does not claim can be
// given up, and a name that the checkpoint does not hold does nothing: drop may therefore stay set over restarts, whose newer checkpoints no longer
// hold what was dropped, without ever costing state that is in use.
func PlanRestore(m *Manifest, ops []OperatorInfo, maxParallelism int, drop []string) (*RestorePlan, error) {
	if m.MaxParallelism != maxParallelism {
		return nil, fmt.Errorf("checkpoint: %d was taken with max parallelism %d, the job has %d; set it to %[2]d (it cannot change: keys would belong to other key groups)",
			m.ID, m.MaxParallelism, maxParallelism)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	r := restore{m: m, ops: map[string]OperatorInfo{}, drop: map[string]bool{}}
	for _, d := range drop {
		r.drop[d] = true
	}
	var errs []error
	for _, o := range ops {
		errs = append(errs, r.claimed(o)...)
		if o.Parallelism < 1 || o.Parallelism > maxParallelism {
			errs = append(errs, fmt.Errorf("checkpoint: uid %q has parallelism %d, want 1 to the max parallelism of %d", o.UID, o.Parallelism, maxParallelism))
		}
		if _, twice := r.ops[o.UID]; twice {
			errs = append(errs, fmt.Errorf("checkpoint: uid %q is there twice", o.UID))
		}
		r.ops[o.UID] = o
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := r.match(); err != nil {
		return nil, err
	}
	return r.plan(), nil
}

type restore struct {
	m    *Manifest
	ops  map[string]OperatorInfo
	drop map[string]bool
}

// claimed reports what of the operator is in drop.
func (r *restore) claimed(o OperatorInfo) (errs []error) {
	names := []string{o.UID}
	for _, d := range o.States {
		names = append(names, o.UID+"/"+d.Name)
	}
	for _, name := range names {
		if r.drop[name] {
			errs = append(errs, fmt.Errorf("checkpoint: %q is in Drop and in the graph; take it out of Drop, or give the new one another name", name))
		}
	}
	return errs
}

func (o *OperatorState) empty() bool {
	for _, s := range o.Subtasks {
		if len(s.objects())+len(s.Splits)+len(s.Finished)+len(s.Raw) > 0 {
			return false
		}
	}
	return len(o.Enumerator)+len(o.Committables) == 0
}

// match compares what the checkpoint holds with what the graph declares.
func (r *restore) match() error {
	var errs []error
	un := &UnmatchedStateError{ID: r.m.ID}
	for _, old := range r.m.Operators {
		if r.drop[old.UID] {
			continue
		}
		op, ok := r.ops[old.UID]
		if !ok && old.empty() {
			continue // an operator without state may come and go
		}
		if !ok {
			un.UIDs = append(un.UIDs, old.UID)
			continue
		}
		for _, d := range old.States {
			if r.drop[old.UID+"/"+d.Name] {
				continue
			}
			i := slices.IndexFunc(op.States, func(n state.Descriptor) bool { return n.Name == d.Name })
			if i < 0 {
				un.States = append(un.States, old.UID+"/"+d.Name)
				continue
			}
			errs = append(errs, compareStates(old.UID, d, op.States[i])...)
		}
	}
	if len(un.UIDs)+len(un.States) > 0 {
		errs = append([]error{un}, errs...)
	}
	slices.SortStableFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// compareStates compares two declarations of one state. Keys have to be encoded as before, since the encoding is what is compared and
// hashed; values need only be readable by Avro resolution, which state.Operator.Restore does. A TTL may change.
func compareStates(uid string, old, now state.Descriptor) []error {
	var errs []error
	for _, f := range []struct{ what, old, now string }{
		{"kind", string(old.Kind), string(now.Kind)},
		{"key schema", old.Key, now.Key},
		{"map key schema", old.Sub, now.Sub},
	} {
		if f.old != f.now {
			errs = append(errs, &StateMismatchError{UID: uid, State: old.Name, What: f.what, Old: f.old, New: f.now})
		}
	}
	if reasons, ok := readable(old.Value, now.Value); !ok {
		errs = append(errs, &StateMismatchError{UID: uid, State: old.Name, What: "value schema", Old: old.Value, New: now.Value, Reasons: reasons})
	}
	return errs
}

// readable reports whether values written with one schema can be read with another, and if not, why.
func readable(writer, reader string) (reasons []string, ok bool) {
	if writer == reader {
		return nil, true
	}
	if strings.HasPrefix(writer, "opaque:") || strings.HasPrefix(reader, "opaque:") || writer == "" || reader == "" {
		return nil, false
	}
	for _, f := range serde.Check(reader, writer) {
		reasons = append(reasons, f.Error())
	}
	return reasons, len(reasons) == 0
}

func (r *restore) plan() *RestorePlan {
	p := &RestorePlan{ID: r.m.ID}
	for _, op := range r.ops {
		i := slices.IndexFunc(r.m.Operators, func(o OperatorState) bool { return o.UID == op.UID })
		if i < 0 {
			p.Operators = append(p.Operators, r.empty(op))
			continue
		}
		p.Operators = append(p.Operators, r.operator(&r.m.Operators[i], op))
	}
	slices.SortFunc(p.Operators, func(a, b OperatorRestore) int { return strings.Compare(a.UID, b.UID) })
	return p
}

func (r *restore) empty(op OperatorInfo) OperatorRestore {
	out := OperatorRestore{UID: op.UID, Subtasks: make([]SubtaskRestore, op.Parallelism), MaxParallelism: r.m.MaxParallelism,
		States: state.Assign(nil, op.States, nil)}
	for i := range out.Subtasks {
		out.Subtasks[i] = SubtaskRestore{Groups: state.RangeOf(i, op.Parallelism, r.m.MaxParallelism), WatermarkMS: NoWatermark}
	}
	return out
}

func (r *restore) operator(old *OperatorState, op OperatorInfo) OperatorRestore {
	out := r.empty(op)
	out.Known, out.Enumerator, out.Committables = true, old.Enumerator, old.Committables
	out.OldStates, out.States = old.States, state.Assign(old.States, op.States, nil)
	for _, d := range old.States {
		if r.drop[old.UID+"/"+d.Name] {
			out.DropStates = append(out.DropStates, d.Name)
		}
	}
	var splits []SplitState
	var raw [][]byte
	watermark := old.Subtasks[0].WatermarkMS
	for _, s := range old.Subtasks {
		watermark = min(watermark, s.WatermarkMS)
		splits = append(splits, s.Splits...)
		out.Finished = append(out.Finished, s.Finished...)
		raw = append(raw, s.Raw...)
		for i := range out.Subtasks {
			out.Subtasks[i].Broadcast = append(out.Subtasks[i].Broadcast, s.Broadcast...)
		}
		for _, f := range s.Files {
			f.Groups = intersect(f.Groups, s.Groups)
			for i := range out.Subtasks {
				if t := &out.Subtasks[i]; f.Groups.Overlaps(t.Groups) {
					t.Files = append(t.Files, f)
				}
			}
		}
	}
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
		out.Subtasks[i].WatermarkMS = watermark
	}
	return out
}

func intersect(a, b state.GroupRange) state.GroupRange {
	r := state.GroupRange{Start: max(a.Start, b.Start), End: min(a.End, b.End)}
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

package checkpoint

import (
	"io"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/state"
)

// TestBroadcastStateGoesToEverySubtask: one copy is in the checkpoint, and each new subtask gets it, whatever their number.
func TestBroadcastStateGoesToEverySubtask(t *testing.T) {
	rules := state.File{Name: "data/1-1-rules", Size: 1, SHA256: sha, Groups: state.GroupRange{Start: 0, End: 1}}
	m := &Manifest{Version: 1, ID: 7, Epoch: 2, MaxParallelism: 8, Operators: []OperatorState{{UID: "op", Parallelism: 2, Subtasks: []SubtaskState{
		{Groups: state.RangeOf(0, 2, 8), Broadcast: []state.File{rules}}, {Groups: state.RangeOf(1, 2, 8)},
	}}}}
	for _, parallelism := range []int{1, 2, 5} {
		plan, err := PlanRestore(m, []OperatorInfo{{UID: "op", Parallelism: parallelism}}, 8, Mapping{})
		if err != nil {
			t.Fatal(err)
		}
		op, _ := plan.Operator("op")
		for i, s := range op.Subtasks {
			if len(s.Broadcast) != 1 || !reflect.DeepEqual(s.Broadcast[0], rules) || len(s.Files) != 0 {
				t.Errorf("subtask %d of %d gets broadcast state %v and files %v, want %v alone", i, parallelism, s.Broadcast, s.Files, rules)
			}
		}
	}
	if _, err := PlanRestore(m, nil, 8, Mapping{}); err == nil {
		t.Error("broadcast state that no step claims is given up in silence")
	}
	m.Operators[0].Subtasks[0].Broadcast[0].SHA256 = "x"
	if m.Validate() == nil {
		t.Error("a broadcast file without checksum is valid")
	}
}

// TestBroadcastFilesAreKept: the files of broadcast state live as long as a checkpoint names them, and are verified like all others.
func TestBroadcastFilesAreKept(t *testing.T) {
	ctx := t.Context()
	storage := Dir(t.TempDir())
	j, err := Lead(ctx, storage, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rules [2]state.File
	for i := range rules {
		id := j.NextID()
		rules[i], err = j.Files(id).Write(ctx, state.GroupRange{Start: 0, End: 1}, 0, func(w io.Writer) error {
			_, err := io.WriteString(w, "rules")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &Manifest{Version: FormatVersion, ID: id, Epoch: j.Epoch(), MaxParallelism: 8, Operators: []OperatorState{
			{UID: "op", Parallelism: 1, Subtasks: []SubtaskState{{Groups: state.GroupRange{Start: 0, End: 8}, Broadcast: rules[i : i+1]}}}}}
		if err := j.Complete(ctx, m); err != nil {
			t.Fatal(err)
		}
		if err := j.Prune(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	read := func(f state.File) error {
		r, err := j.Files(1).Read(ctx, f)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		_ = r.Close()
		return err
	}
	if err := read(rules[1]); err != nil {
		t.Errorf("the broadcast state of the newest checkpoint is gone: %v", err)
	}
	if read(rules[0]) == nil {
		t.Error("the broadcast state of a dropped checkpoint is still there")
	}
	if err := Verify(ctx, storage); err != nil {
		t.Error(err)
	}
}

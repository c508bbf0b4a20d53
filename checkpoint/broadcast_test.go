package checkpoint

import (
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
		plan, err := PlanRestore(m, []OperatorInfo{{UID: "op", Parallelism: parallelism}}, 8, nil)
		if err != nil {
			t.Fatal(err)
		}
		op, _ := plan.Operator("op")
		for i, s := range op.Subtasks {
			if len(s.Broadcast) != 1 || s.Broadcast[0] != rules || len(s.Files) != 0 {
				t.Errorf("subtask %d of %d gets broadcast state %v and files %v, want %v alone", i, parallelism, s.Broadcast, s.Files, rules)
			}
		}
	}
	if _, err := PlanRestore(m, nil, 8, nil); err == nil {
		t.Error("broadcast state that no step claims is given up in silence")
	}
	m.Operators[0].Subtasks[0].Broadcast[0].SHA256 = "x"
	if m.Validate() == nil {
		t.Error("a broadcast file without checksum is valid")
	}
}

package operatortest_test

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// TestTwoInputs: records of both inputs arrive, and watermarks and idleness come out merged.
func TestTwoInputs(t *testing.T) {
	stage := func(task *operators.Task, emit func(string) error) (func(int) error, func(string) error, error) {
		return func(v int) error { return emit(fmt.Sprint("a", v, " ", task.Watermark() == 5)) },
			func(v string) error { return emit("b" + v) }, nil
	}
	h := operatortest.New2(t, stage, operatortest.Options{})
	h.ProcessA(1, 10)
	h.Watermark(0, 7)
	h.ProcessB("x", 20)
	h.Watermark(1, 5)
	h.ProcessA(2, 30)
	h.Idle(1, true)
	h.Idle(0, true)
	h.Idle(1, false)
	h.EndInput()
	want := "[a1 false@10 bx@20 watermark 5 a2 true@30 watermark 7 idle active watermark end]"
	if got := fmt.Sprint(h.Outputs()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestBroadcastInput: a record of a broadcast input may be given to any subtask, one of a keyed input to its owner only.
func TestBroadcastInput(t *testing.T) {
	stage := func(_ *operators.Task, emit func(string) error) (func(int) error, func(string) error, error) {
		return func(v int) error { return emit(fmt.Sprint(v)) }, func(v string) error { return emit(v) }, nil
	}
	owned := 0
	for subtask := range 2 {
		h := operatortest.New2(t, stage, operatortest.Options{Subtask: subtask, Parallelism: 2}).KeyBy(func(v int) int { return v }, nil, nil)
		h.ProcessB("rule", 1)
		if got := fmt.Sprint(h.Records()); got != "[rule]" {
			t.Errorf("subtask %d got %s", subtask, got)
		}
		err := h.TryProcess(operatortest.Either[int, string]{A: 42}, 2)
		if (err == nil) != (h.OwnerA(42) == subtask) {
			t.Errorf("subtask %d of owner %d: %v", subtask, h.OwnerA(42), err)
		}
		if err == nil {
			owned++
		}
	}
	if owned != 1 {
		t.Errorf("%d subtasks took the keyed record, want 1", owned)
	}
}

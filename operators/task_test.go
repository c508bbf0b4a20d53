package operators_test

import (
	"testing"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// TestDeclaredTwice: what an operator has at most once is a fault the second time, and all faults are reported together.
func TestDeclaredTwice(t *testing.T) {
	stage := func(t *operators.Task, emit func(int) error) (func(int) error, error) {
		for range 2 {
			t.UseRaw(func() ([][]byte, error) { return nil, nil }, func([][]byte) error { return nil })
			t.UseTimers(func() (int64, bool) { return 0, false }, func(int64) error { return nil })
		}
		return emit, nil
	}
	wantError(t, operatortest.Check(stage, operatortest.Options{UID: "s"}), `step "s": declares raw state twice`, `step "s": declares processing-time timers twice`)
}

// TestEmitWatermark drops what is not above the last, on its own and after a restore.
func TestEmitWatermark(t *testing.T) {
	stage := func(t *operators.Task, emit func(int64) error) (func(int64) error, error) {
		t.OwnWatermarks()
		return func(ms int64) error { return t.EmitWatermark(ms) }, nil
	}
	h := operatortest.New(t, stage, operatortest.Options{})
	for _, ms := range []int64{5, 5, 4, 7} {
		h.Process(ms, 1)
	}
	want(t, "output", h.Outputs(), "watermark 5, watermark 7")
	h = operatortest.New(t, stage, operatortest.Options{From: []*operatortest.Snapshot{h.Snapshot()}})
	for _, ms := range []int64{6, 7, 8} {
		h.Process(ms, 1)
	}
	want(t, "after a restore", h.Outputs(), "watermark 7, watermark 8")
}

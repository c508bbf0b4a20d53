package operators_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func TestBadRecordWraps(t *testing.T) {
	cause := errors.New("no amount")
	if err := fmt.Errorf("order: %w", operators.BadRecord(cause)); !errors.Is(err, cause) || err.Error() != "order: no amount" {
		t.Errorf("got %v", err)
	}
	if err := operators.BadRecord(nil); err != nil {
		t.Errorf("BadRecord(nil) is %v", err)
	}
}

// TestFailuresNameTheStep: the failure of a task says which step and near which record, once, and keeps the cause.
func TestFailuresNameTheStep(t *testing.T) {
	cause := errors.New("no answer")
	h := process(t, operatortest.Options{UID: "enrich"}, func(b *orderKeyed) {
		b.OnRecord(func(_ *orderCtx, o order) error {
			if o.N == 0 {
				return nil
			}
			return b.Task().Failure(cause) // named already
		})
	})
	h.Process(order{"a", 0}, 1)
	err := h.TryProcess(order{"a", 1}, 1)
	var step *operators.StepError
	if !errors.As(err, &step) || step.Step != "enrich" || step.At.Offset != 1 || !errors.Is(err, cause) {
		t.Fatalf("got %v", err)
	}
	if err.Error() != `operators: step "enrich", record operatortest/0@1: no answer` {
		t.Errorf("got %v", err)
	}
	if h.Task().Failure(nil) != nil {
		t.Error("no error has become one")
	}
}

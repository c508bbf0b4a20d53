package operators

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/connectors"
)

// BadRecord marks err as the fault of the record, which will fail in the same way whenever it is tried again. A keyed function that
// returns it sends the record to the step's dead letters, if the graph consumes them. Any other error fails the task and the record is tried
// again after the restart: a service that does not answer must not cost a good record. BadRecord(nil) is nil.
func BadRecord(err error) error {
	if err == nil {
		return nil
	}
	return &badRecordError{err}
}

type badRecordError struct{ err error }

func (e *badRecordError) Error() string { return e.err.Error() }
func (e *badRecordError) Unwrap() error { return e.err }

// isBadRecord reports whether err was marked by BadRecord.
func isBadRecord(err error) bool {
	var bad *badRecordError
	return errors.As(err, &bad)
}

// StepError is an error of an operator, with the step and the record it was working on.
type StepError struct {
	Step string // uid, or kind and place of a stateless step
	At   connectors.Coordinates
	Err  error
}

// Error names step, record and cause.
func (e *StepError) Error() string {
	if e.At.Split == "" {
		return fmt.Sprintf("operators: step %q: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("operators: step %q, record %v: %v", e.Step, e.At, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Failure wraps an error of this operator so that the failure of the task names the step; an error that names one already, and nil, stay
// as they are.
func (t *Task) Failure(err error) error {
	if err == nil {
		return nil
	}
	var named *StepError // allocated here: not for each record that does not fail
	if errors.As(err, &named) {
		return err
	}
	return &StepError{Step: t.cfg.Name, At: t.Context().At, Err: err}
}

package operators

import (
	"fmt"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// Map passes on f of each record. f is pure; one that can fail belongs into TryMap.
func Map[In, Out any](f func(In) Out) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		t.UserFuncs(f)
		return func(v In) error { return emit(f(v)) }, nil
	}
}

// Filter passes on the records for which keep is true.
func Filter[T any](keep func(T) bool) Stage[T, T] {
	return func(t *Task, emit func(T) error) (func(T) error, error) {
		t.UserFuncs(keep)
		return func(v T) error {
			if keep(v) {
				return emit(v)
			}
			return nil
		}, nil
	}
}

// FlatMap calls f with each record; f calls emit for each result, and returns its error unchanged.
func FlatMap[In, Out any](f func(v In, emit func(Out) error) error) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		t.UserFuncs(f)
		return func(v In) error { return f(v, emit) }, nil
	}
}

// TryMap passes on f of each record. A record for which f fails becomes a dead letter if the graph consumes the step's dead letters,
// and otherwise fails the task. f depends on the record alone: what may fail though the record is good, such as a look-up, belongs into
// a Process, where such an error fails the task.
func TryMap[In, Out any](f func(In) (Out, error)) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		t.UserFuncs(f)
		return func(v In) error {
			out, err := f(v)
			if err != nil {
				return Refuse(t, v, err)
			}
			return emit(out)
		}, nil
	}
}

// Split sends each record to the main output, to the side output rejected, to both or to none: f calls out or side, and returns their
// errors unchanged.
func Split[In, Out, S any](rejected Tag[S], f func(v In, out func(Out) error, side func(S) error) error) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		t.UserFuncs(f)
		side := SideOutput(t, rejected)
		return func(v In) error { return f(v, emit, side) }, nil
	}
}

// Refuse makes a dead letter of v, or the error that fails the task when the graph does not consume the step's dead letters.
func Refuse[T any](t *Task, v T, reason error) error {
	c := t.Context()
	if !t.HasDeadLetters() {
		return t.Failure(reason)
	}
	d := connectors.DeadLetter{Reason: reason.Error(), At: c.At, TimestampMS: c.TimestampMS}
	if codec, err := serde.For[T](); err == nil {
		if raw, err := codec.Append(nil, v); err == nil {
			d.Raw = raw
		}
	}
	if d.Raw == nil {
		d.Raw = fmt.Appendf(nil, "%+v", v)
	}
	return t.DeadLetter(d)
}

package operators

import (
	"errors"

	"github.com/millrace-io/millrace/serde"
)

// CoKeyed is the builder of a keyed operator with two inputs: it declares the state and the timers that both share, and the functions. The
// build function runs once when the graph is checked and once per subtask, so variables of its body belong to one subtask.
type CoKeyed[K comparable, A, B, Out any] struct {
	keyedTask[K, Out]
	onFirst  func(*Ctx[K, Out], A) error
	onSecond func(*Ctx[K, Out], B) error
}

// OnFirst declares the function that takes each record of the first input. Its errors are those of Keyed.OnRecord.
func (b *CoKeyed[K, A, B, Out]) OnFirst(f func(c *Ctx[K, Out], v A) error) {
	b.onFirst = f
	b.t.UserFuncs(f)
}

// OnSecond declares the function that takes each record of the second input. Its errors are those of Keyed.OnRecord.
func (b *CoKeyed[K, A, B, Out]) OnSecond(f func(c *Ctx[K, Out], v B) error) {
	b.onSecond = f
	b.t.UserFuncs(f)
}

// CoProcess is the general keyed operator with two inputs: build declares state, timers and functions on the builder. Both inputs must be
// partitioned by keys of the same type and codec; keyA and keyB take the key from a record of each. State and timers belong to the key, whichever
// input it came by, so what one input leaves the other finds. Between the records of the two inputs there is no order. codec encodes keys;
// nil takes the one that package serde derives.
//
// Event time: the watermark is the least of both inputs', not counting an idle one. Processing time: the wall clock. State is kept until the
// functions remove it or its TTL does; a timer until it fires or is deleted. What errors do is as with Process.
// Source: Flink KeyedCoProcessFunction.
func CoProcess[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], build func(*CoKeyed[K, A, B, Out])) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if keyA == nil || keyB == nil || build == nil {
			return nil, nil, errors.New("a keyed operator with two inputs needs a key function for each and a build function")
		}
		b := &CoKeyed[K, A, B, Out]{keyedTask: newKeyedTask[K](t, codec, emit)}
		build(b)
		var errs []error
		if b.onFirst == nil {
			errs = append(errs, errors.New("declares no OnFirst; a function with two inputs needs one for the records of the first"))
		}
		if b.onSecond == nil {
			errs = append(errs, errors.New("declares no OnSecond; a function with two inputs needs one for the records of the second"))
		}
		if err := errors.Join(append(errs, b.declare())...); err != nil {
			return nil, nil, err
		}
		t.UserFuncs(keyA, keyB)
		return b.push(keyA, b.onFirst), b.push(keyB, b.onSecond), nil
	}
}

// CoMap passes on first of each record of the first input and second of each of the second: two streams become one of a common type. Both
// functions are pure. No state, no timers.
// Source: Flink CoMapFunction.
func CoMap[A, B, Out any](first func(A) Out, second func(B) Out) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if first == nil || second == nil {
			return nil, nil, errors.New("CoMap needs a function for each input")
		}
		t.UserFuncs(first, second)
		return func(v A) error { return emit(first(v)) }, func(v B) error { return emit(second(v)) }, nil
	}
}

// CoFlatMap calls first with each record of the first input and second with each of the second; they call emit for each result and return
// its error. No state, no timers.
// Source: Flink CoFlatMapFunction.
func CoFlatMap[A, B, Out any](first func(v A, emit func(Out) error) error, second func(v B, emit func(Out) error) error) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if first == nil || second == nil {
			return nil, nil, errors.New("CoFlatMap needs a function for each input")
		}
		t.UserFuncs(first, second)
		return func(v A) error { return t.Failure(first(v, emit)) }, func(v B) error { return t.Failure(second(v, emit)) }, nil
	}
}

package dataflow

import (
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// WindowAll groups all records of the stream by windows, without a key. The step runs in one subtask; a window over a stream with keys
// is what scales.
// Source: Flink DataStream.windowAll.
func (s Stream[T]) WindowAll[W operators.Windowing[T]](w W) AllWindowedStream[T] {
	k := s.KeyBy(func(T) operators.NoKey { return false })
	return AllWindowedStream[T]{k.Window(w)}
}

// CountWindowAll gives a result for every n records of the stream, and each record belongs to one result.
func (s Stream[T]) CountWindowAll(n int64) AllWindowedStream[T] {
	return s.WindowAll(operators.CountWindows[T](n))
}

// SlidingCountWindowAll gives a result over the newest size records of the stream at every slide records.
func (s Stream[T]) SlidingCountWindowAll(size, slide int64) AllWindowedStream[T] {
	return s.WindowAll(operators.SlidingCountWindows[T](size, slide))
}

// AllWindowedStream is a stream without key grouped by windows. Late records are the side output operators.LateRecords of what its methods
// return.
type AllWindowedStream[T any] struct {
	w WindowedStream[T, operators.NoKey]
}

// Trigger says when windows give results, instead of when they are complete.
func (a AllWindowedStream[T]) Trigger(t operators.Trigger[T]) AllWindowedStream[T] {
	return AllWindowedStream[T]{a.w.Trigger(t)}
}

// Evictor removes records from a window around each result. Windows then keep all their records.
func (a AllWindowedStream[T]) Evictor(e operators.Evictor[T]) AllWindowedStream[T] {
	return AllWindowedStream[T]{a.w.Evictor(e)}
}

// AllowedLateness takes records for d after the end of their event-time window; each of them gives a new result.
func (a AllWindowedStream[T]) AllowedLateness(d time.Duration) AllWindowedStream[T] {
	return AllWindowedStream[T]{a.w.AllowedLateness(d)}
}

// Aggregate folds the records of each window, and passes on result(window, value) when the window gives its result.
func (a AllWindowedStream[T]) Aggregate[Acc, R, U any](uid string, agg state.Aggregate[T, Acc, R], result func(operators.Window, R) U) Stream[U] {
	return a.w.Aggregate(uid, agg, withoutKey(result)).Parallelism(1)
}

// AggregateProcess is Aggregate with a function that may keep state and emit any number of records.
func (a AllWindowedStream[T]) AggregateProcess[Acc, R, U any](uid string, agg state.Aggregate[T, Acc, R], build func(*operators.WindowFunc[operators.NoKey, R, U])) Stream[U] {
	return a.w.AggregateProcess(uid, agg, build).Parallelism(1)
}

// Reduce combines the records of each window into one, and passes on result(window, record) when the window gives its result.
func (a AllWindowedStream[T]) Reduce[U any](uid string, f func(a, b T) T, result func(operators.Window, T) U) Stream[U] {
	return a.w.Reduce(uid, f, withoutKey(result)).Parallelism(1)
}

// ReduceProcess is Reduce with a function that may keep state and emit any number of records.
func (a AllWindowedStream[T]) ReduceProcess[U any](uid string, f func(a, b T) T, build func(*operators.WindowFunc[operators.NoKey, T, U])) Stream[U] {
	return a.w.ReduceProcess(uid, f, build).Parallelism(1)
}

// Process gives all records of each window, in the order in which they came, to the function that build declares.
func (a AllWindowedStream[T]) Process[U any](uid string, build func(*operators.WindowFunc[operators.NoKey, []T, U])) Stream[U] {
	return a.w.Process(uid, build).Parallelism(1)
}

func withoutKey[V, U any](result func(operators.Window, V) U) func(operators.NoKey, operators.Window, V) U {
	if result == nil {
		return nil
	}
	return func(_ operators.NoKey, w operators.Window, v V) U { return result(w, v) }
}

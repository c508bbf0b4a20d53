package dataflow

import (
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// Window groups the records of each key by windows: operators.Tumbling, Sliding, Session or Global, each also InProcessingTime,
// or a WindowSpec, as operators.SessionBy and AssignBy make one.
func (k KeyedStream[T, K]) Window[W operators.Windowing[T]](w W) WindowedStream[T, K] {
	return WindowedStream[T, K]{k, operators.SpecOf[T](w)}
}

// CountWindow gives a result for every n records of a key, and each record belongs to one result.
// Source: Flink KeyedStream.countWindow.
func (k KeyedStream[T, K]) CountWindow(n int64) WindowedStream[T, K] {
	return WindowedStream[T, K]{k, operators.CountWindows[T](n)}
}

// SlidingCountWindow gives a result over the newest size records of a key at every slide records.
// Source: Flink KeyedStream.countWindow with a slide.
func (k KeyedStream[T, K]) SlidingCountWindow(size, slide int64) WindowedStream[T, K] {
	return WindowedStream[T, K]{k, operators.SlidingCountWindows[T](size, slide)}
}

// WindowedStream is a keyed stream grouped by windows. Late records are the side output operators.LateRecords of what its methods return.
type WindowedStream[T any, K comparable] struct {
	k KeyedStream[T, K]
	w operators.WindowSpec[T]
}

// Trigger says when windows give results, instead of when they are complete.
func (w WindowedStream[T, K]) Trigger(t operators.Trigger[T]) WindowedStream[T, K] {
	w.w.Trigger = t
	return w
}

// Evictor removes records from a window around each result. Windows then keep all their records.
func (w WindowedStream[T, K]) Evictor(e operators.Evictor[T]) WindowedStream[T, K] {
	w.w.Evictor = e
	return w
}

// AllowedLateness takes records for d after the end of their event-time window; each of them gives a new result.
func (w WindowedStream[T, K]) AllowedLateness(d time.Duration) WindowedStream[T, K] {
	w.w.AllowedLateness = d
	return w
}

// spec is the windows with the stream's codec for the records that they keep.
func (w WindowedStream[T, K]) spec() operators.WindowSpec[T] {
	if w.w.Codec == nil {
		w.w.Codec = w.k.s.codec
	}
	return w.w
}

// Aggregate folds the records of each key and window, and passes on result(key, window, value) when the window gives its result.
func (w WindowedStream[T, K]) Aggregate[Acc, R, U any](uid string, agg state.Aggregate[T, Acc, R], result func(K, operators.Window, R) U) Stream[U] {
	return w.k.Transform(uid, operators.WindowAggregate(w.k.key, w.k.codec, w.spec(), agg, result))
}

// AggregateProcess is Aggregate with a function that may keep state and emit any number of records.
func (w WindowedStream[T, K]) AggregateProcess[Acc, R, U any](uid string, agg state.Aggregate[T, Acc, R], build func(*operators.WindowFunc[K, R, U])) Stream[U] {
	return w.k.Transform(uid, operators.WindowAggregateProcess(w.k.key, w.k.codec, w.spec(), agg, build))
}

// Reduce combines the records of each key and window into one, and passes on result(key, window, record) when the window gives its result.
func (w WindowedStream[T, K]) Reduce[U any](uid string, f func(a, b T) T, result func(K, operators.Window, T) U) Stream[U] {
	return w.k.Transform(uid, operators.WindowReduce(w.k.key, w.k.codec, w.spec(), f, result))
}

// ReduceProcess is Reduce with a function that may keep state and emit any number of records.
func (w WindowedStream[T, K]) ReduceProcess[U any](uid string, f func(a, b T) T, build func(*operators.WindowFunc[K, T, U])) Stream[U] {
	return w.k.Transform(uid, operators.WindowReduceProcess(w.k.key, w.k.codec, w.spec(), f, build))
}

// Process gives all records of each key and window, in the order in which they came, to the function that build declares.
func (w WindowedStream[T, K]) Process[U any](uid string, build func(*operators.WindowFunc[K, []T, U])) Stream[U] {
	return w.k.Transform(uid, operators.WindowProcess(w.k.key, w.k.codec, w.spec(), build))
}

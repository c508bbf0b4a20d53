package operators

import (
	"errors"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

var errNoAggregate = errors.New("a window aggregation needs Add and Result")

// contentsName is the name of the state of what windows hold.
func (s WindowSpec[T]) contentsName() string { return "contents of " + s.describe() }

// WindowAggregate folds the records of each key and window into an accumulator, and passes on result(key, window, value) when the window gives its
// result, with the window's last ms as timestamp. w is Windows, or a WindowSpec with triggers, an evictor or lateness.
//
// A record whose windows have all gone (the watermark has reached their last ms plus the allowed lateness) goes to the side output LateRecords and
// changes nothing. One that is taken after the watermark has reached its window's last ms gives a new result at once. A record between two windows
// (Slide > Size) is dropped, or is late if the watermark has passed it. A record without timestamp is a bad record. At the end of a bounded input
// every window of event time gives its result.
//
// State kept: one accumulator per key and window, dropped at the clean-up; with an evictor, every record. Windows that overlap share their
// accumulators if the aggregate is Commutative, see state.Aggregate, has Merge, and nothing but the default trigger without lateness or evictor is
// asked for: each record is then folded once, into the pane (the slice of time shared by windows) that holds it, and a window merges its
// panes when it fires. Changed windows do not go on with the state of the old ones: their state must be dropped by name at the restore.
// Source: Flink WindowOperator; panes after Krishnamurthy, Wu, Franklin, "On-the-Fly Sharing for Streamed Aggregation" (2006).
func WindowAggregate[K comparable, T, Acc, R, Out any, W Windowing[T]](key func(T) K, codec serde.Serde[K], w W, agg state.Aggregate[T, Acc, R], result func(K, Window, R) Out) Stage[T, Out] {
	s := SpecOf[T](w)
	if s.paned() && (s.Windows.Size == s.Windows.Slide || agg.Commutative && agg.Merge != nil) && result != nil {
		return paneStage(key, codec, s, agg, result)
	}
	return WindowAggregateProcess(key, codec, s, agg, passOn[K, R](result))
}

// WindowReduce combines the records of each key and window into one by f, in the order in which they come, and passes on result(key, window, record)
// when the window gives its result. Times, late records and state are as with WindowAggregate.
// Source: Flink WindowedStream.reduce.
func WindowReduce[K comparable, T, Out any, W Windowing[T]](key func(T) K, codec serde.Serde[K], w W, f func(a, b T) T, result func(K, Window, T) Out) Stage[T, Out] {
	return WindowReduceProcess(key, codec, w, f, passOn[K, T](result))
}

// passOn is the window function that emits what result makes of key, window and value.
func passOn[K comparable, V, Out any](result func(K, Window, V) Out) func(*WindowFunc[K, V, Out]) {
	if result == nil {
		return nil
	}
	return func(f *WindowFunc[K, V, Out]) {
		f.t.UserFuncs(result)
		f.OnFire(func(c *WindowCtx[K, Out], v V) error { return c.Emit(result(c.Key(), c.Window(), v)) })
	}
}

// WindowAggregateProcess is WindowAggregate with a function that is given the value instead of a result: it may keep state per window and per
// key, and emit any number of records. It never shares accumulators between windows.
// Source: Flink WindowedStream.aggregate with a ProcessWindowFunction.
func WindowAggregateProcess[K comparable, T, Acc, R, Out any, W Windowing[T]](key func(T) K, codec serde.Serde[K], w W, agg state.Aggregate[T, Acc, R], build func(*WindowFunc[K, R, Out])) Stage[T, Out] {
	s := SpecOf[T](w)
	return windowStage(key, codec, s, func(b *Keyed[K, T, Out]) (windowContents[T, R], error) {
		if agg.Add == nil || agg.Result == nil {
			return nil, errNoAggregate
		}
		if s.sessions() && !s.Evictor.set() && agg.Merge == nil {
			return nil, errors.New("session windows merge: the aggregate needs Merge")
		}
		b.Task().UserFuncs(agg.Create, agg.Add, agg.Merge, agg.Result)
		return foldingContents(b, s, foldAggregate(agg), agg.Merge, agg.Result), nil
	}, build)
}

// WindowReduceProcess is WindowReduce with a function as with WindowAggregateProcess.
// Source: Flink WindowedStream.reduce with a ProcessWindowFunction.
func WindowReduceProcess[K comparable, T, Out any, W Windowing[T]](key func(T) K, codec serde.Serde[K], w W, f func(a, b T) T, build func(*WindowFunc[K, T, Out])) Stage[T, Out] {
	s := SpecOf[T](w)
	return windowStage(key, codec, s, func(b *Keyed[K, T, Out]) (windowContents[T, T], error) {
		if f == nil {
			return nil, errors.New("a window reduction needs a function")
		}
		b.Task().UserFuncs(f)
		return foldingContents(b, s, foldReduce(f), f, func(v T) T { return v }, state.Codec(s.Codec)), nil
	}, build)
}

// WindowProcess keeps the records of each key and window and gives them all, in the order in which they came, to the function that build declares, when
// the window gives its result. Times and late records are as with WindowAggregate. Session windows that are merged hold the records of the
// earlier one first.
// State kept: every record, until the clean-up; the function's own, see WindowFunc.
// Source: Flink WindowedStream.process.
func WindowProcess[K comparable, T, Out any, W Windowing[T]](key func(T) K, codec serde.Serde[K], w W, build func(*WindowFunc[K, []T, Out])) Stage[T, Out] {
	s := SpecOf[T](w)
	return windowStage(key, codec, s, func(b *Keyed[K, T, Out]) (windowContents[T, []T], error) {
		if s.Evictor.set() {
			var values []T
			return evictedContents(b, s, func(es []TimestampedValue[T]) []T {
				values = values[:0]
				for _, e := range es {
					values = append(values, e.Value)
				}
				return values
			}), nil
		}
		return &keptContents[T, T, []T]{
			m:    newWindowBuffer[T](b, s.contentsName(), s.Codec),
			wrap: func(v T, _ int64) T { return v },
			view: func(vs []T) []T { return vs },
		}, nil
	}, build)
}

// foldingContents folds records as they come, or, with an evictor, keeps them and folds those that are left at each result.
func foldingContents[K comparable, T, Acc, V, Out any](b *Keyed[K, T, Out], s WindowSpec[T], fold func(Acc, bool, T) Acc, merge func(a, b Acc) Acc,
	result func(Acc) V, opts ...state.Option) windowContents[T, V] {
	if s.Evictor.set() {
		return evictedContents(b, s, func(es []TimestampedValue[T]) V {
			var acc Acc
			for i, e := range es {
				acc = fold(acc, i == 0, e.Value)
			}
			return result(acc)
		})
	}
	return &foldedContents[T, Acc, V]{m: b.Map[Window, Acc](s.contentsName(), opts...), fold: fold, joined: merge, result: result}
}

func evictedContents[K comparable, T, V, Out any](b *Keyed[K, T, Out], s WindowSpec[T], view func([]TimestampedValue[T]) V) windowContents[T, V] {
	return &keptContents[T, TimestampedValue[T], V]{
		m:    newWindowBuffer[TimestampedValue[T]](b, "timestamped "+s.contentsName(), timestampedCodec(s.Codec)),
		wrap: func(v T, tsMS int64) TimestampedValue[T] { return TimestampedValue[T]{v, tsMS} },
		view: view,
		evict: &eviction[TimestampedValue[T]]{before: s.Evictor.Before, after: s.Evictor.After,
			ctx: &EvictorCtx{task: b.Task()}},
	}
}

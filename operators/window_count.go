package operators

import "fmt"

// CountWindows are windows of n records of a key: it gives a result at every nth record, over the n records since the result before. n is
// at least 1. They know no time: results have the timestamp EndOfTime, and records that do not fill a window stay in state.
// Source: Flink KeyedStream.countWindow.
func CountWindows[T any](n int64) WindowSpec[T] {
	return WindowSpec[T]{Windows: Global(), Trigger: CountTrigger[T](n).Purging()}
}

// SlidingCountWindows gives a result at every slide records of a key, over the newest size of them. Both are at least 1.
// Source: Flink KeyedStream.countWindow with a slide.
func SlidingCountWindows[T any](size, slide int64) WindowSpec[T] {
	s := WindowSpec[T]{Windows: Global(), Trigger: CountTrigger[T](slide), Evictor: CountEvictor[T](int(max(size, 0)))}
	if size < 1 {
		s.Evictor.fault = fmt.Errorf("operators: SlidingCountWindows has the size %d, want at least 1", size)
	}
	return s
}

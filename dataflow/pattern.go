package dataflow

import (
	"github.com/millrace-io/millrace/operators/pattern"
)

// Pattern finds the sequences of events of each key that match p, and passes on result(key, match) for each, with the time of the event that
// completed it. Records wait for the watermark and are compared in the order of time. Late records are the side output
// operators.LateRecords of the result, partial matches that outlived the pattern's time pattern.TimedOut; an event that would make more than
// pattern.DefaultMaxPartialMatches of a key is refused, see DeadLetters.
func (k KeyedStream[T, K]) Pattern[U any](uid string, p pattern.Pattern[T], result func(K, pattern.Match[T]) U) Stream[U] {
	return k.PatternWith(uid, p, pattern.Options[T]{}, result)
}

// PatternWith is Pattern with options: processing time, the limit of partial matches, a codec for events in state (default: the one given to the
// stream by WithCodec, else the derived one).
func (k KeyedStream[T, K]) PatternWith[U any](uid string, p pattern.Pattern[T], o pattern.Options[T], result func(K, pattern.Match[T]) U) Stream[U] {
	if o.Codec == nil {
		o.Codec = k.s.codec
	}
	return k.Transform(uid, pattern.Stage(k.key, k.codec, p, o, result))
}

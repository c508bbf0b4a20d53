package dataflow

import (
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// The type parameter Name of Distinct and Deduplicate, which callers never write, has them compiled for those streams only on which they are called: a method
// without one is compiled, with all its state, for every type of stream in a program.

// Distinct passes the first record of each key on, in the order in which they come, and drops the others. opts bound how long keys are
// remembered: state.TTL or state.EventTimeTTL, and state.TTLOnRead. See operators.Distinct.
func (k KeyedStream[T, K]) Distinct[Name ~string](uid Name, opts ...state.Option) Stream[T] {
	return k.Transform(string(uid), operators.Distinct(k.key, k.codec, opts...))
}

// Deduplicate passes one record of each key on by event time: the first, once it is certain, or each that is newer than those before. opts
// are those of Distinct. See operators.Deduplicate.
func (k KeyedStream[T, K]) Deduplicate[Name ~string](uid Name, keep operators.Keep, opts ...state.Option) Stream[T] {
	return k.Transform(string(uid), operators.Deduplicate(k.key, k.codec, keep, opts...))
}

// TopN keeps the best rows of each key, and passes on update(key, rank, row, change) for each rank that a record changes. opts are those of
// Distinct. See operators.TopN.
func (k KeyedStream[T, K]) TopN[U any](uid string, top operators.Top[T], update func(key K, rank int, row T, change operators.RankChange) U, opts ...state.Option) Stream[U] {
	return k.Transform(uid, operators.TopN(k.key, k.codec, top, update, opts...))
}

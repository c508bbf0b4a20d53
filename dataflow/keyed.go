package dataflow

import (
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// KeyedStream is a stream partitioned by a key: all records of one key are processed by one subtask, in the order of each sender.
type KeyedStream[T any, K comparable] struct {
	s     Stream[T]
	key   func(T) K
	codec serde.Serde[K]
}

// KeyBy partitions the stream. The key's encoding decides where its state lives, so it must be the same in every run: no maps, no
// pointers, no floats that may be NaN.
func (s Stream[T]) KeyBy[K comparable](key func(T) K) KeyedStream[T, K] {
	return KeyedStream[T, K]{s: s, key: key}
}

// WithKeyCodec returns the stream with a codec for its keys. Default: the one that package serde derives. Another codec than before
// makes existing state unreadable.
func (k KeyedStream[T, K]) WithKeyCodec(c serde.Serde[K]) KeyedStream[T, K] {
	k.codec = c
	return k
}

// Transform adds a step behind the exchange by key.
func (k KeyedStream[T, K]) Transform[U any](uid string, stage operators.Stage[T, U]) Stream[U] {
	g := k.s.g
	n := g.add(uid, "keyed")
	g.needUID(n, "a keyed step")
	k.partition(n, 0)
	return attach(g, n, stage)
}

// Process adds the general keyed operator: build declares state, timers and functions.
func (k KeyedStream[T, K]) Process[U any](uid string, build func(*operators.Keyed[K, T, U])) Stream[U] {
	return k.Transform(uid, operators.Process(k.key, k.codec, build))
}

// Reduce combines the records of each key into one and passes on the result after each record. opts bound how long a result is kept: state.TTL
// or state.EventTimeTTL. See operators.Reduce. F is inferred; see Distinct for its use.
func (k KeyedStream[T, K]) Reduce[F ~func(a, b T) T](uid string, f F, opts ...state.Option) Stream[T] {
	return k.Transform(uid, operators.Reduce(k.key, k.codec, f, opts...))
}

// Fold folds the records of each key into an accumulator that begins as its zero value, and passes it on after each record. opts are those of
// Reduce. See operators.Fold.
func (k KeyedStream[T, K]) Fold[Acc any](uid string, f func(acc Acc, v T) Acc, opts ...state.Option) Stream[Acc] {
	return k.Transform(uid, operators.Fold(k.key, k.codec, f, opts...))
}

package operators

import (
	"errors"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Reduce combines the records of each key into one, in the order in which they come, and passes on the result after each record: the
// first record of a key as it is, then f(result so far, record). The output has the record's timestamp; time plays no other part. A T with
// slices, maps or pointers belongs to the state: f returns a changed copy of what they hold, because what was passed on may still be on
// its way.
//
// State kept: the last result of each key, for ever, unless opts bound it: with state.TTL or state.EventTimeTTL it is forgotten so long after
// the last record of the key, and the next one is the first again. opts may also give the codec of T (state.Codec).
// Source: Flink's KeyedStream.reduce.
func Reduce[K comparable, T any](key func(T) K, codec serde.Serde[K], f func(a, b T) T, opts ...state.Option) Stage[T, T] {
	if f == nil {
		return refused[T, T]("Reduce has no function; it combines the result so far with a record")
	}
	return Process(key, codec, func(b *Keyed[K, T, T]) {
		b.Task().UserFuncs(f)
		acc := b.Value[T]("reduce", opts...)
		b.OnRecord(func(c *Ctx[K, T], v T) error {
			have, ok, err := acc.Lookup()
			if err != nil {
				return err
			}
			if ok {
				v = f(have, v)
			}
			if err := acc.Set(v); err != nil {
				return err
			}
			return c.Emit(v)
		})
	})
}

// Fold folds the records of each key into an accumulator that begins as the zero value of Acc, and passes it on after each record with the
// record's timestamp; time plays no other part. An Acc with slices, maps or pointers belongs to the state, as T does in Reduce.
//
// State kept: the accumulator of each key, for ever, unless opts bound it as they do for Reduce.
// Source: Flink's KeyedStream.fold, which it no longer has.
func Fold[K comparable, T, Acc any](key func(T) K, codec serde.Serde[K], f func(acc Acc, v T) Acc, opts ...state.Option) Stage[T, Acc] {
	if f == nil {
		return refused[T, Acc]("Fold has no function; it folds a record into the accumulator")
	}
	return Process(key, codec, func(b *Keyed[K, T, Acc]) {
		b.Task().UserFuncs(f)
		sum := b.Value[Acc]("fold", opts...)
		b.OnRecord(func(c *Ctx[K, Acc], v T) error {
			acc, err := sum.Get()
			if err != nil {
				return err
			}
			acc = f(acc, v)
			if err := sum.Set(acc); err != nil {
				return err
			}
			return c.Emit(acc)
		})
	})
}

// refused is an operator that the graph refuses.
func refused[In, Out any](why string) Stage[In, Out] {
	return func(*Task, func(Out) error) (func(In) error, error) { return nil, errors.New("operators: " + why) }
}

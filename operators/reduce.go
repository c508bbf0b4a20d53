package operators

import "github.com/millrace-io/millrace/serde"

// Reduce combines the records of each key into one, in the order in which they come, and passes on the result after each record: the
// first record of a key as it is, then f(result so far, record). The output has the record's timestamp; time plays no other part.
// State kept: the last result of each key, never dropped.
// Source: Flink's KeyedStream.reduce.
func Reduce[K comparable, T any](key func(T) K, codec serde.Serde[K], f func(a, b T) T) Stage[T, T] {
	return Process(key, codec, func(b *Keyed[K, T, T]) {
		b.Task().UserFuncs(f)
		acc := b.Value[T]("reduce")
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
// record's timestamp. An Acc with slices, maps or pointers belongs to the state: f returns a changed copy of what they hold, because what was
// passed on may still be on its way. State kept: the accumulator of each key, never dropped.
func Fold[K comparable, T, Acc any](key func(T) K, codec serde.Serde[K], f func(acc Acc, v T) Acc) Stage[T, Acc] {
	return Process(key, codec, func(b *Keyed[K, T, Acc]) {
		b.Task().UserFuncs(f)
		sum := b.Value[Acc]("fold")
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

package operators

import "github.com/millrace-io/millrace/serde"

// Reduce combines the records of each key into one and passes on the result after each record. f must be associative.
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

// Fold folds the records of each key into an accumulator that begins as the zero value of Acc, and passes it on after each record. Acc
// belongs to the state: what its slices and maps hold is not changed after it was passed on.
func Fold[K comparable, T, Acc any](key func(T) K, codec serde.Serde[K], f func(acc Acc, v T) Acc) Stage[T, Acc] {
	return Process(key, codec, func(b *Keyed[K, T, Acc]) {
		b.Task().UserFuncs(f)
		state := b.Value[Acc]("fold")
		b.OnRecord(func(c *Ctx[K, Acc], v T) error {
			acc, err := state.Get()
			if err != nil {
				return err
			}
			acc = f(acc, v)
			if err := state.Set(acc); err != nil {
				return err
			}
			return c.Emit(acc)
		})
	})
}

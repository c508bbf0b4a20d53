package state

// Value is the handle of a value state: one T for each key.
type Value[T any] struct{ c cell[T] }

// cell is a single value for each key, as a table of some key type has it.
type cell[T any] interface {
	get() (T, bool, error)
	set(T) error
	clear() error
}

// Value declares a value state.
func (s *Keyed[K]) Value[T any](name string, opts ...Option) *Value[T] {
	return &Value[T]{declareCells[K, T](s, name, KindValue, opts)}
}

// declareCells declares a state with one V for each key.
func declareCells[K comparable, V any](s *Keyed[K], name string, kind Kind, opts []Option) *cells[K, V] {
	c := &cells[K, V]{k: s}
	s.declare(name, kind, opts, func(id int, d Descriptor, o *options) (member[K], error) {
		codec, err := pick[V](o.codec, string(kind)+" state \""+name+"\"")
		if err != nil {
			return nil, err
		}
		d.Value = codec.Schema()
		err = c.evolve(codec, o.values, &d, &d.Reads.Value)
		c.id, c.desc, c.lifetime = id, d, o.lifetime()
		return c, err
	})
	return c
}

// Get is the current key's value, or the zero value when there is none.
func (v *Value[T]) Get() (T, error) {
	x, _, err := v.c.get()
	return x, err
}

// Lookup is the current key's value with true, or the zero value with false when there is none.
func (v *Value[T]) Lookup() (T, bool, error) { return v.c.get() }

// Set makes x the current key's value.
func (v *Value[T]) Set(x T) error { return v.c.set(x) }

// Clear removes the current key's value.
func (v *Value[T]) Clear() error { return v.c.clear() }

// Reducing is the handle of a reducing state: for each key, all values added so far folded into one by an associative function.
type Reducing[T any] struct {
	c      cell[T]
	reduce func(a, b T) T
}

// Reducing declares a reducing state. reduce must not keep or change what its arguments point to, except to return it.
func (s *Keyed[K]) Reducing[T any](name string, reduce func(a, b T) T, opts ...Option) *Reducing[T] {
	if reduce == nil {
		s.fault(missing(KindReducing, name, "reduce function"))
	}
	return &Reducing[T]{declareCells[K, T](s, name, KindReducing, opts), reduce}
}

// Add folds x into the current key's value; the first value is taken as it is.
func (r *Reducing[T]) Add(x T) error {
	old, ok, err := r.c.get()
	if err != nil {
		return err
	}
	if ok {
		x = r.reduce(old, x)
	}
	return r.c.set(x)
}

// Get is the current key's value with true, or the zero value with false when nothing was added.
func (r *Reducing[T]) Get() (T, bool, error) { return r.c.get() }

// Clear removes the current key's value.
func (r *Reducing[T]) Clear() error { return r.c.clear() }

// Aggregate says how values are folded into an accumulator and what result is read from it.
// Source: Flink AggregateFunction.
type Aggregate[In, Acc, Out any] struct {
	// Create makes an empty accumulator. Default: the zero value of Acc.
	Create func() Acc
	// Add folds one value in and returns the accumulator, which may be the one it was given, changed.
	Add func(acc Acc, in In) Acc
	// Merge folds two accumulators into one. Aggregating state never calls it; session windows need it, and Commutative.
	Merge func(a, b Acc) Acc
	// Commutative says that the result depends neither on the order of the values nor on how they were spread over accumulators that Merge
	// folded, as with counts, sums and maxima, and that Merge leaves its arguments as they are. Overlapping windows then fold each value once
	// instead of once for each window. Default: no.
	Commutative bool
	// Result reads the result and leaves the accumulator as it is.
	Result func(acc Acc) Out
}

// Aggregating is the handle of an aggregating state: for each key, an accumulator of the values added so far.
type Aggregating[In, Out any] struct{ a accumulator[In, Out] }

type accumulator[In, Out any] interface {
	add(In) error
	result() (Out, bool, error)
	clear() error
}

// Aggregating declares an aggregating state. What is stored is the accumulator: Codec is one of Acc.
func (s *Keyed[K]) Aggregating[In, Acc, Out any](name string, agg Aggregate[In, Acc, Out], opts ...Option) *Aggregating[In, Out] {
	if agg.Add == nil {
		s.fault(missing(KindAggregating, name, "Aggregate.Add"))
	}
	if agg.Result == nil {
		s.fault(missing(KindAggregating, name, "Aggregate.Result"))
	}
	return &Aggregating[In, Out]{&aggregator[In, Acc, Out]{declareCells[K, Acc](s, name, KindAggregating, opts), agg}}
}

type aggregator[In, Acc, Out any] struct {
	c   cell[Acc]
	agg Aggregate[In, Acc, Out]
}

func (a *aggregator[In, Acc, Out]) add(in In) error {
	acc, ok, err := a.c.get()
	if err != nil {
		return err
	}
	if !ok && a.agg.Create != nil {
		acc = a.agg.Create()
	}
	return a.c.set(a.agg.Add(acc, in))
}

func (a *aggregator[In, Acc, Out]) result() (out Out, ok bool, err error) {
	acc, ok, err := a.c.get()
	if err != nil || !ok {
		return out, false, err
	}
	return a.agg.Result(acc), true, nil
}

func (a *aggregator[In, Acc, Out]) clear() error { return a.c.clear() }

// Add folds in into the current key's accumulator.
func (a *Aggregating[In, Out]) Add(in In) error { return a.a.add(in) }

// Get is the result for the current key with true, or the zero value with false when nothing was added.
func (a *Aggregating[In, Out]) Get() (Out, bool, error) { return a.a.result() }

// Clear removes the current key's accumulator.
func (a *Aggregating[In, Out]) Clear() error { return a.a.clear() }

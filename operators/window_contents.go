package operators

import (
	"slices"

	"github.com/millrace-io/millrace/state"
)

// windowContents is what windows hold, and how their function sees it: as a V. Session windows are known by the window that their first
// record opened. A method that returns V gives what is valid until the next call.
type windowContents[T, V any] interface {
	// add takes a record into w, and reports whether there was nothing before.
	add(w Window, v T, tsMS int64) (fresh bool, err error)
	// get is the contents for the function, with ok false if there are none.
	get(w Window) (v V, ok bool, err error)
	// fired follows a get and the function of the window.
	fired(w Window) error
	remove(w Window) error
	// merge moves the contents of from behind those of into.
	merge(into, from Window) error
}

// foldedContents is one accumulator for each window.
type foldedContents[T, Acc, V any] struct {
	m      *state.Map[Window, Acc]
	fold   func(acc Acc, fresh bool, v T) Acc
	joined func(a, b Acc) Acc
	result func(Acc) V
}

// foldAggregate is the fold of an aggregate.
func foldAggregate[T, Acc, R any](agg state.Aggregate[T, Acc, R]) func(Acc, bool, T) Acc {
	return func(acc Acc, fresh bool, v T) Acc {
		if fresh && agg.Create != nil {
			acc = agg.Create()
		}
		return agg.Add(acc, v)
	}
}

// foldReduce is the fold of a reduction: the first record is taken as it is.
func foldReduce[T any](f func(a, b T) T) func(T, bool, T) T {
	return func(acc T, fresh bool, v T) T {
		if fresh {
			return v
		}
		return f(acc, v)
	}
}

func (c *foldedContents[T, Acc, V]) add(w Window, v T, _ int64) (bool, error) {
	acc, ok, err := c.m.Get(w)
	if err != nil {
		return false, err
	}
	return !ok, c.m.Put(w, c.fold(acc, !ok, v))
}

func (c *foldedContents[T, Acc, V]) get(w Window) (v V, ok bool, err error) {
	acc, ok, err := c.m.Get(w)
	if err != nil || !ok {
		return v, false, err
	}
	return c.result(acc), true, nil
}

func (c *foldedContents[T, Acc, V]) fired(Window) error { return nil }

func (c *foldedContents[T, Acc, V]) remove(w Window) error { return c.m.Remove(w) }

func (c *foldedContents[T, Acc, V]) merge(into, from Window) error {
	b, ok, err := c.m.Get(from)
	if err != nil || !ok {
		return err
	}
	a, ok, err := c.m.Get(into)
	if err != nil {
		return err
	}
	if ok {
		b = c.joined(a, b)
	}
	if err := c.m.Put(into, b); err != nil {
		return err
	}
	return c.m.Remove(from)
}

// keptContents is all elements of each window: records, or, for an evictor, records with timestamps.
type keptContents[T, E, V any] struct {
	m     *windowBuffer[E]
	wrap  func(v T, tsMS int64) E
	view  func([]E) V
	evict *eviction[E]
}

// eviction is the evictor of a window operator in one subtask.
type eviction[E any] struct {
	before, after func(*EvictorCtx, []E) []E
	ctx           *EvictorCtx
	kept          []E
	evicted       bool
}

func (c *keptContents[T, E, V]) add(w Window, v T, tsMS int64) (bool, error) {
	return c.m.append(w, c.wrap(v, tsMS))
}

func (c *keptContents[T, E, V]) get(w Window) (v V, ok bool, err error) {
	elements, err := c.m.elements(w)
	if err != nil || len(elements) == 0 {
		return v, false, err
	}
	if e := c.evict; e != nil {
		e.kept, e.evicted, e.ctx.window = elements, false, w
		if e.before != nil {
			e.kept = e.before(e.ctx, elements)
			e.evicted = len(e.kept) != len(elements)
		}
		if len(e.kept) == 0 {
			return v, false, c.m.remove(w)
		}
		elements = e.kept
	}
	return c.view(elements), true, nil
}

func (c *keptContents[T, E, V]) fired(w Window) error {
	e := c.evict
	if e == nil {
		return nil
	}
	if e.after != nil {
		n := len(e.kept)
		e.kept = e.after(e.ctx, e.kept)
		e.evicted = e.evicted || n != len(e.kept)
	}
	if !e.evicted {
		return nil
	}
	return c.m.replace(w, e.kept)
}

func (c *keptContents[T, E, V]) remove(w Window) error { return c.m.remove(w) }

func (c *keptContents[T, E, V]) merge(into, from Window) error {
	elements, err := c.m.elements(from)
	if err != nil || len(elements) == 0 {
		return err
	}
	elements = slices.Clone(elements)
	if err := c.m.remove(from); err != nil {
		return err
	}
	for _, e := range elements {
		if _, err := c.m.append(into, e); err != nil {
			return err
		}
	}
	return nil
}

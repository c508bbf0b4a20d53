package state

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// List is the handle of a list state: for each key, values in the order in which they were appended.
type List[T any] struct{ l sequence[T] }

type sequence[T any] interface {
	add([]T) error
	visit(func(T) error) error
	values() ([]T, error)
	replace([]T) error
	count() (int, error)
	clear() error
}

// List declares a list state. With TTL each element expires by itself.
func (s *Keyed[K]) List[T any](name string, opts ...Option) *List[T] {
	l := &lists[K, T]{}
	l.k = s
	s.declare(name, KindList, opts, func(id int, d Descriptor, o *options) (member[K], error) {
		codec, err := pick[T](o.codec, fmt.Sprintf("list state %q", name))
		if err != nil {
			return nil, err
		}
		d.Value = codec.Schema()
		err = l.evolve(codec, o.values, &d, &d.Reads.Value)
		l.id, l.desc, l.lifetime = id, d, o.lifetime()
		l.objects.encode, l.objects.expire = l.encode, l.expire
		l.objects.planned = func(o *listObject[T]) *int64 { return &o.planned }
		l.elemBytes, l.variable = sizeOf[T]()+listOverhead, !fixedSize[T]()
		return l, err
	})
	return &List[T]{l}
}

// Append adds vs at the end. It reads nothing from the store beneath.
func (l *List[T]) Append(vs ...T) error { return l.l.add(vs) }

// Range calls fn for each element in order until fn fails, and returns that error. fn may change the list; the elements visited are
// those of the moment of the call. On every backend the whole list of the current key is in memory during and after the call.
func (l *List[T]) Range(fn func(T) error) error { return l.l.visit(fn) }

// Values is a new slice of the elements, owned by the caller; nil when there are none.
func (l *List[T]) Values() ([]T, error) { return l.l.values() }

// Set makes a copy of vs the whole list. An empty vs clears it.
func (l *List[T]) Set(vs []T) error { return l.l.replace(vs) }

// Len is the number of elements. It may read all of them.
func (l *List[T]) Len() (int, error) { return l.l.count() }

// Clear removes all elements.
func (l *List[T]) Clear() error { return l.l.clear() }

// listOverhead is the estimated cost of an element beyond its value: number, expiry and spare capacity.
const listOverhead = 24

// lists is a list state.
type lists[K comparable, T any] struct {
	objects[K, listObject[T]]
	// next is the number of the next element that goes to the store beneath. One count for all keys: an append needs no read.
	next uint64
	resolver[T]
}

// listObject is the list of one key. vals[i] has expiry expiries[i] (only with TTL) and number numbers[i] (only above a store).
type listObject[T any] struct {
	vals     []T
	expiries []int64
	numbers  []uint64
	// stored is how many leading elements the store has under their numbers, and saved ≤ stored how many of them as they are: a
	// refreshed expiry makes an element unsaved. Elements from saved on are to be written.
	stored, saved int
	// gone are numbers of elements that the store still has but the list does not.
	gone []uint64
	// whole is set when vals holds everything that the store beneath holds; always so without a store.
	whole   bool
	pins    int
	counted int   // elements that the estimate of memory knows of
	planned int64 // see objects
}

func (l *lists[K, T]) object(create bool) (*listObject[T], error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if o := l.current(); o != nil {
		return o, nil
	}
	if !create && l.k.store == nil {
		return nil, nil
	}
	o := &listObject[T]{whole: l.k.store == nil}
	return o, l.create(o)
}

func (l *lists[K, T]) add(vs []T) error {
	if len(vs) == 0 {
		return nil
	}
	o, err := l.object(true)
	if err != nil {
		return err
	}
	l.extend(o, vs)
	return nil
}

func (l *lists[K, T]) extend(o *listObject[T], vs []T) {
	o.vals = append(o.vals, vs...)
	if l.ttlMS != 0 {
		e := l.k.touchedAt(&l.lifetime, 0)
		for range vs {
			o.expiries = append(o.expiries, e)
		}
		l.plan(o, e)
	}
	if l.k.store != nil {
		for range vs {
			o.numbers = append(o.numbers, l.next)
			l.next++
		}
		l.charge(&o.counted, len(o.vals))
	}
}

func (l *lists[K, T]) visit(fn func(T) error) error {
	o, vals, err := l.read()
	if len(vals) == 0 || err != nil {
		return err
	}
	o.pins++
	defer func() {
		o.pins--
		l.shrink(o)
	}()
	for _, v := range vals[:len(vals):len(vals)] {
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

func (l *lists[K, T]) values() ([]T, error) {
	_, vals, err := l.read()
	return append([]T(nil), vals...), err
}

func (l *lists[K, T]) count() (int, error) {
	_, vals, err := l.read()
	return len(vals), err
}

// read is the current key's list with the elements that a reader sees.
func (l *lists[K, T]) read() (*listObject[T], []T, error) {
	o, err := l.object(false)
	if o == nil || err != nil {
		return nil, nil, err
	}
	if err := l.complete(o); err != nil {
		return nil, nil, err
	}
	vals := o.vals
	if l.ttlMS != 0 {
		now := l.k.now(&l.lifetime)
		live := len(o.expiries)
		for _, e := range o.expiries {
			if past(e, now) {
				live--
			}
		}
		// Whoever sees expired elements sees them until all are, or until others are renewed.
		if !l.shown || live == 0 || l.onRead {
			l.dropExpired(o, now)
		}
		if !l.shown {
			vals = o.vals
		}
		if l.onRead && live > 0 {
			l.renew(o)
		}
	}
	l.shrink(o)
	return o, vals, nil
}

// renew touches every element. A running Range has no use for stamps, so they are changed in place.
func (l *lists[K, T]) renew(o *listObject[T]) {
	for i, before := range o.expiries {
		if e := l.k.touchedAt(&l.lifetime, before); e != before {
			o.expiries[i] = e
			o.saved = min(o.saved, i)
			l.plan(o, e)
		}
	}
}

// dropExpired removes every expired element. A running Range keeps what it has: the slices are replaced, not changed.
func (l *lists[K, T]) dropExpired(o *listObject[T], now int64) {
	first := slices.IndexFunc(o.expiries, func(e int64) bool { return past(e, now) })
	if first < 0 {
		return
	}
	vals, expiries, numbers := o.vals, o.expiries, o.numbers
	stored, saved := o.stored, o.saved
	o.vals, o.expiries, o.numbers = nil, nil, nil
	for i, e := range expiries {
		if past(e, now) {
			if i < stored {
				o.gone = append(o.gone, numbers[i])
				o.stored--
			}
			if i < saved {
				o.saved--
			}
			continue
		}
		o.vals, o.expiries = append(o.vals, vals[i]), append(o.expiries, e)
		if numbers != nil {
			o.numbers = append(o.numbers, numbers[i])
		}
	}
}

func (l *lists[K, T]) expire(s *slot[K, *listObject[T]], now int64) (earliest int64, empty bool) {
	o := s.val
	if o.pins > 0 {
		return now + 1, false
	}
	if !o.whole {
		return 0, false // it cannot be shortened, see complete; the index of the store removes what has been written
	}
	l.dropExpired(o, now)
	l.charge(&o.counted, len(o.vals))
	for _, e := range o.expiries {
		if e != 0 && (earliest == 0 || e < earliest) {
			earliest = e
		}
	}
	return earliest, l.k.store == nil && len(o.vals) == 0
}

func (l *lists[K, T]) replace(vs []T) error {
	if len(vs) == 0 {
		return l.clear()
	}
	o, err := l.object(true)
	if err != nil {
		return err
	}
	if err := l.empty(o); err != nil {
		return err
	}
	l.extend(o, vs)
	return nil
}

func (l *lists[K, T]) clear() error {
	o, err := l.object(false)
	if o == nil || err != nil {
		return err
	}
	if err := l.empty(o); err != nil {
		return err
	}
	l.shrink(o)
	return nil
}

// empty makes o an empty list that is whole.
func (l *lists[K, T]) empty(o *listObject[T]) error {
	if !o.whole {
		if err := l.k.deleteAll(l.id); err != nil {
			return l.desc.failed("clear", err)
		}
		o.whole, o.stored, o.gone = true, 0, nil
	}
	o.gone = append(o.gone, o.numbers[:o.stored]...)
	o.vals, o.expiries, o.numbers, o.stored, o.saved = nil, nil, nil, 0, 0
	return nil
}

// shrink forgets an empty object that no store needs to hear of, and reports whether it did.
func (l *lists[K, T]) shrink(o *listObject[T]) bool {
	if l.k.store == nil && len(o.vals) == 0 && o.pins == 0 {
		l.forget(o)
		return true
	}
	return false
}

// encode appends the elements of one key. Without a store beneath, elements are numbered from 0.
func (l *lists[K, T]) encode(r *run, group int, s *slot[K, *listObject[T]], now int64) error {
	o := s.val
	head, err := l.k.appendAddress(nil, group, l.id, s.key)
	if err != nil {
		return err
	}
	for i, v := range o.vals {
		e := runEntry{start: len(r.buf), hash: s.hash}
		if o.expiries != nil {
			if e.expiresMS = o.expiries[i]; past(e.expiresMS, now) {
				continue
			}
		}
		r.buf = append(r.buf, head...)
		r.buf = binary.BigEndian.AppendUint64(r.buf, uint64(i))
		e.mid = len(r.buf)
		if r.buf, err = l.codec.Append(r.buf, v); err != nil {
			return fmt.Errorf("state: encode list state %q: %w", l.desc.Name, err)
		}
		e.end = len(r.buf)
		r.entries = append(r.entries, e)
	}
	return nil
}

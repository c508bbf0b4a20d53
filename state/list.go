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
		l.objects.release, l.objects.settle, l.objects.write = l.release, l.settle, l.writeList
		l.objects.head = func(o *listObject[T]) *objectHead { return &o.objectHead }
		l.byRef = holdsReferences[T]()
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
	objectHead
	vals     []T
	expiries []int64
	numbers  []uint64
	// stored is how many leading elements the store has under their numbers, and saved ≤ stored how many of them as they are: a
	// refreshed expiry makes an element unsaved. Elements from saved on are to be written.
	stored, saved int
	// gone are numbers of elements that the store still has but the list does not.
	gone []uint64
	// noted, known and removed are for deltas what saved, stored and gone are for the store; what the store has is known too, as a base may hold it. While something is frozen, removed belongs to the
	// frozen epoch, and the elements before split too if there is something of the current one.
	noted, known, split int
	removed             []uint64
	// whole is set when vals holds everything that the store beneath holds; always so without a store.
	whole bool
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
	if l.k.store != nil {
		l.growing(l.here(), o)
		for range vs {
			o.numbers = append(o.numbers, l.next)
			l.next++
		}
		l.charge(&o.counted, len(o.vals)+len(vs))
	}
	o.vals = append(o.vals, vs...)
	if l.ttlMS != 0 {
		e := l.k.touchedAt(&l.lifetime, 0)
		for range vs {
			o.expiries = append(o.expiries, e)
		}
		l.plan(o, e)
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
			if err := l.dropExpired(l.here(), o, now); err != nil {
				return nil, nil, err
			}
		}
		if !l.shown {
			vals = o.vals
		}
		if l.onRead && live > 0 {
			if err := l.renew(l.here(), o); err != nil {
				return nil, nil, err
			}
		}
	}
	if l.byRef && o.changed&l.k.frozen != 0 { // whoever gets the elements may change them
		if _, err := l.release(l.here(), o, nil); err != nil {
			return nil, nil, err
		}
	}
	l.shrink(o)
	return o, vals, nil
}

// renew touches every element. A running Range has no use for stamps, so they are changed in place.
func (l *lists[K, T]) renew(p place[K], o *listObject[T]) error {
	for i, before := range o.expiries {
		e := l.k.touchedAt(&l.lifetime, before)
		if e == before {
			continue
		}
		if err := l.changing(p, o); err != nil {
			return err
		}
		o.expiries[i] = e
		o.saved, o.noted = min(o.saved, i), min(o.noted, i)
		l.plan(o, e)
	}
	return nil
}

// dropExpired removes every expired element. A running Range keeps what it has: the slices are replaced, not changed.
func (l *lists[K, T]) dropExpired(p place[K], o *listObject[T], now int64) error {
	first := slices.IndexFunc(o.expiries, func(e int64) bool { return past(e, now) })
	if first < 0 {
		return nil
	}
	if err := l.changing(p, o); err != nil {
		return err
	}
	vals, expiries, numbers := o.vals, o.expiries, o.numbers
	stored, saved, known, noted := o.stored, o.saved, o.known, o.noted
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
			if i < known {
				o.removed = append(o.removed, numbers[i])
				o.known--
			}
			if i < noted {
				o.noted--
			}
			continue
		}
		o.vals, o.expiries = append(o.vals, vals[i]), append(o.expiries, e)
		if numbers != nil {
			o.numbers = append(o.numbers, numbers[i])
		}
	}
	return nil
}

func (l *lists[K, T]) expire(p place[K], o *listObject[T], now int64) (earliest int64, empty bool, err error) {
	if o.pins > 0 {
		return now + 1, false, nil
	}
	if !o.whole {
		return 0, false, nil // it cannot be shortened, see complete; the index of the store removes what has been written
	}
	if err := l.dropExpired(p, o, now); err != nil {
		return 0, false, err
	}
	l.charge(&o.counted, len(o.vals))
	for _, e := range o.expiries {
		if e != 0 && (earliest == 0 || e < earliest) {
			earliest = e
		}
	}
	return earliest, l.k.store == nil && len(o.vals) == 0, nil
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
	if l.k.store != nil {
		if err := l.changing(l.here(), o); err != nil {
			return err
		}
		if !o.whole || max(o.stored, o.known)+max(len(o.gone), len(o.removed)) > clearAtOnce {
			if err := l.k.deleteAll(l.desc.ID); err != nil {
				return l.desc.failed("clear", err)
			}
			o.whole, o.stored, o.gone, o.known, o.removed = true, 0, nil, 0, nil
		}
	}
	o.gone = append(o.gone, o.numbers[:o.stored]...)
	o.removed = append(o.removed, o.numbers[:o.known]...)
	o.vals, o.expiries, o.numbers, o.stored, o.saved, o.known, o.noted = nil, nil, nil, 0, 0, 0, 0
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

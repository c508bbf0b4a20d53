package state

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/serde"
)

// Map is the handle of a map state: for each key, a map from MK to MV.
type Map[MK comparable, MV any] struct{ m mapping[MK, MV] }

type mapping[MK comparable, MV any] interface {
	get(MK) (MV, bool, error)
	put(MK, MV) error
	remove(MK) error
	visit(func(MK, MV) error) error
	count() (int, error)
	empty() (bool, error)
	clear() error
}

// Map declares a map state. Keys that are not equal to themselves (NaN) can be put but never be found.
func (s *Keyed[K]) Map[MK comparable, MV any](name string, opts ...Option) *Map[MK, MV] {
	m := &maps[K, MK, MV]{}
	m.k = s
	s.declare(name, KindMap, opts, func(id int, d Descriptor, o *options) (member[K], error) {
		keys, err := pick[MK](o.keyCodec, fmt.Sprintf("key of map state %q", name))
		if err != nil {
			return nil, err
		}
		values, err := pick[MV](o.codec, fmt.Sprintf("map state %q", name))
		if err != nil {
			return nil, err
		}
		d.Sub, d.Value = keys.Schema(), values.Schema()
		err = errors.Join(m.evolve(values, o.values, &d, &d.Reads.Value), m.subs.evolve(keys, o.mapKeys, &d, &d.Reads.Sub))
		m.id, m.desc, m.keys, m.lifetime = id, d, keys, o.lifetime()
		m.objects.encode, m.objects.expire = m.encode, m.expire
		m.objects.planned = func(o *mapObject[MK, MV]) *int64 { return &o.planned }
		m.elemBytes = sizeOf[MK]() + sizeOf[mapCell[MV]]() + mapOverhead
		m.variable = !fixedSize[MK]() || !fixedSize[MV]()
		return m, err
	})
	return &Map[MK, MV]{m}
}

// Get is the value under k with true, or the zero value with false.
func (m *Map[MK, MV]) Get(k MK) (MV, bool, error) { return m.m.get(k) }

// Put puts v under k.
func (m *Map[MK, MV]) Put(k MK, v MV) error { return m.m.put(k, v) }

// Remove removes k; an absent one is no error.
func (m *Map[MK, MV]) Remove(k MK) error { return m.m.remove(k) }

// Range calls fn for each entry, in the order of the encoded map keys, until fn fails, and returns that error. fn may change the map:
// entries it removes before their turn are not visited, entries it adds are not visited. On every backend the whole map of the
// current key is in memory during and after the call, until it is evicted.
func (m *Map[MK, MV]) Range(fn func(MK, MV) error) error { return m.m.visit(fn) }

// IsEmpty reports whether nothing is stored, with a look at no more than one entry. With time to live, an entry that has expired and was
// not removed yet counts; Len does not count it.
// Source: Flink MapState.isEmpty.
func (m *Map[MK, MV]) IsEmpty() (bool, error) { return m.m.empty() }

// Len is the number of entries. It may read all of them.
func (m *Map[MK, MV]) Len() (int, error) { return m.m.count() }

// Clear removes all entries.
func (m *Map[MK, MV]) Clear() error { return m.m.clear() }

// mapOverhead is the estimated cost of an entry beyond its key and value: control bytes, load factor and order.
const mapOverhead = 40

// maps is a map state.
type maps[K, MK comparable, MV any] struct {
	objects[K, mapObject[MK, MV]]
	keys serde.Serde[MK]
	subs resolver[MK] // of map keys in files
	resolver[MV]
}

// mapObject is the map of one key.
type mapObject[MK comparable, MV any] struct {
	cells map[MK]mapCell[MV]
	live  int // cells that are not absent
	dirty int // cells with metaDirty
	// whole is set when cells holds everything that the store beneath holds; always so without a store.
	whole bool
	pins  int // calls that hold the object while user code runs: it must not be evicted

	// order is sorted by encoding; with pending it covers every live cell. It may hold keys that are gone, which stale tells.
	order   []orderedKey[MK]
	pending []MK
	stale   bool
	counted int   // cells that the estimate of memory knows of
	planned int64 // see objects
}

type orderedKey[MK comparable] struct {
	encoded string
	key     MK
}

// mapCell is one entry; meta is as in slot, without metaUsed.
type mapCell[MV any] struct {
	v    MV
	meta uint64
}

func (c *mapCell[MV]) absent() bool { return c.meta&metaAbsent != 0 }

func (c *mapCell[MV]) expired(now int64) bool { return past(int64(c.meta>>metaExpiry), now) }

// object is the map of the current key; nil when there is none and nothing beneath could hold one.
func (m *maps[K, MK, MV]) object(create bool) (*mapObject[MK, MV], error) {
	if err := m.prepare(); err != nil {
		return nil, err
	}
	if o := m.current(); o != nil {
		return o, nil
	}
	if !create && m.k.store == nil {
		return nil, nil
	}
	o := &mapObject[MK, MV]{cells: map[MK]mapCell[MV]{}, whole: m.k.store == nil}
	return o, m.create(o)
}

func (m *maps[K, MK, MV]) get(k MK) (v MV, ok bool, err error) {
	o, err := m.object(false)
	if o == nil || err != nil {
		return v, false, err
	}
	c, ok := o.cells[k]
	if !ok {
		if o.whole {
			return v, false, nil
		}
		if c, err = m.fetch(o, k); err != nil {
			return v, false, err
		}
	}
	if c.absent() {
		return v, false, nil
	}
	if m.ttlMS != 0 {
		if c.expired(m.k.now(&m.lifetime)) {
			m.dropCell(o, k, c)
			m.shrink(o)
			if m.shown {
				v = c.v
			}
			return v, m.shown, nil
		}
		m.renew(o, k, c)
	}
	return c.v, true, nil
}

func (m *maps[K, MK, MV]) put(k MK, v MV) error {
	o, err := m.object(true)
	if err != nil {
		return err
	}
	c, known := o.cells[k]
	if !known && m.event && !o.whole { // its stamp counts
		if c, err = m.fetch(o, k); err != nil {
			return err
		}
		known = true
	}
	if !known && o.whole {
		c.meta = metaFresh
	}
	if !known || c.absent() {
		c.meta &^= metaAbsent
		o.live++
		o.pending = append(o.pending, k)
	}
	if !known {
		m.charge(&o.counted, len(o.cells)+1)
	}
	c.v = v
	m.store(o, k, c)
	return nil
}

// store puts a changed cell that is not absent, and touches it.
func (m *maps[K, MK, MV]) store(o *mapObject[MK, MV], k MK, c mapCell[MV]) {
	if m.ttlMS != 0 {
		e := m.k.touchedAt(&m.lifetime, int64(c.meta>>metaExpiry))
		c.meta = c.meta&metaFlags | uint64(e)<<metaExpiry
		m.plan(o, e)
	}
	if m.k.store != nil && c.meta&metaDirty == 0 {
		c.meta |= metaDirty
		o.dirty++
	}
	o.cells[k] = c
}

// renew touches a cell that is read.
func (m *maps[K, MK, MV]) renew(o *mapObject[MK, MV], k MK, c mapCell[MV]) {
	if before := int64(c.meta >> metaExpiry); m.onRead && m.k.touchedAt(&m.lifetime, before) != before {
		m.store(o, k, c)
	}
}

func (m *maps[K, MK, MV]) remove(k MK) error {
	o, err := m.object(false)
	if o == nil || err != nil {
		return err
	}
	c, known := o.cells[k]
	switch {
	case known && !c.absent():
		m.dropCell(o, k, c)
		m.shrink(o)
	case !known && !o.whole: // a blind delete
		o.cells[k] = mapCell[MV]{meta: metaAbsent | metaDirty}
		o.dirty++
		m.charge(&o.counted, len(o.cells))
	}
	return nil
}

// dropCell removes the live cell c under k.
func (m *maps[K, MK, MV]) dropCell(o *mapObject[MK, MV], k MK, c mapCell[MV]) {
	o.live--
	o.stale = true
	if m.k.store == nil {
		delete(o.cells, k)
		return
	}
	if c.meta&metaFresh != 0 { // the store never had it
		if c.meta&metaDirty != 0 {
			o.dirty--
		}
		o.cells[k] = mapCell[MV]{meta: metaAbsent | metaFresh}
		return
	}
	if c.meta&metaDirty == 0 {
		o.dirty++
	}
	o.cells[k] = mapCell[MV]{meta: metaAbsent | metaDirty}
}

// shrink forgets an object that says nothing any more.
func (m *maps[K, MK, MV]) shrink(o *mapObject[MK, MV]) {
	if m.k.store == nil && len(o.cells) == 0 && o.pins == 0 {
		m.forget(o)
	}
}

func (m *maps[K, MK, MV]) clear() error {
	o, err := m.object(false)
	if o == nil || err != nil {
		return err
	}
	if m.k.store == nil {
		clear(o.cells)
		o.live, o.order, o.pending, o.stale = 0, nil, nil, false
		m.shrink(o)
		return nil
	}
	if !o.whole {
		if err := m.k.deleteAll(m.id); err != nil {
			return m.desc.failed("clear", err)
		}
		clear(o.cells)
		o.live, o.dirty, o.order, o.pending, o.stale, o.whole = 0, 0, nil, nil, false, true
		return nil
	}
	for k, c := range o.cells {
		if !c.absent() {
			m.dropCell(o, k, c)
		}
	}
	return nil
}

func (m *maps[K, MK, MV]) count() (int, error) {
	o, err := m.object(false)
	if o == nil || err != nil {
		return 0, err
	}
	if err := m.complete(o); err != nil {
		return 0, err
	}
	if m.ttlMS != 0 && !m.shown {
		m.dropExpired(o, m.k.now(&m.lifetime))
		m.shrink(o)
	}
	return o.live, nil
}

func (m *maps[K, MK, MV]) empty() (bool, error) {
	o, err := m.object(false)
	if o == nil || err != nil {
		return true, err
	}
	if o.live > 0 || o.whole {
		return o.live == 0, nil
	}
	lo, hi, err := m.prefix()
	if err != nil {
		return false, m.desc.failed("read", err)
	}
	none := true
	err = m.k.store.Scan(lo, hi, func(key, _ []byte) (bool, error) {
		var k MK
		if err := m.keys.Decode(key[len(lo):], &k); err != nil {
			return false, err
		}
		_, known := o.cells[k] // as absent, for none is live
		none = known
		return known, nil
	})
	return none, m.desc.failed("read", err)
}

// dropExpired removes every expired cell and returns the earliest stamp of those that are left, 0 for none.
func (m *maps[K, MK, MV]) dropExpired(o *mapObject[MK, MV], now int64) (earliest int64) {
	for k, c := range o.cells {
		switch e := int64(c.meta >> metaExpiry); {
		case c.absent():
		case past(e, now):
			m.dropCell(o, k, c)
		case e != 0 && (earliest == 0 || e < earliest):
			earliest = e
		}
	}
	return earliest
}

func (m *maps[K, MK, MV]) expire(s *slot[K, *mapObject[MK, MV]], now int64) (earliest int64, empty bool) {
	if s.val.pins > 0 {
		return now + 1, false
	}
	earliest = m.dropExpired(s.val, now)
	return earliest, m.k.store == nil && len(s.val.cells) == 0
}

func (m *maps[K, MK, MV]) visit(fn func(MK, MV) error) error {
	o, err := m.object(false)
	if o == nil || err != nil {
		return err
	}
	if err := m.complete(o); err != nil {
		return err
	}
	if err := m.arrange(o); err != nil {
		return err
	}
	var now int64
	if m.ttlMS != 0 {
		now = m.k.now(&m.lifetime)
	}
	o.pins++
	defer func() {
		o.pins--
		m.shrink(o)
	}()
	for _, e := range o.order { // a nested change makes a new slice
		c, ok := o.cells[e.key]
		if !ok || c.absent() {
			continue
		}
		if !c.expired(now) {
			m.renew(o, e.key, c)
		} else if m.dropCell(o, e.key, c); !m.shown {
			continue
		}
		if err := fn(e.key, c.v); err != nil {
			return err
		}
	}
	return nil
}

// arrange makes order cover exactly the live cells.
func (m *maps[K, MK, MV]) arrange(o *mapObject[MK, MV]) error {
	if len(o.pending) == 0 && !o.stale {
		return nil
	}
	fresh := make([]orderedKey[MK], 0, len(o.pending))
	var buf []byte
	for _, k := range o.pending {
		var err error
		if buf, err = m.keys.Append(buf[:0], k); err != nil {
			return m.desc.failed("encode key of", err)
		}
		fresh = append(fresh, orderedKey[MK]{string(buf), k})
	}
	slices.SortFunc(fresh, func(a, b orderedKey[MK]) int { return compareStrings(a.encoded, b.encoded) })
	merged := make([]orderedKey[MK], 0, o.live)
	old := o.order
	for len(old) > 0 || len(fresh) > 0 {
		from := &fresh
		if len(fresh) == 0 || len(old) > 0 && old[0].encoded <= fresh[0].encoded {
			from = &old
		}
		e := (*from)[0]
		*from = (*from)[1:]
		if n := len(merged); n > 0 && merged[n-1].encoded == e.encoded {
			continue
		}
		if c, ok := o.cells[e.key]; ok && !c.absent() {
			merged = append(merged, e)
		}
	}
	o.order, o.pending, o.stale = merged, nil, false
	return nil
}

// encode appends the entries of one key.
func (m *maps[K, MK, MV]) encode(r *run, group int, s *slot[K, *mapObject[MK, MV]], now int64) error {
	head, err := m.k.appendAddress(nil, group, m.id, s.key)
	if err != nil {
		return err
	}
	for k, c := range s.val.cells {
		if c.absent() || c.expired(now) {
			continue
		}
		e := runEntry{start: len(r.buf), hash: s.hash, expiresMS: int64(c.meta >> metaExpiry)}
		r.buf = append(r.buf, head...)
		if r.buf, err = m.keys.Append(r.buf, k); err != nil {
			return fmt.Errorf("state: encode key of map state %q: %w", m.desc.Name, err)
		}
		e.mid = len(r.buf)
		if r.buf, err = m.codec.Append(r.buf, c.v); err != nil {
			return fmt.Errorf("state: encode map state %q: %w", m.desc.Name, err)
		}
		e.end = len(r.buf)
		r.entries = append(r.entries, e)
	}
	return nil
}

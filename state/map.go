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
		m.objects.release, m.objects.settle, m.objects.write = m.release, m.settle, m.writeMap
		m.objects.head = func(o *mapObject[MK, MV]) *objectHead { return &o.objectHead }
		m.byRef = holdsReferences[MV]()
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
	objectHead
	cells map[MK]mapCell[MV]
	live  int // cells that are not absent
	dirty int // cells with metaDirty
	// whole is set when cells holds everything that the store beneath holds; always so without a store.
	whole bool
	// marked are the keys of cells with the mark of an epoch, by parity. Some may have lost it.
	marked [2][]MK

	// order is sorted by encoding; with pending it covers every live cell. It may hold keys that are gone, which stale tells.
	order   []orderedKey[MK]
	pending []MK
	stale   bool
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
			if m.shown {
				v = c.v
			}
			err := m.dropCell(m.here(), o, k, c)
			m.shrink(o)
			return v, m.shown, err
		}
		if c, err = m.renew(m.here(), o, k, c); err != nil {
			return v, false, err
		}
	}
	if m.byRef && c.meta&m.k.frozen != 0 {
		if c, err = m.releaseCell(m.here(), k, c); err != nil {
			return v, false, err
		}
		o.cells[k] = c
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
	if c.meta&m.k.frozen != 0 {
		if c, err = m.releaseCell(m.here(), k, c); err != nil {
			return err
		}
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
	m.store(m.here(), o, k, c)
	return nil
}

// store puts a changed cell that is neither absent nor frozen, and touches it.
func (m *maps[K, MK, MV]) store(p place[K], o *mapObject[MK, MV], k MK, c mapCell[MV]) mapCell[MV] {
	if m.ttlMS != 0 {
		e := m.k.touchedAt(&m.lifetime, int64(c.meta>>metaExpiry))
		c.meta = c.meta&metaFlags | uint64(e)<<metaExpiry
		m.plan(o, e)
	}
	if m.k.store != nil && c.meta&m.k.soiled != m.k.soiled {
		if c.meta&metaDirty == 0 {
			c.meta |= metaDirty
			o.dirty++
		}
		m.markCell(p, o, k, &c)
	}
	o.cells[k] = c
	return c
}

// renew touches a cell that is read.
func (m *maps[K, MK, MV]) renew(p place[K], o *mapObject[MK, MV], k MK, c mapCell[MV]) (mapCell[MV], error) {
	before := int64(c.meta >> metaExpiry)
	if !m.onRead || m.k.touchedAt(&m.lifetime, before) == before {
		return c, nil
	}
	if c.meta&m.k.frozen != 0 {
		var err error
		if c, err = m.releaseCell(p, k, c); err != nil {
			return c, err
		}
	}
	return m.store(p, o, k, c), nil
}

func (m *maps[K, MK, MV]) remove(k MK) error {
	o, err := m.object(false)
	if o == nil || err != nil {
		return err
	}
	c, known := o.cells[k]
	switch {
	case known && !c.absent():
		err = m.dropCell(m.here(), o, k, c)
		m.shrink(o)
	case !known && !o.whole: // a blind delete
		c.meta = metaAbsent | metaDirty
		o.dirty++
		m.markCell(m.here(), o, k, &c)
		o.cells[k] = c
		m.charge(&o.counted, len(o.cells))
	}
	return err
}

// dropCell removes the live cell c under k.
func (m *maps[K, MK, MV]) dropCell(p place[K], o *mapObject[MK, MV], k MK, c mapCell[MV]) (err error) {
	if c.meta&m.k.frozen != 0 {
		if c, err = m.releaseCell(p, k, c); err != nil {
			return err
		}
	}
	o.live--
	o.stale = true
	if m.k.store == nil {
		delete(o.cells, k)
		return nil
	}
	gone := mapCell[MV]{meta: metaAbsent | c.meta&m.k.current}
	switch {
	case c.meta&metaFresh == 0:
		gone.meta |= metaDirty
		if c.meta&metaDirty == 0 {
			o.dirty++
		}
	default: // the store never had it; deltas may
		gone.meta |= metaFresh
		if c.meta&metaDirty != 0 {
			o.dirty--
		}
	}
	m.markCell(p, o, k, &gone)
	o.cells[k] = gone
	return nil
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
	if !o.whole || len(o.cells) > clearAtOnce {
		if o.changed&m.k.frozen != 0 {
			if _, err := m.release(m.here(), o, nil); err != nil {
				return err
			}
		}
		if err := m.k.deleteAll(m.desc.ID); err != nil {
			return m.desc.failed("clear", err)
		}
		clear(o.cells)
		o.live, o.dirty, o.order, o.pending, o.stale, o.whole = 0, 0, nil, nil, false, true
		o.marked = [2][]MK{}
		return nil
	}
	for k, c := range o.cells {
		if !c.absent() {
			if err := m.dropCell(m.here(), o, k, c); err != nil {
				return err
			}
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
		_, err = m.dropExpired(m.here(), o, m.k.now(&m.lifetime))
		m.shrink(o)
	}
	return o.live, err
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
func (m *maps[K, MK, MV]) dropExpired(p place[K], o *mapObject[MK, MV], now int64) (earliest int64, err error) {
	for k, c := range o.cells {
		switch e := int64(c.meta >> metaExpiry); {
		case c.absent():
		case past(e, now):
			if err := m.dropCell(p, o, k, c); err != nil {
				return 0, err
			}
		case e != 0 && (earliest == 0 || e < earliest):
			earliest = e
		}
	}
	return earliest, nil
}

func (m *maps[K, MK, MV]) expire(p place[K], o *mapObject[MK, MV], now int64) (earliest int64, empty bool, err error) {
	if o.pins > 0 {
		return now + 1, false, nil
	}
	earliest, err = m.dropExpired(p, o, now)
	return earliest, m.k.store == nil && len(o.cells) == 0, err
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
	p := m.here()
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
		if shows, err := m.show(p, o, e.key, c, now); err != nil {
			return err
		} else if !shows {
			continue
		}
		if err := fn(e.key, c.v); err != nil {
			return err
		}
	}
	return nil
}

// show prepares a live cell for user code and reports whether that may see it.
func (m *maps[K, MK, MV]) show(p place[K], o *mapObject[MK, MV], k MK, c mapCell[MV], now int64) (bool, error) {
	if c.expired(now) {
		return m.shown, m.dropCell(p, o, k, c)
	}
	c, err := m.renew(p, o, k, c)
	if err == nil && m.byRef && c.meta&m.k.frozen != 0 {
		if c, err = m.releaseCell(p, k, c); err == nil {
			o.cells[k] = c
		}
	}
	return true, err
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

package state

import (
	"encoding/binary"
)

// clearAtOnce is how many entries of a list or map may be removed one by one when it is cleared; more are removed by one range tombstone.
// Every read of a store looks for range tombstones, so that few entries are better removed themselves.
const clearAtOnce = 32

// here is the place of the current key.
func (t *objects[K, O]) here() place[K] { return place[K]{t.k.group, t.k.hash, t.k.key} }

// flip implements tracked.
func (t *objects[K, O]) flip() {}

// attached implements tracked.
func (t *objects[K, O]) attached() error { return nil }

func (m *maps[K, MK, MV]) number(id int, schemas []string) error {
	m.desc.ID, m.desc.Schemas = id, schemas
	return m.adopt(schemas)
}

func (l *lists[K, T]) number(id int, schemas []string) error {
	l.desc.ID, l.desc.Schemas = id, schemas
	return l.adopt(schemas)
}

// mark notes that an object changes in this epoch.
func (t *objects[K, O]) mark(p place[K], h *objectHead) {
	if k := t.k; h.changed&k.current != k.current {
		h.changed |= k.current
		t.groups[p.group].changed[k.parity].add(&k.chunks, p.hash)
	}
}

// drain implements tracked.
func (t *objects[K, O]) drain(group int, left *allowance) (done bool, err error) {
	g := &t.groups[group]
	list := &g.changed[t.k.parity^1]
	for {
		hash, ok := list.pop(&t.k.chunks)
		if !ok {
			return true, nil
		}
		for s, i := g.next(hash, 0); s != nil; s, i = g.next(hash, i) {
			if t.head(s.val).changed&t.k.frozen == 0 {
				continue
			}
			if done, err := t.release(place[K]{group, s.hash, s.key}, s.val, left); err != nil || !done {
				list.add(&t.k.chunks, hash)
				return false, err
			}
		}
		if left.spent() {
			return list.head == nil, nil
		}
	}
}

// sweep implements tracked.
func (t *objects[K, O]) sweep(group int, w *storeWriter, left *allowance) (done bool, err error) {
	g := &t.groups[group]
	for t.walk.begin(group, g.moved); t.walk.at < len(g.slots); t.walk.at++ {
		s := &g.slots[t.walk.at]
		if s.meta == 0 {
			continue
		}
		if err := t.write(place[K]{group, s.hash, s.key}, s.val, w); err != nil {
			return false, t.desc.failed("write back", err)
		}
		if left.spent() {
			return false, nil
		}
	}
	t.walk.end()
	return true, nil
}

// markCell notes that the cell c under k, which is not frozen, changes in this epoch.
func (m *maps[K, MK, MV]) markCell(p place[K], o *mapObject[MK, MV], k MK, c *mapCell[MV]) {
	if s := m.k; c.meta&s.current != s.current {
		c.meta |= s.current
		o.marked[s.parity] = append(o.marked[s.parity], k)
		m.mark(p, &o.objectHead)
	}
}

// noteCell appends a cell to a run as it is.
func (m *maps[K, MK, MV]) noteCell(r *deltaRun, prefix []byte, hash uint64, k MK, c mapCell[MV]) error {
	buf, err := m.keys.Append(append(r.begin(), prefix...), k)
	if err != nil {
		return m.k.unwritable(m.desc.failed("encode key of", err))
	}
	if c.absent() {
		r.remove(buf)
		return nil
	}
	mid := len(buf)
	buf = appendValueHead(buf, valueHead{hash: hash, expires: int64(c.meta >> metaExpiry), schema: m.written})
	if buf, err = m.codec.Append(buf, c.v); err != nil {
		return m.k.unwritable(m.desc.failed("encode", err))
	}
	r.set(buf, mid)
	return nil
}

// releaseCell encodes the frozen cell c under k, and returns it without the mark.
func (m *maps[K, MK, MV]) releaseCell(p place[K], k MK, c mapCell[MV]) (mapCell[MV], error) {
	prefix, err := m.prefixOf(p)
	if err != nil {
		return c, m.k.unwritable(m.desc.failed("encode", err))
	}
	if err := m.noteCell(m.k.frozenRun(p.group), prefix, p.hash, k, c); err != nil {
		return c, err
	}
	c.meta &^= m.k.frozen
	return c, nil
}

// release encodes what is frozen of a map.
func (m *maps[K, MK, MV]) release(p place[K], o *mapObject[MK, MV], left *allowance) (done bool, err error) {
	done, err = m.noteMarked(m.k.frozenRun(p.group), m.k.parity^1, m.k.frozen, p, o, left)
	if done {
		o.changed &^= m.k.frozen
	}
	return done, err
}

// settle encodes what has changed in this epoch of a map that leaves the table.
func (m *maps[K, MK, MV]) settle(p place[K], o *mapObject[MK, MV]) error {
	_, err := m.noteMarked(m.k.currentRun(p.group), m.k.parity, m.k.current, p, o, nil)
	o.changed &^= m.k.current
	return err
}

func (m *maps[K, MK, MV]) noteMarked(r *deltaRun, parity uint8, mark uint64, p place[K], o *mapObject[MK, MV], left *allowance) (done bool, err error) {
	prefix, err := m.prefixOf(p)
	if err != nil {
		return false, m.k.unwritable(m.desc.failed("encode", err))
	}
	for keys := o.marked[parity]; len(keys) > 0; keys = o.marked[parity] {
		k := keys[len(keys)-1]
		c, ok := o.cells[k]
		if ok && c.meta&mark != 0 {
			if err := m.noteCell(r, prefix, p.hash, k, c); err != nil {
				return false, err
			}
			c.meta &^= mark
			o.cells[k] = c
		}
		o.marked[parity] = keys[:len(keys)-1]
		if left.spent() && len(keys) > 1 {
			return false, nil
		}
	}
	o.marked[parity] = nil
	return true, nil
}

// growing comes before elements are appended.
func (l *lists[K, T]) growing(p place[K], o *listObject[T]) {
	if o.changed&l.k.frozen != 0 && o.changed&l.k.current == 0 {
		o.split = len(o.vals)
	}
	l.mark(p, &o.objectHead)
}

// changing comes before elements are removed or get other stamps: nothing is frozen afterwards.
func (l *lists[K, T]) changing(p place[K], o *listObject[T]) error {
	if o.changed&l.k.frozen != 0 {
		if _, err := l.release(p, o, nil); err != nil {
			return err
		}
	}
	l.mark(p, &o.objectHead)
	return nil
}

// release encodes what is frozen of a list.
func (l *lists[K, T]) release(p place[K], o *listObject[T], left *allowance) (done bool, err error) {
	end := len(o.vals)
	if o.changed&l.k.current != 0 {
		end = o.split
	}
	done, err = l.noteElements(l.k.frozenRun(p.group), p, o, end, left)
	if done {
		o.changed &^= l.k.frozen
	}
	return done, err
}

// settle encodes what has changed in this epoch of a list that leaves the table.
func (l *lists[K, T]) settle(p place[K], o *listObject[T]) error {
	_, err := l.noteElements(l.k.currentRun(p.group), p, o, len(o.vals), nil)
	o.changed &^= l.k.current
	return err
}

// noteElements appends to r what was removed, and the elements before end that are in no run yet.
func (l *lists[K, T]) noteElements(r *deltaRun, p place[K], o *listObject[T], end int, left *allowance) (done bool, err error) {
	prefix, err := l.prefixOf(p)
	if err != nil {
		return false, l.k.unwritable(l.desc.failed("encode", err))
	}
	for _, n := range o.removed {
		r.remove(binary.BigEndian.AppendUint64(append(r.begin(), prefix...), n))
	}
	o.removed = nil
	for o.noted < end {
		buf := binary.BigEndian.AppendUint64(append(r.begin(), prefix...), o.numbers[o.noted])
		mid := len(buf)
		h := valueHead{hash: p.hash, schema: l.written}
		if o.expiries != nil {
			h.expires = o.expiries[o.noted]
		}
		if buf, err = l.codec.Append(appendValueHead(buf, h), o.vals[o.noted]); err != nil {
			return false, l.k.unwritable(l.desc.failed("encode", err))
		}
		r.set(buf, mid)
		o.noted++
		o.known = max(o.known, o.noted)
		if left.spent() && o.noted < end {
			return false, nil
		}
	}
	return true, nil
}

// nextNumber is above the number of every element.
func (l *lists[K, T]) nextNumber() uint64 { return l.next }

// raiseNumber makes new elements come after those below n.
func (l *lists[K, T]) raiseNumber(n uint64) { l.next = max(l.next, n) }

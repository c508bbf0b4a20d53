package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// charge tells the estimate how many elements an object has now; counted is what it was told before.
func (s *sizes) charge(counted *int, n int) {
	s.elems += int64(n - *counted)
	*counted = n
}

// writeObject writes an object that leaves the table to wherever it is needed.
func (t *objects[K, O]) writeObject(p place[K], o *O, w *storeWriter) error {
	h := t.head(o)
	if h.changed&t.k.frozen != 0 {
		if _, err := t.release(p, o, nil); err != nil {
			return err
		}
	}
	if h.changed&t.k.current != 0 {
		if err := t.settle(p, o); err != nil {
			return err
		}
	}
	return t.write(p, o, w)
}

// prefix is the current key's address with the bounds of everything below it.
func (t *objects[K, O]) prefix() (lo, hi []byte, err error) {
	lo, err = t.k.address(t.desc.ID)
	return lo, after(nil, lo), err
}

// prefixOf is the address of a key.
func (t *objects[K, O]) prefixOf(p place[K]) ([]byte, error) {
	return t.k.appendAddress(nil, t.k.groups.Start+p.group, t.desc.ID, p.key)
}

// writeMap writes what the store lacks of one map.
func (m *maps[K, MK, MV]) writeMap(p place[K], o *mapObject[MK, MV], w *storeWriter) error {
	if o.dirty == 0 {
		return nil
	}
	o.dirty = 0
	prefix, err := m.prefixOf(p)
	if err != nil {
		return err
	}
	for k, c := range o.cells {
		if c.meta&metaDirty == 0 {
			continue
		}
		address, err := m.keys.Append(append(m.k.addr[:0], prefix...), k)
		if m.k.addr = address; err != nil {
			return fmt.Errorf("map key: %w", err)
		}
		stamp := int64(c.meta >> metaExpiry)
		if err := m.k.index(w, &m.lifetime, address, stamp); err != nil {
			return err
		}
		buf := append(w.begin(), address...)
		if c.absent() {
			o.cells[k] = mapCell[MV]{meta: metaAbsent | metaFresh | c.meta&(metaChanged0|metaChanged1)}
			if err := w.remove(buf); err != nil {
				return err
			}
			continue
		}
		c.meta &^= metaDirty | metaFresh
		o.cells[k] = c
		mid := len(buf)
		buf = appendValueHead(buf, valueHead{hash: p.hash, expires: stamp, schema: m.written})
		if buf, err = m.codec.Append(buf, c.v); err != nil {
			return err
		}
		m.observe(len(buf) - mid)
		if err := w.set(buf, mid); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads one entry of the current key's map from the store into o.
func (m *maps[K, MK, MV]) fetch(o *mapObject[MK, MV], k MK) (c mapCell[MV], err error) {
	s := m.k
	at, err := s.address(m.desc.ID)
	if err == nil {
		at, err = m.keys.Append(at, k)
	}
	if err != nil {
		return c, m.desc.failed("read", err)
	}
	s.addr = at
	var ok bool
	if s.buf, ok, err = s.store.Get(s.buf[:0], at); err != nil {
		return c, m.desc.failed("read", err)
	}
	c.meta = metaAbsent | metaFresh
	if ok {
		if c, err = m.decodeCell(s.buf); err != nil {
			return c, m.desc.failed("decode", err)
		}
		o.live++
		o.pending = append(o.pending, k)
		m.plan(o, int64(c.meta>>metaExpiry))
	}
	o.cells[k] = c
	m.charge(&o.counted, len(o.cells))
	return c, nil
}

func (m *maps[K, MK, MV]) decodeCell(src []byte) (c mapCell[MV], err error) {
	head, value, err := cutValueHead(src)
	if err != nil {
		return c, err
	}
	c.meta = uint64(head.expires) << metaExpiry
	m.observe(len(value))
	return c, m.decode(value, head.schema, &c.v)
}

// complete reads everything of the current key that o lacks.
func (m *maps[K, MK, MV]) complete(o *mapObject[MK, MV]) error {
	if o.whole {
		return nil
	}
	lo, hi, err := m.prefix()
	if err != nil {
		return m.desc.failed("read", err)
	}
	err = m.k.store.Scan(lo, hi, func(key, value []byte) (bool, error) {
		var k MK
		if err := m.keys.Decode(key[len(lo):], &k); err != nil {
			return false, fmt.Errorf("map key: %w", err)
		}
		if _, known := o.cells[k]; known {
			return true, nil
		}
		c, err := m.decodeCell(value)
		if err != nil {
			return false, err
		}
		o.cells[k] = c
		o.live++
		o.pending = append(o.pending, k)
		m.plan(o, int64(c.meta>>metaExpiry))
		return true, nil
	})
	m.charge(&o.counted, len(o.cells))
	if err != nil {
		return m.desc.failed("read", err)
	}
	o.whole = true
	return nil
}

// writeList writes what the store lacks of one list.
func (l *lists[K, T]) writeList(p place[K], o *listObject[T], w *storeWriter) error {
	if len(o.gone) == 0 && o.saved == len(o.vals) {
		return nil
	}
	prefix, err := l.prefixOf(p)
	if err != nil {
		return err
	}
	for _, n := range o.gone {
		if err := w.remove(binary.BigEndian.AppendUint64(append(w.begin(), prefix...), n)); err != nil {
			return err
		}
	}
	o.gone = nil
	for i := o.saved; i < len(o.vals); i++ {
		address := binary.BigEndian.AppendUint64(append(l.k.addr[:0], prefix...), o.numbers[i])
		l.k.addr = address
		var expires int64
		if o.expiries != nil {
			expires = o.expiries[i]
		}
		if err := l.k.index(w, &l.lifetime, address, expires); err != nil {
			return err
		}
		buf := append(w.begin(), address...)
		mid := len(buf)
		buf = appendValueHead(buf, valueHead{hash: p.hash, expires: expires, schema: l.written})
		if buf, err = l.codec.Append(buf, o.vals[i]); err != nil {
			return err
		}
		l.observe(len(buf) - mid)
		if err := w.set(buf, mid); err != nil {
			return err
		}
	}
	o.stored, o.saved = len(o.vals), len(o.vals)
	if l.k.tracking {
		o.known = len(o.vals) // by a base
	}
	return nil
}

// complete reads everything of the current key that o lacks: the elements before the first that o has, as a list is only ever
// shortened when it is whole.
func (l *lists[K, T]) complete(o *listObject[T]) error {
	if o.whole {
		return nil
	}
	lo, hi, err := l.prefix()
	if err != nil {
		return l.desc.failed("read", err)
	}
	if len(o.numbers) > 0 {
		hi = binary.BigEndian.AppendUint64(bytes.Clone(lo), o.numbers[0])
	}
	var vals []T
	var expiries []int64
	var numbers []uint64
	err = l.k.store.Scan(lo, hi, func(key, value []byte) (bool, error) {
		head, value, err := cutValueHead(value)
		if err != nil || len(key) != len(lo)+8 {
			return false, errCorrupt
		}
		var v T
		if err := l.decode(value, head.schema, &v); err != nil {
			return false, err
		}
		l.observe(len(value))
		vals, numbers = append(vals, v), append(numbers, binary.BigEndian.Uint64(key[len(lo):]))
		if l.ttlMS != 0 {
			expiries = append(expiries, head.expires)
			l.plan(o, head.expires)
		}
		return true, nil
	})
	if err != nil {
		return l.desc.failed("read", err)
	}
	o.vals, o.expiries, o.numbers = append(vals, o.vals...), append(expiries, o.expiries...), append(numbers, o.numbers...)
	n := len(vals)
	o.stored, o.saved = o.stored+n, o.saved+n
	if l.k.tracking { // what the store has, other than from o, is in deltas
		o.noted, o.known, o.split = o.noted+n, o.known+n, o.split+n
	}
	o.whole = true
	l.charge(&o.counted, len(o.vals))
	return nil
}

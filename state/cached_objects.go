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

// evictObjects keeps the objects of a group that were used lately or are pinned.
func (t *objects[K, O]) evictObjects(group int, pinned func(*O) bool, write func(s *slot[K, *O]) error) error {
	return t.evictSlots(&t.groups[group], &t.sizes, func(s *slot[K, *O]) (bool, error) {
		if s.meta&metaRef != 0 {
			s.meta -= metaRef1
			return true, nil
		}
		if pinned(s.val) {
			return true, nil
		}
		return false, write(s)
	})
}

// prefix is the current key's address with the bounds of everything below it.
func (t *objects[K, O]) prefix() (lo, hi []byte, err error) {
	lo, err = t.k.address(t.id)
	return lo, after(nil, lo), err
}

func (m *maps[K, MK, MV]) evict(group int, w *storeWriter) error {
	return m.evictObjects(group, func(o *mapObject[MK, MV]) bool { return o.pins > 0 },
		func(s *slot[K, *mapObject[MK, MV]]) error {
			m.charge(&s.val.counted, 0)
			return m.writeObject(s, m.k.groups.Start+group, w)
		})
}

func (m *maps[K, MK, MV]) writeBack(w *storeWriter) error {
	for i := range m.groups {
		for j := range m.groups[i].slots {
			if s := &m.groups[i].slots[j]; s.meta != 0 {
				if err := m.writeObject(s, m.k.groups.Start+i, w); err != nil {
					return m.desc.failed("write back", err)
				}
			}
		}
	}
	return nil
}

// writeObject writes the changes of one map.
func (m *maps[K, MK, MV]) writeObject(s *slot[K, *mapObject[MK, MV]], group int, w *storeWriter) error {
	o := s.val
	if o.dirty == 0 {
		return nil
	}
	o.dirty = 0
	prefix, err := m.k.appendAddress(nil, group, m.id, s.key)
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
			o.cells[k] = mapCell[MV]{meta: metaAbsent | metaFresh}
			if err := w.remove(buf); err != nil {
				return err
			}
			continue
		}
		c.meta &^= metaDirty | metaFresh
		o.cells[k] = c
		mid := len(buf)
		buf = appendValueHead(buf, valueHead{hash: s.hash, expires: stamp})
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
	at, err := s.address(m.id)
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
	return c, m.codec.Decode(value, &c.v)
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

func (l *lists[K, T]) evict(group int, w *storeWriter) error {
	return l.evictObjects(group, func(o *listObject[T]) bool { return o.pins > 0 },
		func(s *slot[K, *listObject[T]]) error {
			l.charge(&s.val.counted, 0)
			return l.writeObject(s, l.k.groups.Start+group, w)
		})
}

func (l *lists[K, T]) writeBack(w *storeWriter) error {
	for i := range l.groups {
		for j := range l.groups[i].slots {
			if s := &l.groups[i].slots[j]; s.meta != 0 {
				if err := l.writeObject(s, l.k.groups.Start+i, w); err != nil {
					return l.desc.failed("write back", err)
				}
			}
		}
	}
	return nil
}

// writeObject writes the changes of one list.
func (l *lists[K, T]) writeObject(s *slot[K, *listObject[T]], group int, w *storeWriter) error {
	o := s.val
	if len(o.gone) == 0 && o.saved == len(o.vals) {
		return nil
	}
	prefix, err := l.k.appendAddress(nil, group, l.id, s.key)
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
		buf = appendValueHead(buf, valueHead{hash: s.hash, expires: expires})
		if buf, err = l.codec.Append(buf, o.vals[i]); err != nil {
			return err
		}
		l.observe(len(buf) - mid)
		if err := w.set(buf, mid); err != nil {
			return err
		}
	}
	o.stored, o.saved = len(o.vals), len(o.vals)
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
		if err := l.codec.Decode(value, &v); err != nil {
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
	o.stored, o.saved = o.stored+len(vals), o.saved+len(vals)
	o.whole = true
	l.charge(&o.counted, len(o.vals))
	return nil
}

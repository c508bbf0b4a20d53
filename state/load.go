package state

import (
	"encoding/binary"
	"fmt"
	"math"
)

// enter makes the entry's key the current one.
func (s *Keyed[K]) enter(e *loaded[K]) {
	s.SetCurrent(e.key, e.Hash)
}

// stamp is the entry's stamp under a state with the given time to live, and whether it is past and to be left behind.
func (s *Keyed[K]) stamp(e *Entry, l *lifetime) (stamp int64, gone bool) {
	if l.ttlMS == 0 {
		return 0, false // the state lost its TTL
	}
	if e.ExpiresMS == 0 {
		return s.touchedAt(l, 0), false // the state gained a TTL
	}
	return e.ExpiresMS, !l.kept && past(e.ExpiresMS, s.now(l))
}

func (c *cells[K, V]) load(e *loaded[K]) error {
	expires, gone := c.k.stamp(&e.Entry, &c.lifetime)
	if gone {
		return nil
	}
	if len(e.Sub) != 0 {
		return fmt.Errorf("%w: sub key %x of a state without sub keys", errCorrupt, e.Sub)
	}
	var v V
	if err := c.decode(e.Value, e.schema, &v); err != nil {
		return err
	}
	c.k.enter(e)
	s := c.lookup()
	if s == nil {
		var err error
		if s, err = c.add(); err != nil {
			return err
		}
	}
	s.val = v
	s.meta = metaUsed | uint64(expires)<<metaExpiry
	c.plan(expires)
	return nil
}

func (c *cells[K, V]) recode(e *loaded[K]) ([]byte, error) {
	expires, gone := c.k.stamp(&e.Entry, &c.lifetime)
	if gone {
		return nil, nil
	}
	return c.recodeValue(appendValueHead(nil, valueHead{hash: e.Hash, expires: expires, schema: c.written}), e.Value, e.schema)
}

func (m *maps[K, MK, MV]) load(e *loaded[K]) error {
	expires, gone := m.k.stamp(&e.Entry, &m.lifetime)
	if gone {
		return nil
	}
	var k MK
	if err := m.keys.Decode(e.Sub, &k); err != nil {
		return fmt.Errorf("map key: %w", err)
	}
	var v MV
	if err := m.decode(e.Value, e.schema, &v); err != nil {
		return err
	}
	m.k.enter(e)
	o, err := m.object(true)
	if err != nil {
		return err
	}
	if _, ok := o.cells[k]; !ok {
		o.live++
		o.pending = append(o.pending, k)
	}
	o.cells[k] = mapCell[MV]{v: v, meta: uint64(expires) << metaExpiry}
	m.plan(o, expires)
	return nil
}

func (m *maps[K, MK, MV]) recode(e *loaded[K]) ([]byte, error) {
	expires, gone := m.k.stamp(&e.Entry, &m.lifetime)
	if gone {
		return nil, nil
	}
	return m.recodeValue(appendValueHead(nil, valueHead{hash: e.Hash, expires: expires, schema: m.written}), e.Value, e.schema)
}

func (l *lists[K, T]) load(e *loaded[K]) error {
	expires, gone := l.k.stamp(&e.Entry, &l.lifetime)
	if gone {
		return nil
	}
	if len(e.Sub) != 8 {
		return fmt.Errorf("%w: element number %x", errCorrupt, e.Sub)
	}
	var v T
	if err := l.decode(e.Value, e.schema, &v); err != nil {
		return err
	}
	l.k.enter(e)
	o, err := l.object(true)
	if err != nil {
		return err
	}
	o.vals = append(o.vals, v)
	if l.ttlMS != 0 {
		o.expiries = append(o.expiries, expires)
		l.plan(o, expires)
	}
	return nil
}

func (l *lists[K, T]) recode(e *loaded[K]) ([]byte, error) {
	if len(e.Sub) != 8 {
		return nil, fmt.Errorf("%w: element number %x", errCorrupt, e.Sub)
	}
	n := binary.BigEndian.Uint64(e.Sub)
	if n == math.MaxUint64 {
		return nil, fmt.Errorf("%w: element number %x", errCorrupt, e.Sub)
	}
	l.next = max(l.next, n+1)
	expires, gone := l.k.stamp(&e.Entry, &l.lifetime)
	if gone {
		return nil, nil
	}
	return l.recodeValue(appendValueHead(nil, valueHead{hash: e.Hash, expires: expires, schema: l.written}), e.Value, e.schema)
}

func (m *timerMember[K]) recode(*loaded[K]) ([]byte, error) {
	return nil, fmt.Errorf("%w: timers do not live in the store", errCorrupt)
}

func (m *timerMember[K]) life() *lifetime { return &lifetime{} }

func (m *timerMember[K]) resolve(schema string) (int, error) {
	if schema != "" {
		return 0, fmt.Errorf("timers have no value; the file says %s", schema)
	}
	return 0, nil
}

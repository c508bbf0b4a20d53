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

// expiry is the entry's expiry under a state with the given TTL, and whether it is past.
func (s *Keyed[K]) expiry(e *Entry, ttlMS int64) (expiresMS int64, past bool) {
	if ttlMS == 0 {
		return 0, false // the state lost its TTL
	}
	now := s.nowMS()
	if e.ExpiresMS == 0 {
		return expiryAt(now, ttlMS), false // the state gained a TTL
	}
	return e.ExpiresMS, e.ExpiresMS <= now
}

func (c *cells[K, V]) load(e *loaded[K]) error {
	expires, past := c.k.expiry(&e.Entry, c.ttlMS)
	if past {
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
	return nil
}

func (c *cells[K, V]) recode(e *loaded[K]) ([]byte, error) {
	expires, past := c.k.expiry(&e.Entry, c.ttlMS)
	if past {
		return nil, nil
	}
	return c.recodeValue(appendValueHead(nil, e.Hash, expires), e.Value, e.schema)
}

func (m *maps[K, MK, MV]) load(e *loaded[K]) error {
	expires, past := m.k.expiry(&e.Entry, m.ttlMS)
	if past {
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
	return nil
}

func (m *maps[K, MK, MV]) recode(e *loaded[K]) ([]byte, error) {
	expires, past := m.k.expiry(&e.Entry, m.ttlMS)
	if past {
		return nil, nil
	}
	return m.recodeValue(appendValueHead(nil, e.Hash, expires), e.Value, e.schema)
}

func (l *lists[K, T]) load(e *loaded[K]) error {
	expires, past := l.k.expiry(&e.Entry, l.ttlMS)
	if past {
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
	expires, past := l.k.expiry(&e.Entry, l.ttlMS)
	if past {
		return nil, nil
	}
	return l.recodeValue(appendValueHead(nil, e.Hash, expires), e.Value, e.schema)
}

func (m *timerMember[K]) recode(*loaded[K]) ([]byte, error) {
	return nil, fmt.Errorf("%w: timers do not live in the store", errCorrupt)
}

func (m *timerMember[K]) resolve(schema string) error {
	return fmt.Errorf("timers have no value; the file says %s", schema)
}

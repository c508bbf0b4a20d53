package state

import (
	"fmt"
	"strings"
)

// cells is a state with one value for each key: value, reducing and aggregating states.
type cells[K comparable, V any] struct {
	table[K, V]
	k    *Keyed[K]
	id   int // in the order of declaration
	desc Descriptor
	lifetime
	wheel
	walk   scan
	byRef  bool // V holds references, so an image must be encoded before anybody may touch the value again
	simple bool // no TTL, no references, no store: the short path
	resolver[V]
	sizes
}

func missing(kind Kind, name, what string) error {
	return fmt.Errorf("state: %s state %q has no %s", kind, name, what)
}

func compareStrings(a, b string) int { return strings.Compare(a, b) }

func (c *cells[K, V]) descriptor() Descriptor { return c.desc }

func (c *cells[K, V]) open() {
	c.groups = make([]group[K, V], c.k.span)
	c.byRef = holdsReferences[V]()
	c.simple = c.ttlMS == 0 && !c.byRef && c.k.store == nil
	c.walk.end()
	c.wheel.init(c.ttlMS != 0 && !c.kept)
	c.sizes.init(sizeOf[slot[K, V]](), 0, !fixedSize[V]() || !fixedSize[K]())
}

// lookup is the slot of the current key in the decoded table, or nil.
func (c *cells[K, V]) lookup() *slot[K, V] {
	k := c.k
	if c.gen == k.gen {
		return c.cur
	}
	g := &c.groups[k.group]
	s := g.find(k.hash, k.key)
	c.g, c.cur, c.gen = g, s, k.gen
	return s
}

func (c *cells[K, V]) get() (v V, ok bool, err error) {
	if c.simple {
		if s := c.lookup(); s != nil {
			return s.val, true, nil
		}
		return v, false, nil
	}
	return c.getSlow()
}

func (c *cells[K, V]) set(v V) error {
	if c.simple {
		if s := c.lookup(); s != nil && c.g.frozen == nil {
			s.val = v
			return nil
		}
	}
	return c.setSlow(v)
}

func (c *cells[K, V]) getSlow() (v V, ok bool, err error) {
	s, err := c.touch()
	if err != nil || s == nil || s.meta&metaAbsent != 0 {
		return v, false, err
	}
	if c.ttlMS != 0 {
		if s.expired(c.k.now(&c.lifetime)) {
			if c.shown {
				v, ok = s.val, true
			}
			return v, ok, c.drop(s)
		}
		if before := int64(s.meta >> metaExpiry); c.onRead && c.k.touchedAt(&c.lifetime, before) != before {
			if s, err = c.writable(s); err != nil {
				return v, false, err
			}
			c.renew(s)
			c.soil(s)
		}
	}
	return s.val, true, nil
}

func (c *cells[K, V]) setSlow(v V) error {
	// A blind write needs no read of the store: the slot is made without knowing what lies beneath.
	s, err := c.touchCached()
	if c.event && s == nil && err == nil && c.k.store != nil {
		s, err = c.fetch() // its stamp counts
	}
	if err != nil {
		return err
	}
	if s == nil {
		if s, err = c.add(); err != nil {
			return err
		}
	} else if s, err = c.writable(s); err != nil {
		return err
	}
	s.meta &^= metaAbsent
	s.val = v
	if c.k.store != nil && c.measured() {
		buf, err := c.codec.Append(c.k.buf[:0], v)
		if err != nil {
			return c.desc.failed("encode", err)
		}
		c.k.buf = buf
		c.observe(len(buf))
	}
	if c.ttlMS != 0 {
		c.renew(s)
	}
	c.soil(s)
	return nil
}

func (c *cells[K, V]) clear() error {
	s, err := c.touchCached()
	if err != nil {
		return err
	}
	if s == nil {
		if c.k.store == nil {
			return nil
		}
		if s, err = c.add(); err != nil {
			return err
		}
	}
	return c.drop(s)
}

// touchCached prepares the current key's group for a change or a read and returns the key's slot in the table, or nil.
func (c *cells[K, V]) touchCached() (*slot[K, V], error) {
	g := &c.groups[c.k.group]
	if c.byRef && g.frozen != nil {
		c.thaw(g, c.encode)
	}
	if c.ttlMS != 0 {
		if err := c.tidy(); err != nil {
			return nil, err
		}
	}
	again := c.gen == c.k.gen
	s := c.lookup()
	if s == nil || c.k.store == nil {
		return s, nil
	}
	if !again { // a record is one use, whatever it does
		use(&s.meta)
	}
	if c.byRef && s.meta&c.k.frozen != 0 { // whoever gets the value may change it
		return s, c.release(c.k.group, s)
	}
	return s, nil
}

// touch is touchCached, with the store asked when the table does not know the key.
func (c *cells[K, V]) touch() (*slot[K, V], error) {
	s, err := c.touchCached()
	if s != nil || err != nil || c.k.store == nil {
		return s, err
	}
	return c.fetch()
}

// add makes the slot of the current key, which has none.
func (c *cells[K, V]) add() (*slot[K, V], error) {
	if err := c.k.makeRoom(); err != nil {
		return nil, c.desc.failed("make room for", err)
	}
	g := &c.groups[c.k.group]
	c.own(g)
	s := g.insert(c.k.hash, c.k.key)
	if c.k.store != nil {
		c.k.policy.add(c.id, c.k.hash)
	}
	c.g, c.cur, c.gen = g, s, c.k.gen
	return s, nil
}

// writable is slot s of the current key as one that no image needs as it is.
func (c *cells[K, V]) writable(s *slot[K, V]) (*slot[K, V], error) {
	if s.meta&c.k.frozen != 0 {
		return s, c.release(c.k.group, s)
	}
	g := &c.groups[c.k.group]
	if g.frozen == nil {
		return s, nil
	}
	c.own(g)
	s = g.find(c.k.hash, c.k.key)
	c.g, c.cur, c.gen = g, s, c.k.gen
	return s, nil
}

// renew lets the time to live of s, of the current key and writable, begin anew.
func (c *cells[K, V]) renew(s *slot[K, V]) {
	before := int64(s.meta >> metaExpiry)
	e := c.k.touchedAt(&c.lifetime, before)
	s.meta = s.meta&metaFlags | uint64(e)<<metaExpiry
	if before == 0 {
		c.plan(e)
	}
}

// plan notes when the current key, which had no stamp, expires.
func (c *cells[K, V]) plan(stamp int64) {
	if c.wheel.on && stamp != 0 {
		c.wheel.add(c.bucket(stamp), c.k.hash)
	}
}

// soil marks a changed slot of the current key's group for the store and for the next delta.
func (c *cells[K, V]) soil(s *slot[K, V]) {
	if c.k.store != nil && s.meta&c.k.soiled != c.k.soiled {
		c.soilIn(c.k.group, s)
	}
}

func (c *cells[K, V]) soilIn(group int, s *slot[K, V]) {
	if s.meta&metaDirty == 0 {
		s.meta |= metaDirty
		c.groups[group].dirty++
	}
	c.markIn(group, s)
}

// markIn marks a slot for the next delta.
func (c *cells[K, V]) markIn(group int, s *slot[K, V]) {
	if k := c.k; s.meta&k.current != k.current {
		s.meta |= k.current
		c.groups[group].changed[k.parity].add(&k.chunks, s.hash)
	}
}

// drop removes the value of slot s, which is in the current key's group.
func (c *cells[K, V]) drop(s *slot[K, V]) error {
	return c.dropIn(c.k.group, s)
}

func (c *cells[K, V]) dropIn(group int, s *slot[K, V]) error {
	g := &c.groups[group]
	if c.k.store == nil {
		if g.frozen != nil {
			hash, key := s.hash, s.key
			c.own(g)
			s = g.find(hash, key)
		}
		g.remove(s)
		c.reset()
		return nil
	}
	if s.meta&metaAbsent != 0 {
		return nil
	}
	if s.meta&c.k.frozen != 0 {
		if err := c.release(group, s); err != nil {
			return err
		}
	}
	var zero V
	s.val = zero
	s.meta = s.meta&(metaFlags) | metaAbsent
	if s.meta&metaFresh == 0 {
		c.soilIn(group, s)
		return nil
	}
	// The store never had it; deltas may.
	if s.meta&metaDirty != 0 {
		s.meta &^= metaDirty
		g.dirty--
	}
	c.markIn(group, s)
	return nil
}

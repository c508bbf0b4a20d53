package state

import (
	"bytes"
	"encoding/binary"
	"math"
)

// How many entries that may have expired are looked at: by one access to a state with time to live in its decoded table (at most one entry
// is made by an access, so it cannot fall behind) or in the store, and by CleanUp in one state or in the store.
const (
	tidyEntries     = 16
	tidyStored      = 32
	cleanUpEntries  = 1 << 16
	cleanUpStored   = 1 << 12
	cleanUpPortions = cleanUpStored / tidyStored
)

// mortal is a member whose entries may expire.
type mortal interface {
	// removeExpired looks at up to n entries that may have expired, removes those that have from the decoded table, and
	// returns at how many it looked.
	removeExpired(n int) (looked int, err error)
}

// CleanUp removes what has expired, up to some ten thousand entries of each state; what is left follows at later accesses and calls. The
// host calls it after each watermark; Snapshot calls it by itself. It is never needed for what the states answer.
func (s *Keyed[K]) CleanUp() error {
	if !s.opened {
		return nil
	}
	if s.store != nil {
		if err := s.weigh(); err != nil { // others may need the memory
			return err
		}
	}
	if len(s.mortals) == 0 {
		return nil
	}
	s.clockGen = 0 // read the clock again
	for _, m := range s.mortals {
		if _, err := m.removeExpired(cleanUpEntries); err != nil {
			return err
		}
	}
	_, err := s.cleanStore(cleanUpPortions)
	return err
}

// cleanStore removes up to n portions of what has expired from the store, and reports whether there may be more.
func (s *Keyed[K]) cleanStore(n int) (more bool, err error) {
	if s.store == nil {
		return false, nil
	}
	for range n {
		more = false
		for clock, due := range s.due {
			if due == math.MaxInt64 {
				continue
			}
			if now := s.now(&lifetime{event: clock == eventClock}); due <= now {
				if err := s.removeStored(clock, now); err != nil {
					return false, err
				}
				more = true
			}
		}
		if !more {
			break
		}
	}
	return more, nil
}

// tidy removes some of what has expired, in the table and in the store beneath. It moves slots.
func (c *cells[K, V]) tidy() error {
	if c.wheel.next != math.MaxInt64 {
		if _, err := c.removeExpired(tidyEntries); err != nil {
			return err
		}
	}
	return c.desc.failed("clean up", c.k.tidyStore(&c.lifetime))
}

func (t *objects[K, O]) tidy() error {
	if t.wheel.next != math.MaxInt64 {
		if _, err := t.removeExpired(tidyEntries); err != nil {
			return err
		}
	}
	return t.desc.failed("clean up", t.k.tidyStore(&t.lifetime))
}

// removeExpired implements mortal.
func (c *cells[K, V]) removeExpired(n int) (looked int, err error) {
	now := c.k.now(&c.lifetime)
	for looked < n {
		hash, ok := c.wheel.pop(now)
		if !ok {
			break
		}
		looked++
		if err := c.visitExpired(hash, now); err != nil {
			return looked, err
		}
	}
	if c.wheel.overfull(c.live) {
		c.refill()
	}
	return looked, nil
}

// visitExpired removes the entries of keys with that hash that have expired, and plans the next visit to those that have not.
func (c *cells[K, V]) visitExpired(hash uint64, now int64) error {
	group := c.groupOf(c.k, hash)
	g := &c.groups[group]
	if g.busy() {
		c.wheel.add(c.bucket(now+1), hash)
		return nil
	}
	var later int64
	var failed error
	removed := g.each(hash, func(s *slot[K, V]) bool {
		stamp := int64(s.meta >> metaExpiry)
		if past(stamp, now) {
			gone, err := c.letGo(group, s)
			if err != nil {
				failed = err
			}
			return gone
		}
		if stamp != 0 && (later == 0 || stamp < later) {
			later = stamp
		}
		return false
	})
	if removed {
		c.reset()
	}
	if later != 0 {
		c.wheel.add(c.bucket(later), hash)
	}
	return failed
}

// letGo reports whether s, which has expired, can leave the table just so. Above a store it can if the store's copy has expired too or there is
// none; else the store must hear of it first. An older copy in a delta need not have expired: if s has changed, the next one takes it away.
func (c *cells[K, V]) letGo(group int, s *slot[K, V]) (bool, error) {
	k := c.k
	if k.store == nil {
		return true, nil
	}
	if s.meta&metaDirty != 0 && s.meta&metaFresh == 0 {
		return false, c.dropIn(group, s)
	}
	if s.meta&k.frozen != 0 {
		if err := c.release(group, s); err != nil {
			return false, err
		}
	}
	if s.meta&k.current != 0 {
		var zero V
		s.val = zero
		s.meta |= metaAbsent
		if err := c.settle(group, s); err != nil {
			return false, err
		}
	}
	if s.meta&metaDirty != 0 {
		c.groups[group].dirty--
	}
	return true, nil
}

// refill makes the wheel anew from the table.
func (c *cells[K, V]) refill() {
	c.wheel.init(true)
	c.wheel.limit += 2 * c.live()
	for i := range c.groups {
		for j := range c.groups[i].slots {
			if s := &c.groups[i].slots[j]; s.meta>>metaExpiry != 0 {
				c.wheel.add(c.bucket(int64(s.meta>>metaExpiry)), s.hash)
			}
		}
	}
}

// removeExpired implements mortal.
func (t *objects[K, O]) removeExpired(n int) (looked int, err error) {
	now := t.k.now(&t.lifetime)
	for looked < n {
		hash, ok := t.wheel.pop(now)
		if !ok {
			break
		}
		looked++
		if err := t.visitExpired(hash, now); err != nil {
			return looked, err
		}
	}
	if t.wheel.overfull(t.live) {
		t.refill()
	}
	return looked, nil
}

// visitExpired removes what has expired in the objects of keys with that hash, and plans the next visit.
func (t *objects[K, O]) visitExpired(hash uint64, now int64) error {
	group := t.groupOf(t.k, hash)
	g := &t.groups[group]
	if g.busy() {
		t.wheel.add(t.bucket(now+1), hash)
		g.each(hash, func(s *slot[K, *O]) bool {
			t.head(s.val).planned = t.bucket(now + 1)
			return false
		})
		return nil
	}
	var failed error
	removed := g.each(hash, func(s *slot[K, *O]) bool {
		h := t.head(s.val)
		if h.planned == 0 || h.planned > now { // another record says when
			return false
		}
		earliest, empty, err := t.expire(place[K]{group, s.hash, s.key}, s.val, now)
		if err != nil {
			failed = err
			return false
		}
		if h.planned = 0; earliest != 0 && !empty {
			t.planAt(s.val, t.bucket(earliest), hash)
		}
		return empty
	})
	if removed {
		t.reset()
	}
	return failed
}

func (t *objects[K, O]) refill() {
	t.wheel.init(true)
	t.wheel.limit += 2 * t.live()
	for i := range t.groups {
		for j := range t.groups[i].slots {
			if s := &t.groups[i].slots[j]; s.meta != 0 && t.head(s.val).planned != 0 {
				t.wheel.add(t.head(s.val).planned, s.hash)
			}
		}
	}
}

// groupOf is the group (relative) of a hash.
func (t *table[K, V]) groupOf(k *Keyed[K], hash uint64) int {
	return GroupOf(hash, k.cfg.MaxParallelism) - k.groups.Start
}

// live is the number of keys in the table.
func (t *table[K, V]) live() (n int) {
	for i := range t.groups {
		n += t.groups[i].used
	}
	return n
}

// busy reports whether an image still needs the slots as they are: cleaning up is not worth a copy, it can wait.
func (g *group[K, V]) busy() bool {
	if g.frozen != nil && g.frozen.users.Load() == 0 {
		g.frozen = nil
	}
	return g.frozen != nil
}

// each calls fn for every slot of hash and removes those for which it returns true; removed says whether there was one.
func (g *group[K, V]) each(hash uint64, fn func(*slot[K, V]) bool) (removed bool) {
	if len(g.slots) == 0 {
		return false
	}
	mask := len(g.slots) - 1
	for i := g.at(hash) & mask; g.slots[i].meta != 0; {
		if s := &g.slots[i]; s.hash == hash && fn(s) {
			g.remove(s) // another slot may have moved here
			removed = true
			continue
		}
		i = (i + 1) & mask
	}
	return removed
}

// Above a store the wheel is an index in the store itself:
//
//	ff ff [clock, 1 byte][end of the bucket, a stamp, 8 bytes][address of the entry] → nothing
//
// Key groups are below 2¹⁵, so no address begins so. Whatever is written with a stamp has a record in the bucket of that stamp; a record whose
// entry is gone or lives longer is stale, and removed when its bucket is over.
const indexHead = 11

// noneDue is due of an empty index.
var noneDue = [clockCount]int64{math.MaxInt64, math.MaxInt64}

func appendIndex(dst []byte, clock int, end int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0xff, 0xff, byte(clock)), uint64(end))
}

// index writes the record for an entry at address that expires at stamp.
func (s *Keyed[K]) index(w *storeWriter, l *lifetime, address []byte, stamp int64) error {
	if l.ttlMS == 0 || l.kept || stamp == 0 {
		return nil
	}
	end := l.bucket(stamp)
	s.due[l.clock()] = min(s.due[l.clock()], end)
	buf := append(appendIndex(w.begin(), l.clock(), end), address...)
	return w.set(buf, len(buf))
}

func (s *Keyed[K]) tidyStore(l *lifetime) error {
	if now := s.now(l); s.due[l.clock()] <= now {
		return s.removeStored(l.clock(), now)
	}
	return nil
}

// removeStored follows the next tidyStored records of buckets that are over. That the cache may hold what it removes from the store does
// no harm: a clean copy has expired as well, and a dirty one is written again.
func (s *Keyed[K]) removeStored(clock int, now int64) error {
	lo := appendIndex(nil, clock, s.due[clock])
	hi := appendIndex(nil, clock, math.MaxInt64)
	next := int64(math.MaxInt64)
	var gone []Change
	err := s.store.Scan(lo, hi, func(key, _ []byte) (bool, error) {
		if len(key) < indexHead {
			return false, errCorrupt
		}
		if end := int64(binary.BigEndian.Uint64(key[3:])); end > now || len(gone) == tidyStored {
			next = end
			return false, nil
		}
		gone = append(gone, Change{Kind: ChangeDelete, Key: bytes.Clone(key)})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, c := range gone[:len(gone):len(gone)] {
		address := c.Key[indexHead:]
		value, ok, err := s.store.Get(s.buf[:0], address)
		if err != nil {
			return err
		}
		if s.buf = value; !ok {
			continue
		}
		head, _, err := cutValueHead(value)
		if err != nil {
			return err
		}
		if past(head.expires, now) {
			gone = append(gone, Change{Kind: ChangeDelete, Key: address})
		}
	}
	s.due[clock] = next
	return s.store.Apply(gone)
}

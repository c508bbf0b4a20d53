package state

import "math/bits"

// A table is a flat hash table from the operator's key to V, one part for each key group, with the key's hash carried from the
// exchange and never computed again. Splitting by group bounds the pause of growth and lets a snapshot freeze, and the cache
// evict, one group at a time.
type table[K comparable, V any] struct {
	groups []group[K, V] // by key group - range start

	// The slot of the current key as of generation gen; nil when absent. Any change that moves slots resets gen to 0.
	gen uint64
	g   *group[K, V]
	cur *slot[K, V]
}

// group is an open-addressing table with linear probing and deletion by backward shift: no tombstones ever pile up.
type group[K comparable, V any] struct {
	slots []slot[K, V] // length 0 or a power of two
	shift uint8        // 64 - log2(len(slots))
	used  int
	dirty int // slots with metaDirty; only above a store
	// changed are the hashes of keys with the mark of an epoch, by parity; moved counts what may have moved slots.
	changed [2]changeList
	moved   uint
	// frozen is set while an image may still need the slots as they were at the barrier.
	frozen *frozen[K, V]
}

// slot is one entry. meta is 0 for a free slot; its low 8 bits are flags and the rest is the stamp at which the entry expires (0: never).
type slot[K comparable, V any] struct {
	hash uint64
	meta uint64
	key  K
	val  V
}

const (
	metaUsed   = 1 << iota // the slot holds a key
	metaAbsent             // the key is known to have no value
	metaDirty              // the store beneath does not have this yet
	metaFresh              // the store is known to hold nothing under this key
	metaRef1               // two bits of CLOCK reference count
	metaRef2
	metaChanged0 // the value changed in an epoch of parity 0 and is in no run yet, see tracked.go
	metaChanged1

	metaRef     = metaRef1 | metaRef2
	metaFlags   = 0xff
	metaExpiry  = 8 // shift
	minCapacity = 8
)

// expired reports whether the slot's stamp is set and not after now.
func (s *slot[K, V]) expired(now int64) bool { return past(int64(s.meta>>metaExpiry), now) }

// at is where the search for hash begins. The multiply spreads hashes of any quality over the high bits.
func (g *group[K, V]) at(hash uint64) int {
	return int((hash * 0x9e3779b97f4a7c15) >> (g.shift & 63))
}

// find is the slot of key, or nil.
func (g *group[K, V]) find(hash uint64, key K) *slot[K, V] {
	slots := g.slots
	if len(slots) == 0 {
		return nil
	}
	mask := len(slots) - 1
	for i := g.at(hash) & mask; ; i = (i + 1) & mask {
		s := &slots[i&mask]
		if s.meta == 0 {
			return nil
		}
		if s.hash == hash && s.key == key {
			return s
		}
	}
}

// next is the first slot of hash at or after position i of the search for it, and the position behind that; nil when there is none.
func (g *group[K, V]) next(hash uint64, i int) (*slot[K, V], int) {
	if len(g.slots) == 0 {
		return nil, i
	}
	mask := len(g.slots) - 1
	for ; ; i++ {
		switch s := &g.slots[(g.at(hash)+i)&mask]; {
		case s.meta == 0:
			return nil, i
		case s.hash == hash:
			return s, i + 1
		}
	}
}

// insert adds a slot for a key that is not there and returns it, used and with the zero value. It moves slots.
func (g *group[K, V]) insert(hash uint64, key K) *slot[K, V] {
	if g.used >= len(g.slots)-len(g.slots)/4 {
		g.resize(max(minCapacity, 2*len(g.slots)))
	}
	g.used++
	s := g.free(hash)
	s.hash, s.key, s.meta = hash, key, metaUsed
	return s
}

// free is the first free slot on the path of hash.
func (g *group[K, V]) free(hash uint64) *slot[K, V] {
	mask := len(g.slots) - 1
	for i := g.at(hash) & mask; ; i = (i + 1) & mask {
		if g.slots[i].meta == 0 {
			return &g.slots[i]
		}
	}
}

// resize moves the slots into an array of the given capacity, a power of two above used. The old array is left as it was.
func (g *group[K, V]) resize(capacity int) {
	g.moved++
	old := g.slots
	g.slots = make([]slot[K, V], capacity)
	g.shift = uint8(64 - bits.TrailingZeros(uint(capacity)))
	g.frozen = nil // the array is our own now
	for i := range old {
		if old[i].meta != 0 {
			*g.free(old[i].hash) = old[i]
		}
	}
}

// remove frees slot s and moves the slots behind it up.
func (g *group[K, V]) remove(s *slot[K, V]) {
	g.moved++
	mask := len(g.slots) - 1
	hole := g.at(s.hash) & mask
	for &g.slots[hole] != s {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; g.slots[i].meta != 0; i = (i + 1) & mask {
		// A slot may fill the hole when its home is not cyclically within (hole, i].
		home := g.at(g.slots[i].hash) & mask
		if (i-home)&mask >= (i-hole)&mask {
			g.slots[hole] = g.slots[i]
			hole = i
		}
	}
	g.slots[hole] = slot[K, V]{}
	g.used--
}

// own makes the slots writable: while an image needs them, they are copied first.
func (t *table[K, V]) own(g *group[K, V]) {
	f := g.frozen
	g.frozen = nil
	if f == nil || f.users.Load() == 0 {
		return
	}
	g.slots = append([]slot[K, V](nil), g.slots...)
	t.gen = 0
}

// scan is a walk through the slots of one group after the other, in pieces. A slot may be met twice, but none that stays is left out.
type scan struct {
	group, at int
	moved     uint
}

// begin continues the walk of a group, or begins it anew when slots may have moved.
func (c *scan) begin(group int, moved uint) {
	if c.group != group || c.moved != moved {
		*c = scan{group: group, moved: moved}
	}
}

// end makes the next begin start from the first slot.
func (c *scan) end() { c.group = -1 }

// reset drops the cached slot of the current key; it is called when slots have moved.
func (t *table[K, V]) reset() { t.gen = 0 }

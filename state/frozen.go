package state

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// frozen is one group of a table as it was at a barrier. Images of several barriers share it as long as the group is not touched
// in between.
//
// Values without references: the task copies the slots before its first write (table.own), the image encodes from the originals
// whenever it likes. Values with references: whoever comes first, the image or the task's first touch (read or write, since a
// reader may change what it was given), encodes the group; then the task goes on with the same slots.
type frozen[K comparable, V any] struct {
	users atomic.Int32 // images that still need it; never grows from 0
	group int          // absolute
	now   int64        // 0: nothing is left out
	slots []slot[K, V]

	once sync.Once
	run  *run
	err  error
}

// share adds one user and reports whether the group was still in use.
func (f *frozen[K, V]) share() bool {
	for {
		n := f.users.Load()
		if n == 0 {
			return false
		}
		if f.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// run is encoded entries of one state in one group.
type run struct {
	buf     []byte
	entries []runEntry
}

// runEntry is one entry of a run: buf[start:mid] is the address, buf[mid:end] the encoded value.
type runEntry struct {
	start, mid, end int
	hash            uint64
	expiresMS       int64
}

func (r *run) address(e runEntry) []byte { return r.buf[e.start:e.mid] }
func (r *run) value(e runEntry) []byte   { return r.buf[e.mid:e.end] }

// sort puts the entries into ascending order of their addresses.
func (r *run) sort() {
	slices.SortFunc(r.entries, func(a, b runEntry) int { return bytes.Compare(r.address(a), r.address(b)) })
}

// emit hands the entries out in their order.
func (r *run) emit(out *fileWriter) error {
	for _, e := range r.entries {
		if err := out.add(r.address(e), e.hash, e.expiresMS, r.value(e)); err != nil {
			return err
		}
	}
	return nil
}

// tableImage is the image of a table-shaped state. encode appends the entries of one slot to a run; it is called from any goroutine.
type tableImage[K comparable, V any] struct {
	groups []*frozen[K, V] // by key group - start; nil for an empty group
	start  int
	byRef  bool
	encode func(r *run, group int, s *slot[K, V], now int64) error
}

// freezeTable makes every group of t frozen.
func freezeTable[K comparable, V any](t *table[K, V], start int, byRef bool, now int64,
	encode func(r *run, group int, s *slot[K, V], now int64) error) *tableImage[K, V] {
	im := &tableImage[K, V]{groups: make([]*frozen[K, V], len(t.groups)), start: start, byRef: byRef, encode: encode}
	for i := range t.groups {
		g := &t.groups[i]
		if g.used == 0 {
			continue
		}
		if g.frozen == nil || !g.frozen.share() {
			g.frozen = &frozen[K, V]{group: start + i, now: now, slots: g.slots}
			g.frozen.users.Store(1)
		}
		im.groups[i] = g.frozen
	}
	return im
}

func (im *tableImage[K, V]) occupied(group int) (bool, error) {
	return im.groups[group-im.start] != nil, nil
}

func (im *tableImage[K, V]) emit(group int, out *fileWriter) error {
	f := im.groups[group-im.start]
	if f == nil {
		return nil
	}
	if im.byRef {
		f.encodeOnce(im.encode)
		if f.err != nil {
			return f.err
		}
		return f.run.emit(out)
	}
	r, err := f.encodeAll(im.encode)
	if err != nil {
		return err
	}
	return r.emit(out)
}

func (im *tableImage[K, V]) release() {
	for i, f := range im.groups {
		if f != nil {
			f.users.Add(-1)
		}
		im.groups[i] = nil
	}
}

func (f *frozen[K, V]) encodeOnce(encode func(r *run, group int, s *slot[K, V], now int64) error) {
	f.once.Do(func() {
		f.run, f.err = f.encodeAll(encode)
		f.slots = nil
	})
}

func (f *frozen[K, V]) encodeAll(encode func(r *run, group int, s *slot[K, V], now int64) error) (*run, error) {
	r := &run{}
	for i := range f.slots {
		s := &f.slots[i]
		if s.meta == 0 || s.meta&metaAbsent != 0 {
			continue
		}
		if err := encode(r, f.group, s, f.now); err != nil {
			return nil, err
		}
	}
	r.sort()
	return r, nil
}

// thaw encodes the frozen group g if its image still waits for that, and lets the task go on with the values.
func (t *table[K, V]) thaw(g *group[K, V], encode func(r *run, group int, s *slot[K, V], now int64) error) {
	f := g.frozen
	g.frozen = nil
	if f.users.Load() > 0 {
		f.encodeOnce(encode) // an error surfaces in the image's emit
	}
}

// encode appends the entry of one slot.
func (c *cells[K, V]) encode(r *run, group int, s *slot[K, V], now int64) error {
	if s.expired(now) {
		return nil
	}
	e := runEntry{start: len(r.buf), hash: s.hash, expiresMS: int64(s.meta >> metaExpiry)}
	buf, err := c.k.appendAddress(r.buf, group, c.id, s.key)
	if err != nil {
		return err
	}
	e.mid = len(buf)
	if buf, err = c.codec.Append(buf, s.val); err != nil {
		return fmt.Errorf("state: encode %s state %q: %w", c.desc.Kind, c.desc.Name, err)
	}
	r.buf, e.end = buf, len(buf)
	r.entries = append(r.entries, e)
	return nil
}

func (c *cells[K, V]) freeze() memberImage {
	return freezeTable(&c.table, c.k.groups.Start, c.byRef, c.k.imageTime(&c.lifetime), c.encode)
}

// appendAddress appends the address of key without a sub key. It is called from any goroutine.
func (s *Keyed[K]) appendAddress(dst []byte, group, state int, key K) ([]byte, error) {
	dst = appendHead(dst, group, state)
	mark := len(dst)
	dst, err := s.codec.Append(dst, key)
	if err != nil {
		return dst, fmt.Errorf("state: encode operator key: %w", err)
	}
	if bytes.IndexByte(dst[mark:], 0) < 0 {
		return append(dst, 0x00, 0x01), nil
	}
	raw := append([]byte(nil), dst[mark:]...)
	return appendEscaped(dst[:mark], raw), nil
}

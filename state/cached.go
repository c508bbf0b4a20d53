package state

// Above a Store the decoded tables are a bounded write-back cache. A slot knows whether its value differs from the store's
// (metaDirty), whether the key is known to be absent (metaAbsent), and whether the store is known to hold nothing (metaFresh).
// Room is made by s3fifo, see evict.go.

// above is the part of Keyed that deals with the store beneath.
type above struct {
	uid     string
	subtask int

	store Store
	room
	// due are the ends of the earliest buckets in the index of the store, by clock.
	due  [clockCount]int64
	out  *storeWriter // of evictions
	addr []byte
	buf  []byte

	epochs
	history *history // nil without tracking
	work    backgroundWork
}

// cached is what the cache needs of one state.
type cached[K comparable] interface {
	ident() int
	life() *lifetime
	// resolve is the id under which load and recode read values that were written under schema.
	resolve(schema string) (id int, err error)
	// memory is the estimated size of the decoded table in bytes.
	memory() int64
}

func (c *cells[K, V]) ident() int    { return c.id }
func (t *objects[K, O]) ident() int  { return t.id }
func (m *timerMember[K]) ident() int { return m.id }

func (c *cells[K, V]) life() *lifetime   { return &c.lifetime }
func (t *objects[K, O]) life() *lifetime { return &t.lifetime }

// sizes estimates the memory of a decoded table.
type sizes struct {
	slotBytes int64 // of one slot with its share of free ones
	elemBytes int64 // of one element of an object
	elems     int64 // of all objects
	variable  bool
	extra     int64 // bytes beyond elemBytes of one element, a moving average of twice the encoded length
	sets      uint
}

func (s *sizes) init(slotBytes, elemBytes int64, variable bool) {
	// A growing table is between three eighths and three quarters full, 9/16 on average.
	*s = sizes{slotBytes: slotBytes*16/9 + policyBytes, elemBytes: elemBytes, variable: variable}
}

func (c *cells[K, V]) memory() int64 { return int64(c.live()) * (c.slotBytes + c.extra) }

func (t *objects[K, O]) memory() int64 {
	return int64(t.live())*t.slotBytes + t.elems*(t.elemBytes+t.extra)
}

// observe learns from the length of one encoded value.
func (s *sizes) observe(encoded int) {
	if s.variable {
		s.extra += (2*int64(encoded) - s.extra) / 16
	}
}

// measured reports whether a value that is set now should be encoded just to learn its size.
func (s *sizes) measured() bool {
	if !s.variable {
		return false
	}
	s.sets++
	return s.sets&63 == 1
}

// storeWriter collects changes and applies them in sorted groups.
type storeWriter struct {
	store   Store
	run     run
	changes []Change
}

// writerBytes is how much a storeWriter collects before it applies.
const writerBytes = 1 << 20

// begin starts an entry: the caller appends the address to what it returns.
func (w *storeWriter) begin() []byte { return w.run.buf }

// set ends an entry whose address is buf[len(begin()):mid] and whose value follows.
func (w *storeWriter) set(buf []byte, mid int) error {
	return w.end(buf, mid, runEntry{start: len(w.run.buf), mid: mid, end: len(buf)})
}

// remove ends an entry that is to be deleted.
func (w *storeWriter) remove(buf []byte) error {
	return w.end(buf, len(buf), runEntry{start: len(w.run.buf), mid: len(buf), end: -1})
}

func (w *storeWriter) end(buf []byte, mid int, e runEntry) error {
	w.run.buf = buf
	w.run.entries = append(w.run.entries, e)
	if len(buf) < writerBytes {
		return nil
	}
	return w.flush()
}

func (w *storeWriter) flush() error {
	if len(w.run.entries) == 0 {
		return nil
	}
	w.run.sort()
	w.changes = w.changes[:0]
	for _, e := range w.run.entries {
		c := Change{Kind: ChangeDelete, Key: w.run.address(e)}
		if e.end >= 0 {
			c.Kind, c.Value = ChangeSet, w.run.value(e)
		}
		w.changes = append(w.changes, c)
	}
	w.run.buf, w.run.entries = w.run.buf[:0], w.run.entries[:0]
	return w.store.Apply(w.changes)
}

// address is the address of the current key in a state, valid until the next call.
func (s *Keyed[K]) address(state int) ([]byte, error) {
	var err error
	s.addr, err = s.appendAddress(s.addr[:0], s.groups.Start+s.group, state, s.key)
	return s.addr, err
}

// deleteAll deletes every entry of the current key in a state. What is frozen of it must have been encoded before.
func (s *Keyed[K]) deleteAll(state int) error {
	lo, err := s.address(state)
	if err != nil {
		return err
	}
	if s.tracking {
		s.currentRun(s.group).copy(ChangeDeleteRange, lo, nil)
	}
	return s.store.Apply([]Change{{Kind: ChangeDeleteRange, Key: lo, End: after(nil, lo)}})
}

// writeSlot writes s if it is dirty.
func (c *cells[K, V]) writeSlot(group int, s *slot[K, V], w *storeWriter) error {
	if s.meta&metaDirty == 0 {
		return nil
	}
	c.groups[group].dirty--
	address, err := c.k.appendAddress(c.k.addr[:0], c.k.groups.Start+group, c.desc.ID, s.key)
	if c.k.addr = address; err != nil {
		return err
	}
	stamp := int64(s.meta >> metaExpiry)
	if err := c.k.index(w, &c.lifetime, address, stamp); err != nil {
		return err
	}
	buf := append(w.begin(), address...)
	if s.meta&metaAbsent != 0 {
		s.meta = s.meta&^metaDirty | metaFresh
		return w.remove(buf)
	}
	s.meta &^= metaDirty | metaFresh
	mid := len(buf)
	buf = appendValueHead(buf, valueHead{hash: s.hash, expires: stamp, schema: c.written})
	head := len(buf)
	if buf, err = c.codec.Append(buf, s.val); err != nil {
		return err
	}
	c.observe(len(buf) - head)
	return w.set(buf, mid)
}

// fetch reads the current key's value from the store into a new slot.
func (c *cells[K, V]) fetch() (*slot[K, V], error) {
	k := c.k
	at, err := k.address(c.desc.ID)
	if err != nil {
		return nil, c.desc.failed("read", err)
	}
	var ok bool
	if k.buf, ok, err = k.store.Get(k.buf[:0], at); err != nil {
		return nil, c.desc.failed("read", err)
	}
	var v V
	meta := uint64(metaAbsent | metaFresh)
	if ok {
		head, value, err := cutValueHead(k.buf)
		if err == nil {
			err = c.decode(value, head.schema, &v)
		}
		if err != nil {
			return nil, c.desc.failed("decode", err)
		}
		c.observe(len(value))
		meta = uint64(head.expires) << metaExpiry
	}
	s, err := c.add()
	if err != nil {
		return nil, err
	}
	s.val = v
	s.meta |= meta
	c.plan(int64(meta >> metaExpiry))
	return s, nil
}

// takeToStore writes an entry of a snapshot into the store.
func (s *Keyed[K]) takeToStore(w *storeWriter, m member[K], e *loaded[K]) error {
	value, err := m.recode(e)
	if err != nil || value == nil {
		return err
	}
	address := appendEscaped(appendHead(s.addr[:0], e.Group, m.descriptor().ID), e.Key)
	address = append(address, e.Sub...)
	s.addr = address
	head, _, err := cutValueHead(value)
	if err == nil {
		err = s.index(w, m.life(), address, head.expires)
	}
	if err != nil {
		return err
	}
	if s.tracking {
		s.currentRun(e.Group-s.groups.Start).copy(ChangeSet, address, value)
	}
	buf := append(w.begin(), address...)
	mid := len(buf)
	if err := w.set(append(buf, value...), mid); err != nil {
		return err
	}
	return s.overflow()
}

package state

// objects is a state with several entries for each key: the entries of one key are one decoded object O.
type objects[K comparable, O any] struct {
	table[K, *O]
	k      *Keyed[K]
	id     int
	desc   Descriptor
	ttlMS  int64
	onRead bool
	encode func(r *run, group int, s *slot[K, *O], nowMS int64) error
	// expire drops some of what has expired in the object and reports whether the object is empty now.
	expire func(s *slot[K, *O], nowMS int64) bool
	sizes
}

func (t *objects[K, O]) descriptor() Descriptor { return t.desc }

func (t *objects[K, O]) open() {
	t.groups = make([]group[K, *O], t.k.span)
	t.sizes.init(sizeOf[slot[K, *O]]()+sizeOf[O](), t.elemBytes, t.variable)
}

func (t *objects[K, O]) freeze(nowMS int64) memberImage {
	return freezeTable(&t.table, t.k.groups.Start, true, nowMS, t.encode)
}

// prepare comes before every access, while no object is held: it makes room and sweeps the store.
func (t *objects[K, O]) prepare() error {
	if t.k.store == nil {
		return nil
	}
	if err := t.k.makeRoom(); err != nil {
		return t.desc.failed("make room for", err)
	}
	if t.ttlMS == 0 {
		return nil
	}
	return t.desc.failed("sweep", t.k.sweepStore())
}

// current is the object of the current key in the decoded table, ready to be read and changed, or nil.
func (t *objects[K, O]) current() *O {
	k := t.k
	g := &t.groups[k.group]
	if g.frozen != nil {
		t.thaw(g, t.encode)
	}
	if t.ttlMS != 0 && k.store == nil {
		t.sweep(g)
	}
	if t.gen != k.gen {
		t.g, t.cur, t.gen = g, g.find(k.hash, k.key), k.gen
	}
	if t.cur == nil {
		return nil
	}
	if k.store != nil && t.cur.meta&metaRef != metaRef {
		t.cur.meta += metaRef1
	}
	return t.cur.val
}

// create makes o the object of the current key, which has none.
func (t *objects[K, O]) create(o *O) error {
	g := &t.groups[t.k.group]
	before := len(g.slots)
	s := g.insert(t.k.hash, t.k.key)
	t.capacity += int64(len(g.slots) - before)
	s.val = o
	t.g, t.cur, t.gen = g, s, t.k.gen
	return nil
}

// forget removes the object of the current key from the table.
func (t *objects[K, O]) forget() {
	g := &t.groups[t.k.group]
	if s := g.find(t.k.hash, t.k.key); s != nil {
		g.remove(s)
	}
	t.reset()
}

// sweep looks at one more object of g for expired entries. Above a store, Keyed.sweepStore does that work.
func (t *objects[K, O]) sweep(g *group[K, *O]) {
	if g.used == 0 {
		return
	}
	g.sweep = (g.sweep + 1) & (len(g.slots) - 1)
	if s := &g.slots[g.sweep]; s.meta != 0 && t.expire(s, t.k.nowMS()) {
		g.remove(s)
		t.reset()
	}
}

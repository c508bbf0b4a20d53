package state

// objects is a state with several entries for each key: the entries of one key are one decoded object O.
type objects[K comparable, O any] struct {
	table[K, *O]
	k    *Keyed[K]
	id   int
	desc Descriptor
	lifetime
	wheel
	encode func(r *run, group int, s *slot[K, *O], now int64) error
	head   func(o *O) *objectHead
	// expire drops what has expired in the object. It returns the earliest stamp that is left, 0 for none, and whether the object is empty.
	expire func(p place[K], o *O, now int64) (earliest int64, empty bool, err error)
	// release encodes what is frozen of the object into the frozen run. It may stop when left says so; with nil it is done.
	release func(p place[K], o *O, left *allowance) (done bool, err error)
	// settle encodes what has changed in the current epoch of an object that leaves the table.
	settle func(p place[K], o *O) error
	// write writes what the store lacks.
	write func(p place[K], o *O, w *storeWriter) error
	walk  scan
	byRef bool // as in cells
	sizes
}

// objectHead is what every object has.
type objectHead struct {
	pins    int    // calls that hold the object while user code runs: it must not be evicted
	counted int    // elements that the estimate of memory knows of
	planned int64  // the end of the bucket in which it is to be looked at; 0 for none
	changed uint64 // metaChanged0 and metaChanged1, as in the meta of a slot
}

// place is a key with its hash and group (relative).
type place[K comparable] struct {
	group int
	hash  uint64
	key   K
}

func (t *objects[K, O]) descriptor() Descriptor { return t.desc }

func (t *objects[K, O]) open() {
	t.groups = make([]group[K, *O], t.k.span)
	t.walk.end()
	t.wheel.init(t.ttlMS != 0 && !t.kept)
	t.sizes.init(sizeOf[slot[K, *O]]()+sizeOf[O](), t.elemBytes, t.variable)
}

func (t *objects[K, O]) freeze() memberImage {
	return freezeTable(&t.table, t.k.groups.Start, true, t.k.imageTime(&t.lifetime), t.encode)
}

// prepare comes before every access, while no object is held: it makes room and removes some of what has expired.
func (t *objects[K, O]) prepare() error {
	if t.k.store != nil {
		if err := t.k.makeRoom(); err != nil {
			return t.desc.failed("make room for", err)
		}
	}
	if t.ttlMS == 0 {
		return nil
	}
	return t.tidy()
}

// current is the object of the current key in the decoded table, ready to be read and changed, or nil.
func (t *objects[K, O]) current() *O {
	k := t.k
	g := &t.groups[k.group]
	if g.frozen != nil {
		t.thaw(g, t.encode)
	}
	if t.gen != k.gen {
		t.g, t.cur, t.gen = g, g.find(k.hash, k.key), k.gen
		if t.cur != nil && k.store != nil {
			use(&t.cur.meta)
		}
	}
	if t.cur == nil {
		return nil
	}
	return t.cur.val
}

// create makes o the object of the current key, which has none.
func (t *objects[K, O]) create(o *O) error {
	g := &t.groups[t.k.group]
	s := g.insert(t.k.hash, t.k.key)
	if t.k.store != nil {
		t.k.policy.add(t.id, t.k.hash)
	}
	s.val = o
	t.g, t.cur, t.gen = g, s, t.k.gen
	return nil
}

// forget removes o from the table, if it is the object of the current key: a reader that still holds what was there before is not.
func (t *objects[K, O]) forget(o *O) {
	g := &t.groups[t.k.group]
	if s := g.find(t.k.hash, t.k.key); s != nil && s.val == o {
		g.remove(s)
	}
	t.reset()
}

// plan notes that something in o, the object of the current key, expires at stamp.
func (t *objects[K, O]) plan(o *O, stamp int64) {
	if t.wheel.on && stamp != 0 {
		t.planAt(o, t.bucket(stamp), t.k.hash)
	}
}

func (t *objects[K, O]) planAt(o *O, end int64, hash uint64) {
	if h := t.head(o); h.planned == 0 || end < h.planned {
		h.planned = end
		t.wheel.add(end, hash)
	}
}

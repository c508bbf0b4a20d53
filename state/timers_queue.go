package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// timer is a registration or, with gone set, a deletion.
type timer[K comparable] struct {
	at     uint64
	hash   uint64
	key    K
	seq    uint32 // position before a sort
	domain Domain
	gone   bool
	// stored says of a registration that the store may have it, and of a deletion that the store has heard of it. void is a note for distinct.
	stored, void bool
}

func (e *timer[K]) same(o *timer[K]) bool { return e.at == o.at && e.hash == o.hash && e.key == o.key }

// timerQueue holds the timers of one domain that are in memory, in a radix heap. Registrations and deletions are appended to the bucket of
// their time and sorted out when the bucket falls due; a timer moves through at most one bucket per bit of its distance from now. All operations
// on one time are in one place, in the order in which they came: in due and fresh when at ≤ last, else in the bucket given by the highest bit in
// which at differs from last.
// Source: Ahuja, Mehlhorn, Orlin, Tarjan, "Faster Algorithms for the Shortest Path Problem" (1990), section 3.
type timerQueue[K comparable] struct {
	last    uint64 // the highest time that has been moved to due
	buckets [65]timerBucket[K]
	filled  [2]uint64 // bit set of the buckets with entries

	due   []dueTimer[K] // from head on: sorted by time and encoded key, without duplicates
	head  int
	keys  []byte     // encoded keys of due
	fresh []timer[K] // not yet merged into due
	merge merging[K]
	moved uint // grows whenever due is made anew

	// recent remembers registrations that are certainly pending, so that a record that registers the same timer as the one before costs nothing.
	recent []timer[K]
	// lost are registrations that the store may have and that were deleted: it is to be told.
	lost []timer[K]
}

// timerBucket is an unordered log of registrations and deletions.
type timerBucket[K comparable] struct {
	log       []timer[K]
	shared    bool   // an image reads log: append only
	loose     bool   // the registration at min may have been deleted
	min       uint64 // lower bound of the registrations
	live      int    // registrations in log
	compactAt int    // length at which duplicates are dropped
	moved     uint   // grows whenever log is made anew
}

// dueTimer is a timer with its encoded key, keys[start:end].
type dueTimer[K comparable] struct {
	timer[K]
	start, end int
}

// merging is memory for settle.
type merging[K comparable] struct {
	due       []dueTimer[K]
	keys      []byte
	order     []timerPlace
	added     []dueTimer[K]
	addedKeys []byte
}

// timerPlace is what says where an operation stands among others: its time, the first bytes of its encoded key, which decide nearly always, and
// its position i; start and end are those of the key.
type timerPlace struct {
	at, prefix    uint64
	start, end, i int
}

// compare orders by time, encoded key, and the last operation first.
func (p *timerPlace) compare(o *timerPlace, keys []byte) int {
	switch {
	case p.at != o.at:
		return cmp.Compare(p.at, o.at)
	case p.prefix != o.prefix:
		return cmp.Compare(p.prefix, o.prefix)
	}
	if c := bytes.Compare(keys[p.start:p.end], keys[o.start:o.end]); c != 0 {
		return c
	}
	return o.i - p.i
}

// prefixOf is the first 8 bytes of a key as a number in the order of bytes.
func prefixOf(key []byte) (p uint64) {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	for i, c := range key {
		p |= uint64(c) << (56 - 8*i)
	}
	return p
}

const (
	recentTimers   = 256  // a power of two
	compactTimers  = 4096 // the first length at which a bucket is searched for duplicates
	compactSlower  = 4    // growth until the next search after one that found few
	compactQuicker = 2    // and after one that found many
)

func (q *timerQueue[K]) slot(e *timer[K]) *timer[K] {
	if q.recent == nil {
		q.recent = make([]timer[K], recentTimers)
	}
	return &q.recent[((e.hash^e.at*0x9e3779b97f4a7c15)*0x9e3779b97f4a7c15)>>56&(recentTimers-1)]
}

// known reports whether the registration e is certainly pending already, and remembers it.
func (q *timerQueue[K]) known(e *timer[K]) bool {
	r := q.slot(e)
	if r.seq != 0 && r.same(e) {
		return true
	}
	*r = *e
	r.seq = 1 // in use
	return false
}

// forget removes e from the recent registrations.
func (q *timerQueue[K]) forget(e *timer[K]) {
	if r := q.slot(e); r.same(e) {
		*r = timer[K]{}
	}
}

// append is push for an operation that is new to the queue: only such can make duplicates worth looking for.
func (q *timerQueue[K]) append(e timer[K]) {
	if b := q.push(e); b != nil && len(b.log) >= max(b.compactAt, compactTimers) {
		b.thin(&q.lost)
	}
}

// push puts e where it belongs, and returns the bucket if it is one.
func (q *timerQueue[K]) push(e timer[K]) *timerBucket[K] {
	if e.at <= q.last {
		q.fresh = append(q.fresh, e)
		return nil
	}
	i := bits.Len64(e.at ^ q.last)
	b := &q.buckets[i]
	if len(b.log) == 0 {
		q.filled[i>>6] |= 1 << (i & 63)
	}
	b.add(e)
	return b
}

func (b *timerBucket[K]) add(e timer[K]) {
	if e.gone {
		if e.at == b.min {
			b.loose = true
		}
	} else {
		if b.live == 0 || e.at < b.min {
			b.min, b.loose = e.at, false
		}
		b.live++
	}
	b.log = append(b.log, e)
}

// thin compacts the bucket if that is likely to shrink it by a third or more, and says when to look again. It costs a few ns a timer, a
// sort a hundred.
func (b *timerBucket[K]) thin(lost *[]timer[K]) {
	n := len(b.log)
	b.compactAt = n * compactSlower
	if 10*differentTimers(b.log) < 7*n {
		b.compact(lost)
		b.compactAt = len(b.log) * compactQuicker
	}
}

// differentTimers is about how many different timers log has, rather too few than too many. Of n hashed into 2n bits, about 0.79n bits are set:
// the count is of those bits, on the scale that makes n different ones n.
// Source: Whang, Vander-Zanden, Taylor, "A Linear-Time Probabilistic Counting Algorithm" (1990).
func differentTimers[K comparable](log []timer[K]) int {
	seen := make([]uint64, (2*len(log)+63)/64)
	set := 0
	for i := range log {
		e := &log[i]
		h, _ := bits.Mul64((e.hash^e.at*0x9e3779b97f4a7c15)*0x9e3779b97f4a7c15, uint64(len(seen)*64))
		if bit := uint64(1) << (h & 63); seen[h>>6]&bit == 0 {
			seen[h>>6] |= bit
			set++
		}
	}
	return set * 7 / 6
}

// compact drops duplicates and deletions.
func (b *timerBucket[K]) compact(lost *[]timer[K]) {
	if b.shared {
		b.log, b.shared = slices.Clone(b.log), false
	}
	b.log = distinct(b.log, lost)
	b.moved++
	b.live, b.loose = len(b.log), false
	if len(b.log) > 0 {
		b.min = b.log[0].at
	}
}

// latest sorts log by time and hash and keeps the last operation on each timer. Registrations that the store may have and that were deleted, of
// which it has not heard, are added to lost. It works in place.
func latest[K comparable](log []timer[K], lost *[]timer[K]) []timer[K] {
	for i := range log {
		log[i].seq = uint32(i)
	}
	slices.SortFunc(log, func(a, b timer[K]) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Compare(b.seq, a.seq) // the last operation first
	})
	kept, start := 0, 0 // log[start:kept] are the kept operations of one (at, hash)
	for i := range log {
		e := log[i]
		if start < kept && (log[start].at != e.at || log[start].hash != e.hash) {
			start = kept
		}
		same := slices.IndexFunc(log[start:kept], func(o timer[K]) bool { return o.key == e.key && o.domain == e.domain })
		if same < 0 {
			e.void = e.gone && e.stored
			log[kept] = e
			kept++
			continue
		}
		log[start+same].follows(&e, lost)
	}
	clear(log[kept:])
	return log[:kept]
}

// follows takes up in o, the last operation on a timer, an earlier one, e. What the store may have of an earlier registration it may have still, unless it
// has heard of a deletion in between.
func (o *timer[K]) follows(e *timer[K], lost *[]timer[K]) {
	switch {
	case o.void:
	case e.gone:
		o.void = e.stored
	case e.stored:
		o.void = true
		if o.gone {
			*lost = append(*lost, *o)
		} else {
			o.stored = true
		}
	}
}

// distinct is latest without the deletions.
func distinct[K comparable](log []timer[K], lost *[]timer[K]) []timer[K] {
	return slices.DeleteFunc(latest(log, lost), func(e timer[K]) bool { return e.gone })
}

// first is the bucket with the earliest times, or nil.
func (q *timerQueue[K]) first() (int, *timerBucket[K]) {
	i := bits.TrailingZeros64(q.filled[0])
	if i == 64 {
		if q.filled[1] == 0 {
			return 0, nil
		}
	}
	return i, &q.buckets[i]
}

// remove takes up the deletion e.
func (q *timerQueue[K]) remove(e timer[K], t *Timers[K]) {
	q.forget(&e)
	if e.at > q.last {
		if b := &q.buckets[bits.Len64(e.at^q.last)]; b.live > 0 {
			q.append(e)
		}
		return
	}
	q.settle(t)
	if i, ok := q.search(e, t); ok {
		d := &q.due[i]
		if d.stored && !d.gone {
			q.lost = append(q.lost, d.timer)
		}
		d.gone, d.stored = true, true
	}
}

// search finds e in due.
func (q *timerQueue[K]) search(e timer[K], t *Timers[K]) (int, bool) {
	if q.head == len(q.due) {
		return 0, false
	}
	key := t.encoded(nil, e.key)
	i, ok := slices.BinarySearchFunc(q.due[q.head:], e.at, func(d dueTimer[K], at uint64) int {
		if d.at != at {
			return cmp.Compare(d.at, at)
		}
		return bytes.Compare(q.keys[d.start:d.end], key)
	})
	return q.head + i, ok
}

// next is the earliest pending time.
func (q *timerQueue[K]) next(t *Timers[K]) (uint64, bool) {
	q.settle(t)
	q.skipGone()
	if q.head < len(q.due) {
		return q.due[q.head].at, true
	}
	for {
		i, b := q.first()
		if b == nil {
			return 0, false
		}
		if b.loose {
			b.compact(&q.lost)
		}
		if b.live > 0 {
			return b.min, true
		}
		q.emptied(i, b)
	}
}

func (q *timerQueue[K]) emptied(i int, b *timerBucket[K]) {
	if b.shared {
		b.log = nil
	}
	*b = timerBucket[K]{log: b.log[:0], moved: b.moved + 1}
	q.filled[i>>6] &^= 1 << (i & 63)
}

func (q *timerQueue[K]) skipGone() {
	for q.head < len(q.due) && q.due[q.head].gone {
		q.head++
	}
}

// front is the earliest pending timer if its time is at most upTo, else nil. It stays pending until popped is called, which must be
// before anything else.
func (q *timerQueue[K]) front(upTo uint64, t *Timers[K]) *dueTimer[K] {
	for {
		if len(q.fresh) > 0 {
			q.settle(t)
		}
		q.skipGone()
		if q.head < len(q.due) {
			d := &q.due[q.head]
			if d.at > upTo {
				return nil
			}
			return d
		}
		i, b := q.first()
		if b == nil || b.live > 0 && b.min > upTo {
			return nil
		}
		q.advance(i, b)
	}
}

// popped removes d, the front.
func (q *timerQueue[K]) popped(d *dueTimer[K]) {
	q.head++
	q.forget(&d.timer)
}

// sortTimers is the size of a bucket that is sorted at once instead of being spread further.
const sortTimers = 16

// advance makes the earliest time of bucket i, the first, the last one, and spreads the bucket over those before it. A small
// bucket goes to fresh as it is.
func (q *timerQueue[K]) advance(i int, b *timerBucket[K]) {
	log, live, shared := b.log, b.live, b.shared
	least := b.min
	b.log = nil
	q.emptied(i, b)
	switch {
	case live == 0:
	case len(log) <= sortTimers:
		for _, e := range log {
			q.last = max(q.last, e.at)
		}
		q.fresh = append(q.fresh, log...)
	default:
		q.last = least
		for _, e := range log {
			// A deletion before the first registration has nothing to delete.
			if e.at >= q.last {
				q.push(e)
			}
		}
	}
	if !shared {
		b.log = log[:0]
	}
}

// settle merges fresh into due.
func (q *timerQueue[K]) settle(t *Timers[K]) {
	if len(q.fresh) == 0 {
		return
	}
	q.moved++
	if q.head == len(q.due) {
		q.due, q.head, q.keys = q.due[:0], 0, q.keys[:0]
		if len(q.fresh) == 1 && !q.fresh[0].gone {
			q.keys = t.encoded(q.keys, q.fresh[0].key)
			q.due = append(q.due, dueTimer[K]{q.fresh[0], 0, len(q.keys)})
			q.fresh = q.fresh[:0]
			return
		}
	}
	m := &q.merge
	m.sort(q.fresh, t, &q.lost)
	clear(q.fresh)
	q.fresh = q.fresh[:0]
	if q.head < len(q.due) {
		q.mergeAdded(m)
		return
	}
	q.due, m.added = slices.DeleteFunc(m.added, func(d dueTimer[K]) bool { return d.gone }), q.due[:0]
	q.keys, m.addedKeys = m.addedKeys, q.keys[:0]
	if cap(m.added) > 4*len(q.due)+compactTimers { // there was a burst
		*m = merging[K]{}
	}
}

// sort makes added of log: the last operation on each timer, in the order of time and encoded key. lost is that of latest.
func (m *merging[K]) sort(log []timer[K], t *Timers[K], lost *[]timer[K]) {
	m.order, m.added, m.addedKeys = m.order[:0], m.added[:0], m.addedKeys[:0]
	for i := range log {
		start := len(m.addedKeys)
		m.addedKeys = t.encoded(m.addedKeys, log[i].key)
		end := len(m.addedKeys)
		m.order = append(m.order, timerPlace{log[i].at, prefixOf(m.addedKeys[start:end]), start, end, i})
	}
	keys := m.addedKeys
	slices.SortFunc(m.order, func(a, b timerPlace) int { return a.compare(&b, keys) })
	start := 0 // of those in added with the time and key of the last one
	for n := range m.order {
		o := &m.order[n]
		e := log[o.i]
		if n == 0 || o.at != m.order[n-1].at || !bytes.Equal(keys[o.start:o.end], keys[m.order[n-1].start:m.order[n-1].end]) {
			start = len(m.added)
		}
		// Keys that cannot be encoded look alike.
		same := slices.IndexFunc(m.added[start:], func(d dueTimer[K]) bool { return d.key == e.key && d.domain == e.domain })
		if same >= 0 {
			m.added[start+same].follows(&e, lost)
			continue
		}
		e.void = e.gone && e.stored
		m.added = append(m.added, dueTimer[K]{e, o.start, o.end})
	}
}

// mergeAdded makes due anew, of what is left of it and what was added after it.
func (q *timerQueue[K]) mergeAdded(m *merging[K]) {
	out, outKeys := m.due[:0], m.keys[:0]
	old, added := q.due[q.head:], m.added
	for len(old) > 0 || len(added) > 0 {
		order := 1
		if len(added) == 0 {
			order = -1
		} else if len(old) > 0 {
			order = cmp.Compare(old[0].at, added[0].at)
			if order == 0 {
				order = bytes.Compare(q.keys[old[0].start:old[0].end], m.addedKeys[added[0].start:added[0].end])
			}
		}
		var d dueTimer[K]
		var key []byte
		if order < 0 {
			d, key, old = old[0], q.keys[old[0].start:old[0].end], old[1:]
		} else {
			d, key = added[0], m.addedKeys[added[0].start:added[0].end]
			if added = added[1:]; order == 0 {
				d.timer = latest([]timer[K]{old[0].timer, d.timer}, &q.lost)[0]
				old = old[1:]
			}
		}
		if d.gone {
			continue
		}
		d.start = len(outKeys)
		outKeys = append(outKeys, key...)
		d.end = len(outKeys)
		out = append(out, d)
	}
	m.due, m.keys = q.due[:0], q.keys[:0]
	if cap(m.due) > 4*len(out)+compactTimers { // there was a burst
		*m = merging[K]{}
	}
	q.due, q.head, q.keys = out, 0, outKeys
}

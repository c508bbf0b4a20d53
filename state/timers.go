package state

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Domain is the clock that a timer waits for.
type Domain uint8

// The domains of timers.
const (
	EventTime      Domain = iota // the watermark
	ProcessingTime               // the wall clock
	domains
)

// String is "event time" or "processing time".
func (d Domain) String() string {
	switch d {
	case EventTime:
		return "event time"
	case ProcessingTime:
		return "processing time"
	}
	return fmt.Sprintf("domain %d", uint8(d))
}

// Timers is the handle of the timers of one operator. A timer is a (domain, key, time) that is pending once, however often it is
// registered. Timers are kept in memory on every backend: 40 bytes plus the key each.
//
// Pending timers wait in a radix heap. Registrations and deletions are appended to the bucket of their time and sorted out when
// the bucket falls due; a timer moves through at most one bucket per bit of its distance from now.
// Source: Ahuja, Mehlhorn, Orlin, Tarjan, "Faster Algorithms for the Shortest Path Problem" (1990), section 3.
type Timers[K comparable] struct {
	k      *Keyed[K]
	id     int
	desc   Descriptor
	queues [domains]timerQueue[K]
	// Above a store the delta of an epoch in which something changed holds all timers.
	changed bool
	image   *timerImage[K]
}

// Timers declares the timers of the operator.
func (s *Keyed[K]) Timers(name string) *Timers[K] {
	t := &Timers[K]{k: s}
	s.declare(name, KindTimers, nil, func(id int, d Descriptor, _ *options) (member[K], error) {
		t.id, t.desc = id, d
		return (*timerMember[K])(t), nil
	})
	return t
}

// Register adds a timer of the current key at tsMS (Unix ms, any sign). A time that has passed already fires at the next PopDue
// that reaches it.
func (t *Timers[K]) Register(d Domain, tsMS int64) {
	t.changed = true
	t.queues[d].register(timer[K]{at: biased(tsMS), hash: t.k.hash, key: t.k.key})
}

// Delete removes the current key's timer at tsMS; one that does not exist is no error.
func (t *Timers[K]) Delete(d Domain, tsMS int64) {
	t.changed = true
	t.queues[d].remove(timer[K]{at: biased(tsMS), hash: t.k.hash, key: t.k.key}, t)
}

// Next is the time of the earliest pending timer; ok is false when there is none.
func (t *Timers[K]) Next(d Domain) (tsMS int64, ok bool) {
	at, ok := t.queues[d].next(t)
	if !ok {
		return 0, false
	}
	return unbiased(at), true
}

// PopDue removes and returns the earliest pending timer with a time ≤ upToMS: in the order of time, then of encoded key, whatever the
// order of registration was and across a restore. ok is false when none is due.
func (t *Timers[K]) PopDue(d Domain, upToMS int64) (key K, hash uint64, tsMS int64, ok bool) {
	e, ok := t.queues[d].pop(biased(upToMS), t)
	if !ok {
		return key, 0, 0, false
	}
	t.changed = true
	return e.key, e.hash, unbiased(e.at), true
}

// biased maps times to unsigned integers in the same order.
func biased(tsMS int64) uint64 { return uint64(tsMS) ^ 1<<63 }

func unbiased(at uint64) int64 { return int64(at ^ 1<<63) }

// timer is a registration or, with gone set, a deletion.
type timer[K comparable] struct {
	at   uint64
	hash uint64
	key  K
	seq  uint32 // position before a sort
	gone bool
}

func (e *timer[K]) same(o *timer[K]) bool { return e.at == o.at && e.hash == o.hash && e.key == o.key }

// timerQueue holds the timers of one domain. All operations on one time are in one place, in the order in which they came: in due and
// fresh when at ≤ last, else in the bucket given by the highest bit in which at differs from last.
type timerQueue[K comparable] struct {
	last    uint64 // the highest time that has been moved to due
	buckets [65]timerBucket[K]
	filled  [2]uint64 // bit set of the buckets with entries

	due   []dueTimer[K] // from head on: sorted by time and encoded key, without duplicates
	head  int
	keys  []byte     // encoded keys of due
	fresh []timer[K] // not yet merged into due

	// recent remembers registrations that are certainly pending, so that a record that registers the same timer as the one before costs nothing.
	recent []timer[K]
}

// timerBucket is an unordered log of registrations and deletions.
type timerBucket[K comparable] struct {
	log       []timer[K]
	shared    bool   // an image reads log: append only
	min       uint64 // lower bound of the registrations
	loose     bool   // the registration at min may have been deleted
	live      int    // registrations in log
	compactAt int    // length at which duplicates are dropped
}

type dueTimer[K comparable] struct {
	timer[K]
	start, end int // the encoded key in keys
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

func (q *timerQueue[K]) register(e timer[K]) {
	r := q.slot(&e)
	if r.seq != 0 && r.same(&e) {
		return
	}
	*r = e
	r.seq = 1 // in use
	q.append(e)
}

// append is push for an operation that is new to the queue: only such can make duplicates worth looking for.
func (q *timerQueue[K]) append(e timer[K]) {
	if b := q.push(e); b != nil && len(b.log) >= max(b.compactAt, compactTimers) {
		b.thin()
	}
}

// forget removes e from the recent registrations.
func (q *timerQueue[K]) forget(e *timer[K]) {
	if r := q.slot(e); r.same(e) {
		*r = timer[K]{}
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

// thin compacts the bucket if that is likely to shrink it by a third or more, and says when to look again. Likely is what linear
// counting says: of n different timers hashed into 2n bits, about 0.79n bits are set. It costs a few ns a timer, a sort a hundred.
// Source: Whang, Vander-Zanden, Taylor, "A Linear-Time Probabilistic Counting Algorithm" (1990).
func (b *timerBucket[K]) thin() {
	n := len(b.log)
	b.compactAt = n * compactSlower
	seen := make([]uint64, (2*n+63)/64)
	set := 0
	for i := range b.log {
		e := &b.log[i]
		h, _ := bits.Mul64((e.hash^e.at*0x9e3779b97f4a7c15)*0x9e3779b97f4a7c15, uint64(len(seen)*64))
		if bit := uint64(1) << (h & 63); seen[h>>6]&bit == 0 {
			seen[h>>6] |= bit
			set++
		}
	}
	if 10*set < 6*n {
		b.compact()
		b.compactAt = len(b.log) * compactQuicker
	}
}

// compact drops duplicates and deletions.
func (b *timerBucket[K]) compact() {
	if b.shared {
		b.log, b.shared = slices.Clone(b.log), false
	}
	b.log = distinct(b.log)
	b.live, b.loose = len(b.log), false
	if len(b.log) > 0 {
		b.min = b.log[0].at
	}
}

// distinct sorts log by time and hash and keeps of each timer the last operation, if that is a registration. It works in place.
func distinct[K comparable](log []timer[K]) []timer[K] {
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
			kept = dropGone(log, start, kept)
			start = kept
		}
		if !slices.ContainsFunc(log[start:kept], func(o timer[K]) bool { return o.key == e.key }) {
			log[kept] = e
			kept++
		}
	}
	kept = dropGone(log, start, kept)
	clear(log[kept:])
	return log[:kept]
}

// dropGone removes the deletions of log[start:end] and returns the new end.
func dropGone[K comparable](log []timer[K], start, end int) int {
	kept := start
	for i := start; i < end; i++ {
		if !log[i].gone {
			log[kept] = log[i]
			kept++
		}
	}
	return kept
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

func (q *timerQueue[K]) remove(e timer[K], t *Timers[K]) {
	q.forget(&e)
	e.gone = true
	if e.at > q.last {
		if b := &q.buckets[bits.Len64(e.at^q.last)]; b.live > 0 {
			q.append(e)
		}
		return
	}
	q.settle(t)
	if i, ok := q.search(e, t); ok {
		q.due[i].gone = true
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
		return slices.Compare(q.keys[d.start:d.end], key)
	})
	return q.head + i, ok
}

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
			b.compact()
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
	*b = timerBucket[K]{log: b.log[:0]}
	q.filled[i>>6] &^= 1 << (i & 63)
}

func (q *timerQueue[K]) skipGone() {
	for q.head < len(q.due) && q.due[q.head].gone {
		q.head++
	}
}

func (q *timerQueue[K]) pop(upTo uint64, t *Timers[K]) (e timer[K], ok bool) {
	for {
		if len(q.fresh) > 0 {
			q.settle(t)
		}
		q.skipGone()
		if q.head < len(q.due) {
			d := &q.due[q.head]
			if d.at > upTo {
				return e, false
			}
			q.head++
			q.forget(&d.timer)
			return d.timer, true
		}
		i, b := q.first()
		if b == nil || b.live > 0 && b.min > upTo {
			return e, false
		}
		q.advance(i, b)
	}
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
	if q.head == len(q.due) {
		q.due, q.head, q.keys = q.due[:0], 0, q.keys[:0]
	}
	if len(q.fresh) == 1 && len(q.due) == 0 && !q.fresh[0].gone {
		start := len(q.keys)
		q.keys = t.encoded(q.keys, q.fresh[0].key)
		q.due = append(q.due, dueTimer[K]{q.fresh[0], start, len(q.keys)})
		q.fresh = q.fresh[:0]
		return
	}
	for _, d := range q.due[q.head:] { // what is still due came before what is fresh
		q.fresh = append(q.fresh, d.timer)
	}
	n := len(q.due) - q.head
	slices.Reverse(q.fresh)
	slices.Reverse(q.fresh[:n])
	slices.Reverse(q.fresh[n:])
	log := distinct(q.fresh)
	q.due, q.head, q.keys = q.due[:0], 0, q.keys[:0]
	for _, e := range log {
		start := len(q.keys)
		q.keys = t.encoded(q.keys, e.key)
		q.due = append(q.due, dueTimer[K]{e, start, len(q.keys)})
	}
	clear(q.fresh)
	q.fresh = q.fresh[:0]
	slices.SortFunc(q.due, func(a, b dueTimer[K]) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return slices.Compare(q.keys[a.start:a.end], q.keys[b.start:b.end])
	})
}

// encoded appends the encoding of key. A key that cannot be encoded fails every snapshot; here it only loses its place in the order.
func (t *Timers[K]) encoded(dst []byte, key K) []byte {
	out, err := t.k.codec.Append(dst, key)
	if err != nil {
		return dst
	}
	return out
}

// timerMember is Timers as one of the declared states.
type timerMember[K comparable] Timers[K]

func (m *timerMember[K]) descriptor() Descriptor { return m.desc }

func (m *timerMember[K]) open() {
	m.queues, m.changed, m.image = [domains]timerQueue[K]{}, false, nil
}

// timerSub is the length of a timer's sub key: domain and biased time.
const timerSub = 9

func (m *timerMember[K]) load(e *loaded[K]) error {
	if len(e.Sub) != timerSub || e.Sub[0] >= byte(domains) {
		return fmt.Errorf("%w: timer sub key %x", errCorrupt, e.Sub)
	}
	m.changed = true
	m.queues[e.Sub[0]].register(timer[K]{at: binary.BigEndian.Uint64(e.Sub[1:]), hash: e.Hash, key: e.key})
	return nil
}

// timerImage is the image of all timers of an operator.
type timerImage[K comparable] struct {
	m     *timerMember[K]
	start int
	logs  [domains][][]timer[K]
	runs  []*run // by group - start, made at the first use
	err   error
}

func (m *timerMember[K]) freeze() memberImage { return m.freezeTimers() }

func (m *timerMember[K]) freezeTimers() *timerImage[K] {
	im := &timerImage[K]{m: m, start: m.k.groups.Start}
	for d := range m.queues {
		q := &m.queues[d]
		var now []timer[K]
		for _, e := range q.due[q.head:] {
			now = append(now, e.timer)
		}
		im.logs[d] = append(im.logs[d], append(now, q.fresh...))
		for i := range q.buckets {
			if b := &q.buckets[i]; len(b.log) > 0 {
				b.shared = true
				im.logs[d] = append(im.logs[d], b.log[:len(b.log):len(b.log)])
			}
		}
	}
	return im
}

// build sorts the timers into runs, one for each group.
func (im *timerImage[K]) build() {
	if im.runs != nil || im.err != nil {
		return
	}
	k := im.m.k
	im.runs = make([]*run, k.groups.End-k.groups.Start)
	for d := range im.logs {
		for _, log := range im.logs[d] {
			for _, e := range distinct(slices.Clone(log)) {
				if im.err = im.add(Domain(d), e); im.err != nil {
					return
				}
			}
		}
		im.logs[d] = nil
	}
	for _, r := range im.runs {
		if r != nil {
			r.sort()
		}
	}
}

func (im *timerImage[K]) add(d Domain, e timer[K]) error {
	g := GroupOf(e.hash, im.m.k.cfg.MaxParallelism)
	r := im.runs[g-im.start]
	if r == nil {
		r = &run{}
		im.runs[g-im.start] = r
	}
	at := runEntry{start: len(r.buf), hash: e.hash}
	id := im.m.id
	if im.m.k.store != nil {
		id = im.m.desc.ID
	}
	buf, err := im.m.k.appendAddress(r.buf, g, id, e.key)
	if err != nil {
		return err
	}
	buf = append(buf, byte(d))
	r.buf = binary.BigEndian.AppendUint64(buf, e.at)
	at.mid, at.end = len(r.buf), len(r.buf)
	r.entries = append(r.entries, at)
	return nil
}

func (im *timerImage[K]) occupied(group int) (bool, error) {
	im.build()
	if im.err != nil {
		return false, im.err
	}
	return im.runs[group-im.start] != nil, nil
}

func (im *timerImage[K]) emit(group int, out *fileWriter) error {
	im.build()
	if im.err != nil {
		return im.err
	}
	r := im.runs[group-im.start]
	if r == nil {
		return nil
	}
	return r.emit(out)
}

func (im *timerImage[K]) release() { im.logs, im.runs = [domains][][]timer[K]{}, nil }

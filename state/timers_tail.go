package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Above a store the timers that are due first are in memory and the others, the tail, in the store:
//
//	[key group, 2 bytes][state id, 2 bytes][domain, 1 byte][time, biased, 8 bytes][operator key] → hash
//
// Each key group has a horizon, a time and encoded key: memory has all pending timers of the group before it, and the store all from it on. Before it
// the store may have copies, of timers that were read from it or that a base swept into it (timer.stored); it hears of their firing by
// one range deletion for each group now and then, and of their deletion when that is sorted out. So timers that never leave memory cost the store
// nothing.
//
// When there are too many in memory, the later half goes to the store. When those in memory are used up to the least horizon of all groups,
// the groups with the least ones read on.
type timerTail[K comparable] struct {
	err     error
	domains [domains]tailDomain
	out     deltaRun // changes that the store has not heard of yet
	total   int64    // bytes of out
	changes []Change

	bound   int // of the timers in memory
	added   int // since the last look at it
	checkAt int
	portion int // timers that are read of one group at once
	tellAt  int // fired copies after which the store is to hear of it

	epochLog[K]
	sweeping timerSweep
}

// tailDomain is the tail of one domain.
type tailDomain struct {
	tailed   bool // there is a horizon
	horizons []horizon
	limit    horizon // the least of them
	// fired is the last position up to which timers have fired, and firedGroups the groups in which some that the store may have did since it heard of it.
	fired       position
	firedGroups bitSet
	firedCount  int
}

// position is a place in the order in which timers fire.
type position struct {
	some bool // false: before all others
	at   uint64
	key  []byte
}

// upTo reports whether a timer is at p or before it.
func (p *position) upTo(at uint64, key []byte) bool {
	return p.some && (at < p.at || at == p.at && bytes.Compare(key, p.key) <= 0)
}

// advance makes p the later of p and the given one.
func (p *position) advance(at uint64, key []byte) {
	if !p.upTo(at, key) {
		p.some, p.at, p.key = true, at, append(p.key[:0], key...)
	}
}

// horizon is the position from which on the timers of a group are in the store.
type horizon struct {
	at   uint64
	key  []byte
	none bool // there are none in the store; at is the highest time then
}

func (h *horizon) compare(o *horizon) int {
	if h.none || o.none || h.at != o.at {
		if h.none == o.none {
			return cmp.Compare(h.at, o.at)
		}
		if h.none {
			return 1
		}
		return -1
	}
	return bytes.Compare(h.key, o.key)
}

// bitSet is a set of groups.
type bitSet []uint64

func (s bitSet) add(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s bitSet) has(i int) bool { return s[i>>6]>>(i&63)&1 != 0 }

const (
	leastTimers   = 16      // the least bound
	portionTimers = 512     // read at once of one group, at most
	outTimerBytes = 1 << 18 // collected before the store hears of them
	firedTimers   = 1 << 16
	readGroups    = 8 // one in so many groups reads on at once
)

// openTail makes the timers ready above a store.
func (t *Timers[K]) openTail() {
	n := int(t.k.span)
	a := &timerTail[K]{tellAt: firedTimers}
	a.out.total = &a.total
	for d := range a.domains {
		o := &a.domains[d]
		o.horizons, o.firedGroups = make([]horizon, n), make(bitSet, (n+63)/64)
		for i := range o.horizons {
			o.horizons[i] = horizon{none: true, at: math.MaxUint64}
		}
		o.limit = horizon{none: true, at: math.MaxUint64}
	}
	a.epochLog.open(n, t.k.tracking)
	t.tail = a
	t.bound()
}

// bound sets how many timers may be in memory: a quarter of what the store may use.
func (t *Timers[K]) bound() {
	a := t.tail
	a.bound = int(max(leastTimers, t.k.timerBudget()/sizeOf[timer[K]]()))
	a.checkAt = max(leastTimers, a.bound/8)
	a.portion = min(portionTimers, max(1, a.bound/(2*max(1, int(t.k.span)))))
}

// fail keeps the first error. No snapshot can be right then.
func (t *Timers[K]) fail(err error) {
	if err != nil && t.tail.err == nil {
		t.tail.err = t.desc.failed("keep", err)
		if t.k.history != nil {
			t.k.history.fail(t.tail.err)
		}
	}
}

func (t *Timers[K]) registerAbove(e timer[K], group int) {
	q, a := &t.queues[e.domain], t.tail
	if q.known(&e) || a.err != nil {
		return
	}
	if a.logging {
		t.note(&e, group)
	}
	if t.beyond(&e, group) {
		t.put(ChangeSet, e.domain, group, &e)
		return
	}
	q.append(e)
	if a.added++; a.added >= a.checkAt {
		t.checkBound()
	}
}

func (t *Timers[K]) deleteAbove(e timer[K], group int) {
	q, a := &t.queues[e.domain], t.tail
	if a.err != nil {
		return
	}
	if a.logging {
		t.note(&e, group)
	}
	if t.beyond(&e, group) {
		q.forget(&e)
		t.put(ChangeDelete, e.domain, group, &e)
		return
	}
	q.remove(e, t)
	t.tellLost(q)
}

// beyond reports whether e is at or after the horizon of its group.
func (t *Timers[K]) beyond(e *timer[K], group int) bool {
	h := &t.tail.domains[e.domain].horizons[group]
	if e.at < h.at || h.none {
		return false
	}
	return e.at > h.at || bytes.Compare(t.encoded(nil, e.key), h.key) >= 0
}

func (t *Timers[K]) nextAbove(d Domain) (uint64, bool) {
	q, o := &t.queues[d], &t.tail.domains[d]
	for t.tail.err == nil {
		at, ok := q.next(t)
		t.tellLost(q)
		// One at the very time of the limit is the earliest, whatever its key.
		if !o.tailed || ok && at <= o.limit.at {
			return at, ok
		}
		t.read(d)
	}
	return 0, false
}

func (t *Timers[K]) popAbove(d Domain, upTo uint64) (e timer[K], ok bool) {
	q, a := &t.queues[d], t.tail
	o := &a.domains[d]
	for a.err == nil {
		limited := o.tailed && o.limit.at <= upTo
		bound := upTo
		if limited {
			bound = o.limit.at
		}
		f := q.front(bound, t)
		var key []byte
		if f != nil {
			key = q.keys[f.start:f.end]
		}
		if limited && (f == nil || f.at == o.limit.at && bytes.Compare(key, o.limit.key) >= 0) {
			t.read(d)
			continue
		}
		t.tellLost(q)
		if f == nil {
			return e, false
		}
		o.fired.advance(f.at, key)
		group := GroupOf(f.hash, t.k.cfg.MaxParallelism) - t.k.groups.Start
		if f.stored {
			o.firedGroups.add(group)
			o.firedCount++
		}
		if a.logging {
			a.fired[d].add(group)
		}
		e = f.timer
		q.popped(f)
		return e, true
	}
	return e, false
}

// appendTimer appends the address of a timer.
func (t *Timers[K]) appendTimer(dst []byte, d Domain, group int, e *timer[K]) ([]byte, error) {
	dst = append(appendHead(dst, t.k.groups.Start+group, t.desc.ID), byte(d))
	return t.k.codec.Append(binary.BigEndian.AppendUint64(dst, e.at), e.key)
}

// appendUpTo appends the end of a range of addresses from that of the domain in a group to p.
func (t *Timers[K]) appendUpTo(dst []byte, d Domain, group int, p *position) []byte {
	dst = append(appendHead(dst, t.k.groups.Start+group, t.desc.ID), byte(d))
	dst = append(binary.BigEndian.AppendUint64(dst, p.at), p.key...)
	return append(dst, 0)
}

// appendClear appends the change by which all timers of a group up to p become absent.
func (t *Timers[K]) appendClear(run *deltaRun, d Domain, group int, p *position) {
	buf := append(appendHead(run.begin(), t.k.groups.Start+group, t.desc.ID), byte(d))
	mid := len(buf)
	run.clearTo(t.appendUpTo(buf, d, group, p), mid)
}

// appendChange appends a change of one timer.
func (t *Timers[K]) appendChange(run *deltaRun, kind ChangeKind, d Domain, group int, e *timer[K]) error {
	buf, err := t.appendTimer(run.begin(), d, group, e)
	if err != nil {
		return fmt.Errorf("encode operator key: %w", err)
	}
	if kind == ChangeDelete {
		run.remove(buf)
		return nil
	}
	mid := len(buf)
	run.set(appendValueHead(buf, valueHead{hash: e.hash}), mid)
	return nil
}

// put lets the store hear of a change, soon.
func (t *Timers[K]) put(kind ChangeKind, d Domain, group int, e *timer[K]) {
	t.fail(t.appendChange(&t.tail.out, kind, d, group, e))
	if t.tail.total > outTimerBytes {
		t.flush()
	}
}

// tellLost lets the store hear of the deletions that have been sorted out.
func (t *Timers[K]) tellLost(q *timerQueue[K]) {
	if len(q.lost) == 0 {
		return
	}
	d := Domain(0)
	if q == &t.queues[ProcessingTime] {
		d = ProcessingTime
	}
	for i := range q.lost {
		e := &q.lost[i]
		t.put(ChangeDelete, d, GroupOf(e.hash, t.k.cfg.MaxParallelism)-t.k.groups.Start, e)
	}
	clear(q.lost)
	q.lost = q.lost[:0]
}

// Add collects the changes of flush.
func (a *timerTail[K]) Add(c Change) error {
	a.changes = append(a.changes, c)
	return nil
}

// flush hands to the store what it has not heard of.
func (t *Timers[K]) flush() {
	a := t.tail
	if len(a.out.changes) == 0 || a.err != nil {
		return
	}
	a.changes = a.changes[:0]
	err := a.out.emit(a)
	if err == nil {
		err = t.k.store.Apply(a.changes)
	}
	clear(a.changes)
	a.out.buf, a.out.changes, a.total = a.out.buf[:0], a.out.changes[:0], 0
	t.fail(err)
}

// tellFired lets the store hear of what has fired. What is pending before the last that fired, since it was registered late, loses its copy too.
func (t *Timers[K]) tellFired(d Domain) {
	q, o := &t.queues[d], &t.tail.domains[d]
	if o.firedCount == 0 {
		return
	}
	q.settle(t)
	for i := q.head; i < len(q.due) && o.fired.upTo(q.due[i].at, q.keys[q.due[i].start:q.due[i].end]); i++ {
		if e := &q.due[i]; !e.gone && o.firedGroups.has(GroupOf(e.hash, t.k.cfg.MaxParallelism)-t.k.groups.Start) {
			e.stored = false
		}
	}
	for g := range o.horizons {
		if o.firedGroups.has(g) {
			t.appendClear(&t.tail.out, d, g, &o.fired)
		}
	}
	clear(o.firedGroups)
	o.firedCount = 0
	t.tellLost(q)
}

// count is the number of timers in memory, with deletions and duplicates.
func (q *timerQueue[K]) count() int {
	n := len(q.due) - q.head + len(q.fresh)
	for i := range q.buckets {
		n += len(q.buckets[i].log)
	}
	return n
}

// checkBound writes timers to the store when there are too many in memory. Those that are due already stay.
func (t *Timers[K]) checkBound() {
	a := t.tail
	t.bound()
	a.added = 0
	event, processing := t.queues[EventTime].count(), t.queues[ProcessingTime].count()
	if event+processing <= a.bound {
		return
	}
	d, n := EventTime, event
	if processing > event {
		d, n = ProcessingTime, processing
	}
	t.spill(d, n-(event+processing-a.bound/2))
}

// spill writes the latest timers of d to the store until about keep are left in memory.
func (t *Timers[K]) spill(d Domain, keep int) {
	q := &t.queues[d]
	n := q.count()
	cut := horizon{none: true, at: math.MaxUint64}
	for i := len(q.buckets) - 1; i > 0 && n > keep; i-- {
		b := &q.buckets[i]
		if len(b.log) == 0 {
			continue
		}
		n -= len(b.log)
		b.compact(&q.lost)
		from := min(max(0, keep-n), len(b.log))
		for from > 0 && from < len(b.log) && b.log[from].at == b.log[from-1].at {
			from-- // a time is never divided here
		}
		if n += from; from == len(b.log) {
			continue
		}
		cut = horizon{at: b.log[from].at}
		for j := range b.log[from:] {
			if e := &b.log[from+j]; !e.stored {
				t.put(ChangeSet, d, GroupOf(e.hash, t.k.cfg.MaxParallelism)-t.k.groups.Start, e)
			}
		}
		clear(b.log[from:])
		b.log, b.live = b.log[:from], from
		if from == 0 {
			b.log = nil
			q.emptied(i, b)
		} else {
			b.log = slices.Clone(b.log) // the memory is to go
		}
	}
	t.tellLost(q)
	if cut.none {
		return
	}
	o := &t.tail.domains[d]
	for g := range o.horizons {
		if cut.compare(&o.horizons[g]) < 0 {
			o.horizons[g] = cut
		}
	}
	o.findLimit()
	t.flush()
}

// findLimit looks for the least horizon.
func (o *tailDomain) findLimit() {
	o.limit = horizon{none: true, at: math.MaxUint64}
	for i := range o.horizons {
		if o.horizons[i].compare(&o.limit) < 0 {
			o.limit = o.horizons[i]
		}
	}
	o.tailed = !o.limit.none
}

// read brings the next timers of the groups with the least horizons into memory.
func (t *Timers[K]) read(d Domain) {
	q, o := &t.queues[d], &t.tail.domains[d]
	if o.firedCount >= t.tail.tellAt {
		t.tellFired(d)
	}
	t.tellLost(q)
	t.flush()
	var behind []int
	for g := range o.horizons {
		if !o.horizons[g].none {
			behind = append(behind, g)
		}
	}
	slices.SortFunc(behind, func(a, b int) int { return o.horizons[a].compare(&o.horizons[b]) })
	for _, g := range behind[:min(len(behind), len(o.horizons)/readGroups+1)] {
		if t.tail.err != nil {
			return
		}
		t.readGroup(d, g)
	}
	o.findLimit()
}

// readGroup reads on in one group.
func (t *Timers[K]) readGroup(d Domain, group int) {
	q, h := &t.queues[d], &t.tail.domains[d].horizons[group]
	prefix := append(appendHead(nil, t.k.groups.Start+group, t.desc.ID), byte(d))
	lo := append(binary.BigEndian.AppendUint64(bytes.Clone(prefix), h.at), h.key...)
	next := horizon{none: true, at: math.MaxUint64}
	n := 0
	err := t.k.store.Scan(lo, after(nil, prefix), func(address, value []byte) (bool, error) {
		head, _, err := cutValueHead(value)
		if err != nil || len(address) < addressHead+timerSub {
			return false, fmt.Errorf("%w: timer %x → %x", errCorrupt, address, value)
		}
		e := timer[K]{at: binary.BigEndian.Uint64(address[addressHead+1:]), hash: head.hash, domain: d, stored: true}
		key := address[addressHead+timerSub:]
		if n == t.tail.portion {
			next = horizon{at: e.at, key: bytes.Clone(key)}
			return false, nil
		}
		if err := t.k.codec.Decode(key, &e.key); err != nil {
			return false, fmt.Errorf("operator key %x: %w", key, err)
		}
		n++
		q.push(e)
		return true, nil
	})
	if err != nil {
		t.fail(err)
		return
	}
	*h = next
}

package state

// epochLog is what a delta needs to know of timers: the registrations and deletions since the last barrier, by key group and in their order, and
// where timers fired. What has fired is one range deletion in each group, up to the last position that has fired at all; whatever is pending before that,
// since it was registered late, is in memory and comes after it. So a timer that is registered and fires within an epoch leaves nothing.
type epochLog[K comparable] struct {
	logging bool
	parity  int
	thin    int // the least length at which a log is thinned
	logs    [2][]groupLog[K]
	fired   [domains]bitSet // groups in which a timer has fired in this epoch
	// What the log of the epoch before needs: where it had fired and up to which position.
	frozenFired [domains]bitSet
	frozenUpTo  [domains]position
}

// groupLog are the changes of one group in one epoch.
type groupLog[K comparable] struct {
	ops    []timer[K]
	thinAt int // length at which what has fired and what came twice is looked for
	done   int // how many of ops have been encoded
	late   int // ops from here on are the pending ones before the last that fired
}

// thinTimers is the length at which a groupLog is thinned first.
const thinTimers = 1024

// open makes the log empty.
func (l *epochLog[K]) open(groups int, logging bool) {
	*l = epochLog[K]{logging: logging, thin: thinTimers}
	if !logging {
		return
	}
	for i := range l.logs {
		l.logs[i] = make([]groupLog[K], groups)
	}
	for d := range l.fired {
		l.fired[d], l.frozenFired[d] = make(bitSet, (groups+63)/64), make(bitSet, (groups+63)/64)
	}
}

// note writes e into the log.
func (t *Timers[K]) note(e *timer[K], group int) {
	g := &t.tail.logs[t.tail.parity][group]
	g.ops = append(g.ops, *e)
	if len(g.ops) >= max(t.tail.thin, g.thinAt) {
		t.thinLog(g, group)
	}
}

// thinLog drops from the log what has fired and, if there are many, duplicates. When that is not enough, the log goes into the run of the
// group: there it is smaller, and a store can write it to disk.
func (t *Timers[K]) thinLog(g *groupLog[K], group int) {
	a := t.tail
	kept := g.ops[:0]
	for i := range g.ops {
		e := &g.ops[i]
		if o := &a.domains[e.domain]; a.fired[e.domain].has(group) && o.fired.some && e.at < o.fired.at {
			// It has fired, or is pending since it was registered late: flip sees to that.
			continue
		}
		kept = append(kept, *e)
	}
	clear(g.ops[len(kept):])
	g.ops = kept
	if 10*differentTimers(g.ops) < 7*len(g.ops) {
		g.ops = latest(g.ops, nil)
	}
	if g.thinAt = 2 * len(g.ops); len(g.ops)*int(t.k.span) > a.bound && len(g.ops) > a.thin/2 {
		for i := range g.ops {
			t.fail(t.encodeOp(t.k.currentRun(group), group, &g.ops[i]))
		}
		clear(g.ops)
		g.ops, g.thinAt = g.ops[:0], 0
		t.fail(t.k.overflow())
	}
}

// encodeOp appends one entry of a log to a run.
func (t *Timers[K]) encodeOp(run *deltaRun, group int, e *timer[K]) error {
	kind := ChangeSet
	if e.gone {
		kind = ChangeDelete
	}
	return t.appendChange(run, kind, e.domain, group, e)
}

// flip implements tracked. It takes as long as there are late timers.
func (m *timerMember[K]) flip() {
	t, a := (*Timers[K])(m), m.tail
	if a == nil || !a.logging {
		return
	}
	a.parity ^= 1
	frozen := a.logs[a.parity^1]
	for g := range frozen {
		frozen[g].late = len(frozen[g].ops)
	}
	for d := range t.queues {
		q, o := &t.queues[d], &a.domains[d]
		a.fired[d], a.frozenFired[d] = a.frozenFired[d], a.fired[d]
		clear(a.fired[d])
		p := &a.frozenUpTo[d]
		p.some, p.at, p.key = o.fired.some, o.fired.at, append(p.key[:0], o.fired.key...)
		q.settle(t)
		t.tellLost(q)
		for i := q.head; i < len(q.due) && p.upTo(q.due[i].at, q.keys[q.due[i].start:q.due[i].end]); i++ {
			e := q.due[i].timer
			if group := GroupOf(e.hash, t.k.cfg.MaxParallelism) - t.k.groups.Start; !e.gone && a.frozenFired[d].has(group) {
				e.domain = Domain(d)
				frozen[group].ops = append(frozen[group].ops, e)
			}
		}
	}
}

// drain implements tracked.
func (m *timerMember[K]) drain(group int, left *allowance) (done bool, err error) {
	t, a := (*Timers[K])(m), m.tail
	if a == nil || !a.logging {
		return true, nil
	}
	if a.err != nil {
		return false, a.err
	}
	g := &a.logs[a.parity^1][group]
	for ; g.done < g.late; g.done++ {
		if left.spent() {
			return false, nil
		}
		e := &g.ops[g.done]
		if a.frozenFired[e.domain].has(group) && e.at < a.frozenUpTo[e.domain].at {
			continue
		}
		if err := t.encodeOp(t.k.frozenRun(group), group, e); err != nil {
			return false, t.k.unwritable(t.desc.failed("encode", err))
		}
	}
	// What the range deletion covers comes before it in the run, and is left out by that; the late ones come after it.
	for d := range a.frozenFired {
		if a.frozenFired[d].has(group) {
			t.appendClear(t.k.frozenRun(group), Domain(d), group, &a.frozenUpTo[d])
			a.frozenFired[d][group>>6] &^= 1 << (group & 63)
		}
	}
	for ; g.done < len(g.ops); g.done++ {
		if left.spent() {
			return false, nil
		}
		if err := t.encodeOp(t.k.frozenRun(group), group, &g.ops[g.done]); err != nil {
			return false, t.k.unwritable(t.desc.failed("encode", err))
		}
	}
	if len(g.ops) > 0 {
		clear(g.ops)
		ops := g.ops[:0]
		if cap(ops) > 4*g.done+thinTimers { // there was a burst
			ops = nil
		}
		*g = groupLog[K]{ops: ops}
	}
	return true, nil
}

func (m *timerMember[K]) number(id int, _ []string) error {
	m.desc.ID = id
	return nil
}

// attached implements tracked: all timers are in the store, and come back when they are asked for.
func (m *timerMember[K]) attached() error {
	if m.tail == nil {
		return nil
	}
	for d := range m.tail.domains {
		o := &m.tail.domains[d]
		clear(o.horizons)
		o.findLimit()
	}
	return nil
}

// timerSweep is how far sweep has come.
type timerSweep struct {
	active bool
	domain int
	bucket int // from the highest on down; then due
	next   int
	moved  uint
}

// sweep implements tracked. All groups are written with the first. Buckets come from the highest down, and then what is due: a timer that
// moves goes to a place that is still to come.
func (m *timerMember[K]) sweep(group int, _ *storeWriter, left *allowance) (done bool, err error) {
	t, a := (*Timers[K])(m), m.tail
	if a == nil || group != 0 {
		return true, nil
	}
	s := &a.sweeping
	if !s.active {
		*s = timerSweep{active: true, bucket: len(t.queues[0].buckets) - 1, next: -1}
		for d := range t.queues {
			t.tellFired(Domain(d))
		}
	}
	for a.err == nil && s.domain < int(domains) {
		if !t.sweepBucket(s, left) {
			t.flush()
			return false, a.err
		}
		s.next = -1
		if s.bucket--; s.bucket < 0 {
			s.domain, s.bucket = s.domain+1, len(t.queues[0].buckets)-1
		}
	}
	s.active = false
	t.flush()
	return a.err == nil, a.err
}

// sweepBucket writes one bucket, bucket 0 being what is due. It goes over a bucket that was made anew once more: what the store has by now is
// marked.
func (t *Timers[K]) sweepBucket(s *timerSweep, left *allowance) (done bool) {
	d, q := Domain(s.domain), &t.queues[s.domain]
	if s.bucket == 0 {
		q.settle(t)
		t.tellLost(q)
		if s.next < q.head || s.moved != q.moved {
			s.next, s.moved = q.head, q.moved
		}
		for ; s.next < len(q.due); s.next++ {
			if left.spent() {
				return false
			}
			t.sweepOne(d, &q.due[s.next].timer)
		}
		return true
	}
	b := &q.buckets[s.bucket]
	if s.next < 0 || s.moved != b.moved {
		s.next, s.moved = 0, b.moved
	}
	for ; s.next < len(b.log); s.next++ {
		if left.spent() {
			return false
		}
		t.sweepOne(d, &b.log[s.next])
	}
	return true
}

// sweepOne lets the store hear of one registration or deletion.
func (t *Timers[K]) sweepOne(d Domain, e *timer[K]) {
	if e.stored {
		return
	}
	e.stored = true
	kind := ChangeSet
	if e.gone {
		kind = ChangeDelete
	}
	t.put(kind, d, GroupOf(e.hash, t.k.cfg.MaxParallelism)-t.k.groups.Start, e)
}

// memory is what is in memory; timers make room by themselves, see checkBound.
func (m *timerMember[K]) memory() (n int64) {
	for d := range m.queues {
		n += int64(m.queues[d].count()) * sizeOf[timer[K]]()
	}
	return n
}

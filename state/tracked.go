package state

import "time"

// Above a store, a snapshot is what changed since the barrier before: a delta. An epoch is the time between two barriers. What changes is
// marked with the bit of the epoch's parity (metaChanged0 or metaChanged1), and its key's hash goes to the changeList of its state, group and
// parity. A barrier exchanges the parities, so that what carries the mark of the epoch before is frozen: whoever comes first encodes it as it
// is into the run of its group and epoch and takes the mark away, the task before it changes the entry (or hands it out, if it holds
// references), an eviction, or Background, which goes through the lists. No entry ever carries both marks when it changes.
//
// metaDirty is another thing: it says that the store lacks the change.

// tracked is what a member does above a store, beside what every member does. All calls come from the task's goroutine; groups are relative.
type tracked interface {
	// flip begins a new epoch: nothing is frozen any more, and what was current is frozen from now on; epochs.current and epochs.frozen have been
	// exchanged. It must not take longer than some µs.
	flip()
	// drain encodes what is frozen in one group, as it is, into epochs.frozenRun(group), and takes the marks away. It may stop when left says
	// so, and goes on with the next call; done says that nothing frozen is left in the group.
	drain(group int, left *allowance) (done bool, err error)
	// sweep writes to w what was dirty in one group at the first call and has not been written since, like drain in pieces. What changes meanwhile may be written
	// or not. Marks stay.
	sweep(group int, w *storeWriter, left *allowance) (done bool, err error)
	// attached is called once, after tables of a checkpoint have been attached to the store and before anything else.
	attached() error
}

// epochs is the part of Keyed that knows what changed since the last barrier.
type epochs struct {
	tracking bool
	parity   uint8  // of the current epoch
	current  uint64 // the mark of the current epoch; 0 without tracking
	frozen   uint64 // the mark of the epoch before, while something may carry it; else 0
	soiled   uint64 // what meta of a changed slot has: metaDirty and current

	runs     [2][]*deltaRun // by parity and group; nil where nothing was encoded
	runBytes [2]int64       // of all runs, by parity
	spare    []*deltaRun    // empty ones
	chunks   chunkPool
}

// start makes e ready for n groups.
func (e *epochs) start(n int, tracking bool) {
	*e = epochs{tracking: tracking, soiled: metaDirty}
	if tracking {
		e.current = metaChanged0
		e.soiled |= e.current
		e.runs = [2][]*deltaRun{make([]*deltaRun, n), make([]*deltaRun, n)}
	}
}

// currentRun is the run of the current epoch in a group; only with tracking.
func (e *epochs) currentRun(group int) *deltaRun { return e.run(e.parity, group) }

// frozenRun is the run of the epoch before, only while something is frozen.
func (e *epochs) frozenRun(group int) *deltaRun { return e.run(e.parity^1, group) }

func (e *epochs) run(parity uint8, group int) *deltaRun {
	r := e.runs[parity][group]
	if r == nil {
		if n := len(e.spare); n > 0 {
			r, e.spare = e.spare[n-1], e.spare[:n-1]
		} else {
			r = &deltaRun{}
		}
		r.total = &e.runBytes[parity]
		e.runs[parity][group] = r
	}
	return r
}

// take removes and returns the run of a group; nil when nothing is in it.
func (e *epochs) take(parity uint8, group int) *deltaRun {
	r := e.runs[parity][group]
	if r == nil {
		return nil
	}
	e.runs[parity][group] = nil
	e.runBytes[parity] -= r.bytes()
	r.total = nil
	if len(r.changes) == 0 {
		e.spare = append(e.spare, r)
		return nil
	}
	return r
}

// flip exchanges the parities. Nothing is frozen any more.
func (e *epochs) flip() {
	if !e.tracking {
		return
	}
	e.frozen = e.current
	e.current ^= metaChanged0 | metaChanged1
	e.parity ^= 1
	e.soiled = metaDirty | e.current
}

// allowance says how long a piece of work in the background may go on. A nil one is without end.
type allowance struct {
	until time.Time
	now   func() time.Time
	every uint // entries between two looks at the clock
	n     uint
}

// allowanceEntries is how many entries are worked on between two looks at the clock: some 20 µs.
const allowanceEntries = 32

// spent is asked after each entry and reports whether the time is up.
func (a *allowance) spent() bool {
	if a == nil {
		return false
	}
	a.n++
	return a.n%a.every == 0 && !a.now().Before(a.until)
}

// over is spent with a look at the clock.
func (a *allowance) over() bool { return a != nil && !a.now().Before(a.until) }

// changeList holds hashes of keys of which something changed, in no order and possibly more than once, in chunks that move through a
// pool: growing copies nothing.
type changeList struct{ head *hashChunk }

type hashChunk struct {
	next *hashChunk
	n    int
	hash [126]uint64 // with the two fields before: 1 kB
}

// chunkPool holds chunks that are not in use.
type chunkPool struct{ free *hashChunk }

func (l *changeList) add(p *chunkPool, hash uint64) {
	c := l.head
	if c == nil || c.n == len(c.hash) {
		if c = p.free; c != nil {
			p.free = c.next
		} else {
			c = &hashChunk{}
		}
		c.next, c.n = l.head, 0
		l.head = c
	}
	c.hash[c.n] = hash
	c.n++
}

func (l *changeList) pop(p *chunkPool) (hash uint64, ok bool) {
	c := l.head
	if c == nil {
		return 0, false
	}
	c.n--
	hash = c.hash[c.n]
	if c.n == 0 {
		l.head = c.next
		c.next, p.free = p.free, c
	}
	return hash, true
}

package state

import (
	"fmt"
	"time"
)

// backgroundWork is what the task still has to do between its records, above a store.
type backgroundWork struct {
	draining bool // something of the epoch before may be frozen
	sweeping bool // what is dirty is being written back for a base
	stale    bool // something may have expired unseen
	restored bool // something was restored
	indexing bool // what was attached is being looked through for what expires
	member   int  // the next to drain
	group    int  // relative

	sweepMember, sweepGroup int
	sweepFrom               uint64 // the epoch in which the sweep began
	sink                    *storeWriter

	indexMember, indexGroup int
	indexFrom               []byte // the next address; nil for the first of the member in the group
}

// runBytesMax is how much is encoded of an epoch that is not over, for entries that were evicted, before it becomes a table of its own.
var runBytesMax int64 = 32 << 20

// unwritable makes every snapshot to come fail with err, for a change could not be encoded, and returns err.
func (s *Keyed[K]) unwritable(err error) error {
	s.history.fail(err)
	return err
}

// barrier takes the snapshot above a store. Without a drain that is left from the barrier before, it takes some µs, whatever has changed.
func (s *Keyed[K]) barrier() (Snapshot, error) {
	if s.history == nil {
		return nil, fmt.Errorf("state: Snapshot of operator %q subtask %d, which was opened with NoSnapshots", s.uid, s.subtask)
	}
	if err := s.history.failure(); err != nil {
		return nil, err
	}
	if s.work.draining {
		if _, err := s.drain(nil); err != nil {
			return nil, err
		}
	}
	s.epochs.flip()
	for _, m := range s.members {
		m.flip()
	}
	s.work.draining, s.work.member, s.work.group, s.work.stale = true, 0, 0, len(s.mortals) > 0
	return s.history.barrier(), nil
}

// Background implements Operator.
func (s *Keyed[K]) Background(slice time.Duration) (more bool, err error) {
	w := &s.work
	if s.history == nil || !w.draining && !w.sweeping && !w.stale && !w.indexing && !s.history.wantBase.Load() {
		return false, nil
	}
	return s.background(&allowance{until: time.Now().Add(slice), now: time.Now, every: allowanceEntries})
}

// background does the next piece of work: a drain comes first, as a checkpoint waits for it.
func (s *Keyed[K]) background(left *allowance) (more bool, err error) {
	if err := s.history.failure(); err != nil {
		return false, err
	}
	w := &s.work
	if w.draining {
		if s.history.crowded() {
			return true, nil
		}
		if done, err := s.drain(left); err != nil || !done {
			return err == nil, err
		}
	}
	if !w.sweeping && s.history.wantBase.Load() {
		s.beginSweep()
	}
	if w.sweeping {
		if done, err := s.sweep(left); err != nil || !done {
			return err == nil, err
		}
	}
	if w.stale {
		if w.stale, err = s.cleanSome(left); err != nil {
			return false, err
		}
	}
	for w.indexing && !left.over() {
		if _, err := s.indexSome(); err != nil {
			return false, err
		}
	}
	return w.stale || w.indexing, nil
}

// drain encodes what is frozen, group by group, and hands each group over.
func (s *Keyed[K]) drain(left *allowance) (done bool, err error) {
	w := &s.work
	frozen := s.parity ^ 1
	for ; w.group < int(s.span); w.group++ {
		for ; w.member < len(s.members); w.member++ {
			if done, err := s.members[w.member].drain(w.group, left); err != nil || !done {
				return false, err
			}
		}
		w.member = 0
		if r := s.take(frozen, w.group); r != nil {
			s.reuse(s.history.put(job{run: r, group: s.groups.Start + w.group}))
		}
		if left.over() {
			w.group++
			break
		}
	}
	if w.group < int(s.span) {
		return false, nil
	}
	w.draining, s.frozen = false, 0
	s.history.put(job{end: true, epoch: s.history.epoch - 1, last: true, elements: s.elements()})
	return true, nil
}

// overflow makes a table of what is encoded of the current epoch when that has become too much. While the epoch before is being drained it
// waits, as tables are built one after the other.
func (s *Keyed[K]) overflow() error {
	if !s.tracking || s.runBytes[s.parity] < runBytesMax || s.work.draining && s.runBytes[s.parity] < 4*runBytesMax {
		return nil
	}
	if s.work.draining {
		if _, err := s.drain(nil); err != nil {
			return err
		}
	}
	if err := s.history.catchUp(); err != nil {
		return err
	}
	for g := range int(s.span) {
		if r := s.take(s.parity, g); r != nil {
			s.reuse(s.history.put(job{run: r, group: s.groups.Start + g}))
		}
	}
	s.history.put(job{end: true, epoch: s.history.epoch, elements: s.elements()})
	return nil
}

// reuse keeps an empty run.
func (s *Keyed[K]) reuse(r *deltaRun) {
	if r != nil {
		s.spare = append(s.spare, r)
	}
}

// elements is above the numbers of all elements of lists.
func (s *Keyed[K]) elements() (n uint64) {
	for _, m := range s.members {
		if l, ok := m.(interface{ nextNumber() uint64 }); ok {
			n = max(n, l.nextNumber())
		}
	}
	return n
}

func (s *Keyed[K]) beginSweep() {
	w := &s.work
	w.sweeping, w.sweepMember, w.sweepGroup, w.sweepFrom = true, 0, 0, s.history.epoch
	if w.sink == nil {
		w.sink = &storeWriter{store: s.store}
	}
}

// sweep writes back what is dirty, then lets a base be made. What changes in the meantime is in the deltas from the epoch on in which it began.
func (s *Keyed[K]) sweep(left *allowance) (done bool, err error) {
	w := &s.work
	for ; w.sweepGroup < int(s.span) && !left.over(); w.sweepGroup++ {
		for ; w.sweepMember < len(s.members); w.sweepMember++ {
			done, err := s.members[w.sweepMember].sweep(w.sweepGroup, w.sink, left)
			if err != nil {
				return false, err
			}
			if !done {
				return false, w.sink.flush() // the entries may be read again
			}
		}
		w.sweepMember = 0
	}
	if err := w.sink.flush(); err != nil || w.sweepGroup < int(s.span) {
		return false, err
	}
	w.sweeping = false
	s.history.startBase(w.sweepFrom, s.elements())
	return true, nil
}

// cleanSome removes what has expired, for as long as there is time, and reports whether there may be more.
func (s *Keyed[K]) cleanSome(left *allowance) (more bool, err error) {
	s.clockGen = 0 // read the clock again
	for !left.over() {
		more = false
		for _, m := range s.mortals {
			n, err := m.removeExpired(tidyEntries)
			if err != nil {
				return false, err
			}
			more = more || n == tidyEntries
		}
		stored, err := s.cleanStore(1)
		if err != nil {
			return false, err
		}
		if !more && !stored {
			return false, nil
		}
	}
	return true, nil
}

package runtime

import (
	"slices"

	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
)

// alignment is the state of the barrier that is arriving: inputs whose barrier has come are blocked, and what they deliver is held, until
// all have come. What is held is bounded by the credit of the blocked edges.
//
// Barriers come on each input in the order of their ids, but not every barrier on every input: a task in front that has heard that its checkpoint
// was given up does not pass it on. So a newer barrier takes the place of an older one, and an older one that comes later is of no use.
type alignment struct {
	id      int64 // 0: none
	arrived int
	blocked []bool
	held    []exchange.Delivery
	// last is the newest id that was taken, given up or replaced by a newer one; aborted are ids above it whose barriers need not be waited for.
	last    int64
	aborted []int64
}

// over reports whether checkpoint id is of no use any more.
func (a *alignment) over(id int64) bool { return id <= a.last || slices.Contains(a.aborted, id) }

// close ends the alignment: whatever was held may go on.
func (a *alignment) close() {
	clear(a.blocked)
	a.id, a.arrived = 0, 0
}

// settled notes that no barrier up to id counts any more.
func (a *alignment) settled(id int64) {
	a.last = max(a.last, id)
	a.aborted = slices.DeleteFunc(a.aborted, func(x int64) bool { return x <= a.last })
}

// barrierFrom takes the barrier of one input, and the checkpoint itself once all inputs have sent theirs.
func (t *task) barrierFrom(ch int, id int64, stop bool) error {
	a := &t.align
	if id <= t.over.taken || a.over(id) { // the task has overtaken it, or it was given up
		t.vitals.passed(ch)
		return nil
	}
	if a.id != 0 && a.id < id { // id came on an input that will never have the older one
		old := a.id
		t.giveUp(old)
		a.settled(old)
	}
	if a.id == 0 {
		a.id = id
		t.vitals.align(id)
		if err := crash.At(crash.OperatorFirstBarrier); err != nil {
			return err
		}
	}
	a.blocked[ch] = true
	if a.arrived++; a.arrived < len(a.blocked) {
		return nil
	}
	return t.checkpoint(id, stop, false)
}

// giveUp ends the wait for the barriers of checkpoint id.
func (t *task) giveUp(id int64) {
	if t.align.id == id {
		t.align.close()
		t.vitals.align(0)
	}
	for _, r := range t.over.recordings {
		if r.id == id && r.left > 0 {
			r.finish(errOvertakenAgain)
		}
	}
	t.forgetRecordings()
}

// aborted takes the word that checkpoint id was given up: its barriers are not waited for any longer, and what they held back goes on. What
// the operators have prepared for it stays with them.
func (t *task) aborted(id int64) error {
	if !t.align.over(id) {
		t.align.aborted = append(t.align.aborted, id)
	}
	t.giveUp(id)
	return crash.At(crash.OperatorAborted)
}

// unhold returns the oldest held delivery of an input that is not blocked, nil if there is none. While a checkpoint is due those of broadcast inputs come
// first: it waits for their barriers.
func (t *task) unhold() exchange.Delivery {
	at := -1
	for i, d := range t.align.held {
		ch := d.Channel()
		if t.align.blocked[ch] {
			continue
		}
		if at < 0 {
			at = i
		}
		if !t.over.waits || t.over.flows[ch].broadcast {
			at = i
			break
		}
	}
	if at < 0 {
		return nil
	}
	d := t.align.held[at]
	t.align.held = append(t.align.held[:at], t.align.held[at+1:]...)
	t.vitals.held.Store(int64(len(t.align.held)))
	return d
}

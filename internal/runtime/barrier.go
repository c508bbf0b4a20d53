package runtime

import (
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
)

// alignment is the state of the barrier that is arriving: inputs whose barrier has come are blocked, and what they deliver is held, until
// all have come. What is held is bounded by the credit of the blocked edges.
type alignment struct {
	id      int64 // 0: none
	arrived int
	blocked []bool
	held    []exchange.Delivery
}

// barrierFrom takes the barrier of one input, and the checkpoint itself once all inputs have sent theirs.
func (t *task) barrierFrom(ch int, id int64, stop bool) error {
	a := &t.align
	if id <= t.over.taken {
		t.vitals.passed(ch) // the task has overtaken it
		return nil
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

// unhold returns the oldest held delivery of an input that is not blocked, nil if there is none.
func (t *task) unhold() exchange.Delivery {
	for i, d := range t.align.held {
		if !t.align.blocked[d.Channel()] {
			t.align.held = append(t.align.held[:i], t.align.held[i+1:]...)
			t.vitals.held.Store(int64(len(t.align.held)))
			return d
		}
	}
	return nil
}

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

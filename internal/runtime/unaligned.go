package runtime

import (
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// A task takes a periodic checkpoint when the barrier has come on all its inputs, or when the checkpoint is older than the alignment timeout, whichever
// is first. Then it overtakes: it takes its images, passes the barrier on and stores the records that the barriers of its inputs were behind
// (recording). For that
//
//   - a barrier is announced to the receivers with the time from which on they need not wait for it. It is the same for the whole checkpoint, so
//     that the waits of tasks behind each other do not add up;
//   - the announcement raises the receiver's alarm at that time. A task looks at it between records, a waiting one wakes, and one that waits for
//     credit in the middle of a record gets batches beyond its credit, so that it can end the record: no task waits for the queues of others;
//   - the barrier itself stays in line, in a batch of its own where there is no credit: what stands in front of it belongs into the checkpoint.
//
// What is in front of a barrier is stored when it is taken out of the queue, not when it is processed: user functions may change what a record points
// to, and a barrier that is in the queue ends the recording at once.

// overtaking is what a task needs for checkpoints that do not wait for alignment. The task's goroutine only.
type overtaking struct {
	on bool
	// flows are the channels of the task.
	flows []flow
	// taken is the newest checkpoint that the task has taken: barriers up to it that still come were overtaken.
	taken int64
	// waits says that a checkpoint is due that cannot be taken yet.
	waits      bool
	recordings []*recording
	// current is the delivery that is being worked off, from the record of the index from on; nil between two deliveries.
	current exchange.Delivery
	from    int
	pace    pace
}

// flow is one channel of a task.
type flow struct {
	edge      int // index among the inputs of the head
	broadcast bool
}

// newOvertaking is that of one subtask with the given head.
func newOvertaking(head *Node, subtask int, on bool) overtaking {
	o := overtaking{on: on, pace: pace{stride: 1}}
	for i, e := range head.Inputs {
		for range fanIn(e, subtask) {
			o.flows = append(o.flows, flow{edge: i, broadcast: e.Kind == Broadcast})
		}
	}
	return o
}

// pace chooses how many records a task works off before it looks at its alarm: about lookEvery, so that a slow task soon hears of a barrier and a
// fast one spends nothing on it.
type pace struct {
	stride int
	n      int // records of the last batch
}

const (
	lookEvery = time.Millisecond
	// strideMax bounds what a task that turns slow from one record to the next works off before it looks; four looks a batch cost nothing
	// measurable.
	strideMax = exchange.BatchRecords / 4
)

// took sets the stride by the time that the last batch took.
func (p *pace) took(d time.Duration) {
	if p.n > 0 {
		p.stride = strideMax
		if d > 0 {
			p.stride = int(max(1, min(strideMax, int64(p.n)*int64(lookEvery)/int64(d))))
		}
	}
}

// deliver works off the n records of d. Between records it looks whether a checkpoint is to be taken.
func (t *task) deliver(d exchange.Delivery, n int) error {
	o := &t.over
	if !o.on {
		return d.Deliver(0, n)
	}
	o.pace.n = n
	for from := 0; from < n; {
		to := min(n, from+o.pace.stride)
		if err := d.Deliver(from, to); err != nil {
			return err
		}
		from = to
		if t.queue.Alarm.Raised() {
			o.current, o.from = d, from
			err := t.attend()
			o.current = nil
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// attend does what the alarm was raised for. It is called between two records.
func (t *task) attend() error {
	a := t.queue.Alarm
	a.Lower()
	a.Answering = true
	defer func() { a.Answering = false }()
	if len(t.over.recordings) > 0 {
		t.pull()
	}
	return t.overtakeDue()
}

// overtakeDue takes the checkpoints that are due, if it can already.
func (t *task) overtakeDue() error {
	t.over.waits = false
	if t.source != nil { // it takes a checkpoint when it is told to, and was only to be woken
		return nil
	}
	for _, id := range t.queue.Overdue() {
		if t.align.over(id) { // it was given up
			continue
		}
		t.pull()
		if !t.mayOvertake(id) {
			t.over.waits = true
			return nil
		}
		if err := t.checkpoint(id, false, true); err != nil {
			return err
		}
	}
	return nil
}

// pull takes out of the queue what is there. Its credit stays with it, so no sender can send more because of this.
func (t *task) pull() {
	for {
		select {
		case d := <-t.queue.C:
			t.pulled(d)
			t.align.held = append(t.align.held, d)
			t.vitals.held.Store(int64(len(t.align.held)))
		default:
			return
		}
	}
}

// pulled is called with each delivery that comes out of the queue.
func (t *task) pulled(d exchange.Delivery) {
	for _, r := range t.over.recordings {
		r.take(d, 0)
	}
	t.forgetRecordings()
}

// mayOvertake reports whether checkpoint id can be taken now, in front of its barriers.
func (t *task) mayOvertake(id int64) bool {
	if t.stopped || t.align.id != 0 && t.align.id != id {
		return false // another one has begun, and comes first
	}
	// Between the end of time and the end of input an operator has neither ended nor not: OnEnd would not run after a restore.
	if t.ops[0].task.Watermark() == operators.EndOfTime && !t.drained {
		return false
	}
	for ch, f := range t.over.flows {
		if f.broadcast && !t.align.blocked[ch] {
			return false
		}
	}
	// A barrier in front that must not be overtaken, such as that of a savepoint, comes first.
	passed := make([]bool, len(t.align.blocked))
	copy(passed, t.align.blocked)
	for d := range t.inFlight {
		c, ch := d.Control(), d.Channel()
		if passed[ch] || c.Kind != exchange.Barrier && c.Kind != exchange.BarrierStop {
			continue
		}
		if c.Value > t.over.taken && c.Value < id {
			return false
		}
		passed[ch] = c.Value >= id
	}
	return true
}

// inFlight yields what has come out of the queue and is not worked off, in its order; of the first the record from index from on.
func (t *task) inFlight(yield func(d exchange.Delivery, from int) bool) {
	if d := t.over.current; d != nil && !yield(d, t.over.from) {
		return
	}
	for _, d := range t.align.held {
		if !yield(d, 0) {
			return
		}
	}
}

// pollMax is how many records a source emits before it looks at its mailbox. A poll cannot be interrupted: where barriers may overtake, it is short enough for
// what its records become to fit into the overdraft, and shorter when the chain is slow.
func (t *task) pollMax() int {
	if !t.over.on {
		return pollRecords
	}
	return t.over.pace.stride
}

// unaligned reports whether barriers may overtake records.
func (a *attempt) unaligned() bool { return a.cfg.Checkpoint.AlignmentTimeout > 0 && a.journal != nil }

// due is from when on tasks need not wait for the barriers of a checkpoint that begins now; the zero time: they always have to.
func (a *attempt) due(x checkpoint.Trigger) time.Time {
	if !a.unaligned() || x.Savepoint || x.Stop || x.Drain || x.Final {
		return time.Time{}
	}
	return time.Now().Add(a.cfg.Checkpoint.AlignmentTimeout)
}

// barrierOn sends a barrier to every output, announced if it is ever due.
func (o *op) barrierOn(c exchange.Control, due time.Time) error {
	if due.IsZero() {
		return o.control(c)
	}
	for _, out := range o.outputs {
		if err := out.Barrier(c, due); err != nil {
			return err
		}
	}
	return nil
}

// overtake begins to record what barriers of checkpoint id are behind. The images have been taken, the barrier was passed on.
func (t *task) overtake(id int64) (*recording, error) {
	if err := crash.At(crash.OperatorOvertaken); err != nil {
		return nil, err
	}
	r := newRecording(id, t.over.flows, t.align.blocked, len(t.chain.nodes[0].Inputs))
	for d, from := range t.inFlight {
		r.take(d, from)
	}
	t.over.recordings = append(t.over.recordings, r)
	t.forgetRecordings()
	t.vitals.overtaken.Add(1)
	return r, nil
}

// queued is the number of batches that the task has not begun with; any goroutine may ask.
func (t *task) queued() int { return len(t.queue.C) + int(t.vitals.held.Load()) }

// taken ends the alignment of checkpoint id: nothing is held back any more.
func (t *task) taken(id int64) {
	t.align.close()
	t.align.settled(id)
	t.vitals.align(0)
	t.over.taken = max(t.over.taken, id)
	t.queue.Settle(id)
}

// forgetRecordings drops those that are complete.
func (t *task) forgetRecordings() {
	rest := t.over.recordings[:0]
	for _, r := range t.over.recordings {
		if r.left > 0 {
			rest = append(rest, r)
		}
	}
	clear(t.over.recordings[len(rest):])
	t.over.recordings = rest
}

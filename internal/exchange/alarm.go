package exchange

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Alarm asks a task to look up from its work: between two records, while it waits for something to do, and while it waits for credit in the
// middle of a record, where it gets batches beyond its credit so that it comes to the end of the record. It is raised when a barrier is to
// overtake records.
type Alarm struct {
	raised atomic.Bool
	wake   chan struct{} // capacity 1
	// Answering says that the task is at work on what the alarm was raised for: it still gets batches beyond its credit. The task's
	// goroutine only.
	Answering bool
}

// Raise raises the alarm; any goroutine may call it.
func (a *Alarm) Raise() {
	a.raised.Store(true)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Raised reports whether the alarm was raised since Lower.
func (a *Alarm) Raised() bool { return a.raised.Load() }

// Lower ends the alarm; the task calls it before it looks for the reason, so that none is missed.
func (a *Alarm) Lower() { a.raised.Store(false) }

// C has an element some time after Raise, and maybe when Raised is false again.
func (a *Alarm) C() <-chan struct{} { return a.wake }

// notes are the barriers that a receiver has been told of ahead of their arrival.
type notes struct {
	mu      sync.Mutex
	list    []note // by id
	settled int64  // the task has taken all checkpoints up to it
	timer   *time.Timer
}

type note struct {
	id  int64
	due time.Time
}

// Announce tells the receiver of the barrier of checkpoint id, which stands in the queue or is about to: from due on, in the past for at once, the
// receiver is to take the checkpoint without waiting until it has come to the barrier. Any goroutine may call it; of several announcements of
// one checkpoint the earliest due counts. A barrier that is not announced is never overtaken to.
func (q *Queue) Announce(id int64, due time.Time) {
	n := &q.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if id <= n.settled {
		// It ends what the receiver records of the channel.
		q.Alarm.Raise()
		return
	}
	i, found := n.find(id)
	if !found {
		n.list = slices.Insert(n.list, i, note{id, due})
	} else if due.Before(n.list[i].due) {
		n.list[i].due = due
	}
	q.arm(time.Now())
}

func (n *notes) find(id int64) (i int, found bool) {
	return slices.BinarySearchFunc(n.list, id, func(n note, id int64) int { return int(n.id - id) })
}

// arm has the alarm raised when the next announced checkpoint is due; now if one is.
func (q *Queue) arm(now time.Time) {
	n := &q.notes
	if n.timer != nil {
		n.timer.Stop()
	}
	var next time.Time
	for _, x := range n.list {
		if !x.due.After(now) {
			q.Alarm.Raise()
		} else if next.IsZero() || x.due.Before(next) {
			next = x.due
		}
	}
	if !next.IsZero() {
		n.timer = time.AfterFunc(next.Sub(now), q.Alarm.Raise)
	}
}

// Due is from when on the announced checkpoint id is to be taken without waiting for its barrier; the zero time if it was not announced, or is taken.
func (q *Queue) Due(id int64) time.Time {
	n := &q.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.find(id); ok {
		return n.list[i].due
	}
	return time.Time{}
}

// Overdue are the announced checkpoints that are due now and not taken, ascending.
func (q *Queue) Overdue() (ids []int64) {
	n := &q.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for _, x := range n.list {
		if !x.due.After(now) {
			ids = append(ids, x.id)
		}
	}
	return ids
}

// Settle says that the receiver has taken checkpoint id, or that none up to it is to be taken any more.
func (q *Queue) Settle(id int64) {
	n := &q.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled = max(n.settled, id)
	n.list = slices.DeleteFunc(n.list, func(x note) bool { return x.id <= n.settled })
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
	if len(n.list) > 0 {
		q.arm(time.Now())
	}
}

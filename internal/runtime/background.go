package runtime

import (
	"time"

	"github.com/millrace-io/millrace/state"
)

const (
	// backgroundShare is the part of a busy task's time, one of so many, that goes into what its snapshots have left to do: records keep nine
	// tenths of their rate, and a barrier's 100 000 changed entries are worked off within a second or two.
	backgroundShare = 10
	// backgroundSlice is the least that is worth the look at the clock.
	backgroundSlice = 50 * time.Microsecond
	// dryTurn bounds how long a record waits that comes while the task has nothing else to do.
	dryTurn = 200 * time.Microsecond
)

// background is the work that a task's snapshots have left for its goroutine: states whose changes up to a barrier are still to be encoded. Until
// it is done the snapshot cannot be written, so it is done whenever the task has nothing better to do: input is dry, or there is no room downstream.
// While records flow it gets a share of the time.
type background struct {
	// left are the states that may have something to do, those of the operators in the order of the chain.
	left []*stateWork
	all  []*stateWork
	// saved is the time granted and not used yet, spent up to the time last, Unix ns.
	saved time.Duration
	last  int64
}

type stateWork struct {
	o     *op
	state state.Operator
}

// begin says that snapshots were taken of the states of ops at now.
func (b *background) begin(ops []*op, now int64) {
	if b.all == nil {
		b.all = []*stateWork{}
		for _, o := range ops {
			for _, s := range []state.Operator{o.hooks().State, o.hooks().Broadcast} {
				if s != nil {
					b.all = append(b.all, &stateWork{o, s})
				}
			}
		}
	}
	if len(b.left) == 0 {
		b.saved, b.last = 0, now
	}
	b.left = b.all
}

// between is called between two batches at now, and returns the time after what it did.
func (b *background) between(now int64) (int64, error) {
	b.saved += time.Duration(now-b.last) / (backgroundShare - 1)
	if b.last = now; b.saved < backgroundSlice {
		return now, nil
	}
	err := b.work(b.saved)
	return b.last, err
}

// work does what is left for about the given time. It calls no operator, so it may be called while one waits.
func (b *background) work(slice time.Duration) error {
	start := time.Now()
	now := start
	defer func() { b.saved, b.last = 0, now.UnixNano() }()
	for len(b.left) > 0 && now.Sub(start) < slice {
		w := b.left[0]
		rest := slice - now.Sub(start)
		more, err := w.state.Background(rest)
		if err != nil {
			return w.o.failAside(err)
		}
		if !more {
			b.left = b.left[1:]
		}
		now = time.Now()
	}
	return nil
}

// whileWaiting does some of what is left while the task waits for room downstream, and reports whether there is more.
func (b *background) whileWaiting() (more bool, err error) {
	if len(b.left) == 0 {
		return false, nil
	}
	err = b.work(dryTurn)
	return len(b.left) > 0, err
}

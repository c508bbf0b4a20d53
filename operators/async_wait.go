package operators

import (
	"context"
	"math"
	"time"
)

// asyncFlushEvery is how long results wait behind a step that waits itself: many that wait in turn, each for one result, still fill batches.
const asyncFlushEvery = 10 * time.Millisecond

// wait blocks the task in the step until the condition holds, and meanwhile acts on results, timeouts and retries. The current record is afterwards as it
// was.
func (a *asyncStep[In, Out]) wait(until func() bool) error {
	unsent, waited := true, false
	defer func() {
		if waited {
			a.full.End()
		}
	}()
	for {
		if err := a.fire(a.t.Now().UnixMilli()); err != nil {
			return err
		}
		if until() {
			return nil
		}
		most := time.Duration(math.MaxInt64)
		if unsent {
			most = asyncFlushEvery - time.Since(a.sent)
			if most <= 0 {
				if err := a.t.Flush(); err != nil {
					return err
				}
				unsent, a.sent, most = false, time.Now(), math.MaxInt64
			}
		}
		if !waited {
			waited = true
			a.full.Begin()
		}
		result, err := a.block(most)
		if err != nil {
			return err
		}
		unsent = unsent || result
	}
}

// block waits for a result, a timer or the end of the given time. result says that there may be one.
func (a *asyncStep[In, Out]) block(most time.Duration) (result bool, err error) {
	a.mu.Lock()
	if len(a.results) > 0 {
		a.mu.Unlock()
		return true, nil
	}
	a.where = asyncWaiting
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.where = asyncHere
		a.mu.Unlock()
	}()
	if due, ok := a.timers.next(); ok {
		delay := max(0, due-a.t.Now().UnixMilli())
		most = min(most, time.Duration(min(delay, math.MaxInt64/int64(time.Millisecond)))*time.Millisecond)
	}
	var timer <-chan time.Time
	if most != math.MaxInt64 {
		if a.timer == nil {
			a.timer = time.NewTimer(most)
		} else {
			a.timer.Reset(most)
		}
		timer = a.timer.C
		defer a.timer.Stop()
	}
	select {
	case <-a.arrived:
		return true, nil
	case <-timer:
		return true, nil // what has timed out has results too
	case <-a.ctx.Done():
		return false, context.Cause(a.ctx)
	}
}

package operators

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// asyncStep is one subtask of an asynchronous step. All of it belongs to the task's goroutine but for what mu guards, which is all that the
// goroutines of the calls touch: they hand results over and never look at elements.
type asyncStep[In, Out any] struct {
	t        *Task
	emit     func(Out) error
	o        AsyncOptions[In, Out]
	f        asyncFuncs[In, Out]
	q        asyncQueue[In, Out]
	timers   asyncTimers[In, Out]
	codec    serde.Serde[In]
	timeout  int64 // ms, 0: none
	capacity int
	isIdle   bool // the output
	running  int  // records that are being called for, or wait for their next attempt
	// backlog are records that a restore has brought beyond the capacity, to be called for as others are done.
	backlog []*asyncElement[In, Out]
	// ready has the calls of a record begin now or, with keys, when those of the same key are done; nil: now. after returns the record to begin when e
	// is done.
	ready func(e *asyncElement[In, Out]) bool
	after func(e *asyncElement[In, Out]) *asyncElement[In, Out]

	wake   func()
	full   *Wait // while the task waits in the step
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	sent   time.Time              // when what is behind was last flushed while the task waited here
	batch  []asyncResult[In, Out] // taken from results, to be used again

	mu      sync.Mutex
	where   asyncWhere
	tokens  uint64
	results []asyncResult[In, Out]
	// arrived has a token when results came while the task waited in the step.
	arrived chan struct{}
	workers asyncWorkers[In, Out]
	closed  bool
}

// asyncWhere says how the task learns of a result.
type asyncWhere uint8

const (
	asyncAway    asyncWhere = iota // it must be woken
	asyncHere                      // it looks before it leaves the step
	asyncWaiting                   // it waits for arrived
)

// asyncResult is how a call has ended.
type asyncResult[In, Out any] struct {
	e     *asyncElement[In, Out]
	token uint64
	out   []Out
	err   error
}

func newAsync[In, Out any](t *Task, emit func(Out) error, o AsyncOptions[In, Out], f asyncFuncs[In, Out]) (*asyncStep[In, Out], error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	codec := o.Codec
	if codec == nil {
		var err error
		if codec, err = serde.For[In](); err != nil {
			return nil, err
		}
	}
	a := &asyncStep[In, Out]{t: t, emit: emit, o: o, f: f, codec: codec, timeout: roundUpMS(o.Timeout), capacity: o.Capacity, arrived: make(chan struct{}, 1)}
	if a.capacity == 0 {
		a.capacity = asyncCapacity
	}
	a.full = t.Waits(fmt.Sprintf("one of its %d calls to come back", a.capacity))
	t.OnWhy(func(f *Facts) {
		if a.running > 0 {
			f.Holds = fmt.Sprintf("%d calls to come back", a.running)
		}
	})
	a.q.unordered, a.q.out = o.Unordered, a.out
	a.workers.init(&a.mu)
	t.UserFuncs(o.OnTimeout, o.Retry.OnError, o.Retry.OnResult, o.Retry.Rand)
	t.HoldWatermarks()
	a.wake = t.OnWake(a.drain)
	t.OnOpen(a.open)
	t.OnWatermark(a.watermark)
	t.OnIdleness(a.idle)
	t.OnBarrier(func(context.Context, int64) error { return a.drain() })
	t.OnClose(a.close)
	t.UseTimers(a.timers.next, a.fire)
	return a, nil
}

// open calls for what a restore has brought.
func (a *asyncStep[In, Out]) open(ctx context.Context) error {
	a.ctx, a.cancel = context.WithCancel(ctx)
	for e := a.q.first; e != nil; e = e.next {
		if e.kind == asyncRecord {
			a.admit(e)
		}
	}
	a.leave()
	return nil
}

// leave has the task woken from now on, also for what has come already.
func (a *asyncStep[In, Out]) leave() {
	a.mu.Lock()
	a.where = asyncAway
	n := len(a.results)
	a.mu.Unlock()
	if n > 0 {
		a.wake()
	}
}

func (a *asyncStep[In, Out]) push(v In) error {
	e := a.q.new(asyncRecord)
	c := a.t.Context()
	e.value, e.ts, e.hash, e.at = v, c.TimestampMS, c.KeyHash, c.At
	if a.q.records >= a.capacity {
		if err := a.wait(a.room); err != nil {
			return err
		}
	}
	a.q.append(e)
	a.admit(e)
	return a.drain()
}

func (a *asyncStep[In, Out]) room() bool { return a.q.records < a.capacity }

func (a *asyncStep[In, Out]) empty() bool { return a.q.records == 0 }

// admit begins the calls for e unless it has to wait for others.
func (a *asyncStep[In, Out]) admit(e *asyncElement[In, Out]) {
	if a.ready == nil || a.ready(e) {
		a.begin(e)
	}
}

// begin calls for e the first time, when there is room.
func (a *asyncStep[In, Out]) begin(e *asyncElement[In, Out]) {
	if a.running >= a.capacity {
		a.backlog = append(a.backlog, e)
		return
	}
	a.running++
	if a.timeout > 0 {
		e.deadlineMS = saturatedAdd(a.t.Now().UnixMilli(), a.timeout)
	}
	a.call(e)
}

// saturatedAdd is ms + d, for d ≥ 0; below noDeadline in any case.
func saturatedAdd(ms, d int64) int64 {
	if ms > noDeadline-1-d {
		return noDeadline - 1
	}
	return ms + d
}

// contextUses is the number of calls after which an element gets a new context: what users hang on it and never take off is freed then.
const contextUses = 256

// call makes the next call for e.
func (a *asyncStep[In, Out]) call(e *asyncElement[In, Out]) {
	e.calls++
	e.waits = false
	if e.uses++; e.uses > contextUses && e.cancel != nil {
		a.cancelCall(e)
	}
	if e.ctx == nil {
		e.ctx, e.cancel = context.WithCancel(a.ctx)
	}
	spawn, known := false, false
	var out []Out
	if a.f.known != nil {
		out, known = a.f.known(e.value)
	}
	a.mu.Lock()
	a.where = asyncHere
	a.tokens++
	token := a.tokens
	e.token = token
	if a.f.blocking != nil && !known {
		spawn = a.workers.submit(asyncJob[In, Out]{e, token, e.value, e.ctx}, a.capacity)
	}
	a.mu.Unlock()
	if e.calls == 1 {
		e.begun = token
	}
	if e.deadlineMS == noDeadline {
		a.timers.remove(e)
	} else if e.timer < 0 || e.dueMS != e.deadlineMS {
		a.timers.set(e, e.deadlineMS)
	}
	if spawn {
		a.workers.group.Go(a.work)
	}
	if known {
		a.finished(e, token, out, nil)
	}
	if a.f.callback != nil {
		a.f.callback(e.ctx, e.value, func(out []Out, err error) { a.finished(e, token, out, err) })
	}
}

// cancelCall cancels the context of e; the next call has a new one.
func (a *asyncStep[In, Out]) cancelCall(e *asyncElement[In, Out]) {
	e.cancel()
	e.ctx, e.cancel, e.uses = nil, nil, 0
}

// finished hands the end of a call to the task. Any goroutine calls it.
func (a *asyncStep[In, Out]) finished(e *asyncElement[In, Out], token uint64, out []Out, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finishedLocked(e, token, out, err)
}

func (a *asyncStep[In, Out]) finishedLocked(e *asyncElement[In, Out], token uint64, out []Out, err error) {
	if a.closed || e.token != token {
		return
	}
	a.tokens++
	e.token = a.tokens // no other call of done counts
	a.results = append(a.results, asyncResult[In, Out]{e, e.token, out, err})
	switch {
	case a.where == asyncWaiting:
		select {
		case a.arrived <- struct{}{}:
		default:
		}
	case a.where == asyncAway && len(a.results) == 1:
		// With more, the task has been woken and has not come yet.
		a.wake()
	}
}

// drain acts on all results that have come, and leaves. The current record is afterwards as it was, unless there is an error.
func (a *asyncStep[In, Out]) drain() error {
	c := a.t.Context()
	before := *c
	for a.takeResults() {
		for i := range a.batch {
			r := &a.batch[i]
			if r.e == nil {
				continue
			}
			if err := a.ended(r.e, r.out, r.err); err != nil {
				return err
			}
			*r = asyncResult[In, Out]{}
		}
	}
	*c = before
	return nil
}

// takeResults takes the results that have come into batch. Without any it returns false, and the task is woken from now on.
func (a *asyncStep[In, Out]) takeResults() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.results) == 0 {
		a.where = asyncAway
		return false
	}
	a.where = asyncHere
	a.batch, a.results = a.results, a.batch[:0]
	for i := range a.batch {
		if r := &a.batch[i]; r.e.token != r.token {
			r.e = nil // it has timed out since
		}
	}
	return true
}

// ended acts on the end of a call.
func (a *asyncStep[In, Out]) ended(e *asyncElement[In, Out], out []Out, err error) error {
	if a.o.Retry.again(e.calls, out, err) {
		e.retryMS = saturatedAdd(a.t.Now().UnixMilli(), a.o.Retry.delayMS(e.calls))
		e.waits = true
		a.timers.set(e, min(e.retryMS, e.deadlineMS))
		return nil
	}
	return a.settle(e, out, err)
}

// settle gives e its final results.
func (a *asyncStep[In, Out]) settle(e *asyncElement[In, Out], out []Out, err error) error {
	a.timers.remove(e)
	if err != nil && !(isBadRecord(err) && a.t.HasDeadLetters()) {
		a.become(e)
		return a.t.Failure(err)
	}
	e.out, e.err = out, err
	a.running--
	if a.after != nil {
		if next := a.after(e); next != nil {
			a.begin(next)
		}
	}
	if err := a.q.finish(e); err != nil {
		return err
	}
	for len(a.backlog) > 0 && a.running < a.capacity {
		next := a.backlog[0]
		a.backlog[0] = nil
		a.backlog = a.backlog[1:]
		a.begin(next)
	}
	return nil
}

// become makes e the current record.
func (a *asyncStep[In, Out]) become(e *asyncElement[In, Out]) {
	c := a.t.Context()
	c.TimestampMS, c.KeyHash, c.At, c.Split = e.ts, e.hash, e.at, -1
}

// out passes an element on.
func (a *asyncStep[In, Out]) out(e *asyncElement[In, Out]) error {
	switch e.kind {
	case asyncWatermark:
		return a.t.EmitWatermark(e.ms)
	case asyncIdle, asyncActive:
		return a.emitIdle(e.kind == asyncIdle)
	}
	a.become(e)
	if e.err != nil {
		return Refuse(a.t, e.value, e.err)
	}
	for i, v := range e.out {
		if i > 0 {
			a.become(e)
		}
		if err := a.emit(v); err != nil {
			return err
		}
	}
	return nil
}

// fire ends the records that have timed out, and makes the attempts that are due.
func (a *asyncStep[In, Out]) fire(nowMS int64) error {
	if err := a.drain(); err != nil { // what has come in time counts
		return err
	}
	c := a.t.Context()
	before := *c
	for {
		due, ok := a.timers.next()
		if !ok || due > nowMS {
			*c = before
			return a.drain()
		}
		e := a.timers.heap[0]
		if e.deadlineMS > nowMS {
			a.call(e)
			continue
		}
		if err := a.expire(e); err != nil {
			return err
		}
	}
}

// expire ends e, which has timed out.
func (a *asyncStep[In, Out]) expire(e *asyncElement[In, Out]) error {
	a.mu.Lock()
	a.tokens++
	e.token = a.tokens // what its call still gives is not awaited any more
	a.workers.forget(e)
	a.mu.Unlock()
	a.cancelCall(e)
	if a.o.OnTimeout == nil {
		return a.settle(e, nil, fmt.Errorf("operators: no result within %v, after %d calls: %w; raise AsyncOptions.Timeout, or set OnTimeout",
			a.o.Timeout, e.calls, context.DeadlineExceeded))
	}
	a.become(e)
	out, err := a.o.OnTimeout(e.value)
	return a.settle(e, out, err)
}

// watermark passes a watermark on when all that came before it is out.
func (a *asyncStep[In, Out]) watermark(ms int64) error {
	if ms == EndOfTime {
		return a.wait(a.empty)
	}
	if a.q.first == nil {
		return a.t.EmitWatermark(ms)
	}
	if c := a.q.last; c.kind == asyncWatermark && a.q.controls > a.capacity {
		c.ms = max(c.ms, ms) // a call that takes for ever must not gather watermarks for ever
		return nil
	}
	e := a.q.new(asyncWatermark)
	e.ms = ms
	a.q.append(e)
	return nil
}

// idle passes on that the input is idle, or active again, when all that came before is out.
func (a *asyncStep[In, Out]) idle(idle bool) error {
	if a.q.first == nil {
		return a.emitIdle(idle)
	}
	kind := asyncActive
	if idle {
		kind = asyncIdle
	}
	if last := a.q.last; last.kind == asyncIdle || last.kind == asyncActive {
		last.kind = kind
		return nil
	}
	a.q.append(a.q.new(kind))
	return nil
}

func (a *asyncStep[In, Out]) emitIdle(idle bool) error {
	if idle == a.isIdle {
		return nil
	}
	a.isIdle = idle
	return a.t.EmitIdle(idle)
}

// close cancels all calls and waits for those that run.
func (a *asyncStep[In, Out]) close() error {
	a.mu.Lock()
	a.closed = true
	a.workers.stop()
	a.mu.Unlock()
	if a.cancel != nil {
		a.cancel()
	}
	a.workers.join(a.t)
	return nil
}

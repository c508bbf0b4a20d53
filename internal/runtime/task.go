package runtime

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// task is one chain of operators in one subtask. run is its goroutine; everything here belongs to it, except where noted.
type task struct {
	chain   *chain
	subtask int
	ctx     context.Context
	opctx   *operators.Context
	ops     []*op // parents before children; ops[0] is the head
	source  *sourceDriver
	now     func() time.Time

	queue   *exchange.Queue
	box     *mailbox // put from the job's goroutine
	report  func(any)
	files   func(id int64) state.Files // nil: nothing is stored
	uploads sync.WaitGroup
	inputs  *inputs
	align   alignment
	frozen  background
	over    overtaking
	replay  func() error // of what was in flight at the checkpoint; nil: nothing was
	ended   []bool
	timers  []*op
	wakeup  *time.Timer
	flushed time.Time // when open batches were last sent although the input had not run dry
	stopped bool      // behind the barrier of a stop: nothing is processed any more
	drained bool      // all input has ended and the operators have drained: nothing is emitted any more

	woken atomic.Bool // an operator waits to be called, see operators.Task.OnWake

	// records counts the records taken by the head, and marks the watermark of the last operator; read by the metrics collector.
	records atomic.Int64
	mark    atomic.Int64
	vitals  vitals
}

// id names the task for the coordinator.
func (t *task) id() checkpoint.TaskID {
	return checkpoint.TaskID{Name: t.chain.name, Subtask: t.subtask}
}

// run opens the state, then the operators, and processes until the context ends or something fails. It never panics.
func (t *task) run(openState func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = t.panicked(v)
		}
	}()
	defer t.vitals.stop()
	if err := openState(); err != nil {
		return err
	}
	for _, o := range t.ops {
		if err := o.open(t.ctx); err != nil {
			return err
		}
		if o.hooks().NextTimer != nil {
			t.timers = append(t.timers, o)
		}
	}
	if err := crash.At(crash.OperatorRestored); err != nil {
		return err
	}
	if err := t.repeatWatermarks(); err != nil {
		return err
	}
	t.vitals.work()
	if t.replay != nil {
		if err := t.replay(); err != nil {
			return err
		}
	}
	if t.source != nil {
		err = t.runSource()
	} else {
		err = t.runOperator()
	}
	return failIn(t.ops[0], err)
}

// repeatWatermarks passes restored watermarks on: the inputs of the tasks behind begin without any, and an operator that has had a watermark
// never passes it on again by itself. Without this an input that has nothing more to say, above all one that has ended, would hold
// the tasks behind back for ever.
func (t *task) repeatWatermarks() error {
	for _, o := range t.ops {
		if ms := o.task.Watermark(); ms != operators.NoWatermark {
			if err := o.forwardWatermark(ms); err != nil {
				return err
			}
		}
	}
	return nil
}

// close closes all operators, the first error wins, once what is being written of their state has ended. It is called after run, on the
// same goroutine. A panic in one does not leave the others open.
func (t *task) close() (err error) {
	t.uploads.Wait()
	note := func(f func() error) {
		defer func() {
			if v := recover(); v != nil && err == nil {
				err = t.panicked(v)
			}
		}()
		if e := f(); e != nil && err == nil {
			err = e
		}
	}
	if t.source != nil {
		note(t.source.close)
	}
	for _, o := range t.ops {
		o.close(note)
	}
	return err
}

func (t *task) runOperator() error {
	for {
		t.showMark()
		if t.queue.Alarm.Raised() {
			if err := t.attend(); err != nil {
				return err
			}
		}
		d := t.unhold()
		if d == nil {
			select {
			case d = <-t.queue.C:
				t.pulled(d)
			default:
				if err := t.dry(); err != nil {
					return err
				}
				var err error
				t.vitals.rest()
				if d, err = t.wait(t.queue.C, nil); err != nil {
					return err
				}
				if d != nil {
					t.pulled(d)
				}
				t.vitals.work()
			}
		}
		if d != nil {
			if err := t.take(d); err != nil {
				return err
			}
			if t.over.waits {
				if err := t.attend(); err != nil {
					return err
				}
			}
			if err := t.between(); err != nil {
				return err
			}
		}
		if err := t.ctx.Err(); err != nil {
			return context.Cause(t.ctx)
		}
		for _, l := range t.box.take() {
			switch l := l.(type) {
			case completedLetter:
				t.completed(l.id)
			case abortedLetter:
				if err := t.aborted(l.id); err != nil {
					return err
				}
			case whyLetter:
				t.answer(l)
			}
		}
		if err := t.wokenUp(); err != nil {
			return err
		}
		if err := t.fireTimers(); err != nil {
			return err
		}
	}
}

// wake has wokenUp called soon; any goroutine may call it.
func (t *task) wake() {
	t.woken.Store(true)
	t.box.signal()
}

// wokenUp calls what operators have declared for when they are woken. Behind the barrier of a stop nothing is processed any more.
func (t *task) wokenUp() error {
	if !t.woken.Load() || t.stopped || !t.woken.Swap(false) {
		return nil
	}
	for _, o := range t.ops {
		for _, f := range o.hooks().Woken {
			if err := f(); err != nil {
				return o.fail(err)
			}
		}
	}
	return nil
}

// wait blocks until there is something to do: a delivery, a token of the reader, a letter, a timer. Meanwhile it does what snapshots have left.
func (t *task) wait(in <-chan exchange.Delivery, reader <-chan struct{}) (exchange.Delivery, error) {
	for len(t.frozen.left) > 0 {
		select {
		case d := <-in:
			return d, nil
		case <-reader:
			return nil, nil
		case <-t.box.wake:
			return nil, nil
		case <-t.queue.Alarm.C():
			return nil, nil
		case <-t.ctx.Done():
			return nil, context.Cause(t.ctx)
		default:
		}
		if due, ok := t.nextTimer(); ok && due <= t.now().UnixMilli() {
			return nil, nil
		}
		if err := t.frozen.work(dryTurn); err != nil {
			return nil, err
		}
	}
	var timer <-chan time.Time
	if due, ok := t.nextTimer(); ok {
		delay := max(0, due-t.now().UnixMilli())
		d := time.Duration(min(delay, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
		if t.wakeup == nil {
			t.wakeup = time.NewTimer(d)
		} else {
			t.wakeup.Reset(d)
		}
		timer = t.wakeup.C
		defer t.wakeup.Stop()
	}
	select {
	case d := <-in:
		return d, nil
	case <-reader:
	case <-t.box.wake:
	case <-t.queue.Alarm.C():
	case <-timer:
	case <-t.ctx.Done():
		return nil, context.Cause(t.ctx)
	}
	return nil, nil
}

// take processes one delivery: its records, then its control element.
func (t *task) take(d exchange.Delivery) error {
	ch := d.Channel()
	if t.align.blocked[ch] {
		t.align.held = append(t.align.held, d)
		t.vitals.held.Store(int64(len(t.align.held)))
		return nil
	}
	if n := d.Len(); n > 0 {
		t.records.Add(int64(n))
		t.vitals.took(ch, d, n)
		if err := t.deliver(d, n); err != nil {
			return err
		}
	}
	c := d.Control()
	t.vitals.control(ch, c)
	d.Release()
	switch c.Kind {
	case exchange.None:
		return nil
	case exchange.Watermark:
		return t.pass(t.inputs.watermark(ch, c.Value))
	case exchange.Idle:
		return t.pass(t.inputs.setIdle(ch, c.Value == 1))
	case exchange.Barrier, exchange.BarrierStop:
		return t.barrierFrom(ch, c.Value, c.Kind == exchange.BarrierStop)
	default:
		return t.endFrom(ch)
	}
}

// showMark makes the watermarks of the operators visible to others: that of the last to the metrics.
func (t *task) showMark() {
	for _, o := range t.ops {
		if ms := o.task.Watermark(); ms != o.shown {
			o.shown = ms
			o.mark.Store(ms)
			o.markSince.Store(t.vitals.clock)
		}
	}
	t.mark.Store(t.ops[len(t.ops)-1].task.Watermark())
}

// pass gives what has come of all inputs to the operators.
func (t *task) pass(m watermark.Merged) error {
	if m.Rose {
		if err := t.ops[0].watermark(m.MS); err != nil {
			return err
		}
	}
	if m.Changed {
		return t.ops[0].idle(m.Idle)
	}
	return nil
}

// endFrom takes the end of one input; when all have ended, the operators drain and the coordinator is told. The task stays: the final
// checkpoint passes through it like any other.
func (t *task) endFrom(ch int) error {
	if t.ended[ch] {
		return nil
	}
	t.ended[ch] = true
	for _, e := range t.ended {
		if !e {
			return nil
		}
	}
	return t.end()
}

// end drains the operators and passes the end on. Their last watermark, EndOfTime, has come before it.
func (t *task) end() error {
	for _, o := range t.ops {
		if err := o.end(); err != nil {
			return err
		}
	}
	for _, o := range t.ops {
		if err := o.control(exchange.Control{Kind: exchange.End}); err != nil {
			return err
		}
	}
	t.drained = true
	t.vitals.drained.Store(true)
	t.report(endedEvent{t.id()})
	return nil
}

// flushEvery bounds how long a record waits in an open batch of a task whose input never runs dry: with many receivers a batch
// may fill slowly. Looking at the clock once a batch costs nothing measurable.
const flushEvery = 10 * time.Millisecond

// between is called between two batches: it sends open batches when that was last done long ago, and does some of what snapshots have left.
func (t *task) between() error {
	now := time.Now()
	t.over.pace.took(time.Duration(now.UnixNano() - t.vitals.clock))
	t.vitals.next(now.UnixNano())
	if len(t.frozen.left) > 0 {
		after, err := t.frozen.between(t.vitals.clock)
		if err != nil {
			return err
		}
		t.vitals.next(after)
	}
	if now.Sub(t.flushed) < flushEvery {
		return nil
	}
	t.flushed = now
	return t.flush()
}

// flush sends all open batches.
func (t *task) flush() error {
	for _, o := range t.ops {
		for _, out := range o.outputs {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// dry is called when the input has run dry: what waits for company is sent.
func (t *task) dry() error {
	for _, o := range t.ops {
		for _, f := range o.hooks().Dry {
			if err := f(); err != nil {
				return o.fail(err)
			}
		}
	}
	return t.flush()
}

// nextTimer is the earliest processing-time timer of the chain.
func (t *task) nextTimer() (due int64, ok bool) {
	if t.stopped || t.drained {
		return 0, false
	}
	for _, o := range t.timers {
		if ms, has := o.hooks().NextTimer(); has && (!ok || ms < due) {
			due, ok = ms, true
		}
	}
	return due, ok
}

// fireTimers fires the processing-time timers that are due.
func (t *task) fireTimers() error {
	if len(t.timers) == 0 || t.stopped || t.drained {
		return nil
	}
	now := t.now().UnixMilli()
	for _, o := range t.timers {
		if ms, ok := o.hooks().NextTimer(); ok && ms <= now {
			if err := o.hooks().FireTimers(now); err != nil {
				return o.fail(err)
			}
		}
	}
	return nil
}

func (t *task) completed(id int64) {
	if t.source != nil {
		t.source.reader.CheckpointCompleted(id)
	}
	for _, o := range t.ops {
		o.settled(id)
		for _, f := range o.hooks().Completed {
			f(id)
		}
	}
}

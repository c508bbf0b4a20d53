package operators

import (
	"errors"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// windowOperator is a window operator in one subtask: the general one, which keeps contents for each key and window. V is what the
// function of the windows sees.
//
// Timers. A window has a clean-up timer, and its trigger's. The default trigger needs no more than the window's end:
//   - aligned windows without lateness have nothing else than the timer at their last ms, from which the window is known;
//   - sessions keep one timer each, see window_session.go;
//   - all others keep their timers in windowTimers.
//
// Source: Flink WindowOperator, EvictingWindowOperator.
type windowOperator[K comparable, T, V, Out any] struct {
	spec     WindowSpec[T]
	event    bool // windows end by the watermark
	lateMS   int64
	reach    int64
	size     int64
	contents windowContents[T, V]
	sessions *state.Value[[]session] // nil unless windows merge
	timers   *windowTimers[K]        // nil: aligned windows of the default trigger without lateness, or sessions of it
	trigger  *triggerInstance[T]     // nil: the default
	f        *WindowFunc[K, V, Out]
	late     func(T) error
	ctx      *Ctx[K, Out]
	wctx     *WindowCtx[K, Out]
	buf      []Window
	// forgot: windows may have given their last result although the watermark says that they are open.
	forgot bool
}

// triggerInstance is the trigger of a window operator in one subtask.
type triggerInstance[T any] struct {
	host  triggerHost[T]
	state *state.Map[Window, triggerState] // nil: the trigger has none
	none  triggerState
	ctx   TriggerCtx
}

// windowStage makes the stage of a window operator. contents declares what windows hold, build the function.
func windowStage[K comparable, T, V, Out any](key func(T) K, codec serde.Serde[K], s WindowSpec[T],
	contents func(b *Keyed[K, T, Out]) (windowContents[T, V], error), build func(*WindowFunc[K, V, Out])) Stage[T, Out] {
	return func(t *Task, emit func(Out) error) (func(T) error, error) {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if build == nil {
			return nil, errors.New("a window step needs a function: result, or build")
		}
		oneSubtask[K](t)
		var failed error
		op := &windowOperator[K, T, V, Out]{spec: s}
		push, err := Process(key, codec, func(b *Keyed[K, T, Out]) { failed = op.declare(b, contents, build) })(t, emit)
		if failed != nil {
			return nil, failed
		}
		if err != nil {
			return nil, err
		}
		watchForRestore(t, func() { op.forgot = true })
		return push, nil
	}
}

func (op *windowOperator[K, T, V, Out]) declare(b *Keyed[K, T, Out], contents func(b *Keyed[K, T, Out]) (windowContents[T, V], error), build func(*WindowFunc[K, V, Out])) error {
	s, t := &op.spec, b.Task()
	op.event, op.lateMS, op.reach, op.size = s.eventTime(), s.latenessMS(), s.Windows.reach(), s.Windows.Size.Milliseconds()
	op.ctx, op.wctx = b.ctx, &WindowCtx[K, Out]{ctx: b.ctx}
	if op.event || s.Trigger.byWatermark {
		t.NeedsWatermarks("windows of event time")
	}
	t.UserFuncs(s.Gap, s.Assign, s.Evictor.Before, s.Evictor.After)
	t.UserFuncs(s.Trigger.funcs...)
	op.late = counted(t, SideOutput(t, LateRecords[T]()))
	var err error
	if op.contents, err = contents(b); err != nil {
		return err
	}
	if s.sessions() {
		op.sessions = b.Value[[]session](s.describe())
	}
	trigger := s.trigger()
	if trigger != nil || op.sessions == nil && (op.lateMS > 0 || !s.aligned()) {
		op.timers = newWindowTimers(b, s.describe())
	}
	if trigger != nil {
		op.trigger = &triggerInstance[T]{host: trigger, none: trigger.fresh(), ctx: TriggerCtx{task: t, timers: op}}
		c, err := trigger.codec()
		if err != nil {
			return err
		}
		if c != nil {
			op.trigger.state = b.Map[Window, triggerState]("trigger "+s.Trigger.name+" of "+s.describe(), state.Codec(c))
		}
	}
	op.f = &WindowFunc[K, V, Out]{t: t, s: b.s, ctx: op.wctx, merges: op.sessions != nil}
	build(op.f)
	if op.f.onFire == nil {
		return errors.New("declares no OnFire; a window function without it gives no results")
	}
	b.onRecord, b.onEvent, b.onProc = op.onRecord, op.onEventTimer, op.onProcessingTimer
	return nil
}

// trigger is the trigger that the engine must ask; nil for the default.
func (s *WindowSpec[T]) trigger() triggerHost[T] {
	end := s.Trigger.end
	if end == endOfEventTime && s.eventTime() || end == endOfProcessingTime && s.Windows.ProcessingTime {
		return nil
	}
	if s.Windows.All && s.Trigger.host == nil {
		return nil
	}
	return s.Trigger.host
}

// domain is that of the clean-up timers.
func (op *windowOperator[K, T, V, Out]) domain() state.Domain {
	if op.event {
		return state.EventTime
	}
	return state.ProcessingTime
}

// cleanupMS is when the contents of w go; EndOfTime: never.
func (op *windowOperator[K, T, V, Out]) cleanupMS(w Window) int64 {
	return addMS(w.LastMS(), op.lateMS)
}

// isLate reports whether w takes no more records.
func (op *windowOperator[K, T, V, Out]) isLate(w Window) bool {
	return op.event && op.cleanupMS(w) <= op.ctx.WatermarkMS()
}

func (op *windowOperator[K, T, V, Out]) onRecord(c *Ctx[K, Out], v T) error {
	ts := c.TimestampMS()
	at := ts
	if op.spec.Windows.ProcessingTime {
		at = c.Now().UnixMilli()
	} else if op.event && ts == connectors.NoTimestamp {
		return errNoTimestamp()
	}
	if op.sessions != nil {
		return op.onSessionRecord(c, v, ts, at)
	}
	switch {
	case op.spec.Assign != nil:
		op.buf = op.spec.Assign(v, at, op.buf[:0])
	case op.spec.Windows.All:
		op.buf = append(op.buf[:0], Everything)
	case !inReach(at, op.reach):
		return errTooFar(at)
	default:
		op.buf = op.spec.Windows.assignAligned(at, op.buf[:0])
	}
	taken := false
	for _, w := range op.buf {
		if op.isLate(w) {
			continue
		}
		taken = true
		fresh, err := op.contents.add(w, v, ts)
		if err != nil {
			return err
		}
		if err := op.added(c, w, w, v, fresh); err != nil {
			return err
		}
	}
	if taken {
		return nil
	}
	return op.skipped(c, v, ts)
}

func errNoTimestamp() error {
	return BadRecord(errors.New("the record has no timestamp; call Timestamps before the window"))
}

// skipped passes on a record that no window took, if it is late.
func (op *windowOperator[K, T, V, Out]) skipped(c *Ctx[K, Out], v T, ts int64) error {
	if op.event && addMS(ts, op.lateMS) <= c.WatermarkMS() {
		return op.ctx.note(op.late(v))
	}
	return nil
}

// added follows a record that was added to w, whose contents are known by id.
func (op *windowOperator[K, T, V, Out]) added(c *Ctx[K, Out], w, id Window, v T, fresh bool) error {
	if op.trigger == nil {
		last := w.LastMS()
		if op.event && last <= c.WatermarkMS() {
			if fresh { // reopened after a restore without watermark, or by a record within the lateness
				if err := op.armCleanup(w); err != nil {
					return err
				}
			}
			return op.fire(w, id)
		}
		switch {
		case op.timers == nil:
			if fresh {
				c.timers.Register(op.domain(), last)
			}
			return nil
		case fresh || op.forgot:
			if err := op.timers.add(op.domain(), last, w); err != nil {
				return err
			}
			return op.armCleanup(w)
		}
		return nil
	}
	s, err := op.triggerState(id)
	if err != nil {
		return err
	}
	op.trigger.ctx.window = w
	r := op.trigger.host.onRecord(&op.trigger.ctx, s, v)
	if err := op.decided(w, id, s, r); err != nil {
		return err
	}
	if fresh {
		return op.armCleanup(w)
	}
	return nil
}

// armCleanup registers the clean-up timer of w.
func (op *windowOperator[K, T, V, Out]) armCleanup(w Window) error {
	at := op.cleanupMS(w)
	if at == EndOfTime || op.timers == nil {
		return nil
	}
	return op.timers.add(op.domain(), at, w)
}

// triggerState is the state of the trigger for the window known by id.
func (op *windowOperator[K, T, V, Out]) triggerState(id Window) (triggerState, error) {
	if op.trigger.state == nil {
		return op.trigger.none, nil
	}
	s, ok, err := op.trigger.state.Get(id)
	if err != nil || ok {
		return s, err
	}
	return op.trigger.host.fresh(), nil
}

// decided keeps the trigger's state and does what it decided.
func (op *windowOperator[K, T, V, Out]) decided(w, id Window, s triggerState, r TriggerResult) error {
	if err := op.trigger.ctx.failed; err != nil {
		op.trigger.ctx.failed = nil
		return err
	}
	if op.trigger.state != nil {
		if err := op.trigger.state.Put(id, s); err != nil {
			return err
		}
	}
	if r&Fire != 0 {
		if err := op.fire(w, id); err != nil {
			return err
		}
	}
	if r&Purge != 0 {
		return op.contents.remove(id)
	}
	return nil
}

// fire gives the result of w, if it holds anything. An error of the function is no fault of the record that the trigger has just seen.
func (op *windowOperator[K, T, V, Out]) fire(w, id Window) error {
	v, ok, err := op.contents.get(id)
	if err != nil || !ok {
		return err
	}
	c := op.ctx.t.Context()
	ts := c.TimestampMS
	c.TimestampMS = w.LastMS()
	op.wctx.window, op.wctx.id = w, id
	err = op.f.onFire(op.wctx, v)
	c.TimestampMS = ts
	if err != nil {
		return op.ctx.note(err)
	}
	return op.contents.fired(id)
}

// clear drops all that belongs to w.
func (op *windowOperator[K, T, V, Out]) clear(w, id Window) error {
	if err := op.contents.remove(id); err != nil {
		return err
	}
	if err := op.clearTrigger(w, id); err != nil {
		return err
	}
	op.wctx.window, op.wctx.id = w, id
	if op.f.onClear != nil {
		if err := op.f.onClear(op.wctx); err != nil {
			return op.ctx.note(err)
		}
	}
	for _, s := range op.f.states {
		if err := s.remove(id); err != nil {
			return err
		}
	}
	return nil
}

func (op *windowOperator[K, T, V, Out]) clearTrigger(w, id Window) error {
	tr := op.trigger
	if tr == nil {
		return nil
	}
	s, err := op.triggerState(id)
	if err != nil {
		return err
	}
	tr.ctx.window = w
	tr.host.clear(&tr.ctx, s)
	if err := tr.ctx.failed; err != nil {
		tr.ctx.failed = nil
		return err
	}
	if tr.state == nil {
		return nil
	}
	return tr.state.Remove(id)
}

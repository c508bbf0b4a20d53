package operators

import (
	"context"
	"errors"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// keyedTask is what all keyed operators are made of, whatever their inputs: state, timers and the context of their functions. The builders
// embed it, so that its methods are theirs.
type keyedTask[K comparable, Out any] struct {
	t       *Task
	s       *state.Keyed[K]
	clock   *stateClock
	timers  *state.Timers[K]
	ctx     *Ctx[K, Out]
	onEvent func(*Ctx[K, Out], time.Time) error
	onProc  func(*Ctx[K, Out], time.Time) error
}

// Keyed is the builder of a keyed operator: it declares state, timers and functions. The build function runs once when the graph is
// checked and once per subtask, so variables of its body belong to one subtask.
type Keyed[K comparable, In, Out any] struct {
	keyedTask[K, Out]
	onRecord func(*Ctx[K, Out], In) error
}

func newKeyedTask[K comparable, Out any](t *Task, codec serde.Serde[K], emit func(Out) error) keyedTask[K, Out] {
	clock := &stateClock{t: t, ms: NoWatermark}
	s := state.NewKeyed(codec, state.Config{MaxParallelism: t.cfg.MaxParallelism, Now: t.cfg.Now, EventTime: clock.read})
	timers := s.Timers("timers")
	return keyedTask[K, Out]{t: t, s: s, clock: clock, timers: timers, ctx: &Ctx[K, Out]{emitter: &emitter[Out]{t: t, emit: emit}, timers: timers}}
}

// Ctx is what a keyed function sees of the current record or timer. It is valid during the call only.
type Ctx[K comparable, Out any] struct {
	*emitter[Out]
	key    K
	timers *state.Timers[K]
}

// emitter is what every function with a context sees of the current record. All contexts of one operator share one.
type emitter[Out any] struct {
	t    *Task
	emit func(Out) error
	// failed is the first error of Emit or a side output: such an error fails the task even where the function's own errors
	// become dead letters.
	failed error
}

// Value declares a state that holds one value of T per key.
func (b *keyedTask[K, Out]) Value[T any](name string, opts ...state.Option) *state.Value[T] {
	return b.s.Value[T](name, opts...)
}

// List declares a state that holds a list of T per key.
func (b *keyedTask[K, Out]) List[T any](name string, opts ...state.Option) *state.List[T] {
	return b.s.List[T](name, opts...)
}

// Map declares a state that holds a map from MK to MV per key.
func (b *keyedTask[K, Out]) Map[MK comparable, MV any](name string, opts ...state.Option) *state.Map[MK, MV] {
	return b.s.Map[MK, MV](name, opts...)
}

// Reducing declares a state that combines what is added by reduce, per key.
func (b *keyedTask[K, Out]) Reducing[T any](name string, reduce func(a, b T) T, opts ...state.Option) *state.Reducing[T] {
	b.t.UserFuncs(reduce)
	return b.s.Reducing(name, reduce, opts...)
}

// Aggregating declares a state that folds what is added into an accumulator, per key.
func (b *keyedTask[K, Out]) Aggregating[A, Acc, R any](name string, agg state.Aggregate[A, Acc, R], opts ...state.Option) *state.Aggregating[A, R] {
	return b.s.Aggregating(name, agg, opts...)
}

// MigrateKey reads state that was stored under keys of type Old, by a function or a chain of them that ends in K; see state.Keyed.MigrateKey.
// The old codec is given unless package serde derives it.
func (b *keyedTask[K, Out]) MigrateKey[Old, New any](f func(Old) (New, error), old ...serde.Serde[Old]) {
	b.s.MigrateKey(f, old...)
}

// Side declares a side output and returns the function that emits to it.
func (b *keyedTask[K, Out]) Side[S any](tag Tag[S]) func(S) error {
	out := SideOutput(b.t, tag)
	ctx := b.ctx
	return func(v S) error { return ctx.note(out(v)) }
}

// OnRecord declares the function that takes each record. An error fails the task, unless the graph consumes the step's dead letters; see
// Process.
func (b *Keyed[K, In, Out]) OnRecord(f func(c *Ctx[K, Out], v In) error) {
	b.onRecord = f
	b.t.UserFuncs(f)
}

// OnTimer declares the function that is called when an event-time timer fires: the watermark has reached at. Timers fire in the order of
// time, then of the encoded key, also those that f registers at or before the watermark. An error fails the task.
//
// At the end of a bounded input the watermark is EndOfTime and every timer fires, whatever its time: a function that registers its next timer
// whenever one fires must look at Ctx.WatermarkMS, or it never ends.
func (b *keyedTask[K, Out]) OnTimer(f func(c *Ctx[K, Out], at time.Time) error) {
	b.onEvent = f
	b.t.UserFuncs(f)
}

// OnProcessingTimer declares the function that is called when a processing-time timer fires: the wall clock has reached at. What it emits
// has no timestamp. Timers that are pending when a bounded input ends do not fire. An error fails the task.
func (b *keyedTask[K, Out]) OnProcessingTimer(f func(c *Ctx[K, Out], at time.Time) error) {
	b.onProc = f
	b.t.UserFuncs(f)
}

// OnOpen declares f to be called once before the first record, with a context that ends with the task.
func (b *keyedTask[K, Out]) OnOpen(f func(ctx context.Context) error) { b.t.OnOpen(f) }

// OnClose declares f to be called once when the task ends.
func (b *keyedTask[K, Out]) OnClose(f func() error) { b.t.OnClose(f) }

// Task is the operator's task, for what the builder does not offer.
func (b *keyedTask[K, Out]) Task() *Task { return b.t }

// Key is the current key.
func (c *Ctx[K, Out]) Key() K { return c.key }

// Emit passes v on with the timestamp of the current record or timer.
func (c *emitter[Out]) Emit(v Out) error { return c.note(c.emit(v)) }

// Timestamp is the event time of the current record or timer; the zero time if the record has none.
func (c *emitter[Out]) Timestamp() time.Time {
	ms := c.t.Context().TimestampMS
	if ms == connectors.NoTimestamp {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// TimestampMS is Timestamp in Unix ms, or connectors.NoTimestamp.
func (c *emitter[Out]) TimestampMS() int64 { return c.t.Context().TimestampMS }

// WatermarkMS is the current watermark, Unix ms, or NoWatermark.
func (c *emitter[Out]) WatermarkMS() int64 { return c.t.Watermark() }

// Now is the wall clock (processing time).
func (c *emitter[Out]) Now() time.Time { return c.t.Now() }

// TimerAt registers an event-time timer for the current key, at at in whole milliseconds. The same time twice is one timer; one
// that the watermark has passed fires with the next watermark.
func (c *Ctx[K, Out]) TimerAt(at time.Time) { c.timers.Register(state.EventTime, at.UnixMilli()) }

// DeleteTimer deletes the event-time timer of the current key at at, if there is one.
func (c *Ctx[K, Out]) DeleteTimer(at time.Time) { c.timers.Delete(state.EventTime, at.UnixMilli()) }

// ProcessingTimerAt registers a processing-time timer for the current key.
func (c *Ctx[K, Out]) ProcessingTimerAt(at time.Time) {
	c.timers.Register(state.ProcessingTime, at.UnixMilli())
}

// DeleteProcessingTimer deletes the processing-time timer of the current key at at, if there is one.
func (c *Ctx[K, Out]) DeleteProcessingTimer(at time.Time) {
	c.timers.Delete(state.ProcessingTime, at.UnixMilli())
}

func (c *emitter[Out]) note(err error) error {
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return err
}

// Process is the general keyed operator: build declares state, timers and functions on the builder. codec encodes keys; nil takes the
// one that package serde derives. The input must be partitioned by key; state and timers belong to the current record's key. State
// is kept until the functions remove it or its TTL does; a timer is kept until it fires or is deleted.
//
// When the record function fails, the task fails, and the record is tried again after the restart. Only an error marked by BadRecord makes
// the record a dead letter, if the graph consumes the step's dead letters; what the function had changed in state before it failed then stays.
// Errors of Emit and of side outputs always fail the task, even where the function does not return them.
func Process[K comparable, In, Out any](key func(In) K, codec serde.Serde[K], build func(*Keyed[K, In, Out])) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		if key == nil || build == nil {
			return nil, errors.New("a keyed operator needs a key function and a build function")
		}
		b := &Keyed[K, In, Out]{keyedTask: newKeyedTask[K](t, codec, emit)}
		build(b)
		if b.onRecord == nil {
			return nil, errors.New("declares no OnRecord; a keyed function without it takes no records")
		}
		if err := b.declare(); err != nil {
			return nil, err
		}
		t.UserFuncs(key)
		return b.push(key, b.onRecord), nil
	}
}

// declare hands the state and the timers to the task, once the builder has declared them.
func (b *keyedTask[K, Out]) declare() error {
	if err := b.s.Err(); err != nil {
		return err
	}
	for _, d := range b.s.Descriptors() {
		if d.EventTimeTTL && b.t.hooks.NeedsWatermarks == "" {
			b.t.NeedsWatermarks("state that expires in event time")
		}
	}
	b.t.UseState(b.s)
	b.t.OnBatch(b.s.Touch)
	b.hookTimers()
	return nil
}

// push makes the function that takes the records of one input, of which f is the user's.
func (b *keyedTask[K, Out]) push[In any](key func(In) K, f func(*Ctx[K, Out], In) error) func(In) error {
	t, s, ctx := b.t, b.s, b.ctx
	c := t.Context()
	return func(v In) error {
		ctx.key = key(v)
		s.SetCurrent(ctx.key, c.KeyHash)
		return ctx.outcome(v, f(ctx, v))
	}
}

func (b *keyedTask[K, Out]) hookTimers() {
	b.t.OnWatermark(func(ms int64) error {
		if err := b.fire(state.EventTime, ms, b.onEvent); err != nil {
			return err
		}
		b.clock.reach(ms)
		return b.s.CleanUp()
	})
	b.t.UseTimers(
		func() (int64, bool) { return b.timers.Next(state.ProcessingTime) },
		func(nowMS int64) error { return b.fire(state.ProcessingTime, nowMS, b.onProc) })
	b.t.OnWhy(func(f *Facts) {
		if ms, ok := b.timers.Next(state.EventTime); ok {
			f.EventTimerMS = &ms
		}
	})
}

// outcome is what becomes of a record for which the function returned err.
func (c *emitter[Out]) outcome[In any](v In, err error) error {
	if c.failed != nil {
		return errors.Join(c.failed, distinct(err, c.failed))
	}
	if err != nil && isBadRecord(err) {
		return Refuse(c.t, v, err)
	}
	return c.t.Failure(err)
}

// distinct is err, or nil if it is only first again.
func distinct(err, first error) error {
	if errors.Is(err, first) {
		return nil
	}
	return err
}

// fire calls f for each timer that is due, also for those that f itself registers in the past. The context of a record that caused
// the watermark is afterwards as it was.
func (b *keyedTask[K, Out]) fire(d state.Domain, upToMS int64, f func(*Ctx[K, Out], time.Time) error) error {
	c := b.t.Context()
	defer func(ts int64, hash uint64) { c.TimestampMS, c.KeyHash = ts, hash }(c.TimestampMS, c.KeyHash)
	for {
		key, hash, ts, ok := b.timers.PopDue(d, upToMS)
		if !ok {
			return b.timers.Err()
		}
		if f == nil {
			continue
		}
		b.ctx.key = key
		b.s.SetCurrent(key, hash)
		c.TimestampMS, c.KeyHash = ts, hash
		if d == state.ProcessingTime {
			c.TimestampMS = connectors.NoTimestamp
		} else {
			b.clock.reach(ts)
		}
		if err := f(b.ctx, time.UnixMilli(ts)); err != nil {
			return err
		}
		if b.ctx.failed != nil {
			return b.ctx.failed
		}
		if err := crash.At(crash.OperatorTimer); err != nil {
			return err
		}
	}
}

// Package operatortest drives one operator in one subtask without a runtime: records, watermarks, timers, idleness, snapshots and
// restores at any parallelism go in, and what comes out is at hand after every call. Clock and files are in memory, everything runs
// on the caller's goroutine, and nothing waits.
//
//	h := operatortest.New(t, operators.Process(key, nil, build), operatortest.Options{}).KeyBy(key, nil)
//	h.Process(Order{"ann", 3}, 1_000)
//	h.Watermark(2_000)
//	got := h.Outputs()
//
// The hooks of an operator are called in the order in which a running job calls them.
package operatortest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"go.uber.org/zap"
)

// TB is what the harness needs of a test. *testing.T, *testing.B and *rapid.T have it.
type TB interface {
	// Helper marks the caller as a helper.
	Helper()
	// Fatalf fails and ends the test.
	Fatalf(format string, args ...any)
	// Cleanup has f called at the end of the test.
	Cleanup(f func())
	// Context ends just before the functions given to Cleanup are called.
	Context() context.Context
}

// Options say how the operator is hosted. The zero value is the only subtask of a new step, with state in memory.
type Options struct {
	// UID is the step's stable id. Default "operator".
	UID string
	// Subtask and Parallelism say which instance of the step this is. Default 0 of 1.
	Subtask, Parallelism int
	// MaxParallelism is the number of key groups. Default state.DefaultMaxParallelism.
	MaxParallelism int
	// State is where keyed state lives. Default memstate.New().
	State state.Backend
	// NowMS is the processing time at the start, Unix ms. Default 0.
	NowMS int64
	// DeadLetters says that the graph consumes the step's dead letters. Without it, refusing a record is an error.
	DeadLetters bool
	// Discard drops the outputs instead of keeping them: for benchmarks.
	Discard bool
	// Logger is the operator's. Default: none is written.
	Logger *zap.Logger

	// Attempt names this run of the operator for backends that keep files of their own; harnesses that share such a backend need different
	// ones. Default "1" for a new step, and one more than the attempt of From for a restored one.
	Attempt string

	// From are the snapshots of all subtasks of the step that is restored, at whatever parallelism they were taken. Default: a new step.
	From []*Snapshot
	// Drop names states in From that the operator no longer declares.
	Drop []string
	// ForgetWatermark starts a restored operator without watermark, as Flink does. By default it goes on with the least one of the
	// snapshots and passes it on first, as a running job does.
	ForgetWatermark bool
}

func (o Options) withDefaults() Options {
	if o.UID == "" {
		o.UID = "operator"
	}
	if o.Parallelism == 0 {
		o.Parallelism = 1
	}
	if o.MaxParallelism == 0 {
		o.MaxParallelism = state.DefaultMaxParallelism
	}
	if o.State == nil {
		o.State = memstate.New()
	}
	if o.Attempt == "" {
		o.Attempt = strconv.Itoa(o.generation())
	}
	return o
}

// generation is one more than the number of restores that the state has behind it.
func (o Options) generation() int {
	n := 0
	for _, s := range o.From {
		n = max(n, s.generation)
	}
	return n + 1
}

// Validate reports every fault.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	if o.MaxParallelism < 1 || o.Parallelism < 1 || o.Parallelism > o.MaxParallelism {
		errs = append(errs, fmt.Errorf("operatortest: Options has Parallelism %d and MaxParallelism %d, want 1 ≤ Parallelism ≤ MaxParallelism", o.Parallelism, o.MaxParallelism))
	}
	if o.Subtask < 0 || o.Subtask >= o.Parallelism {
		errs = append(errs, fmt.Errorf("operatortest: Options.Subtask is %d, want 0…%d", o.Subtask, o.Parallelism-1))
	}
	return errors.Join(append(errs, o.State.Validate())...)
}

// Harness is one operator instance and its host. Every method fails the test when the operator fails, except those that return an
// error. It is used by one goroutine.
type Harness[In, Out any] struct {
	t    TB
	o    Options
	task *operators.Task
	ctx  *operators.Context
	push func(In) error
	hash func(In) uint64
	// broadcast says which records of a keyed operator go to every subtask; nil: none.
	broadcast func(In) bool
	files     *files

	nowMS    int64
	offset   int64
	barriers int64
	inputMS  int64 // highest watermark of the input
	ended    bool
	closed   bool
	woken    atomic.Bool
	out      []Element[Out]
	side     map[string][]sideElement
}

// Check builds the stage as a graph does when it is checked, and returns every fault of its declarations.
func Check[In, Out any](stage operators.Stage[In, Out], o Options) error {
	_, err := declarations(stage, o)
	return err
}

// declarations runs the stage as the check of a graph does.
func declarations[In, Out any](stage operators.Stage[In, Out], o Options) (*operators.Task, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	t := operators.NewTask(operators.TaskConfig{UID: o.UID, Name: o.UID, Check: true, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism})
	if stage == nil {
		return nil, errors.New("operatortest: the stage is nil")
	}
	_, err := stage(t, func(Out) error { return nil })
	return t, errors.Join(err, t.Err())
}

// New builds the operator, restores what Options.From holds and opens it. It is closed at the end of the test.
func New[In, Out any](t TB, stage operators.Stage[In, Out], o Options) *Harness[In, Out] {
	t.Helper()
	checked, err := declarations(stage, o)
	if err != nil {
		t.Fatalf("the operator is refused: %v", err)
	}
	o = o.withDefaults()
	h := &Harness[In, Out]{t: t, o: o, nowMS: o.NowMS, inputMS: operators.NoWatermark, side: map[string][]sideElement{},
		ctx: &operators.Context{TimestampMS: connectors.NoTimestamp, Split: -1}, files: &files{from: o.From}}
	h.task = operators.NewTask(operators.TaskConfig{
		UID: o.UID, Name: o.UID, Subtask: o.Subtask, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism,
		Context: h.ctx, Now: func() time.Time { return time.UnixMilli(h.nowMS) }, Logger: o.Logger, Attempt: o.Attempt,
		Side: h.sides(checked.SideTypes()), EmitWatermark: h.emitWatermark, EmitIdle: h.emitIdle,
		Wake: func() { h.woken.Store(true) },
	})
	if h.push, err = stage(h.task, h.emit); err != nil {
		t.Fatalf("build the operator: %v", err)
	}
	t.Cleanup(h.Close)
	if err := h.restore(); err != nil {
		t.Fatalf("restore: %v", err)
	}
	for _, f := range h.task.Hooks().Open {
		h.must("open", f(t.Context()))
	}
	if ms := h.task.Watermark(); ms != operators.NoWatermark {
		// A job repeats a restored watermark, because the operators behind may not have had it.
		h.inputMS, h.ended = ms, ms == operators.EndOfTime
		h.must("repeat the restored watermark", h.emitWatermark(ms))
	}
	return h
}

// KeyBy says by which key the input is partitioned. It must be called before the first record of a keyed operator; codec nil takes
// the codec that package serde derives.
func (h *Harness[In, Out]) KeyBy[K comparable](key func(In) K, codec serde.Serde[K]) *Harness[In, Out] {
	h.t.Helper()
	if codec == nil {
		var err error
		if codec, err = serde.For[K](); err != nil {
			h.t.Fatalf("the key has no codec: %v", err)
		}
	}
	hash := serde.HashOf(codec)
	h.hash = func(v In) uint64 { return hash(key(v)) }
	return h
}

// Owner is the subtask to which the record v belongs.
func (h *Harness[In, Out]) Owner(v In) int {
	return state.SubtaskOf(state.GroupOf(h.hash(v), h.o.MaxParallelism), h.o.Parallelism, h.o.MaxParallelism)
}

// Process hands over a record. tsMS is its timestamp, Unix ms, or connectors.NoTimestamp.
func (h *Harness[In, Out]) Process(v In, tsMS int64) {
	if err := h.TryProcess(v, tsMS); err != nil {
		h.t.Helper()
		h.t.Fatalf("record %+v at %d: %v", v, tsMS, err)
	}
}

// TryProcess is Process for records that the operator may refuse. After an error the operator is not to be used further, as a task
// is not.
func (h *Harness[In, Out]) TryProcess(v In, tsMS int64) error { return h.process(-1, v, tsMS) }

// ProcessSplit hands over a record of a source's split, as to an operator in the source's own chain.
func (h *Harness[In, Out]) ProcessSplit(split int, v In, tsMS int64) {
	h.t.Helper()
	h.must("record", h.process(split, v, tsMS))
}

func (h *Harness[In, Out]) process(split int, v In, tsMS int64) error {
	c := h.ctx
	if h.hash != nil && h.broadcast != nil && h.broadcast(v) {
		c.KeyHash = 0
	} else if h.hash != nil {
		c.KeyHash = h.hash(v)
		if s := h.Owner(v); s != h.o.Subtask {
			return fmt.Errorf("operatortest: the record %+v belongs to subtask %d, this is %d", v, s, h.o.Subtask)
		}
	} else if h.task.Hooks().State != nil {
		return errors.New("operatortest: the operator is keyed; call KeyBy before the first record")
	}
	c.TimestampMS, c.Split = tsMS, split
	c.At = connectors.Coordinates{UID: "operatortest", Split: "0", Offset: h.offset}
	h.offset++
	return h.push(v)
}

// Watermark hands over a watermark, Unix ms. One that is not above the last is dropped.
func (h *Harness[In, Out]) Watermark(ms int64) {
	h.t.Helper()
	h.must("watermark", h.TryWatermark(ms))
}

// TryWatermark is Watermark for operators that may fail at it.
func (h *Harness[In, Out]) TryWatermark(ms int64) error {
	h.inputMS = max(h.inputMS, ms)
	hooks := h.task.Hooks()
	if !hooks.OwnWatermarks {
		if ms <= h.task.Watermark() {
			return nil
		}
		h.task.SetWatermark(ms)
	}
	for _, f := range hooks.Watermark {
		if err := f(ms); err != nil {
			return err
		}
	}
	if !hooks.OwnWatermarks {
		return h.emitWatermark(ms)
	}
	if ms == operators.EndOfTime {
		return h.task.EmitWatermark(ms)
	}
	return nil
}

// Idle tells the operator that its input is idle, or active again.
func (h *Harness[In, Out]) Idle(idle bool) {
	h.t.Helper()
	for _, f := range h.task.Hooks().Idle {
		h.must("idle", f(idle))
	}
	if !h.task.Hooks().OwnWatermarks {
		h.must("idle", h.emitIdle(idle))
	}
}

// Split tells the operator of an event of a source's split.
func (h *Harness[In, Out]) Split(split int, e operators.SplitEvent) {
	h.t.Helper()
	for _, f := range h.task.Hooks().Split {
		h.must("split", f(split, e))
	}
}

// Dry tells the operator that its input has run dry.
func (h *Harness[In, Out]) Dry() {
	h.t.Helper()
	for _, f := range h.task.Hooks().Dry {
		h.must("dry", f())
	}
}

// Wake calls what the operator has declared by Task.OnWake, if it was woken since; a running job does so by itself. The methods
// that return outputs call it first.
func (h *Harness[In, Out]) Wake() {
	h.t.Helper()
	h.must("wake", h.TryWake())
}

// TryWake is Wake for operators that may fail at it.
func (h *Harness[In, Out]) TryWake() error {
	for h.woken.Swap(false) && !h.closed {
		for _, f := range h.task.Hooks().Woken {
			if err := f(); err != nil {
				return err
			}
		}
	}
	return nil
}

// AdvanceProcessingTime sets the clock, Unix ms, and fires the processing-time timers that are due. The clock reads ms during all of
// them. It never goes back. After EndInput timers no longer fire.
func (h *Harness[In, Out]) AdvanceProcessingTime(ms int64) {
	h.t.Helper()
	if ms < h.nowMS {
		h.t.Fatalf("AdvanceProcessingTime from %d to %d: the clock never goes back", h.nowMS, ms)
	}
	h.nowMS = ms
	hooks := h.task.Hooks()
	if hooks.NextTimer == nil || h.ended {
		return
	}
	if due, ok := hooks.NextTimer(); ok && due <= ms {
		h.must("processing-time timers", hooks.FireTimers(ms))
	}
}

// EndInput ends a bounded input: the watermark EndOfTime, unless it has come already, then the hooks of the end. Ended is for ever: an
// operator that is restored from behind its end has ended.
func (h *Harness[In, Out]) EndInput() {
	h.t.Helper()
	if h.ended {
		return
	}
	if h.inputMS != operators.EndOfTime {
		h.Watermark(operators.EndOfTime)
	}
	h.ended = true
	for _, f := range h.task.Hooks().End {
		h.must("end of input", f())
	}
}

// Completed tells the operator that the checkpoint of the last Snapshot has completed.
func (h *Harness[In, Out]) Completed() {
	for _, f := range h.task.Hooks().Completed {
		f(h.barriers)
	}
}

// Task is the operator's task.
func (h *Harness[In, Out]) Task() *operators.Task { return h.task }

func (h *Harness[In, Out]) must(what string, err error) {
	if err != nil {
		h.t.Helper()
		h.t.Fatalf("%s: %v", what, err)
	}
}

// Close ends the operator before the end of the test. Its snapshots stay usable.
func (h *Harness[In, Out]) Close() {
	if h.closed {
		return
	}
	h.closed = true
	for _, f := range h.task.Hooks().Close {
		h.must("close", f())
	}
	for _, s := range []state.Operator{h.task.Hooks().State, h.task.Hooks().Broadcast} {
		if s != nil {
			h.must("close the state", s.Close())
		}
	}
}

// sides makes the push function of every side output that the operator declares.
func (h *Harness[In, Out]) sides(types map[string]reflect.Type) map[string]any {
	side := map[string]any{}
	for name, typ := range types {
		side[name] = h.sidePush(name, typ)
	}
	if h.o.DeadLetters {
		side[operators.DeadLetterPort] = h.sidePush(operators.DeadLetterPort, reflect.TypeFor[connectors.DeadLetter]())
	}
	return side
}

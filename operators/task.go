// Package operators holds the operators of a dataflow and the contract by which anyone writes one.
//
// An operator is a function, a Stage: it takes the push function of the operator after it and returns its own. Records pass
// through a chain of operators as plain calls, by value; types are erased once per stage when the graph is built, never per
// record. Everything else that an operator may need (state, timers, hooks for watermarks, barriers and the end of input) it declares on its
// Task. The built-in operators use nothing else, so a Stage of one's own is a peer of Map and Window.
//
// Time is event time unless said otherwise; timestamps and watermarks are Unix milliseconds. All functions of one operator instance are called by
// one goroutine, the task's.
package operators

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/state"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	// NoWatermark is the watermark before the first one.
	NoWatermark int64 = math.MinInt64
	// EndOfTime is the watermark after the last record of a bounded input.
	EndOfTime int64 = math.MaxInt64
)

// Stage builds one subtask's instance of an operator. It declares what it needs on t and returns the function that takes each
// record; emit passes a record on with the current timestamp. It only declares: resources are acquired in t.OnOpen, because a Stage
// also runs once when the graph is checked. State held in variables of the Stage's body belongs to that one instance.
type Stage[In, Out any] func(t *Task, emit func(Out) error) (func(In) error, error)

// Stage2 is a Stage with two inputs: it returns one function for the records of each. Both are called by the task's goroutine, in no order
// between the inputs. The operator's watermark is the least of both inputs'; an idle input does not count.
type Stage2[A, B, Out any] func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error)

// Context is what travels beside the record: set by the head of the chain for each record and shared by all operators of the
// chain. An operator that emits at another time (a timer) sets TimestampMS first.
type Context struct {
	// TimestampMS is the event time of the current record, or connectors.NoTimestamp.
	TimestampMS int64
	// KeyHash is the hash of the record's key, after an exchange by key.
	KeyHash uint64
	// At is where the record comes from: exact in a source's own chain, else the first record of the current batch.
	At connectors.Coordinates
	// Split is the index of the source split in this subtask, in a source's own chain; -1 elsewhere.
	Split int
}

// Task is one operator in one subtask. A Stage declares on it what it needs; the host calls the hooks.
type Task struct {
	cfg   TaskConfig
	hooks Hooks
	ports map[string]reflect.Type
	errs  []error
	// watermark of this operator: what it has been told, or, with OwnWatermarks, what it has emitted.
	watermark int64
	late      atomic.Int64
	waits     []*Wait
}

// TaskConfig is what the host of an operator gives to it. It matters to hosts only: the runtime and test harnesses.
type TaskConfig struct {
	UID  string // empty for stateless steps
	Name string // uid, or kind and place of a stateless step; for messages
	// Check says that the Stage runs only so that its declarations are known.
	Check          bool
	Subtask        int
	Parallelism    int
	MaxParallelism int
	Context        *Context
	Now            func() time.Time
	Logger         *zap.Logger
	Metrics        prometheus.Registerer
	Attempt        string
	// RestoredCheckpoint is the id of the checkpoint that the job was restored from, 0 on a fresh start.
	RestoredCheckpoint int64
	// RestoredCommittables are those of a sink, of all subtasks.
	RestoredCommittables [][]byte
	// Side maps the name of a connected side output to its push function, a func(S) error.
	Side map[string]any
	// EmitWatermark passes a watermark to the operators after this one.
	EmitWatermark func(ms int64) error
	// EmitIdle passes on that the operator's output is idle, or active again.
	EmitIdle func(idle bool) error
	// Wake has the functions declared by OnWake called soon; any goroutine may call it.
	Wake func()
	// InSource says that the operator runs in a source's own chain, where it is told of splits.
	InSource bool
	// HeldUp is the time for which the task has been held up since it began: it waited for room downstream, or its input was paused. Nil: it
	// never is.
	HeldUp func() time.Duration
	// Flush sends what the operators after this one hold back for company.
	Flush func() error
}

// Hooks are the functions that an operator has declared; the host calls them, those of one kind in the order of declaration.
// What is not declared is nil.
type Hooks struct {
	// Why are called when somebody asks for the facts of the operator.
	Why          []func(*Facts)
	Open         []func(ctx context.Context) error
	Watermark    []func(ms int64) error
	Idle         []func(idle bool) error
	Split        []func(split int, event SplitEvent) error
	Barrier      []func(ctx context.Context, id int64) error
	Committables func(ctx context.Context, id int64) ([][]byte, error)
	Completed    []func(id int64)
	Dry          []func() error
	End          []func() error
	Close        []func() error
	State        state.Operator
	// Broadcast is state that is the same in every subtask; the host keeps it in memory.
	Broadcast     state.Operator
	Prefetch      func(hashes []uint64)
	SaveRaw       func() ([][]byte, error)
	RestoreRaw    func(blobs [][]byte) error
	NextTimer     func() (ms int64, ok bool)
	FireTimers    func(nowMS int64) error
	Woken         []func() error
	OwnWatermarks bool
	// HoldsWatermarks says, with OwnWatermarks, that the watermarks of the output are those of the input, later.
	HoldsWatermarks bool
	// NeedsWatermarks is why the operator needs watermarks; empty: it does without.
	NeedsWatermarks string
	// Alignment says that the source's splits are to be held back by their watermarks, see AlignSplits.
	Alignment *SplitAlignment
	UserFuncs []any
}

// SplitEvent is what happens to a split of a source.
type SplitEvent int

// The events of a split. A split counts as active from SplitAdded on; a record from it ends SplitIdle. Between SplitPaused and SplitResumed the
// host holds it back: that no record comes then does not mean that there is none.
const (
	SplitAdded SplitEvent = iota
	SplitIdle
	SplitFinished
	SplitPaused
	SplitResumed
)

// SplitAlignment is by what a source's splits are held back: no split is read whose watermark is more than MaxDriftMS ahead of the least one of
// the group.
type SplitAlignment struct {
	// Group names the sources that are aligned with each other, within one job.
	Group      string
	MaxDriftMS int64
	// Mark is the watermark of a split now, NoWatermark before its first, and whether it counts: an idle one does not.
	Mark func(split int) (ms int64, counts bool)
}

// NewTask makes the Task on which a Stage declares. For hosts.
func NewTask(c TaskConfig) *Task {
	if c.Context == nil {
		c.Context = &Context{TimestampMS: connectors.NoTimestamp, Split: -1}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return &Task{cfg: c, ports: map[string]reflect.Type{}, watermark: NoWatermark}
}

// Hooks returns what the operator has declared. For hosts.
func (t *Task) Hooks() *Hooks { return &t.hooks }

// Err returns all faults that were found while the operator declared. For hosts.
func (t *Task) Err() error { return errors.Join(t.errs...) }

// SideTypes returns the declared side outputs with the type of their records. For hosts.
func (t *Task) SideTypes() map[string]reflect.Type { return t.ports }

// Config returns what the host gave. For operators that need more than the methods below offer.
func (t *Task) Config() TaskConfig { return t.cfg }

// Fault records a fault of the declaration; the graph is refused with all of them at once.
func (t *Task) Fault(err error) { t.errs = append(t.errs, fmt.Errorf("step %q: %w", t.cfg.Name, err)) }

// OnOpen declares f to be called once before the first record, after state is restored.
func (t *Task) OnOpen(f func(ctx context.Context) error) { t.hooks.Open = append(t.hooks.Open, f) }

// OnWatermark declares f to be called with each new watermark before it is passed on. Records emitted by f arrive before it.
func (t *Task) OnWatermark(f func(ms int64) error) { t.hooks.Watermark = append(t.hooks.Watermark, f) }

// OnIdleness declares f to be called when the input becomes idle (no watermark is to be expected from it) or active again.
func (t *Task) OnIdleness(f func(idle bool) error) { t.hooks.Idle = append(t.hooks.Idle, f) }

// OnSplit declares f to be called in a source's own chain when one of its splits is added, becomes idle, is paused or resumed, or is finished.
func (t *Task) OnSplit(f func(split int, event SplitEvent) error) {
	t.hooks.Split = append(t.hooks.Split, f)
}

// OnBarrier declares f to be called at checkpoint id, before the state is copied: what is held back in memory and not in state is
// emitted or put into state here.
func (t *Task) OnBarrier(f func(ctx context.Context, id int64) error) {
	t.hooks.Barrier = append(t.hooks.Barrier, f)
}

// OnCompleted declares f to be called some time after checkpoint id has completed; not called for every id.
func (t *Task) OnCompleted(f func(id int64)) { t.hooks.Completed = append(t.hooks.Completed, f) }

// OnDry declares f to be called when the input has run dry for now: buffers that wait for company are sent.
func (t *Task) OnDry(f func() error) { t.hooks.Dry = append(t.hooks.Dry, f) }

// OnEnd declares f to be called once when all input has ended, after the watermark EndOfTime; it may emit.
func (t *Task) OnEnd(f func() error) { t.hooks.End = append(t.hooks.End, f) }

// OnClose declares f to be called once when the task ends, for whatever reason, if OnOpen was called.
func (t *Task) OnClose(f func() error) { t.hooks.Close = append(t.hooks.Close, f) }

// UseState declares the operator's keyed state. An operator has at most one.
func (t *Task) UseState(s state.Operator) {
	if t.hooks.State != nil {
		t.Fault(errors.New("declares keyed state twice"))
	}
	t.hooks.State = s
}

// UseBroadcast declares state that is the same in every subtask, because each takes the same records in a broadcast input. It lives in memory, in
// the one key group 0. A checkpoint holds that of subtask 0, and every subtask gets it back at a restore, at any parallelism. The names of its
// states must differ from those of UseState. An operator has at most one.
func (t *Task) UseBroadcast(s state.Operator) {
	if t.hooks.Broadcast != nil {
		t.Fault(errors.New("declares broadcast state twice"))
	}
	t.hooks.Broadcast = s
}

// UseRaw declares state without key: save gives the blobs of this subtask at a barrier, restore takes a part of the blobs of all
// former subtasks, before OnOpen. restore is called only if there are any. An operator has at most one raw state.
func (t *Task) UseRaw(save func() ([][]byte, error), restore func(blobs [][]byte) error) {
	if t.hooks.SaveRaw != nil {
		t.Fault(errors.New("declares raw state twice"))
	}
	t.hooks.SaveRaw, t.hooks.RestoreRaw = save, restore
}

// UseTimers declares processing-time timers: next gives the earliest (Unix ms), and is asked after every batch of records; fire is called when
// it is due, until the input has ended. Keyed operators have timers already (Ctx.ProcessingTimerAt); an operator declares at most once.
func (t *Task) UseTimers(next func() (ms int64, ok bool), fire func(nowMS int64) error) {
	if t.hooks.NextTimer != nil {
		t.Fault(errors.New("declares processing-time timers twice"))
	}
	t.hooks.NextTimer, t.hooks.FireTimers = next, fire
}

// OnBatch declares f to be called with the key hashes of records that are about to come one by one, in order, some dozens at a time, and not for
// every record: it may fetch what they will need. hashes is valid during the call.
func (t *Task) OnBatch(f func(hashes []uint64)) { t.hooks.Prefetch = f }

// OnWake declares f to be called on the task's goroutine, between two batches, some time after the returned function was called. Any
// goroutine may call that, at any time: it is how results that were made elsewhere come back to the task. Several calls may have one effect.
func (t *Task) OnWake(f func() error) (wake func()) {
	t.hooks.Woken = append(t.hooks.Woken, f)
	if t.cfg.Wake == nil {
		return func() {}
	}
	return t.cfg.Wake
}

// Flush sends what the operators after this one hold back until more comes, as if the input had run dry. An operator calls it before it waits for
// something while it has a record.
func (t *Task) Flush() error {
	if t.cfg.Flush == nil {
		return nil
	}
	return t.cfg.Flush()
}

// NeedsWatermarks declares that the operator gives results only when watermarks come; why says for what, as in "event-time windows". A
// graph in which no step before it makes watermarks is refused.
func (t *Task) NeedsWatermarks(why string) { t.hooks.NeedsWatermarks = why }

// AlignSplits declares that the splits of the source in whose chain the operator runs are to be held back by their watermarks. A graph in which the
// operator runs elsewhere is refused.
func (t *Task) AlignSplits(a SplitAlignment) { t.hooks.Alignment = &a }

// HeldUp is the time for which the task has been held up since it began: it waited for room downstream, or its input was paused. Processing time
// minus it tells a silent input from one that could not be read.
func (t *Task) HeldUp() time.Duration {
	if t.cfg.HeldUp == nil {
		return 0
	}
	return t.cfg.HeldUp()
}

// UserFuncs names the user's functions that this operator calls, so that a panic in one of them is reported with this step's name.
func (t *Task) UserFuncs(fs ...any) { t.hooks.UserFuncs = append(t.hooks.UserFuncs, fs...) }

// OwnWatermarks declares that this operator makes the watermarks of its output: those of its input end here (except EndOfTime and
// idleness, if it passes them on itself).
func (t *Task) OwnWatermarks() { t.hooks.OwnWatermarks = true }

// HoldWatermarks declares that this operator passes the watermarks of its input on itself, by EmitWatermark, because results of earlier records may
// still be to come. EndOfTime is passed on when the hooks of OnWatermark have returned for it. In a source's own chain the steps behind it do not
// hear of splits; what it emits then has the split -1.
func (t *Task) HoldWatermarks() { t.hooks.OwnWatermarks, t.hooks.HoldsWatermarks = true, true }

// EmitWatermark passes a watermark to the operators after this one; one that is not above the last is dropped. It is for operators that
// have declared OwnWatermarks.
func (t *Task) EmitWatermark(ms int64) error {
	if ms <= t.watermark {
		return nil
	}
	t.watermark = ms
	if t.cfg.EmitWatermark == nil {
		return nil
	}
	return t.cfg.EmitWatermark(ms)
}

// EmitIdle passes on that this operator's output is idle or active again.
func (t *Task) EmitIdle(idle bool) error {
	if t.cfg.EmitIdle == nil {
		return nil
	}
	return t.cfg.EmitIdle(idle)
}

// Watermark is the operator's current watermark, Unix ms, or NoWatermark.
func (t *Task) Watermark() int64 { return t.watermark }

// SetWatermark sets the watermark, after a restore and before the hooks of a new one run. For hosts.
func (t *Task) SetWatermark(ms int64) { t.watermark = ms }

// Context is what travels beside the current record.
func (t *Task) Context() *Context { return t.cfg.Context }

// Now is the wall clock.
func (t *Task) Now() time.Time { return t.cfg.Now() }

// UID is the step's stable id, empty for a stateless step.
func (t *Task) UID() string { return t.cfg.UID }

// Subtask is the index of this instance in [0, Parallelism).
func (t *Task) Subtask() int { return t.cfg.Subtask }

// Logger logs with the step's name and subtask.
func (t *Task) Logger() *zap.Logger { return t.cfg.Logger }

// DeadLetterPort is the name of the side output that takes dead letters.
const DeadLetterPort = "dead-letters"

// HasDeadLetters reports whether the graph consumes the dead letters of this step.
func (t *Task) HasDeadLetters() bool { return t.cfg.Side[DeadLetterPort] != nil }

// DeadLetter hands over a record that cannot be processed. Without a consumer it returns an error that says so, and the task
// fails with it.
func (t *Task) DeadLetter(d connectors.DeadLetter) error {
	if d.UID == "" {
		d.UID = t.cfg.Name
	}
	if out, ok := t.cfg.Side[DeadLetterPort].(func(connectors.DeadLetter) error); ok {
		return out(d)
	}
	return fmt.Errorf("operators: step %q refuses the record at %v: %s; repair it, or consume the step's DeadLetters", d.UID, d.At, d.Reason)
}

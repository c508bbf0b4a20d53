package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// CoordinatorConfig is what a Coordinator knows of the attempt that it serves.
type CoordinatorConfig struct {
	Job string
	// Epoch is Journal.Epoch, or the number of the attempt when nothing is stored. Events of another epoch are ignored.
	Epoch int64
	// FirstID is the id of the first checkpoint, Journal.NextID; 0 means 1.
	FirstID        int64
	MaxParallelism int
	// Interval between the starts of two checkpoints; 0: none but the final one and savepoints.
	Interval time.Duration
	// MinPause between the end of a checkpoint, commits included, and the start of the next. Savepoints and the final
	// checkpoint do not wait for it. With a pause there is one checkpoint at a time.
	MinPause time.Duration
	// Timeout of a checkpoint: from its trigger until it is durable, and once more until its commits are done. 0: no limit.
	Timeout time.Duration
	// TolerableFailures is the number of checkpoints in a row that may fail before the attempt does; 0: the first one fails it.
	TolerableFailures int
	// MaxConcurrent is the number of periodic checkpoints in flight at a time; 0 means 1.
	MaxConcurrent int
	Tasks         []TaskID
	// Operators lists every uid that acknowledges a snapshot, with or without state.
	Operators []OperatorInfo
	// Durable says that there is a storage. Without one a checkpoint is complete when every task has acknowledged it, only
	// the final checkpoint is taken, and a savepoint is refused.
	Durable bool
	// Retain is passed on in Prune.
	Retain int
}

// Errors in SavepointDone for a savepoint that was never begun.
var (
	ErrNoStorage   = errors.New("checkpoint: a savepoint needs a storage; set Options.Checkpoint")
	ErrJobFinished = errors.New("checkpoint: the job has ended before the savepoint could be taken")
	ErrJobFailed   = errors.New("checkpoint: this attempt of the job has failed before the savepoint was complete; ask again after the restart")
)

// ErrSubsumed is why a checkpoint was given up that was overtaken: a newer one has everything that it would have had.
var ErrSubsumed = errors.New("checkpoint: subsumed by a newer checkpoint, which was acknowledged by every task before")

// Coordinator decides when a checkpoint starts, when it is complete and what follows. It is a pure state machine: no goroutine, no
// clock, no I/O, and equal events give equal actions. One goroutine calls it.
//
// The model of the job: all tasks stay alive until the job ends, also after their input has ended. Up to MaxConcurrent periodic checkpoints
// collect acknowledgements at a time; a savepoint and the final checkpoint fly alone. Completing is serial: a manifest is not written before
// the commits of the checkpoint before are done, so ids ascend in the storage and commits go in their order. When it is the turn of several
// checkpoints that have everything, the newest is completed; it, or any that overtakes older ones, subsumes those.
//
// A checkpoint that fails before its manifest is written, or whose manifest certainly was not written, may be tolerated: it is aborted, and
// what sinks prepared for it is committed with the next that completes, since their writers acknowledge it again. Everything else fails the
// attempt: a restart from the newest completed checkpoint is the way back.
type Coordinator struct {
	cfg CoordinatorConfig
	// over says that Finish or Fail was returned; failed tells them apart.
	over, failed bool
	nextID       int64
	// due is when the next periodic checkpoint may start; zero: never. triggered is when the last checkpoint started.
	due, triggered time.Time
	// flights in the order of their ids. The first alone may be past phaseReady.
	flights []*flight
	// committed is the id of the last checkpoint whose commits are done, failures the number of those that have failed since one completed.
	committed int64
	failures  int
	queue     []RequestSavepoint
	ops       map[string]int // index in cfg.Operators
	ended     map[TaskID]bool
}

// NewCoordinator makes the coordinator of one attempt. The first periodic checkpoint starts one interval after now.
func NewCoordinator(c CoordinatorConfig, now time.Time) *Coordinator {
	c.Tasks = slices.Clone(c.Tasks)
	c.Operators = slices.Clone(c.Operators)
	slices.SortFunc(c.Operators, func(a, b OperatorInfo) int { return strings.Compare(a.UID, b.UID) })
	c.FirstID = max(c.FirstID, 1)
	if c.MaxConcurrent = max(c.MaxConcurrent, 1); c.MinPause > 0 {
		c.MaxConcurrent = 1
	}
	co := &Coordinator{cfg: c, nextID: c.FirstID, committed: c.FirstID - 1, ops: map[string]int{}, ended: map[TaskID]bool{}}
	for i, o := range c.Operators {
		co.ops[o.UID] = i
	}
	if c.Interval > 0 && c.Durable {
		co.due = now.Add(c.Interval)
	}
	return co
}

// Step takes one event and returns what is to be done, in order.
func (c *Coordinator) Step(ev Event) []Action {
	switch e := ev.(type) {
	case Tick:
		return c.tick(e.Now)
	case RequestSavepoint:
		return c.request(e)
	case InputEnded:
		return c.inputEnded(e)
	case EnumeratorState:
		return c.enumeratorState(e)
	case Ack:
		return c.ack(e)
	case Declined:
		if f := c.flight(e.Epoch, e.ID, phaseCollecting); f != nil {
			return c.abort(f, fmt.Errorf("checkpoint: %d was declined by task %s: %w", e.ID, e.Task, orUnknown(e.Err)), e.Now)
		}
	case Persisted:
		return c.persisted(e)
	case Committed:
		return c.commitsDone(e)
	}
	return nil
}

// NextDeadline is when a Tick is due at the latest; false when nothing depends on time.
func (c *Coordinator) NextDeadline() (at time.Time, ok bool) {
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, f := range c.flights {
		earliest(f.deadline)
	}
	if c.mayStart() {
		earliest(c.due)
	}
	return at, !at.IsZero()
}

// flight is the checkpoint in flight that an event of the epoch and id belongs to, if it is in the given phase.
func (c *Coordinator) flight(epoch, id int64, p phase) *flight {
	for _, f := range c.flights {
		if epoch == c.cfg.Epoch && f.trigger.ID == id && f.phase == p {
			return f
		}
	}
	return nil
}

// mayStart reports whether nothing but time keeps a periodic checkpoint from starting.
func (c *Coordinator) mayStart() bool {
	n := len(c.flights)
	switch {
	case c.over || len(c.queue) > 0:
		return false
	case n == 0:
		return true
	}
	// When all input has ended the next one is the final checkpoint, which flies alone.
	return n < c.cfg.MaxConcurrent && !c.flights[0].alone() && !c.allEnded()
}

func (c *Coordinator) allEnded() bool { return len(c.ended) == len(c.cfg.Tasks) }

func (c *Coordinator) tick(now time.Time) (out []Action) {
	for _, f := range slices.Clone(c.flights) {
		if f.deadline.IsZero() || now.Before(f.deadline) || !slices.Contains(c.flights, f) {
			continue
		}
		out = append(out, c.late(f, now)...)
	}
	if c.mayStart() && !c.due.IsZero() && !now.Before(c.due) {
		out = append(out, c.trigger(Trigger{Final: c.allEnded()}, nil, now)...)
	}
	return out
}

// late gives up what has come to its deadline. What is being written may be there: only a restart finds out.
func (c *Coordinator) late(f *flight, now time.Time) []Action {
	id := f.trigger.ID
	switch f.phase {
	case phaseCollecting:
		return c.abort(f, fmt.Errorf("checkpoint: %d timed out after %v: %s; raise checkpoint Timeout, or look at what holds these tasks back",
			id, c.cfg.Timeout, f.missing(&c.cfg)), now)
	case phaseReady:
		return c.abort(f, fmt.Errorf("checkpoint: %d timed out after %v: every task has acknowledged, checkpoint %d before it is not done",
			id, c.cfg.Timeout, c.flights[0].trigger.ID), now)
	case phasePersisting:
		return c.fail(fmt.Errorf("checkpoint: %d timed out after %v: every task has acknowledged, the storage has not answered", id, c.cfg.Timeout))
	default:
		return c.fail(fmt.Errorf("checkpoint: %d is durable, but its commits were not done after %v", id, c.cfg.Timeout))
	}
}

func (c *Coordinator) request(e RequestSavepoint) []Action {
	switch {
	case c.over && c.failed:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrJobFailed}}
	case c.over:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrJobFinished}}
	case !c.cfg.Durable:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrNoStorage}}
	}
	e.Stop = e.Stop || e.Drain
	c.queue = append(c.queue, e)
	return c.next(e.Now)
}

func (c *Coordinator) inputEnded(e InputEnded) []Action {
	if c.over || e.Epoch != c.cfg.Epoch || !slices.Contains(c.cfg.Tasks, e.Task) {
		return nil
	}
	c.ended[e.Task] = true
	return c.next(e.Now)
}

// next goes on with what need not wait for time: it completes a checkpoint that has everything, or starts a savepoint asked for or the final
// checkpoint.
func (c *Coordinator) next(now time.Time) []Action {
	if c.over {
		return nil
	}
	for i := len(c.flights) - 1; i >= 0 && c.flights[0].phase <= phaseReady; i-- {
		if c.flights[i].phase == phaseReady {
			return c.persist(i, now)
		}
	}
	switch {
	case len(c.flights) > 0:
		return nil
	case len(c.queue) > 0:
		r := c.queue[0]
		c.queue = c.queue[1:]
		// A savepoint of a job whose tasks have all ended is its final checkpoint, unless another one waits behind it.
		final := c.allEnded() && len(c.queue) == 0
		return c.trigger(Trigger{Savepoint: true, Stop: r.Stop, Drain: r.Drain, Final: final}, r.Ref, now)
	case c.allEnded() && (c.failures == 0 || c.due.IsZero()): // one that has failed is tried again when it is due
		return c.trigger(Trigger{Final: true}, nil, now)
	}
	return nil
}

func (c *Coordinator) trigger(t Trigger, ref any, now time.Time) []Action {
	t.ID = c.nextID
	c.nextID++
	c.triggered = now
	c.rest(now)
	f := newFlight(&c.cfg, t, ref, now)
	c.flights = append(c.flights, f)
	return append([]Action{t}, c.complete(f, now)...)
}

// rest puts off the next periodic checkpoint after one has started or ended at now.
func (c *Coordinator) rest(now time.Time) {
	if c.cfg.Interval > 0 && c.cfg.Durable {
		c.due = later(c.triggered.Add(c.cfg.Interval), now.Add(c.cfg.MinPause))
	}
}

func (c *Coordinator) enumeratorState(e EnumeratorState) []Action {
	i, ok := c.ops[e.UID]
	f := c.flight(e.Epoch, e.ID, phaseCollecting)
	if f == nil || !ok || !c.cfg.Operators[i].Enumerator || f.enums[i] {
		return nil
	}
	f.enums[i] = true
	f.operators[i].Enumerator = e.State
	return c.complete(f, e.Now)
}

func (c *Coordinator) ack(e Ack) []Action {
	f := c.flight(e.Epoch, e.ID, phaseCollecting)
	if f == nil || f.acked[e.Task] || !slices.Contains(c.cfg.Tasks, e.Task) {
		return nil
	}
	for _, s := range e.Snapshots {
		i, ok := c.ops[s.UID]
		err := fmt.Errorf("snapshot of uid %q, which is not in the graph", s.UID)
		if ok {
			err = f.take(&c.cfg, i, s)
		}
		if err != nil {
			return c.fail(fmt.Errorf("checkpoint: acknowledgement of %d by task %s: %w", e.ID, e.Task, err))
		}
	}
	f.channels = append(f.channels, e.Channels...)
	f.acked[e.Task] = true
	return c.complete(f, e.Now)
}

// complete goes on once everything has come.
func (c *Coordinator) complete(f *flight, now time.Time) []Action {
	if f.missing(&c.cfg) != "" {
		return nil
	}
	if err := f.lacking(); err != nil {
		return c.fail(err)
	}
	f.phase = phaseReady
	return c.next(now)
}

// persist has the manifest of flight i written, which subsumes those before it.
func (c *Coordinator) persist(i int, now time.Time) (out []Action) {
	f := c.flights[i]
	for _, older := range c.flights[:i] {
		out = append(out, Aborted{ID: older.trigger.ID, Err: ErrSubsumed})
	}
	c.flights = slices.Clone(c.flights[i:])
	f.settle(c.committed)
	if !c.cfg.Durable {
		return append(out, c.commit(f, now)...)
	}
	f.phase = phasePersisting
	m := &Manifest{
		Version: FormatVersion, ID: f.trigger.ID, Epoch: c.cfg.Epoch, Job: c.cfg.Job, Savepoint: f.trigger.Savepoint,
		CreatedMS: f.began.UnixMilli(), MaxParallelism: c.cfg.MaxParallelism, Operators: f.operators, Channels: f.channels,
	}
	sortChannels(m.Channels)
	return append(out, Persist{Manifest: m, Savepoint: m.Savepoint, Ref: f.ref})
}

func (c *Coordinator) persisted(e Persisted) []Action {
	f := c.flight(e.Epoch, e.ID, phasePersisting)
	if f == nil {
		return nil
	}
	if e.Err != nil {
		return c.abort(f, fmt.Errorf("checkpoint: %d could not be stored: %w", e.ID, e.Err), e.Now)
	}
	c.failures = 0
	return append([]Action{NotifyCompleted{ID: e.ID}}, c.commit(f, e.Now)...)
}

func (c *Coordinator) commit(f *flight, now time.Time) []Action {
	f.phase = phaseCommitting
	f.within(c.cfg.Timeout, now)
	if sinks := f.commits(); len(sinks) > 0 {
		return []Action{Commit{ID: f.trigger.ID, Sinks: sinks}}
	}
	return c.end(f, now)
}

func (c *Coordinator) commitsDone(e Committed) []Action {
	f := c.flight(e.Epoch, e.ID, phaseCommitting)
	if f == nil {
		return nil
	}
	if e.Err != nil {
		return c.fail(fmt.Errorf("checkpoint: %d is durable, but committing it failed: %w", e.ID, e.Err))
	}
	return c.end(f, e.Now)
}

// end closes a checkpoint: it is complete and committed.
func (c *Coordinator) end(f *flight, now time.Time) []Action {
	t := f.trigger
	c.committed = t.ID
	var out []Action
	if !c.cfg.Durable {
		// Without a storage positions are as good as durable only when the output is visible, not before.
		out = append(out, NotifyCompleted{ID: t.ID})
	}
	if t.Savepoint {
		out = append(out, SavepointDone{Ref: f.ref, ID: t.ID})
	}
	if c.cfg.Durable {
		out = append(out, Prune{Retain: c.cfg.Retain})
	}
	c.remove(f)
	if t.Final || t.Stop {
		c.over = true
		return append(append(out, c.refuse(ErrJobFinished)...), Finish{})
	}
	c.rest(now)
	return append(out, c.next(now)...)
}

func (c *Coordinator) remove(f *flight) {
	c.flights = slices.DeleteFunc(slices.Clone(c.flights), func(g *flight) bool { return g == f })
}

// abort gives f up if its failure may be tolerated, and fails the attempt otherwise. Nothing is emitted behind the barrier of a stop, so
// that one cannot be given up: the job would stand still. A failed savepoint does not count: whoever asked for it is told.
func (c *Coordinator) abort(f *flight, err error, now time.Time) []Action {
	if c.cfg.TolerableFailures == 0 || f.trigger.Stop || hopeless(err) {
		return c.fail(err)
	}
	if !f.trigger.Savepoint {
		if c.failures++; c.failures > c.cfg.TolerableFailures {
			return c.fail(fmt.Errorf("%w (%d checkpoints in a row have failed, Config.TolerableFailures is %d)", err, c.failures, c.cfg.TolerableFailures))
		}
	}
	out := []Action{Aborted{ID: f.trigger.ID, Err: err}}
	if f.trigger.Savepoint {
		out = append(out, SavepointDone{Ref: f.ref, ID: f.trigger.ID, Err: err})
	}
	c.remove(f)
	c.rest(now)
	return append(out, c.next(now)...)
}

// hopeless reports an error after which no further checkpoint of this attempt can be written, or none should be.
func hopeless(err error) bool {
	return errors.Is(err, ErrFenced) || errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrCorrupt)
}

func (c *Coordinator) fail(err error) []Action {
	var out []Action
	for _, f := range c.flights {
		if f.trigger.Savepoint {
			out = append(out, SavepointDone{Ref: f.ref, ID: f.trigger.ID, Err: err})
		}
	}
	c.over, c.failed, c.flights = true, true, nil
	return append(append(out, c.refuse(ErrJobFailed)...), Fail{Err: err})
}

// refuse answers every savepoint that still waits.
func (c *Coordinator) refuse(err error) []Action {
	var out []Action
	for _, r := range c.queue {
		out = append(out, SavepointDone{Ref: r.Ref, Err: err})
	}
	c.queue = nil
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// NoWatermark is the watermark of an operator that has none yet.
const NoWatermark int64 = math.MinInt64

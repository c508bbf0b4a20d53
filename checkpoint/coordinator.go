package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/state"
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
	// checkpoint do not wait for it.
	MinPause time.Duration
	// Timeout of a checkpoint: from its trigger until it is durable, and once more until its commits are done. 0: no limit.
	Timeout time.Duration
	Tasks   []TaskID
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

type phase int

const (
	phaseIdle       phase = iota
	phaseCollecting       // barriers are on their way
	phasePersisting       // every task has acknowledged, completion is being written
	phaseCommitting       // durable, committers are at work
	phaseEnded            // Finish or Fail was returned
)

// Coordinator decides when a checkpoint starts, when it is complete and what follows. It is a pure state machine: no goroutine, no
// clock, no I/O, and equal events give equal actions. One goroutine calls it.
//
// The model of the job: all tasks stay alive until the job ends, also after their input has ended; checkpoints run one at a time;
// and a checkpoint is not triggered before the commits of the one before are done. Whatever goes wrong fails the attempt: a restart
// from the newest completed checkpoint is the only way back, so that there is one recovery path and it is always exercised.
type Coordinator struct {
	cfg   CoordinatorConfig
	phase phase
	// failed tells Finish and Fail apart once the phase is phaseEnded.
	failed bool
	nextID int64
	// due is when the next periodic checkpoint may start; deadline when the current phase is given up. Zero: never.
	due, deadline time.Time
	triggered     time.Time
	cur           flight
	queue         []RequestSavepoint
	ops           map[string]int // index in cfg.Operators
	ended         map[TaskID]bool
}

// flight is the checkpoint in flight.
type flight struct {
	trigger   Trigger
	ref       any
	acked     map[TaskID]bool
	operators []OperatorState // in the order of cfg.Operators, which is by uid
	have      [][]bool        // operator × subtask: snapshot has come
	commits   [][][][]byte    // operator × subtask: committables
	enums     []bool
	channels  []ChannelState
	commit    []UIDCommittables
}

// NewCoordinator makes the coordinator of one attempt. The first periodic checkpoint starts one interval after now.
func NewCoordinator(c CoordinatorConfig, now time.Time) *Coordinator {
	c.Tasks = slices.Clone(c.Tasks)
	c.Operators = slices.Clone(c.Operators)
	slices.SortFunc(c.Operators, func(a, b OperatorInfo) int { return strings.Compare(a.UID, b.UID) })
	co := &Coordinator{cfg: c, nextID: max(c.FirstID, 1), ops: map[string]int{}, ended: map[TaskID]bool{}}
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
		if !c.inFlight(e.Epoch, e.ID, phaseCollecting) {
			return nil
		}
		return c.fail(fmt.Errorf("checkpoint: %d was declined by task %s: %w", e.ID, e.Task, orUnknown(e.Err)))
	case Persisted:
		return c.persisted(e)
	case Committed:
		return c.committed(e)
	}
	return nil
}

// NextDeadline is when a Tick is due at the latest; false when nothing depends on time.
func (c *Coordinator) NextDeadline() (time.Time, bool) {
	switch c.phase {
	case phaseEnded:
		return time.Time{}, false
	case phaseIdle:
		return c.due, !c.due.IsZero()
	default:
		return c.deadline, !c.deadline.IsZero()
	}
}

// inFlight reports whether an event of the epoch and id belongs to the checkpoint in flight in the given phase.
func (c *Coordinator) inFlight(epoch, id int64, p phase) bool {
	return c.phase == p && epoch == c.cfg.Epoch && id == c.cur.trigger.ID
}

func (c *Coordinator) tick(now time.Time) []Action {
	if at, ok := c.NextDeadline(); !ok || now.Before(at) {
		return nil
	}
	switch c.phase {
	case phaseIdle:
		return c.trigger(Trigger{}, nil, now)
	case phaseCollecting:
		return c.fail(fmt.Errorf("checkpoint: %d timed out after %v: %s; raise checkpoint Timeout, or look at what holds these tasks back",
			c.cur.trigger.ID, c.cfg.Timeout, c.missing()))
	case phasePersisting:
		return c.fail(fmt.Errorf("checkpoint: %d timed out after %v: every task has acknowledged, the storage has not answered",
			c.cur.trigger.ID, c.cfg.Timeout))
	default:
		return c.fail(fmt.Errorf("checkpoint: %d is durable, but its commits were not done after %v", c.cur.trigger.ID, c.cfg.Timeout))
	}
}

func (c *Coordinator) request(e RequestSavepoint) []Action {
	switch {
	case c.phase == phaseEnded && c.failed:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrJobFailed}}
	case c.phase == phaseEnded:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrJobFinished}}
	case !c.cfg.Durable:
		return []Action{SavepointDone{Ref: e.Ref, Err: ErrNoStorage}}
	}
	e.Stop = e.Stop || e.Drain
	c.queue = append(c.queue, e)
	return c.next(e.Now)
}

func (c *Coordinator) inputEnded(e InputEnded) []Action {
	if c.phase == phaseEnded || e.Epoch != c.cfg.Epoch || !slices.Contains(c.cfg.Tasks, e.Task) {
		return nil
	}
	c.ended[e.Task] = true
	return c.next(e.Now)
}

// next starts what need not wait for time: a savepoint asked for, or the final checkpoint.
func (c *Coordinator) next(now time.Time) []Action {
	if c.phase != phaseIdle {
		return nil
	}
	allEnded := len(c.ended) == len(c.cfg.Tasks)
	if len(c.queue) > 0 {
		r := c.queue[0]
		c.queue = c.queue[1:]
		// A savepoint of a job whose tasks have all ended is its final checkpoint, unless another one waits behind it.
		final := allEnded && len(c.queue) == 0
		return c.trigger(Trigger{Savepoint: true, Stop: r.Stop, Drain: r.Drain, Final: final}, r.Ref, now)
	}
	if allEnded {
		return c.trigger(Trigger{Final: true}, nil, now)
	}
	return nil
}

func (c *Coordinator) trigger(t Trigger, ref any, now time.Time) []Action {
	t.ID = c.nextID
	c.nextID++
	c.phase, c.triggered, c.deadline = phaseCollecting, now, time.Time{}
	if c.cfg.Timeout > 0 {
		c.deadline = now.Add(c.cfg.Timeout)
	}
	n := len(c.cfg.Operators)
	c.cur = flight{
		trigger: t, ref: ref, acked: map[TaskID]bool{},
		operators: make([]OperatorState, n), have: make([][]bool, n), commits: make([][][][]byte, n), enums: make([]bool, n),
	}
	for i, o := range c.cfg.Operators {
		c.cur.operators[i] = OperatorState{UID: o.UID, Parallelism: o.Parallelism, States: sortedStates(o.States),
			Subtasks: make([]SubtaskState, o.Parallelism)}
		c.cur.have[i] = make([]bool, o.Parallelism)
		c.cur.commits[i] = make([][][]byte, o.Parallelism)
	}
	return append([]Action{t}, c.complete(now)...)
}

func sortedStates(ds []state.Descriptor) []state.Descriptor {
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b state.Descriptor) int { return strings.Compare(a.Name, b.Name) })
	return ds
}

func (c *Coordinator) enumeratorState(e EnumeratorState) []Action {
	i, ok := c.ops[e.UID]
	if !c.inFlight(e.Epoch, e.ID, phaseCollecting) || !ok || !c.cfg.Operators[i].Enumerator || c.cur.enums[i] {
		return nil
	}
	c.cur.enums[i] = true
	c.cur.operators[i].Enumerator = e.State
	return c.complete(e.Now)
}

func (c *Coordinator) ack(e Ack) []Action {
	if !c.inFlight(e.Epoch, e.ID, phaseCollecting) || c.cur.acked[e.Task] || !slices.Contains(c.cfg.Tasks, e.Task) {
		return nil
	}
	for _, s := range e.Snapshots {
		if err := c.take(s); err != nil {
			return c.fail(fmt.Errorf("checkpoint: acknowledgement of %d by task %s: %w", e.ID, e.Task, err))
		}
	}
	c.cur.channels = append(c.cur.channels, e.Channels...)
	c.cur.acked[e.Task] = true
	return c.complete(e.Now)
}

// take adds one snapshot to the checkpoint in flight. An error is a fault of the runtime: going on would store a checkpoint that
// lacks something.
func (c *Coordinator) take(s SubtaskSnapshot) error {
	i, ok := c.ops[s.UID]
	switch {
	case !ok:
		return fmt.Errorf("snapshot of uid %q, which is not in the graph", s.UID)
	case s.Subtask < 0 || s.Subtask >= c.cfg.Operators[i].Parallelism:
		return fmt.Errorf("snapshot of uid %q subtask %d, want 0 to %d", s.UID, s.Subtask, c.cfg.Operators[i].Parallelism-1)
	case c.cur.have[i][s.Subtask]:
		return fmt.Errorf("second snapshot of uid %q subtask %d", s.UID, s.Subtask)
	case len(s.Committables) > 0 && !c.cfg.Operators[i].Committer:
		return fmt.Errorf("uid %q gave %d committables but has no committer", s.UID, len(s.Committables))
	}
	c.cur.have[i][s.Subtask] = true
	// The group range follows from the parallelism: it is set here, so that no task can record another one.
	s.State.Groups = state.RangeOf(s.Subtask, c.cfg.Operators[i].Parallelism, c.cfg.MaxParallelism)
	c.cur.operators[i].Subtasks[s.Subtask] = s.State
	c.cur.commits[i][s.Subtask] = s.Committables
	return nil
}

// missing names what the checkpoint in flight waits for, tasks in the order of the configuration; "" for nothing.
func (c *Coordinator) missing() string {
	var names []string
	for _, t := range c.cfg.Tasks {
		if !c.cur.acked[t] {
			names = append(names, t.String())
		}
	}
	for i, o := range c.cfg.Operators {
		if o.Enumerator && !c.cur.enums[i] {
			names = append(names, "enumerator of "+o.UID)
		}
	}
	const shown = 10
	if n := len(names); n > shown {
		names = append(names[:shown:shown], fmt.Sprintf("%d more", n-shown))
	}
	if len(names) == 0 {
		return ""
	}
	return "waiting for " + strings.Join(names, ", ")
}

// complete goes on to persist or commit once everything has come.
func (c *Coordinator) complete(now time.Time) []Action {
	if c.missing() != "" {
		return nil
	}
	m := &Manifest{
		Version: FormatVersion, ID: c.cur.trigger.ID, Epoch: c.cfg.Epoch, Job: c.cfg.Job, Savepoint: c.cur.trigger.Savepoint,
		CreatedMS: c.triggered.UnixMilli(), MaxParallelism: c.cfg.MaxParallelism, Operators: c.cur.operators, Channels: c.cur.channels,
	}
	sortChannels(m.Channels)
	for i, o := range c.cfg.Operators {
		for s, have := range c.cur.have[i] {
			if !have {
				return c.fail(fmt.Errorf("checkpoint: every task has acknowledged %d, but none gave a snapshot of uid %q subtask %d", m.ID, o.UID, s))
			}
		}
		// The order of the subtasks, not of the acknowledgements, so that the manifest does not depend on timing.
		all := slices.Concat(c.cur.commits[i]...)
		if m.Operators[i].Committables = all; len(all) > 0 {
			c.cur.commit = append(c.cur.commit, UIDCommittables{UID: o.UID, Committables: all})
		}
	}
	c.phase = phasePersisting
	if c.cfg.Durable {
		return []Action{Persist{Manifest: m, Savepoint: m.Savepoint, Ref: c.cur.ref}}
	}
	return c.commit(now)
}

func (c *Coordinator) persisted(e Persisted) []Action {
	if !c.inFlight(e.Epoch, e.ID, phasePersisting) {
		return nil
	}
	if e.Err != nil {
		return c.fail(fmt.Errorf("checkpoint: %d could not be stored: %w", e.ID, e.Err))
	}
	return append([]Action{NotifyCompleted{ID: e.ID}}, c.commit(e.Now)...)
}

func (c *Coordinator) commit(now time.Time) []Action {
	c.phase, c.deadline = phaseCommitting, time.Time{}
	if c.cfg.Timeout > 0 {
		c.deadline = now.Add(c.cfg.Timeout)
	}
	if len(c.cur.commit) == 0 {
		return c.end(now)
	}
	return []Action{Commit{ID: c.cur.trigger.ID, Sinks: c.cur.commit}}
}

func (c *Coordinator) committed(e Committed) []Action {
	if !c.inFlight(e.Epoch, e.ID, phaseCommitting) {
		return nil
	}
	if e.Err != nil {
		return c.fail(fmt.Errorf("checkpoint: %d is durable, but committing it failed: %w", e.ID, e.Err))
	}
	return c.end(e.Now)
}

// end closes the checkpoint in flight: it is complete and committed.
func (c *Coordinator) end(now time.Time) []Action {
	t := c.cur.trigger
	var out []Action
	if !c.cfg.Durable {
		// Without a storage positions are as good as durable only when the output is visible, not before.
		out = append(out, NotifyCompleted{ID: t.ID})
	}
	if t.Savepoint {
		out = append(out, SavepointDone{Ref: c.cur.ref, ID: t.ID})
	}
	if c.cfg.Durable {
		out = append(out, Prune{Retain: c.cfg.Retain})
	}
	c.cur = flight{}
	if t.Final || t.Stop {
		c.phase = phaseEnded
		return append(append(out, c.refuse(ErrJobFinished)...), Finish{})
	}
	c.phase = phaseIdle
	if c.cfg.Interval > 0 {
		c.due = later(c.triggered.Add(c.cfg.Interval), now.Add(c.cfg.MinPause))
	}
	return append(out, c.next(now)...)
}

func (c *Coordinator) fail(err error) []Action {
	var out []Action
	if c.cur.trigger.Savepoint {
		out = append(out, SavepointDone{Ref: c.cur.ref, ID: c.cur.trigger.ID, Err: err})
	}
	c.phase, c.failed, c.cur = phaseEnded, true, flight{}
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

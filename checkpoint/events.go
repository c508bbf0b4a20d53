package checkpoint

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/state"
)

// TaskID names one task of a running job: a chain of operators in one subtask.
type TaskID struct {
	Name    string
	Subtask int
}

// String is "name-subtask".
func (t TaskID) String() string { return fmt.Sprintf("%s-%d", t.Name, t.Subtask) }

// OperatorInfo is what the coordinator and PlanRestore know of one uid of the graph.
type OperatorInfo struct {
	UID         string
	Parallelism int // subtasks, at least 1
	// States are the declared keyed and broadcast states, in any order.
	States []state.Descriptor
	// Committer says that the operator is a sink with a committer: only such an operator may acknowledge committables.
	Committer bool
	// Enumerator says that the operator is a source: a checkpoint is complete only with the state of its enumerator.
	Enumerator bool
}

// Event is an input of Coordinator.Step. Events that come from tasks or from the storage carry the epoch of the attempt that they
// belong to; those of another epoch are ignored, so that whatever an earlier attempt left on its way is harmless.
type Event interface{ event() }

// Tick says that time has passed. It is due at NextDeadline; an early or a repeated one does nothing.
type Tick struct{ Now time.Time }

// RequestSavepoint asks for a savepoint. It waits for the checkpoint in flight and for earlier requests.
type RequestSavepoint struct {
	Now time.Time
	// Ref is the caller's token, given back in SavepointDone.
	Ref any
	// Stop ends the job when the savepoint and its commits are done. Sources emit nothing after its barrier.
	Stop bool
	// Drain lets the sources end their input before the barrier: all timers fire and all windows close. It implies Stop.
	Drain bool
}

// EnumeratorState is the state of the enumerator of the source uid as it was before the barrier of checkpoint ID was sent.
type EnumeratorState struct {
	Now       time.Time
	Epoch, ID int64
	UID       string
	State     []byte // owned by the coordinator from here on
}

// Ack says that the task has written its part of checkpoint ID.
type Ack struct {
	Now       time.Time
	Epoch, ID int64
	Task      TaskID
	// Snapshots holds one entry for each uid of the chain that is listed in CoordinatorConfig.Operators.
	Snapshots []SubtaskSnapshot
	// Channels are the records that were in flight to the task.
	Channels []ChannelState
}

// Declined says that the task cannot take part in checkpoint ID. For an enumerator, Task.Name is the uid of the source.
type Declined struct {
	Now       time.Time
	Epoch, ID int64
	Task      TaskID
	Err       error
}

// Persisted answers Persist.
type Persisted struct {
	Now       time.Time
	Epoch, ID int64
	Err       error
}

// Committed answers Commit: every committer has committed, or one has given up.
type Committed struct {
	Now       time.Time
	Epoch, ID int64
	Err       error
}

// InputEnded says that the task has processed the end of input on all its inputs and has emitted everything that follows from it.
// The task stays alive and acknowledges further barriers.
type InputEnded struct {
	Now   time.Time
	Epoch int64
	Task  TaskID
}

func (Tick) event()             {}
func (RequestSavepoint) event() {}
func (EnumeratorState) event()  {}
func (Ack) event()              {}
func (Declined) event()         {}
func (Persisted) event()        {}
func (Committed) event()        {}
func (InputEnded) event()       {}

// Action is an output of Coordinator.Step. Actions are carried out in the order given.
type Action interface{ action() }

// Trigger starts checkpoint ID: snapshot every enumerator (EnumeratorState), then hand the barrier to every source task.
type Trigger struct {
	ID        int64
	Savepoint bool // tasks write the portable format
	Stop      bool // sources emit nothing after the barrier
	Drain     bool // sources end their input, then send the barrier
	Final     bool // every task has ended: nothing can follow
}

// Persist makes the manifest durable: Journal.Savepoint when Savepoint is set, else Journal.Complete. Answer: Persisted.
type Persist struct {
	Manifest  *Manifest
	Savepoint bool
	// Ref is the caller's token of a savepoint, nil otherwise.
	Ref any
}

// NotifyCompleted tells every task that checkpoint ID is durable. It needs no answer.
type NotifyCompleted struct{ ID int64 }

// Aborted gives checkpoint ID up, for which a Trigger was returned: tasks that wait for its barriers do not wait any longer, and what they still
// acknowledge of it is ignored. What sinks have prepared for it stays prepared and is acknowledged with the next checkpoint. It needs no answer.
type Aborted struct {
	ID  int64
	Err error // why
}

// UIDCommittables is what one sink has prepared and is to be committed with one checkpoint: ascending by id, and of one id in the order of the
// subtasks.
type UIDCommittables struct {
	UID      string
	Prepared []Prepared
}

// Commit hands what is committed with checkpoint ID to the committers; Sinks is sorted by uid and not empty. Answer: Committed.
type Commit struct {
	ID    int64
	Sinks []UIDCommittables
}

// Prune keeps the newest Retain checkpoints (Journal.Prune). It needs no answer; a failure is logged and made good by the next.
type Prune struct{ Retain int }

// SavepointDone answers RequestSavepoint: savepoint ID is durable and its commits are done, or Err says why there is none.
type SavepointDone struct {
	Ref any
	ID  int64
	Err error
}

// Finish ends the job in success: its last checkpoint or savepoint is durable and committed. Nothing follows.
type Finish struct{}

// Fail ends this attempt: the job restarts from the newest completed checkpoint. Nothing follows.
type Fail struct{ Err error }

func (Trigger) action()         {}
func (Persist) action()         {}
func (NotifyCompleted) action() {}
func (Aborted) action()         {}
func (Commit) action()          {}
func (Prune) action()           {}
func (SavepointDone) action()   {}
func (Finish) action()          {}
func (Fail) action()            {}

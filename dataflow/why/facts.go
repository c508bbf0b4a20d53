// Package why explains why a step of a running job gives no results: it holds the facts that a job tells of itself, a Snapshot, and finds in them
// the cause and what to do about it, a Report.
//
// It is pure: facts in, an explanation out, without clock, goroutine or I/O. The runtime collects the facts; dataflow.Job.Why hands out the
// report. All types are plain data that encoding/json writes.
package why

import (
	"fmt"
	"math"
	"time"
)

// Watermark is a point of event time, Unix ms, or NoWatermark or EndOfInput. In JSON and text it is RFC 3339 in UTC, "none" or "end of input".
type Watermark int64

const (
	// NoWatermark is the watermark before the first one.
	NoWatermark Watermark = math.MinInt64
	// EndOfInput is the watermark behind the last record of a bounded input.
	EndOfInput Watermark = math.MaxInt64
)

// String is the time in UTC with ms, "none" or "end of input".
func (w Watermark) String() string {
	switch w {
	case NoWatermark:
		return "none"
	case EndOfInput:
		return "end of input"
	}
	return time.UnixMilli(int64(w)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// MarshalText implements encoding.TextMarshaler.
func (w Watermark) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads what MarshalText gives, of the years 1 to 9999.
func (w *Watermark) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case NoWatermark.String():
		*w = NoWatermark
	case EndOfInput.String():
		*w = EndOfInput
	default:
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return fmt.Errorf("why: watermark %q is neither none, end of input nor a time: %w", s, err)
		}
		*w = Watermark(t.UnixMilli())
	}
	return nil
}

// Snapshot is what a job told of itself at one time.
type Snapshot struct {
	At         time.Time   `json:"at"`
	Job        Job         `json:"job"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // the one in progress; nil: none
	// Steps are in an order in which each comes after those it reads from, Tasks in that of their first steps.
	Steps []Step `json:"steps"`
	Tasks []Task `json:"tasks"`
}

// Phase is what the job as a whole does.
type Phase string

// The phases of a job.
const (
	Starting   Phase = "starting"    // restores state, commits again what the checkpoint holds
	Running    Phase = "running"     // tasks run
	BackingOff Phase = "backing off" // the last attempt has failed; the next is waited for
	Ended      Phase = "ended"       // finished, cancelled or failed for good
)

// Job is the state of the job as a whole.
type Job struct {
	Name  string    `json:"name"`
	Phase Phase     `json:"phase"`
	Since time.Time `json:"since"`
	// Next is when the next attempt begins, while BackingOff.
	Next time.Time `json:"next,omitzero"`
	// Restarts counts those of this process, Failures those in a row without a completed checkpoint between them.
	Restarts int `json:"restarts"`
	Failures int `json:"failures"`
	// LastFailure is the cause of the last failure, with the step that it names; empty: none so far.
	LastFailure     string    `json:"lastFailure,omitempty"`
	LastFailureAt   time.Time `json:"lastFailureAt,omitzero"`
	LastFailureStep string    `json:"lastFailureStep,omitempty"`
	// Checkpoints counts those completed in this process; LastCheckpointAt is when the last was.
	Checkpoints      uint64    `json:"checkpoints"`
	LastCheckpointAt time.Time `json:"lastCheckpointAt,omitzero"`
	// CheckpointEvery is the interval; 0: none are taken but the final one.
	CheckpointEvery time.Duration `json:"checkpointEvery"`
	// Silent says that the job's own goroutine did not answer: it is in an enumerator or in the coordinator. Facts of the checkpoint are missing.
	Silent bool `json:"silent,omitempty"`
}

// Checkpoint is the checkpoint in progress.
type Checkpoint struct {
	ID    int64           `json:"id"`
	Began time.Time       `json:"began"`
	State CheckpointState `json:"state"`
	// Missing are the tasks that have not acknowledged it, while Collecting.
	Missing []Place `json:"missing,omitempty"`
	// Committing are the sinks whose commits are not done, while it is Committing.
	Committing []string `json:"committing,omitempty"`
}

// CheckpointState is how far a checkpoint has come.
type CheckpointState string

// The states of a checkpoint in progress.
const (
	Collecting CheckpointState = "waiting for tasks"
	Persisting CheckpointState = "being stored"
	Committing CheckpointState = "committing"
)

// Place is one subtask of a step, or of a task, which is named after its first step.
type Place struct {
	Step    string `json:"step"`
	Subtask int    `json:"subtask"`
}

// Step is a node of the graph.
type Step struct {
	// Name is the uid, or kind and place in the code of a stateless step.
	Name string `json:"name"`
	// Task is the name of the tasks that run it: that of the first step of its chain.
	Task string `json:"task"`
	From []From `json:"from,omitempty"`
	// Source and Sink say what it is; Commits, of a sink, that its output becomes visible with completed checkpoints.
	Source  bool `json:"source,omitempty"`
	Sink    bool `json:"sink,omitempty"`
	Commits bool `json:"commits,omitempty"`
	// MakesWatermarks says that the watermarks of its output are its own, NeedsWatermarks for what it needs those of its input.
	MakesWatermarks bool   `json:"makesWatermarks,omitempty"`
	NeedsWatermarks string `json:"needsWatermarks,omitempty"`
}

// From is one input of a step.
type From struct {
	Step  string `json:"step"`
	Port  string `json:"port,omitempty"` // the side output it reads; empty: the main output
	Input int    `json:"input"`          // 0, or 1 for the second input
}

// Activity is what the goroutine of a task does.
type Activity string

// The activities of a task.
const (
	Opening Activity = "opening"           // opens its operators and restores their state
	Working Activity = "working"           // in its operators, with records, a watermark, timers or a checkpoint
	Resting Activity = "waiting for input" // nothing to do
	Blocked Activity = "waiting for room"  // a task downstream gives no batch back
	Stopped Activity = "stopped"           // its goroutine has ended
)

// Task is one chain of steps in one subtask: one goroutine.
type Task struct {
	Place
	Activity Activity  `json:"activity"`
	Since    time.Time `json:"since"` // of the activity
	// Function is the innermost function of the user's or a connector's that it is in, and In its step: known of a task that has been Working, or
	// Opening, for a second or more.
	Function string `json:"function,omitempty"`
	In       string `json:"in,omitempty"`
	// For is where it waits for room.
	For *Place `json:"for,omitempty"`
	// Answered says that the task has told what only it knows: timers, splits, the facts of its operators. One that is Blocked, or Working
	// for long, does not.
	Answered bool `json:"answered"`
	// Records is the number taken by the first step (of a source: emitted), LastRecord when the last of them came.
	Records    int64     `json:"records"`
	LastRecord time.Time `json:"lastRecord,omitzero"`
	// Sent is the number sent to other tasks, in full batches.
	Sent int64 `json:"sent"`
	// Queued is the number of batches in front of it, QueueBound how many there can be.
	Queued     int `json:"queued"`
	QueueBound int `json:"queueBound"`
	// Batches counts those with records that it began, BusyTime is what it worked without the current one; waiting for room counts as work.
	Batches  int64         `json:"batches"`
	BusyTime time.Duration `json:"busyTime"`
	Began    time.Time     `json:"began"`
	Drained  bool          `json:"drained,omitempty"` // all its input has ended
	// Channels are its inputs, one per sending subtask; empty for a source.
	Channels []Channel `json:"channels,omitempty"`
	// Barrier is the checkpoint whose barrier has come on some channels and not on all; 0: none.
	Barrier      int64     `json:"barrier,omitempty"`
	BarrierSince time.Time `json:"barrierSince,omitzero"`
	// Splits are those a source's task reads.
	Splits []Split `json:"splits,omitempty"`
	// Alignment is what watermark alignment does to it, of a task of a source that is aligned.
	Alignment *Alignment `json:"alignment,omitempty"`
	// Key is the key with most of the recent records, of a task behind an exchange by key.
	Key *Key `json:"key,omitempty"`
	// Operators are the steps that the task runs, in order.
	Operators []Operator `json:"operators"`
}

// Channel is what comes from one subtask of a step before.
type Channel struct {
	From
	Subtask   int       `json:"subtask"`
	Watermark Watermark `json:"watermark"`
	Since     time.Time `json:"since"` // of the watermark; the begin of the task when there is none
	// Idle says that the sender expects no records now: it does not hold the watermark back.
	Idle       bool      `json:"idle,omitempty"`
	IdleSince  time.Time `json:"idleSince,omitzero"`
	Ended      bool      `json:"ended,omitempty"`
	LastRecord time.Time `json:"lastRecord,omitzero"`
	// AtBarrier says that its barrier has come: what follows waits until those of the other channels have.
	AtBarrier bool `json:"atBarrier,omitempty"`
}

// Split is a part of a source that a task reads.
type Split struct {
	ID string `json:"id"`
	// Watermark is what the step that makes watermarks in the source's own chain has made of its records, NoWatermark before the first, or
	// where there is no such step.
	Watermark Watermark `json:"watermark"`
	// Idle says that it does not hold the watermark back now.
	Idle bool `json:"idle,omitempty"`
	// LastRecord is when the last record came; zero: none since the task began, at Since.
	LastRecord time.Time `json:"lastRecord,omitzero"`
	Since      time.Time `json:"since"`
	// Paused says that watermark alignment does not read it, because it is ahead.
	Paused bool `json:"paused,omitempty"`
}

// Alignment is the state of watermark alignment of one source subtask.
type Alignment struct {
	Group    string        `json:"group"`
	MaxDrift time.Duration `json:"maxDrift"`
	// Watermark is the least of the subtask's splits that count, GroupWatermark that of the group; EndOfInput if none counts.
	Watermark      Watermark `json:"watermark"`
	GroupWatermark Watermark `json:"groupWatermark"`
	// Paused are the splits that are held back since Since, because they are ahead; Slowest is the subtask they wait for, if it is known.
	Paused  []string  `json:"paused,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Slowest *Place    `json:"slowest,omitempty"`
}

// Key is the busiest key of a task. The figures are estimates from a sample of one record a batch.
type Key struct {
	Text  string  `json:"text,omitempty"` // as fmt prints it, at most 64 bytes; empty when it is not busy enough to be looked at
	Hash  uint64  `json:"hash"`
	Group int     `json:"group"`
	Share float64 `json:"share"` // of the recent records of the task, in [0, 1]
	// Samples is the number of batches looked at: below some dozens Share means nothing.
	Samples int64 `json:"samples"`
}

// Operator is one step in one subtask.
type Operator struct {
	Step      string    `json:"step"`
	Watermark Watermark `json:"watermark"` // of its input; of a step that makes watermarks what it has emitted
	Since     time.Time `json:"since"`
	// Late counts records that came too late since the task began.
	Late int64 `json:"late"`
	// NextEventTimer and NextProcessingTimer are the earliest pending timers, Unix ms; nil: none, or not known.
	NextEventTimer      *Watermark `json:"nextEventTimer,omitempty"`
	NextProcessingTimer *Watermark `json:"nextProcessingTimer,omitempty"`
	// Waits is what else than input the operator has stopped for, since WaitsSince: it takes no record meanwhile.
	Waits      string    `json:"waits,omitempty"`
	WaitsSince time.Time `json:"waitsSince,omitzero"`
	// Holds is what keeps results or watermarks back while it goes on, since HoldsSince, such as calls that have not come back.
	Holds      string    `json:"holds,omitempty"`
	HoldsSince time.Time `json:"holdsSince,omitzero"`
	// Idle says that IdleAfter has passed without a record.
	Idle bool `json:"idle,omitempty"`
}

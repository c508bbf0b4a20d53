package connectors

import "context"

// Sink writes records of type T. It is a description: a value that holds options and starts nothing.
type Sink[T any] interface {
	// Validate reports every fault of the options at once, without I/O.
	Validate() error
	// NewWriter makes the writer of one subtask. It runs before the first record of a (re)start, after the committer's Recover.
	NewWriter(c WriterContext) (Writer[T], error)
}

// CommittingSink is a Sink whose output becomes visible only when the checkpoint that holds it has completed.
type CommittingSink interface {
	// NewCommitter makes the committer of a (re)start of the job.
	NewCommitter(c Context) (Committer, error)
}

// PreparesAhead is a CommittingSink whose writers may be asked to prepare a checkpoint while others are prepared and not committed yet: the second
// point of the contract of Writer does not hold for it. Checkpoints that may fail or overlap need it, see checkpoint.Config. What was prepared for a
// checkpoint that failed is committed after the next that completes, under the id for which it was prepared.
type PreparesAhead interface {
	CommittingSink
	// PreparesAhead reports whether it is so, as the sink is set up. There is no limit to the number of prepared checkpoints: savepoints that
	// fail are not counted.
	PreparesAhead() bool
}

// WriterContext is what a writer gets from its host.
type WriterContext struct {
	Context
	// Done is closed when the task is cancelled: a Write that waits must then return.
	Ctx context.Context
	// Attempt is different for each (re)start of the job; usable in names that must never collide.
	Attempt string
	// RestoredCheckpoint is the id of the checkpoint that the job was restored from; 0 on a fresh start.
	RestoredCheckpoint int64
	// Restored are committables of RestoredCheckpoint of this sink, of all subtasks. The committer has committed them before any
	// writer is made.
	Restored [][]byte
	// DeadLetter takes a record that the target refuses for ever. It may be called only within Write, Idle or Prepare. When the job
	// has no consumer for dead letters of this sink the returned error fails the task.
	DeadLetter func(d DeadLetter) error
}

// Meta says what is known of a record beside its value.
type Meta struct {
	TimestampMS int64 // event time, Unix ms, or NoTimestamp
	KeyHash     uint64
	// At is where the record comes from: exact in the source's own chain, and after an exchange the first record of its batch.
	At Coordinates
}

// Writer writes the records of one sink subtask. All methods are called by the task's goroutine.
//
// Contract:
//  1. When Prepare(n) returns, every record written before is durable in the target (at-least-once, idempotent writes) or will be
//     made visible by committing what it returned (exactly-once), whatever crashes afterwards.
//  2. At most one prepared checkpoint is uncommitted at a time: Prepare(n+1) is not called before the commit of n is done. The sink
//     lifts this with PreparesAhead.
//  3. Nothing is lost without a word: what cannot be written is an error or a dead letter.
type Writer[T any] interface {
	// Write takes one record. It may wait for room (backpressure) until the context of WriterContext is done.
	Write(v T, m Meta) error
	// Idle is called when the input has run dry: what waits in a buffer for company should be sent. It does not wait.
	Idle() error
	// Prepare makes everything written so far durable or committable as part of checkpoint id, and returns the committables (none for
	// a writer that has nothing to commit).
	Prepare(ctx context.Context, id int64) (committables [][]byte, err error)
	// Close frees resources; what was not prepared is given up.
	Close() error
}

// Committer makes prepared output visible. One goroutine per job calls it.
type Committer interface {
	// Commit makes the committables visible that were prepared for checkpoint id, of all subtasks. It is called after the checkpoint, or, if that
	// has failed, a later one has completed, in ascending order of ids, and again after a restore from it: committing what is
	// committed is no error. An error fails the job; transient trouble is the committer's to retry until ctx ends.
	Commit(ctx context.Context, id int64, committables [][]byte) error
	// Recover is called once at each start, before any writer exists and after Commit of the restored checkpoint (if any): it
	// clears what earlier attempts left uncommitted. restored is the checkpoint's id, 0 on a fresh start; committables are all that was committed with
	// it.
	Recover(ctx context.Context, restored int64, committables [][]byte) error
	// Close frees resources. It commits nothing.
	Close() error
}

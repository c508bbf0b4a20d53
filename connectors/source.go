// Package connectors holds the contracts of sources and sinks. A connector sees these types only, never the runtime.
//
// A Source has two halves. One Enumerator per job finds the splits (a partition, a shard, a file); one Reader per subtask reads the
// splits given to it. The runtime gives splits out, keeps their positions in checkpoints and gives them out again after a
// restore, at any parallelism. A Sink has a Writer per subtask and, when its output becomes visible only with a
// completed checkpoint, one Committer per job.
package connectors

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// NoTimestamp is the timestamp of a record that carries none.
const NoTimestamp = -1 << 63

// Context is what every part of a connector gets from its host.
type Context struct {
	UID         string
	Subtask     int // 0 for an enumerator or committer
	Parallelism int
	Logger      *zap.Logger           // never nil
	Metrics     prometheus.Registerer // never nil; labels uid and subtask are already set
	// Now is the wall clock. Waiting uses package time (tests run in testing/synctest).
	Now func() time.Time
}

// Split is a part of a source that one reader reads alone and in order, with the position to go on from.
type Split struct {
	ID string
	// Position is encoded by the source; owned by the receiver.
	Position []byte
	// After is the ID of the split whose records come before this one's, when the source has such an order (a shard and its parent).
	// The runtime gives this split to the subtask that finished After in the same attempt, if there is one: both then travel the
	// same edges, and the order of a key holds beyond the hand-over. Empty: any subtask.
	After string
}

// Source reads records of type T. It is a description: a value that holds options and starts nothing.
type Source[T any] interface {
	// Validate reports every fault of the options at once, without I/O.
	Validate() error
	// NewEnumerator makes the enumerator; restored is nil on a fresh start, and else what Snapshot gave.
	NewEnumerator(c Context, restored []byte) (Enumerator, error)
	// NewReader makes the reader of one subtask, with no splits.
	NewReader(c Context) (Reader[T], error)
}

// Enumerator finds the splits of a source and says when each may start.
//
// Contract:
//  1. Discover is called from a goroutine of its own, never twice at a time; all other methods from one other goroutine, also while
//     Discover runs. The enumerator guards what they share.
//  2. A split is handed over by Assign, once. What Assign has returned is in the enumerator's next Snapshot as handed over: its
//     position lives in the reader's state from then on.
//  3. Finished may be told again after a restore, also for a split it knows to be finished: that is no error.
//  4. The runtime takes Snapshot before it sends the barrier to the readers, on the goroutine that hands splits over.
type Enumerator interface {
	// Discover looks at the outside world once and returns the delay until it wants to be called again; 0 means never. It is called
	// at start, after each delay, and soon after a split has finished. An error fails the job; transient trouble is the
	// enumerator's to retry.
	Discover(ctx context.Context) (next time.Duration, err error)
	// Assign returns the splits that may start now and marks them as handed over.
	Assign() []Split
	// Finished says that a reader has emitted the last record of a split.
	Finished(splitID string)
	// Done reports that no further split will ever come: the source is bounded and all its splits were handed over.
	Done() bool
	// Snapshot returns the state of the enumerator, owned by the caller.
	Snapshot() ([]byte, error)
	// Close frees resources. Discover is not running and will not be called again.
	Close() error
}

// Coordinates say where a record comes from, for error messages and dead letters.
type Coordinates struct {
	UID    string `json:"uid"`   // of the source
	Split  string `json:"split"` // e.g. "decisions-3" or a shard id
	Offset int64  `json:"offset"`
	// Sequence is used instead of Offset by systems whose positions are strings.
	Sequence string `json:"sequence,omitempty"`
}

// String is "uid/split@position".
func (c Coordinates) String() string {
	if c.Sequence != "" {
		return c.UID + "/" + c.Split + "@" + c.Sequence
	}
	return fmt.Sprintf("%s/%s@%d", c.UID, c.Split, c.Offset)
}

// Status says what a Reader expects after Poll.
type Status int

const (
	// More says that Poll has more at hand now.
	More Status = iota
	// Idle says that nothing is at hand: the runtime waits for Wake.
	Idle
)

// Output takes what a Reader polled. It is valid during Poll only and is called by the task's goroutine.
type Output[T any] interface {
	// Emit hands over one record with its timestamp (Unix ms, or NoTimestamp) and where it comes from. It may block
	// (backpressure). An error ends Poll at once and is returned by it unchanged.
	Emit(v T, timestampMS int64, at Coordinates) error
	// DeadLetter hands over a record that could not be decoded; the reader has moved past it. When the job has no consumer for
	// dead letters of this source the returned error fails the task.
	DeadLetter(d DeadLetter) error
	// Finished says that the last record of the split has been emitted. The split is then no longer part of Snapshot.
	Finished(splitID string) error
	// SplitIdle says that the split has no data now, so that it does not hold the watermark back; the next Emit from it ends this.
	SplitIdle(splitID string)
}

// SplitPauser is a Reader that can stop reading single splits. The runtime uses it to hold back splits whose event time is far ahead of others;
// a Reader that is none is then not polled, and only when all its splits are ahead.
//
// Contract:
//  1. When PauseSplits has returned, Poll emits no record of a paused split until it is resumed, and says neither that it is idle nor that it
//     is finished. Other splits are read as before. Records fetched already are kept, within bounds, and come first after the resumption.
//  2. Snapshot holds paused splits like others.
//  3. Ids that the reader does not hold, splits paused already and splits not paused are no error: they are left as they are.
type SplitPauser interface {
	// PauseSplits pauses and resumes splits. It is called between two calls of Poll, does not wait, and does not keep its arguments.
	PauseSplits(pause, resume []string) error
}

// Reader reads the splits given to one source subtask.
//
// Contract:
//  1. All methods are called by the task's goroutine, except that Wake's channel is received from while the reader's own goroutines
//     fetch. None of them may wait for I/O beyond what its comment says.
//  2. Snapshot gives, for each split held and not finished, the position after the last record emitted: a reader restored from it
//     emits the next record first, none twice, none left out.
//  3. Buffers between its goroutines and Poll are bounded.
//  4. Close ends all its goroutines before it returns.
type Reader[T any] interface {
	// AddSplits gives the reader more splits to read, each from its position, which the reader owns from then on. It does not wait.
	AddSplits(splits []Split) error
	// Poll emits up to max records that are at hand and returns without waiting for more.
	Poll(out Output[T], max int) (Status, error)
	// Wake returns the channel (capacity 1) that holds a token when Poll may have something again.
	Wake() <-chan struct{}
	// Snapshot returns the splits held and not finished, each with the position after its last emitted record. The caller owns them.
	Snapshot() ([]Split, error)
	// CheckpointCompleted says that all positions up to this checkpoint are durable. Where checkpoints overlap (checkpoint.Config.MaxConcurrent)
	// Snapshot may have been called for later ones since. It must not block.
	CheckpointCompleted(id int64)
	// Close ends the reader's goroutines and frees resources.
	Close() error
}

package runtime

import (
	"github.com/millrace-io/millrace/checkpoint"
)

// What tasks and helpers of an attempt report to the job's goroutine.
type (
	// ackEvent is a task's part of checkpoint id, written; or err.
	ackEvent struct {
		id        int64
		task      checkpoint.TaskID
		snapshots []checkpoint.SubtaskSnapshot
		channels  []checkpoint.ChannelState
		// bytes of what changed, and of parts of a new base
		bytes, baseBytes int64
		baseErr          error // why a new base could not be made
		err              error
	}
	// endedEvent says that the task has processed the end of all its input.
	endedEvent struct{ task checkpoint.TaskID }
	// splitFinishedEvent says that the last record of a split was emitted.
	splitFinishedEvent struct {
		uid     string
		subtask int
		split   string
	}
	// discoveredEvent says that the enumerator of uid has looked at the outside world.
	discoveredEvent struct{ uid string }
	// failedEvent fails the attempt.
	failedEvent struct{ err error }
	// persistedEvent and committedEvent answer the coordinator's actions.
	persistedEvent struct {
		id  int64
		uri string
		err error
	}
	committedEvent struct {
		id  int64
		err error
	}
)

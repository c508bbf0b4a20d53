// Package crash names the points at which a process may die, so that tests can kill it at each of them.
//
// A point costs one atomic load when no hook is set, which is always so in production.
package crash

import "sync/atomic"

// Hook decides what happens at a named point: nil lets the caller go on, an error makes the caller fail there, and a hook
// that kills the process never returns. It is called from many goroutines at once.
type Hook func(point string) error

var hook atomic.Pointer[Hook]

// At reports the named point to the hook, if one is set. The caller returns a non-nil error at once, without any clean-up that
// a killed process could not have done. name is one of Points.
func At(name string) error {
	if h := hook.Load(); h != nil {
		return (*h)(name)
	}
	return nil
}

// Set installs h for the whole process and returns the function that removes it. Only one hook is active at a time.
func Set(h Hook) (remove func()) {
	hook.Store(&h)
	return func() { hook.Store(nil) }
}

// The named points, by the part that holds them. A test that kills at every point fails when one is never reached.
const (
	SourceFetched       = "source.fetched"        // records are in memory, none emitted
	SourceEmitted       = "source.emitted"        // records emitted, position not yet in a checkpoint
	SourceSnapshot      = "source.snapshot"       // positions copied for the barrier, not yet acknowledged
	SourceSplitFinished = "source.split-finished" // last record of a split emitted, the enumerator not yet told
	SourceSplitAssigned = "source.split-assigned" // enumerator handed a split over, reader has not seen it

	OperatorFirstBarrier = "operator.first-barrier" // first of several barriers arrived
	OperatorAligned      = "operator.aligned"       // all barriers arrived or overtaken, state not yet copied
	OperatorSnapshot     = "operator.snapshot"      // state copied, upload not begun
	OperatorOvertaken    = "operator.overtaken"     // barriers overtaken, nothing recorded yet
	OperatorRecorded     = "operator.recorded"      // records in flight written, not acknowledged
	OperatorUploaded     = "operator.uploaded"      // state files written, not acknowledged
	OperatorAcked        = "operator.acked"         // acknowledgement sent
	OperatorAborted      = "operator.aborted"       // a task has heard that a checkpoint was given up
	OperatorRestored     = "operator.restored"      // state restored, first record not yet taken
	OperatorTimer        = "operator.timer"         // a timer fired, its effects not in a checkpoint

	SinkBeforeFlush  = "sink.before-flush"
	SinkPrepared     = "sink.prepared"      // committable made, not acknowledged
	SinkBeforeCommit = "sink.before-commit" // checkpoint complete, commit not sent
	SinkAfterCommit  = "sink.after-commit"  // commit done, not reported

	CoordinatorTriggered = "coordinator.triggered" // checkpoint began, no barrier sent
	CoordinatorAcked     = "coordinator.acked"     // every task acknowledged, nothing written
	CoordinatorCompleted = "coordinator.completed" // completion is durable, nobody told
	CoordinatorNotified  = "coordinator.notified"  // tasks and committers told
	CoordinatorAborted   = "coordinator.aborted"   // a checkpoint was given up, nobody told
	CoordinatorSubsume   = "coordinator.subsume"   // before an old checkpoint is dropped
	CoordinatorStop      = "coordinator.stop"      // savepoint durable, job not yet stopped

	StoragePutBefore = "storage.put-before"
	StoragePutAfter  = "storage.put-after" // object durable, answer lost
	StorageCASBefore = "storage.cas-before"
	StorageCASAfter  = "storage.cas-after" // completion durable, answer lost
	StorageDelBefore = "storage.delete-before"
	StorageDelAfter  = "storage.delete-after"
)

// Points lists every named point.
var Points = []string{
	SourceFetched, SourceEmitted, SourceSnapshot, SourceSplitFinished, SourceSplitAssigned,
	OperatorFirstBarrier, OperatorAligned, OperatorSnapshot, OperatorOvertaken, OperatorRecorded, OperatorUploaded, OperatorAcked, OperatorAborted, OperatorRestored, OperatorTimer,
	SinkBeforeFlush, SinkPrepared, SinkBeforeCommit, SinkAfterCommit,
	CoordinatorTriggered, CoordinatorAcked, CoordinatorCompleted, CoordinatorNotified, CoordinatorAborted, CoordinatorSubsume, CoordinatorStop,
	StoragePutBefore, StoragePutAfter, StorageCASBefore, StorageCASAfter, StorageDelBefore, StorageDelAfter,
}

// Error is what a test's hook returns to make the caller fail at a point as if its process had died there.
type Error struct{ Point string }

// Error names the point.
func (e *Error) Error() string { return "crash at " + e.Point }

package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/state"
	"go.uber.org/zap"
)

// attempt is one run of the job from a checkpoint, or from nothing, until it ends or fails. A failed attempt is torn down whole; the next is
// built anew.
type attempt struct {
	job  *Job
	cfg  *Config
	plan *Plan
	name string // unique

	ctx    context.Context
	cancel context.CancelCauseFunc

	journal      *checkpoint.Journal // nil: nothing is stored
	restored     *checkpoint.RestorePlan
	restoreFiles state.Files
	inFlight     map[*Edge][]checkpoint.ChannelState
	operators    []checkpoint.OperatorInfo // sorted as those of the job, with the states as they are numbered
	// firstID is the id of the first checkpoint; epoch the one of all events.
	firstID, epoch int64

	queues   map[*chain][]*exchange.Queue
	channels map[*chain][]int
	edges    map[*Edge][][]any
	senders  map[*Edge][][]any // the sending halves; edges itself within the process
	links    []*exchange.Link  // to other processes
	tasks    []*task
	byChain  map[*chain][]*task

	// groups are the sources that are aligned with each other, by the name of their group.
	groups map[string]*watermark.Group

	enumerators map[string]*enumerator
	committers  map[string]connectors.Committer
	coord       *checkpoint.Coordinator
	events      chan any
	running     sync.WaitGroup // tasks, discoveries, the coordinator's I/O
	flights     flights
	progress    progress
	// waiting are the savepoint requests not yet answered.
	waiting map[*savepointRequest]bool
}

// report hands an event to the job's goroutine; any goroutine of the attempt may call it.
func (a *attempt) report(ev any) {
	select {
	case a.events <- ev:
	case <-a.ctx.Done():
	}
}

// errFinished is the cause with which the tasks of an attempt that has succeeded are cancelled.
var errFinished = errors.New("runtime: the job has finished")

// errGoexit fails a task whose goroutine a user function has ended, which no recover can see: without it the job would wait for ever.
var errGoexit = errors.New("a function of the step has called runtime.Goexit, as testing.T.Fatal and FailNow do; return an error instead")

// run executes the attempt. It returns nil when the job has finished, and otherwise why the attempt ended; all its goroutines have
// ended then.
func (a *attempt) run() (err error) {
	started := false
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
		cause := err
		if cause == nil {
			cause = errFinished
		}
		a.cancel(cause)
		a.unlink(cause)
		a.running.Wait()
		if e := a.close(started); e != nil {
			// No reason to start a finished job again, and a failed one has its cause.
			a.cfg.Logger.Warn("closing an attempt failed", zap.String("job", a.plan.Name), zap.Error(e))
		}
		for r := range a.waiting {
			r.done <- savepointResult{err: checkpoint.ErrJobFailed}
		}
	}()
	if err := a.build(); err != nil {
		return err
	}
	if err := a.recoverSinks(); err != nil {
		return err
	}
	a.job.setTasks(a.tasks)
	a.job.notePhase(why.Running)
	started = true
	for _, t := range a.tasks {
		a.running.Go(func() { a.runTask(t) })
	}
	for _, e := range a.enumerators {
		a.spawn(func() error { return e.discover(a.ctx, a.report) })
	}
	return a.loop()
}

// spawn runs f, which may wait for I/O, beside the job's goroutine. Its error or panic fails the attempt.
func (a *attempt) spawn(f func() error) {
	a.running.Go(func() {
		if err := guarded(f); err != nil {
			a.report(failedEvent{err})
		}
	})
}

func (a *attempt) runTask(t *task) {
	err := error(&TaskError{UID: t.chain.name, Subtask: t.subtask, Err: errGoexit})
	defer func() {
		if a.ctx.Err() == nil {
			a.report(failedEvent{err})
		}
		if err := t.close(); err != nil {
			a.cfg.Logger.Warn("closing a task failed", zap.String("task", t.id().String()), zap.Error(err))
		}
	}()
	t.label(a.name)
	err = t.run(func() error { return a.openState(a.ctx, t) })
}

// build makes tasks, enumerators, committers and the coordinator.
func (a *attempt) build() error {
	a.operators = a.assigned()
	a.wire()
	if err := a.link(); err != nil {
		return err
	}
	a.byChain, a.groups = map[*chain][]*task{}, map[string]*watermark.Group{}
	for _, c := range a.plan.chains {
		for i := range c.parallelism {
			t, err := a.buildTask(c, i)
			a.tasks = append(a.tasks, t)
			a.byChain[c] = append(a.byChain[c], t)
			if err != nil {
				return err
			}
		}
	}
	a.enumerators, a.committers = map[string]*enumerator{}, map[string]connectors.Committer{}
	for _, n := range a.plan.Nodes {
		if err := a.buildHelpers(n); err != nil {
			return fmt.Errorf("step %q: %w", n.Label(), err)
		}
	}
	a.coord = checkpoint.NewCoordinator(a.coordinatorConfig(), a.cfg.Now())
	return nil
}

// buildHelpers makes the enumerator of a source or the committer of a sink.
func (a *attempt) buildHelpers(n *Node) error {
	c := connectors.Context{UID: n.UID, Parallelism: n.Parallelism, Now: a.cfg.Now, Metrics: a.registerer(n.UID, 0),
		Logger: a.cfg.Logger.With(zap.String("uid", n.UID))}
	if n.Source != nil {
		from := a.restore(n.UID)
		e, err := n.Source.NewEnumerator(c, from.Enumerator)
		if err != nil {
			return err
		}
		host := newEnumerator(n.UID, e, a.byChain[a.plan.of[n]])
		a.enumerators[n.UID] = host
		for _, split := range from.Finished {
			e.Finished(split)
		}
		for i, sub := range from.Subtasks {
			host.restore(i, splitsOf(sub.Splits))
		}
		host.assign()
	}
	if n.Committer != nil {
		k, err := n.Committer(c)
		if err != nil {
			return err
		}
		a.committers[n.UID] = k
	}
	return nil
}

func splitsOf(states []checkpoint.SplitState) []connectors.Split {
	splits := make([]connectors.Split, len(states))
	for i, sp := range states {
		splits[i] = connectors.Split{ID: sp.ID, Position: sp.Position}
	}
	return splits
}

func (a *attempt) coordinatorConfig() checkpoint.CoordinatorConfig {
	k := a.cfg.Checkpoint
	c := checkpoint.CoordinatorConfig{
		Job: a.plan.Name, Epoch: a.epoch, FirstID: a.firstID, MaxParallelism: a.cfg.MaxParallelism,
		Interval: k.Interval, MinPause: k.MinPause, Timeout: k.Timeout, Retain: k.Retain, Durable: a.journal != nil,
		TolerableFailures: k.TolerableFailures, MaxConcurrent: k.MaxConcurrent,
		Operators: a.operators,
	}
	for _, t := range a.tasks {
		c.Tasks = append(c.Tasks, t.id())
	}
	return c
}

// recoverSinks commits what the restored checkpoint holds and clears what other attempts have left, before any writer exists.
func (a *attempt) recoverSinks() error {
	for uid, k := range a.committers {
		var id int64
		if a.restored != nil {
			id = a.restored.ID
		}
		from := a.restore(uid)
		for _, p := range from.Prepared {
			if err := crash.At(crash.SinkBeforeCommit); err != nil {
				return err
			}
			if err := k.Commit(a.ctx, p.ID, p.Committables); err != nil {
				return &TaskError{UID: uid, Err: fmt.Errorf("commit checkpoint %d again after the restore: %w", p.ID, err)}
			}
		}
		if err := k.Recover(a.ctx, id, from.Committables); err != nil {
			return &TaskError{UID: uid, Err: fmt.Errorf("clear what earlier attempts left: %w", err)}
		}
	}
	return nil
}

// close frees enumerators and committers, and, if the tasks were never started, what those hold.
func (a *attempt) close(started bool) error {
	var errs []error
	for _, e := range a.enumerators {
		errs = append(errs, guarded(e.e.Close))
	}
	for _, k := range a.committers {
		errs = append(errs, guarded(k.Close))
	}
	for _, t := range a.tasks {
		if !started {
			errs = append(errs, t.close())
		}
	}
	return errors.Join(errs...)
}

// loop is the job's goroutine while the attempt runs: it feeds the coordinator and carries out what it decides.
func (a *attempt) loop() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Stop()
		var due <-chan time.Time
		if at, ok := a.coord.NextDeadline(); ok {
			timer.Reset(max(0, at.Sub(a.cfg.Now())))
			due = timer.C
		}
		var done bool
		var err error
		select {
		case ev := <-a.events:
			done, err = a.handle(ev)
		case r := <-a.job.requests:
			a.waiting[r] = true
			done, err = a.act(a.coord.Step(checkpoint.RequestSavepoint{Now: a.cfg.Now(), Ref: r, Stop: r.stop, Drain: r.drain}))
		case q := <-a.job.questions:
			q <- a.facts()
		case <-due:
			done, err = a.act(a.coord.Step(checkpoint.Tick{Now: a.cfg.Now()}))
		case <-a.ctx.Done():
			err = context.Cause(a.ctx)
		}
		if done || err != nil {
			return err
		}
	}
}

// handle turns what a task or helper reports into steps of the coordinator.
func (a *attempt) handle(ev any) (done bool, err error) {
	now := a.cfg.Now()
	switch ev := ev.(type) {
	case failedEvent:
		return false, ev.err
	case discoveredEvent:
		a.enumerators[ev.uid].discovered()
		return false, nil
	case splitFinishedEvent:
		a.enumerators[ev.uid].finished(ev.subtask, ev.split)
		return false, nil
	case endedEvent:
		return a.act(a.coord.Step(checkpoint.InputEnded{Now: now, Epoch: a.epoch, Task: ev.task}))
	case ackEvent:
		if crashed(ev.err) {
			return false, ev.err // as if the process had died, whatever is tolerated
		}
		if ev.err != nil {
			return a.act(a.coord.Step(checkpoint.Declined{Now: now, Epoch: a.epoch, ID: ev.id, Task: ev.task, Err: ev.err}))
		}
		if ev.baseErr != nil {
			a.cfg.Logger.Warn("a new base of the state could not be made; checkpoints go on and grow by their deltas, and it is tried again",
				zap.String("task", ev.task.String()), zap.Error(ev.baseErr))
		}
		a.flights.acked(ev.id, ev.bytes)
		a.job.metrics.wrote(ev.bytes, ev.baseBytes)
		a.progress.acked(ev)
		return a.act(a.coord.Step(checkpoint.Ack{Now: now, Epoch: a.epoch, ID: ev.id, Task: ev.task, Snapshots: ev.snapshots, Channels: ev.channels}))
	case persistedEvent:
		if crashed(ev.err) {
			return false, ev.err
		}
		a.flights.persisted(ev.id, ev.uri, ev.err)
		return a.act(a.coord.Step(checkpoint.Persisted{Now: now, Epoch: a.epoch, ID: ev.id, Err: ev.err}))
	case committedEvent:
		a.progress.end(ev.id)
		return a.act(a.coord.Step(checkpoint.Committed{Now: now, Epoch: a.epoch, ID: ev.id, Err: ev.err}))
	}
	return false, fmt.Errorf("runtime: unknown event %T", ev)
}

// act carries out the coordinator's decisions in order. I/O runs on goroutines of its own and answers with events.
func (a *attempt) act(actions []checkpoint.Action) (done bool, err error) {
	for _, x := range actions {
		switch x := x.(type) {
		case checkpoint.Trigger:
			err = a.trigger(x)
		case checkpoint.Persist:
			a.progress.to(x.Manifest.ID, why.Persisting, nil)
			a.spawn(func() error { a.persist(x); return nil })
		case checkpoint.NotifyCompleted:
			a.progress.end(x.ID)
			a.completed(x.ID)
			err = crash.At(crash.CoordinatorNotified)
		case checkpoint.Aborted:
			err = a.abort(x)
		case checkpoint.Commit:
			a.progress.to(x.ID, why.Committing, x.Sinks)
			a.spawn(func() error { a.report(committedEvent{x.ID, a.commit(x)}); return nil })
		case checkpoint.Prune:
			a.spawn(func() error { return a.prune(x.Retain) })
		case checkpoint.SavepointDone:
			r := x.Ref.(*savepointRequest)
			delete(a.waiting, r)
			r.done <- savepointResult{uri: a.flights.uri(x.ID), err: x.Err}
		case checkpoint.Finish:
			return true, crash.At(crash.CoordinatorStop)
		case checkpoint.Fail:
			err = x.Err
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// trigger begins a checkpoint: the enumerators' states first, then the barrier to the source tasks, on the goroutine that hands out splits.
func (a *attempt) trigger(x checkpoint.Trigger) error {
	if err := crash.At(crash.CoordinatorTriggered); err != nil {
		return err
	}
	a.flights.begin(x.ID, a.cfg.Now())
	due := a.due(x)
	a.progress.begin(x.ID, a.tasks)
	for uid, e := range a.enumerators {
		saved, err := e.e.Snapshot()
		if err != nil {
			return &TaskError{UID: uid, Err: fmt.Errorf("snapshot of the enumerator: %w", err)}
		}
		ev := checkpoint.EnumeratorState{Now: a.cfg.Now(), Epoch: a.epoch, ID: x.ID, UID: uid, State: saved}
		if _, err := a.act(a.coord.Step(ev)); err != nil {
			return err
		}
	}
	for _, t := range a.tasks {
		if t.source != nil {
			if !due.IsZero() {
				t.queue.Announce(x.ID, due)
			}
			t.box.put(triggerLetter{id: x.ID, stop: x.Stop, drain: x.Drain})
		}
	}
	return nil
}

func (a *attempt) persist(x checkpoint.Persist) {
	ev := persistedEvent{id: x.Manifest.ID}
	ev.err = crash.At(crash.CoordinatorAcked)
	if ev.err == nil && x.Savepoint {
		ev.uri, ev.err = a.journal.Savepoint(a.ctx, x.Manifest)
	} else if ev.err == nil {
		ev.err = a.journal.Complete(a.ctx, x.Manifest)
	}
	if ev.err == nil {
		ev.err = crash.At(crash.CoordinatorCompleted)
	}
	a.report(ev)
}

func (a *attempt) completed(id int64) {
	if d, bytes, ok := a.flights.done(id, a.cfg.Now()); ok {
		a.job.metrics.checkpoint(id, d, bytes)
		a.job.noteCheckpoint()
		a.cfg.Logger.Debug("checkpoint completed", zap.Int64("id", id), zap.Duration("took", d), zap.Int64("bytes", bytes))
	}
	for _, t := range a.tasks {
		t.box.put(completedLetter{id})
	}
}

// abort tells the tasks that a checkpoint was given up.
func (a *attempt) abort(x checkpoint.Aborted) error {
	a.progress.end(x.ID)
	a.flights.aborted(x.ID)
	if !errors.Is(x.Err, checkpoint.ErrSubsumed) {
		a.job.metrics.failed()
		a.cfg.Logger.Warn("checkpoint failed, the job goes on", zap.Int64("id", x.ID), zap.Error(x.Err))
	}
	if err := crash.At(crash.CoordinatorAborted); err != nil {
		return err
	}
	for _, t := range a.tasks {
		t.box.put(abortedLetter{x.ID})
	}
	return nil
}

// commit runs the committers of one checkpoint, in the order of their uids.
func (a *attempt) commit(x checkpoint.Commit) error {
	for _, s := range x.Sinks {
		if err := crash.At(crash.SinkBeforeCommit); err != nil {
			return err
		}
		for _, p := range s.Prepared {
			if err := a.committers[s.UID].Commit(a.ctx, p.ID, p.Committables); err != nil {
				return &TaskError{UID: s.UID, Err: fmt.Errorf("commit checkpoint %d: %w", p.ID, err)}
			}
		}
		if err := crash.At(crash.SinkAfterCommit); err != nil {
			return err
		}
	}
	return nil
}

// prune drops old checkpoints. Failing to is no reason to stop a job, unless another one has taken over.
func (a *attempt) prune(retain int) error {
	err := crash.At(crash.CoordinatorSubsume)
	if err == nil {
		err = a.journal.Prune(a.ctx, retain)
	}
	if err == nil || a.ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, checkpoint.ErrFenced) || errors.Is(err, checkpoint.ErrUnknownOutcome) || crashed(err) {
		return err
	}
	a.cfg.Logger.Warn("old checkpoints were not removed; the next one tries again", zap.Error(err))
	return nil
}

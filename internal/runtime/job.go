package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/state"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config is what a job needs to run; all fields are set and valid.
type Config struct {
	MaxParallelism int
	State          state.Backend
	Checkpoint     checkpoint.Config
	// From is the savepoint or checkpoint to start from when the storage holds no checkpoint of this job yet.
	From string
	// Mapping says what of a checkpoint goes to operators and states of other names, and what is left behind.
	Mapping checkpoint.Mapping
	Restart Restart
	// Transport moves records between tasks; nil: within the process.
	Transport *exchange.TCP
	Logger    *zap.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}

// Restart says how a failed job is started again.
type Restart struct {
	// MaxAttempts is the number of restarts in a row without a completed checkpoint between them; -1: no limit.
	MaxAttempts int
	// The delay before a restart begins at InitialDelay, doubles each time up to MaxDelay, and is drawn from its upper half. It begins
	// again after a run of ResetAfter.
	InitialDelay, MaxDelay, ResetAfter time.Duration
}

// delay is the wait before the n-th restart in a row, n ≥ 1.
func (r Restart) delay(n int) time.Duration {
	d := r.InitialDelay
	for i := 1; i < n && d < r.MaxDelay; i++ {
		d *= 2
	}
	d = min(d, r.MaxDelay)
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2)
}

// Job is a running job.
type Job struct {
	cfg       Config
	plan      *Plan
	operators []checkpoint.OperatorInfo
	requests  chan *savepointRequest
	metrics   *jobMetrics
	cancel    context.CancelCauseFunc
	done      chan struct{}
	err       error

	questions chan chan<- attemptFacts

	mu       sync.Mutex
	leading  *checkpoint.Journal // of the newest attempt
	running  []*task
	restarts int
	status   status
}

type savepointRequest struct {
	stop, drain bool
	done        chan savepointResult // capacity 1
}

type savepointResult struct {
	uri string
	err error
}

// Start checks the plan against the checkpoint it would start from and runs it until ctx ends or the job does.
func Start(ctx context.Context, p *Plan, operators []checkpoint.OperatorInfo, c Config) (*Job, error) {
	j := &Job{cfg: c, plan: p, operators: operators, requests: make(chan *savepointRequest),
		questions: make(chan chan<- attemptFacts), done: make(chan struct{})}
	j.metrics = newJobMetrics(j)
	run, cancel := context.WithCancelCause(ctx)
	j.cancel = cancel
	if err := j.precheck(ctx); err != nil {
		cancel(err)
		return nil, err
	}
	first, err := j.prepare(run, 1)
	if err != nil {
		cancel(err)
		return nil, err
	}
	if err := c.Metrics.Register(j.metrics); err != nil {
		cancel(err)
		return nil, fmt.Errorf("millrace: register metrics: %w; give each job a registerer of its own", err)
	}
	j.reportDerived()
	go func() {
		defer close(j.done)
		defer c.Metrics.Unregister(j.metrics)
		j.err = j.supervise(run, first)
		j.noteEnd(j.err)
		j.setTasks(nil) // a handle that is kept does not keep their state
		cancel(errFinished)
	}()
	return j, nil
}

// Wait returns when the job has ended: nil when it has finished, the context's cause when that was cancelled, otherwise why it failed for good.
func (j *Job) Wait() error {
	<-j.done
	return j.err
}

// Done is closed when the job has ended.
func (j *Job) Done() <-chan struct{} { return j.done }

// Restarts is the number of restarts so far.
func (j *Job) Restarts() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.restarts
}

// pinned takes a native savepoint and returns its URI. With stop the job ends when the savepoint and its commits are done; with drain,
// the sources end their input first, so that all timers and windows fire.
func (j *Job) pinned(ctx context.Context, stop, drain bool) (string, error) {
	r := &savepointRequest{stop: stop || drain, drain: drain, done: make(chan savepointResult, 1)}
	select {
	case j.requests <- r:
	case <-j.done:
		return "", checkpoint.ErrJobFinished
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	select {
	case res := <-r.done:
		if res.err == nil && r.stop {
			<-j.done
			res.err = j.err
		}
		return res.uri, res.err
	case <-j.done:
		select {
		case res := <-r.done:
			return res.uri, res.err
		default:
			return "", fmt.Errorf("millrace: the job ended before the savepoint was complete: %w", cmpErr(j.err, checkpoint.ErrJobFinished))
		}
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// supervise runs attempts until one finishes or the restarts are used up.
func (j *Job) supervise(ctx context.Context, a *attempt) error {
	failures := 0
	for {
		began := j.cfg.Now()
		j.notePhase(why.Starting)
		err := a.run()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, checkpoint.ErrFenced) || permanent(err) {
			return err
		}
		if a.flights.anyCompleted() || j.cfg.Now().Sub(began) >= j.cfg.Restart.ResetAfter {
			failures = 0
		}
		for a = nil; a == nil; {
			failures++
			if m := j.cfg.Restart.MaxAttempts; m >= 0 && failures > m {
				return fmt.Errorf("millrace: job %q gave up after %d restarts: %w", j.plan.Name, failures-1, err)
			}
			delay := j.cfg.Restart.delay(failures)
			j.cfg.Logger.Error("job failed, restarting from the last checkpoint", zap.String("job", j.plan.Name), zap.Error(err),
				zap.Int("failures", failures), zap.Duration("delay", delay))
			j.noteFailure(err, failures, delay)
			if err := sleep(ctx, delay); err != nil {
				return err
			}
			j.addRestart()
			j.notePhase(why.Starting)
			if a, err = j.prepare(ctx, j.Restarts()+1); err != nil && (permanent(err) || ctx.Err() != nil) {
				return cmpErr(context.Cause(ctx), err)
			}
		}
	}
}

// permanent reports whether starting again cannot help: the checkpoint is damaged, or the graph does not fit it.
func permanent(err error) bool {
	var refused *checkpoint.RefusedError
	var undeclared *state.UndeclaredStateError
	var met *state.KeyCollisionError
	var channels *checkpoint.UnmatchedChannelsError
	return errors.As(err, &channels) || errors.As(err, &refused) || errors.As(err, &undeclared) || errors.As(err, &met) || errors.Is(err, checkpoint.ErrCorrupt)
}

func (j *Job) addRestart() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.restarts++
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepare becomes the leader of the storage and plans the restore of its newest checkpoint, or of the savepoint to start from.
func (j *Job) prepare(ctx context.Context, number int) (*attempt, error) {
	a := &attempt{job: j, cfg: &j.cfg, plan: j.plan, events: make(chan any, 256), firstID: 1, epoch: int64(number),
		waiting: map[*savepointRequest]bool{}}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	if err := guarded(func() error { return a.begin(ctx, number) }); err != nil {
		a.cancel(err)
		return nil, err
	}
	return a, nil
}

// begin finds what the attempt starts from.
func (a *attempt) begin(ctx context.Context, number int) error {
	j := a.job
	a.name = fmt.Sprintf("%d-%08x", number, rand.Uint32())
	if s := j.cfg.Checkpoint.Storage; s != nil {
		var err error
		if a.journal, err = checkpoint.Lead(ctx, s, j.cfg.Logger); err != nil {
			return err
		}
		j.setJournal(a.journal)
		a.epoch, a.firstID = a.journal.Epoch(), a.journal.NextID()
		a.name = fmt.Sprintf("%d-%08x", a.epoch, rand.Uint32())
		if m := a.journal.Latest(); m != nil {
			return a.restoreFrom(m, a.journal.Files(m.ID))
		}
	}
	if j.cfg.From == "" {
		return nil
	}
	m, files, err := checkpoint.Load(ctx, j.cfg.From)
	if err != nil {
		return err
	}
	a.firstID = max(a.firstID, m.ID+1) // sinks never see ids go back
	if a.journal == nil {
		return a.restoreFrom(m, files)
	}
	// Before anything is copied. What is in another storage may go when it likes: checkpoints of this job name nothing there.
	if _, err := checkpoint.PlanRestore(m, j.operators, a.cfg.MaxParallelism, a.cfg.Mapping); err != nil {
		return err
	}
	if m, files, err = a.journal.Import(ctx, m, files, nil); err != nil {
		return err
	}
	return a.restoreFrom(m, files)
}

func (a *attempt) restoreFrom(m *checkpoint.Manifest, files state.Files) error {
	p, err := checkpoint.PlanRestore(m, a.job.operators, a.cfg.MaxParallelism, a.cfg.Mapping)
	if err != nil {
		return err
	}
	if a.inFlight, err = a.plan.inFlight(m); err != nil {
		return err
	}
	a.restored, a.restoreFiles = p, files
	a.cfg.Logger.Info("restoring", zap.String("job", a.plan.Name), zap.Int64("checkpoint", m.ID), zap.Bool("savepoint", m.Savepoint))
	return nil
}

// crashed reports whether err comes from a test's crash point.
func crashed(err error) bool {
	var e *crash.Error
	return errors.As(err, &e)
}

// tasks are the tasks of the attempt that runs now.
func (j *Job) tasks() []*task {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.running
}

func (j *Job) setTasks(ts []*task) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running = ts
}

// Completed is the number of checkpoints completed in this process, and the id of the last.
func (j *Job) Completed() (n uint64, last int64) { return j.metrics.Completed() }

// flights keeps when checkpoints began, what they wrote and where savepoints went; the job's goroutine only.
type flights struct {
	started   map[int64]time.Time
	bytes     map[int64]int64
	uris      map[int64]string
	completed int
}

func (f *flights) begin(id int64, now time.Time) {
	if f.started == nil {
		f.started, f.bytes, f.uris = map[int64]time.Time{}, map[int64]int64{}, map[int64]string{}
	}
	f.started[id] = now
}

func (f *flights) acked(id, bytes int64) {
	if _, ok := f.started[id]; ok { // else it was given up meanwhile
		f.bytes[id] += bytes
	}
}

func (f *flights) aborted(id int64) {
	delete(f.started, id)
	delete(f.bytes, id)
}

func (f *flights) persisted(id int64, uri string, err error) {
	if err == nil && uri != "" {
		f.uris[id] = uri
	}
}

func (f *flights) done(id int64, now time.Time) (took time.Duration, bytes int64, ok bool) {
	start, ok := f.started[id]
	if !ok {
		return 0, 0, false
	}
	f.completed++
	took, bytes = now.Sub(start), f.bytes[id]
	delete(f.started, id)
	delete(f.bytes, id)
	return took, bytes, true
}

func (f *flights) uri(id int64) string { return f.uris[id] }

func (f *flights) anyCompleted() bool { return f.completed > 0 }

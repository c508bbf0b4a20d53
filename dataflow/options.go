package dataflow

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options say how a graph runs. The zero value runs it in one subtask per step, with state in memory and without checkpoints.
type Options struct {
	// Parallelism is the number of subtasks of every step that sets none of its own, 1…MaxParallelism. Default 1.
	Parallelism int
	// MaxParallelism is the number of key groups: the bound of every parallelism, for the life of the state. Default 128; at most
	// 32768. A job that may grow beyond some 85 subtasks wants more, see state.DefaultMaxParallelismFor.
	MaxParallelism int
	// State is where keyed state lives: memstate.New() (default) or pebblestate.Dir(path).
	State state.Backend
	// Checkpoint says when and where checkpoints are taken; see checkpoint.Every. The zero value takes none: after a failure
	// the job then starts from the beginning of its sources.
	Checkpoint checkpoint.Config
	// Restore says where to start from when the checkpoint storage holds no checkpoint yet.
	Restore Restore
	// Restart says how often and how fast a failed job is started again.
	Restart Restart
	// Transport is how records travel between tasks. Default nil: within the process, as they are. TCP sends those of all edges over a connection.
	Transport Transport
	// Logger takes the job's log. Default: none is written.
	Logger *zap.Logger
	// Metrics takes the job's metrics (docs/METRICS.md). Default: none are kept. Two jobs need two registerers.
	Metrics prometheus.Registerer
	// Now is the clock of processing time. Default time.Now.
	Now func() time.Time
}

// Restore names a savepoint or retained checkpoint to start from.
type Restore struct {
	// From is its URI, as Job.Savepoint returned it; empty starts from nothing. A newer checkpoint in the job's own storage wins, so the
	// option may stay set over restarts.
	From string
	// Drop names states that no step of this graph claims and that are to be left behind: a uid, or uid/state.
	Drop []string
	// Rename says what goes to steps and states of other names: a uid to a uid, with all that the step has; uid/state to uid/state for one
	// state, by which the states of one step can be split over several. See checkpoint.Mapping. Drop and Rename are applied to the checkpoints in the
	// job's own storage as well, where they do nothing once they are done: they may stay set.
	Rename map[string]string
}

func (r Restore) mapping() checkpoint.Mapping {
	return checkpoint.Mapping{Drop: r.Drop, Rename: r.Rename}
}

// Restart says how a failed job is started again, in process, from its last checkpoint.
type Restart struct {
	// MaxAttempts is the number of restarts in a row, without a completed checkpoint between them, after which the job fails for
	// good. Default 10; -1 restarts for ever; Never is 0 attempts.
	MaxAttempts int
	// Never fails the job at its first failure.
	Never bool
	// InitialDelay before the first restart; it doubles each time up to MaxDelay, and is drawn at random from its upper half. Defaults
	// 100 ms and 1 min.
	InitialDelay, MaxDelay time.Duration
	// ResetAfter is how long an attempt must have run for the delay to begin anew. Default 10 min.
	ResetAfter time.Duration
}

// withDefaults returns o with every unset field at its default.
func (o Options) withDefaults() Options {
	if o.Parallelism == 0 {
		o.Parallelism = 1
	}
	if o.MaxParallelism == 0 {
		o.MaxParallelism = state.DefaultMaxParallelism
	}
	if o.State == nil {
		o.State = memstate.New()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &o.Restart
	if r.MaxAttempts == 0 {
		r.MaxAttempts = 10
	}
	if r.Never {
		r.MaxAttempts = 0
	}
	if r.InitialDelay == 0 {
		r.InitialDelay = 100 * time.Millisecond
	}
	if r.MaxDelay == 0 {
		r.MaxDelay = max(time.Minute, r.InitialDelay)
	}
	if r.ResetAfter == 0 {
		r.ResetAfter = 10 * time.Minute
	}
	o.Checkpoint = o.Checkpoint.WithDefaults()
	return o
}

// Validate reports every fault at once, without I/O.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dataflow: "+format, args...)) }
	if o.MaxParallelism < 1 || o.MaxParallelism > 1<<15 {
		add("Options.MaxParallelism is %d, want 1…32768", o.MaxParallelism)
	}
	if o.Parallelism < 1 || o.Parallelism > o.MaxParallelism {
		add("Options.Parallelism is %d, want 1…%d (MaxParallelism; state.DefaultMaxParallelismFor gives one for a larger job)", o.Parallelism, o.MaxParallelism)
	}
	if r := o.Restart; r.MaxAttempts < -1 || r.InitialDelay < 0 || r.MaxDelay < r.InitialDelay || r.ResetAfter < 0 {
		add("Options.Restart is %+v, want MaxAttempts ≥ -1, InitialDelay ≥ 0, MaxDelay ≥ InitialDelay and ResetAfter ≥ 0", r)
	}
	errs = append(errs, o.State.Validate(), o.Checkpoint.Validate())
	if o.Transport != nil {
		errs = append(errs, o.Transport.validate())
	}
	return errors.Join(errs...)
}

// config is what the runtime needs.
func (o Options) config() runtime.Config {
	c := runtime.Config{
		MaxParallelism: o.MaxParallelism, State: o.State, Checkpoint: o.Checkpoint, From: o.Restore.From, Mapping: o.Restore.mapping(),
		Restart: runtime.Restart{MaxAttempts: o.Restart.MaxAttempts, InitialDelay: o.Restart.InitialDelay,
			MaxDelay: o.Restart.MaxDelay, ResetAfter: o.Restart.ResetAfter},
		Logger: o.Logger, Metrics: o.Metrics, Now: o.Now,
	}
	if o.Transport != nil {
		c.Transport = o.Transport.transport()
	}
	return c
}

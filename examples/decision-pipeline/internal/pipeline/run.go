package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/services"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// Options of a pipeline. They travel as JSON to a child process, so they hold no secrets; those come from the environment.
type Options struct {
	Endpoints services.Endpoints
	StreamARN string
	// StartMS is where a start without a checkpoint begins in the stream, Unix ms; 0: with its oldest record.
	StartMS int64
	// Poll is the least time between two reads of a shard.
	Poll        time.Duration
	Parallelism int
	// PebbleDir is the scratch directory of state in Pebble; empty: state in memory.
	PebbleDir     string
	CheckpointURL string
	Checkpoint    time.Duration
	AtLeastOnce   bool
	// TransactionPrefix begins the transactional ids; the same after every restart, and no other pipeline's.
	TransactionPrefix string
}

// Job is a running pipeline.
type Job struct{ job *dataflow.Job }

// Start runs the pipeline until Stop, or until ctx ends. It goes on from the newest checkpoint at CheckpointURL, if there is one.
func Start(ctx context.Context, o Options, log *zap.Logger, metrics prometheus.Registerer) (*Job, error) {
	storage, err := checkpoint.OpenURL(o.CheckpointURL)
	if err != nil {
		return nil, err
	}
	publish, err := o.publishSink()
	if err != nil {
		return nil, err
	}
	g := graph(parts{
		source: o.sourceOf(), profiles: store.New(o.Endpoints.Tables()).Profile,
		publish: publish, archive: o.archiveSink(), variables: o.variablesSink(), deadLetter: o.deadLetterSink(),
	})
	job, err := g.Start(ctx, dataflow.Options{
		Parallelism: o.Parallelism, State: o.backend(log), Checkpoint: checkpoint.Every(o.Checkpoint, storage), Logger: log, Metrics: metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	return &Job{job}, nil
}

func (o Options) backend(log *zap.Logger) state.Backend {
	if o.PebbleDir == "" {
		return memstate.New()
	}
	// The state of some thousand customers fits into small caches; the defaults are meant for millions.
	return pebblestate.New(pebblestate.Options{Dir: o.PebbleDir, CacheBytes: 8 << 20, BlockCacheBytes: 8 << 20, MemTableBytes: 4 << 20, Log: log})
}

// Stop takes a savepoint, commits what is in it and ends the pipeline.
func (j *Job) Stop(ctx context.Context) error {
	if _, err := j.job.Stop(ctx, false); err != nil {
		return fmt.Errorf("pipeline: stop with a savepoint: %w", err)
	}
	return nil
}

// Done is closed when the pipeline has ended.
func (j *Job) Done() <-chan struct{} { return j.job.Done() }

// Err says why the pipeline has ended, once Done is closed: nil after Stop.
func (j *Job) Err() error {
	if err := j.job.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("pipeline: %w", err)
	}
	return nil
}

// Checkpoints is the number of checkpoints that were completed in this process.
func (j *Job) Checkpoints() uint64 { n, _ := j.job.Checkpoints(); return n }

// Restarts is the number of times the job was started again within this process.
func (j *Job) Restarts() int { return j.job.Restarts() }

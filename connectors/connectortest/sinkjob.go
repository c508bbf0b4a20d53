package connectortest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// SinkOptions of a SinkJob. The zero value drives one writer.
type SinkOptions struct {
	UID         string // default "sink"
	Parallelism int    // default 1
	Logger      *zap.Logger
	Metrics     prometheus.Registerer
	// KeyHash is given to the writers with each record. Nil: 0.
	KeyHash func(i int) uint64
}

// SinkJob drives the writers and the committer of one sink. The input is a numbered sequence of records that it can go back in, as
// a job can go back to the positions of a checkpoint. It is used by one goroutine.
type SinkJob[T any] struct {
	sink   connectors.Sink[T]
	record func(i int) T
	o      SinkOptions

	next      int // of the input
	starts    int
	cancel    context.CancelFunc
	writers   []connectors.Writer[T]
	committer connectors.Committer
	letters   []connectors.DeadLetter
}

// SinkCheckpoint is what the runtime keeps of a sink at one barrier. It is incomplete until Commit is called with it.
type SinkCheckpoint struct {
	ID           int64
	Next         int // first record of the input after the barrier
	Committables [][]byte
	Letters      []connectors.DeadLetter
}

// NewSinkJob describes a job that writes record(0), record(1), … .
func NewSinkJob[T any](sink connectors.Sink[T], record func(i int) T, o SinkOptions) *SinkJob[T] {
	if o.UID == "" {
		o.UID = "sink"
	}
	o.Parallelism = max(o.Parallelism, 1)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.KeyHash == nil {
		o.KeyHash = func(int) uint64 { return 0 }
	}
	return &SinkJob[T]{sink: sink, record: record, o: o}
}

// Start starts from a completed checkpoint, or afresh with nil: first the committables of the checkpoint are committed (again), then
// the committer recovers, then writers are made.
func (j *SinkJob[T]) Start(ctx context.Context, from *SinkCheckpoint) error {
	if err := j.sink.Validate(); err != nil {
		return err
	}
	j.starts++
	j.next, j.letters = 0, nil
	var id int64
	var restored [][]byte
	if from != nil {
		id, restored, j.next, j.letters = from.ID, from.Committables, from.Next, append(j.letters, from.Letters...)
	}
	var metrics prometheus.Registerer = prometheus.NewRegistry()
	if j.o.Metrics != nil {
		metrics = j.o.Metrics
	}
	c := connectors.Context{UID: j.o.UID, Parallelism: j.o.Parallelism, Logger: j.o.Logger, Metrics: metrics, Now: time.Now}
	if err := j.recover(ctx, c, id, restored); err != nil {
		return errors.Join(err, j.Crash())
	}
	task, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	for i := range j.o.Parallelism {
		w := connectors.WriterContext{
			Context: c, Ctx: task, Attempt: fmt.Sprintf("a%d", j.starts), RestoredCheckpoint: id, Restored: restored,
			DeadLetter: func(d connectors.DeadLetter) error {
				j.letters = append(j.letters, d)
				return nil
			},
		}
		w.Subtask = i
		w.Metrics = prometheus.WrapRegistererWith(prometheus.Labels{"subtask": fmt.Sprint(i)}, metrics)
		writer, err := j.sink.NewWriter(w)
		if err != nil {
			return errors.Join(fmt.Errorf("connectortest: new writer of subtask %d: %w", i, err), j.Crash())
		}
		j.writers = append(j.writers, writer)
	}
	return nil
}

func (j *SinkJob[T]) recover(ctx context.Context, c connectors.Context, id int64, restored [][]byte) (err error) {
	committing, ok := j.sink.(connectors.CommittingSink)
	if !ok {
		return nil
	}
	if j.committer, err = committing.NewCommitter(c); err != nil {
		return fmt.Errorf("connectortest: new committer: %w", err)
	}
	if id > 0 {
		if err := j.committer.Commit(ctx, id, restored); err != nil {
			return fmt.Errorf("connectortest: commit of the restored checkpoint %d: %w", id, err)
		}
	}
	if err := j.committer.Recover(ctx, id, restored); err != nil {
		return fmt.Errorf("connectortest: recover: %w", err)
	}
	return nil
}

// Write writes the next n records of the input, the i-th to subtask i modulo the parallelism, and then calls Idle.
func (j *SinkJob[T]) Write(n int) error {
	for range n {
		i := j.next
		m := connectors.Meta{TimestampMS: int64(i), KeyHash: j.o.KeyHash(i), At: connectors.Coordinates{UID: "source", Split: "input", Offset: int64(i)}}
		if err := j.writers[i%len(j.writers)].Write(j.record(i), m); err != nil {
			return fmt.Errorf("connectortest: write record %d: %w", i, err)
		}
		j.next++
	}
	for i, w := range j.writers {
		if err := w.Idle(); err != nil {
			return fmt.Errorf("connectortest: idle in subtask %d: %w", i, err)
		}
	}
	return nil
}

// Prepare sends the barrier to the first n writers and returns the checkpoint when all were asked, and nil otherwise.
func (j *SinkJob[T]) Prepare(ctx context.Context, id int64, n int) (*SinkCheckpoint, error) {
	c := &SinkCheckpoint{ID: id, Next: j.next}
	for i, w := range j.writers[:min(n, len(j.writers))] {
		committables, err := w.Prepare(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("connectortest: prepare %d in subtask %d: %w", id, i, err)
		}
		if len(committables) > 0 && j.committer == nil {
			return nil, fmt.Errorf("connectortest: contract: subtask %d returned committables, the sink has no committer", i)
		}
		c.Committables = append(c.Committables, committables...)
	}
	if n < len(j.writers) {
		return nil, nil
	}
	c.Letters = append(c.Letters, j.letters...)
	return c, nil
}

// Commit commits a checkpoint that has completed; for a sink without committer it does nothing.
func (j *SinkJob[T]) Commit(ctx context.Context, c *SinkCheckpoint) error {
	if j.committer == nil {
		return nil
	}
	return j.committer.Commit(ctx, c.ID, c.Committables)
}

// Crash ends the attempt; nothing is prepared.
func (j *SinkJob[T]) Crash() error {
	var errs []error
	if j.cancel != nil {
		j.cancel()
	}
	for _, w := range j.writers {
		errs = append(errs, w.Close())
	}
	if j.committer != nil {
		errs = append(errs, j.committer.Close())
	}
	j.cancel, j.writers, j.committer = nil, nil, nil
	return errors.Join(errs...)
}

// Next is the number of the record that is written next.
func (j *SinkJob[T]) Next() int { return j.next }

// DeadLetters are those of this attempt and of the checkpoint it was started from. Owned by the caller.
func (j *SinkJob[T]) DeadLetters() []connectors.DeadLetter {
	return append([]connectors.DeadLetter(nil), j.letters...)
}

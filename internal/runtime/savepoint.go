package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"go.uber.org/zap"
)

// SavepointOptions say what a savepoint is to be.
type SavepointOptions struct {
	// Stop ends the job when the savepoint and its commits are done; with Drain the sources end their input first.
	Stop, Drain bool
	// Native leaves it at the checkpoint that is pinned: made at once, and tied to the storage of the job.
	Native bool
	// To is where the portable form goes; nil for a folder of the job's own storage.
	To checkpoint.Storage
	// Portable sets how the portable form is written.
	Portable savepoint.Options
}

// Savepoint takes a savepoint and returns its URI. The tasks take part in a checkpoint as in any other; the portable form is made of it
// afterwards, by the caller's goroutine, and the pin of the checkpoint is then dropped.
func (j *Job) Savepoint(ctx context.Context, o SavepointOptions) (string, error) {
	if err := o.Portable.Validate(); err != nil {
		return "", err
	}
	native, err := j.pinned(ctx, o.Stop, o.Drain)
	if err != nil || o.Native {
		return native, err
	}
	uri, err := j.portable(ctx, native, o)
	if err != nil {
		return "", fmt.Errorf("millrace: the savepoint is complete and kept in its native form as %s; its portable form could not be made: %w", native, err)
	}
	if err := j.journal().DropSavepoint(ctx, native); err != nil {
		j.cfg.Logger.Warn("the native form of a savepoint stays pinned", zap.String("savepoint", native), zap.Error(err))
	}
	return uri, nil
}

// portable makes the portable form of a pinned checkpoint.
func (j *Job) portable(ctx context.Context, native string, o SavepointOptions) (string, error) {
	from := j.cfg.Checkpoint.Storage
	journal := j.journal()
	pins := journal.Savepoints()
	i := slices.IndexFunc(pins, func(r checkpoint.Ref) bool { return journal.URL(r) == native })
	if i < 0 {
		return "", errors.New("it is no longer pinned")
	}
	m, files, err := checkpoint.LoadFrom(ctx, from, pins[i].Name)
	if err != nil {
		return "", err
	}
	to := o.To
	if to == nil {
		to = checkpoint.Under(from, fmt.Sprintf("%s/%d-%d", checkpoint.SavepointDir, m.Epoch, m.ID))
	}
	if o.Portable.Logger == nil {
		o.Portable.Logger = j.cfg.Logger
	}
	return savepoint.FromCheckpoint(ctx, m, files, to, o.Portable)
}

// journal is that of the newest attempt.
func (j *Job) journal() *checkpoint.Journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.leading
}

func (j *Job) setJournal(to *checkpoint.Journal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.leading = to
}

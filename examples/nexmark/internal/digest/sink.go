package digest

import (
	"context"
	"errors"

	"github.com/millrace-io/millrace/connectors"
)

// Sink adds rows up. Each row counts once, whatever fails: what a writer has added up is part of the checkpoint, and the next writers go on from
// there. It implements connectors.Sink and connectors.CommittingSink.
type Sink[T any] struct {
	// Hash is the hash of a row, see Row.
	Hash func(v T) uint64
	// Retract says that a row takes an earlier equal one back. Default: none does.
	Retract func(v T) bool
	// Cause is the number of the event that made the row possible, for latencies. Default: none are measured.
	Cause func(v T) int64
	// Total takes the sum.
	Total *Total
}

// Validate implements connectors.Sink.
func (s Sink[T]) Validate() error {
	if s.Hash == nil || s.Total == nil {
		return errors.New("nexmark: digest.Sink needs Hash and Total")
	}
	return nil
}

// NewWriter implements connectors.Sink.
func (s Sink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	w := &writer[T]{s: s}
	if s.Cause != nil && s.Total.late != nil {
		w.late = s.Total.late.open()
	}
	if c.Subtask != 0 {
		return w, nil // one goes on for all
	}
	var err error
	w.sum, err = sumOf(c.Restored)
	return w, err
}

type writer[T any] struct {
	s       Sink[T]
	sum     Sum
	started bool
	late    *histogram
}

func (w *writer[T]) Write(v T, _ connectors.Meta) error {
	if h := w.s.Hash(v); w.s.Retract != nil && w.s.Retract(v) {
		w.sum.Retract(h)
	} else {
		w.sum.Add(h)
	}
	if !w.started {
		w.started = true
		w.s.Total.firstRow()
	}
	if w.late != nil {
		w.late.seen(w.s.Cause(v))
	}
	return nil
}

func (w *writer[T]) Idle() error { return nil }

func (w *writer[T]) Prepare(_ context.Context, id int64) ([][]byte, error) {
	return [][]byte{state{id, w.sum}.encode()}, nil
}

func (w *writer[T]) Close() error {
	if w.late != nil {
		w.late.close()
	}
	return nil
}

// NewCommitter implements connectors.CommittingSink.
func (s Sink[T]) NewCommitter(c connectors.Context) (connectors.Committer, error) {
	return committer{s.Total, c.UID}, nil
}

// PreparesAhead implements connectors.PreparesAhead.
func (s Sink[T]) PreparesAhead() bool { return true }

// committer makes the sum of the newest checkpoint the total. Since each state stands for everything before it, doing so twice changes nothing.
type committer struct {
	total *Total
	uid   string
}

func (c committer) Commit(_ context.Context, _ int64, states [][]byte) error {
	sum, err := sumOf(states)
	if err == nil {
		c.total.set(c.uid, sum)
	}
	return err
}

func (c committer) Recover(context.Context, int64, [][]byte) error { return nil }
func (c committer) Close() error                                   { return nil }

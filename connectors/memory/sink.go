package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
)

// Sink collects records. What a task has written becomes visible with the checkpoint that follows it, once, whatever fails in between: it
// stands for an exactly-once target that outlives the job. It implements connectors.Sink and connectors.CommittingSink; make it
// with NewSink.
type Sink[T any] struct {
	mu      sync.Mutex
	staged  map[string][]T
	done    map[string]bool
	visible []T
	arrived chan struct{}
}

// NewSink makes an empty sink.
func NewSink[T any]() *Sink[T] {
	return &Sink[T]{staged: map[string][]T{}, done: map[string]bool{}, arrived: make(chan struct{}, 1)}
}

// Values are the visible records, in the order of their checkpoints and, of one subtask, in the order written. The caller owns the slice.
func (s *Sink[T]) Values() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.visible)
}

// Len is the number of visible records.
func (s *Sink[T]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.visible)
}

// Arrived holds a token when records have become visible since it was last received from.
func (s *Sink[T]) Arrived() <-chan struct{} { return s.arrived }

// Validate implements connectors.Sink.
func (s *Sink[T]) Validate() error {
	if s.staged == nil {
		return fmt.Errorf("memory: the zero Sink does not work; make one with NewSink")
	}
	return nil
}

// NewWriter implements connectors.Sink.
func (s *Sink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	return &writer[T]{s: s, name: fmt.Sprintf("%s-%d", c.Attempt, c.Subtask)}, nil
}

type writer[T any] struct {
	s    *Sink[T]
	name string
	open []T
}

func (w *writer[T]) Write(v T, _ connectors.Meta) error {
	w.open = append(w.open, v)
	return nil
}

func (w *writer[T]) Idle() error { return nil }

func (w *writer[T]) Prepare(_ context.Context, id int64) ([][]byte, error) {
	if err := crash.At(crash.SinkBeforeFlush); err != nil {
		return nil, err
	}
	if len(w.open) == 0 {
		return nil, nil
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	key := fmt.Sprintf("%s-%d", w.name, id)
	w.s.staged[key], w.open = w.open, nil
	return [][]byte{[]byte(key)}, crash.At(crash.SinkPrepared)
}

func (w *writer[T]) Close() error { return nil }

// NewCommitter implements connectors.CommittingSink.
func (s *Sink[T]) NewCommitter(connectors.Context) (connectors.Committer, error) {
	return &committer[T]{s}, nil
}

// PreparesAhead implements connectors.PreparesAhead.
func (s *Sink[T]) PreparesAhead() bool { return true }

type committer[T any] struct{ s *Sink[T] }

func (c *committer[T]) Commit(_ context.Context, id int64, committables [][]byte) error {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range committables {
		key := string(k)
		if s.done[key] {
			continue
		}
		records, ok := s.staged[key]
		if !ok {
			return fmt.Errorf("memory: checkpoint %d commits %q, which this sink does not hold: it was made by another process", id, key)
		}
		s.visible = append(s.visible, records...)
		s.done[key] = true
		delete(s.staged, key)
	}
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Recover drops what was staged by attempts whose checkpoint did not complete.
func (c *committer[T]) Recover(context.Context, int64, [][]byte) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	clear(c.s.staged)
	return nil
}

func (c *committer[T]) Close() error { return nil }

// Package memory has a source that generates records and a sink that collects them in memory: for tests, examples and benchmarks of
// pipelines. Both keep the full contracts: positions, any parallelism, commit with the checkpoint.
package memory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
)

// Source generates records by number, so that any position can be read again. It implements connectors.Source.
type Source[T any] struct {
	// Splits is the number of splits, read side by side. Default 1.
	Splits int
	// Records is the number of records of each split; 0 is an empty source.
	Records int64
	// Value makes record i, 0 ≤ i < Records, of a split. It is pure: asked again, it gives an equal record. It is called by several
	// goroutines at once.
	Value func(split int, i int64) T
	// Timestamp gives the event time of a record; nil gives none.
	Timestamp func(T) time.Time
	// PerCheckpoint is the number of records of each split that a task reads between two checkpoints; 0 is no limit. It makes a short job
	// live through many checkpoints, however fast the machine is.
	PerCheckpoint int64
	// KeepOpen leaves the source without an end after its last record, idle, until the job is stopped.
	KeepOpen bool
}

// FromSlice is the source of the given records, in one split. The slice must not be changed afterwards.
func FromSlice[T any](records []T) Source[T] {
	return Source[T]{Records: int64(len(records)), Value: func(_ int, i int64) T { return records[i] }}
}

// Validate implements connectors.Source.
func (s Source[T]) Validate() error {
	var errs []error
	if s.Splits < 0 || s.Records < 0 || s.PerCheckpoint < 0 {
		errs = append(errs, fmt.Errorf("memory: Source has Splits %d, Records %d and PerCheckpoint %d, want 0 or more", s.Splits, s.Records, s.PerCheckpoint))
	}
	if s.Value == nil {
		errs = append(errs, errors.New("memory: Source.Value is nil; it makes the records"))
	}
	return errors.Join(errs...)
}

// NewEnumerator implements connectors.Source.
func (s Source[T]) NewEnumerator(_ connectors.Context, restored []byte) (connectors.Enumerator, error) {
	e := &enumerator{splits: max(s.Splits, 1), open: s.KeepOpen}
	switch {
	case restored == nil:
	case len(restored) == 1 && restored[0] <= 1:
		e.assigned = restored[0] == 1
	default:
		return nil, fmt.Errorf("memory: enumerator state %x is not one of this source", restored)
	}
	return e, nil
}

type enumerator struct {
	splits   int
	open     bool
	assigned bool
}

func (e *enumerator) Discover(context.Context) (time.Duration, error) { return 0, nil }

func (e *enumerator) Assign() []connectors.Split {
	if e.assigned {
		return nil
	}
	e.assigned = true
	splits := make([]connectors.Split, e.splits)
	for i := range splits {
		splits[i] = connectors.Split{ID: strconv.Itoa(i), Position: []byte{0}}
	}
	return splits
}

func (e *enumerator) Finished(string) {}
func (e *enumerator) Done() bool      { return e.assigned && !e.open }
func (e *enumerator) Close() error    { return nil }

func (e *enumerator) Snapshot() ([]byte, error) {
	if e.assigned {
		return []byte{1}, nil
	}
	return []byte{0}, nil
}

// NewReader implements connectors.Source.
func (s Source[T]) NewReader(c connectors.Context) (connectors.Reader[T], error) {
	return &reader[T]{s: s, uid: c.UID, wake: make(chan struct{}, 1)}, nil
}

type reader[T any] struct {
	s      Source[T]
	uid    string
	splits []*position
	turn   int
	wake   chan struct{}
}

type position struct {
	id     string
	number int
	next   int64
	limit  int64 // next at which to wait for a checkpoint
	idle   bool
	paused bool
}

func (r *reader[T]) AddSplits(splits []connectors.Split) error {
	for _, sp := range splits {
		number, err := strconv.Atoi(sp.ID)
		next, n := binary.Uvarint(sp.Position)
		if err != nil || n != len(sp.Position) || n == 0 {
			return fmt.Errorf("memory: split %q at %x is not one of this source", sp.ID, sp.Position)
		}
		p := &position{id: sp.ID, number: number, next: int64(next)}
		p.limit = r.limit(p.next)
		r.splits = append(r.splits, p)
	}
	r.ready()
	return nil
}

func (r *reader[T]) limit(next int64) int64 {
	if r.s.PerCheckpoint == 0 {
		return r.s.Records
	}
	return min(r.s.Records, next+r.s.PerCheckpoint)
}

func (r *reader[T]) ready() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Poll reads one split up to max records, the next split at the next call.
func (r *reader[T]) Poll(out connectors.Output[T], max int) (connectors.Status, error) {
	for range r.splits {
		r.turn = (r.turn + 1) % len(r.splits)
		p := r.splits[r.turn]
		if p.idle || p.paused || p.next == p.limit && p.next < r.s.Records {
			continue
		}
		if err := crash.At(crash.SourceFetched); err != nil {
			return connectors.Idle, err
		}
		for ; max > 0 && p.next < p.limit; max-- {
			if err := r.emit(out, p); err != nil {
				return connectors.Idle, err
			}
		}
		if p.next < r.s.Records {
			return connectors.More, nil
		}
		return connectors.More, r.exhausted(out, p)
	}
	return connectors.Idle, nil
}

func (r *reader[T]) emit(out connectors.Output[T], p *position) error {
	v := r.s.Value(p.number, p.next)
	ts := int64(connectors.NoTimestamp)
	if r.s.Timestamp != nil {
		ts = r.s.Timestamp(v).UnixMilli()
	}
	at := connectors.Coordinates{UID: r.uid, Split: p.id, Offset: p.next}
	p.next++
	return out.Emit(v, ts, at)
}

func (r *reader[T]) exhausted(out connectors.Output[T], p *position) error {
	if r.s.KeepOpen {
		p.idle = true
		out.SplitIdle(p.id)
		return nil
	}
	r.splits = append(r.splits[:r.turn], r.splits[r.turn+1:]...)
	return out.Finished(p.id)
}

// PauseSplits implements connectors.SplitPauser.
func (r *reader[T]) PauseSplits(pause, resume []string) error {
	for _, p := range r.splits {
		p.paused = (p.paused || slices.Contains(pause, p.id)) && !slices.Contains(resume, p.id)
	}
	r.ready()
	return nil
}

func (r *reader[T]) Wake() <-chan struct{} { return r.wake }
func (r *reader[T]) Close() error          { return nil }

func (r *reader[T]) Snapshot() ([]connectors.Split, error) {
	splits := make([]connectors.Split, len(r.splits))
	for i, p := range r.splits {
		splits[i] = connectors.Split{ID: p.id, Position: binary.AppendUvarint(nil, uint64(p.next))}
	}
	return splits, nil
}

func (r *reader[T]) CheckpointCompleted(int64) {
	for _, p := range r.splits {
		p.limit = r.limit(p.next)
	}
	r.ready()
}

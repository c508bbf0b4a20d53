package gen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// Source reads the first Events events of a seed. Split i of Splits has the events i, i+Splits, i+2·Splits …; a job restored from a savepoint
// goes on with the splits that it was started with. It implements connectors.Source.
type Source struct {
	Seed   uint64
	Events int64
	// Splits is the number of splits. Default 1.
	Splits int
	// Pace lets events come by the wall clock. Default: as fast as they are taken.
	Pace *Pace
	// HoldAt is the event from which on everything is held back, without an end, until the job is stopped. Default 0: nothing is.
	HoldAt int64
	// Polled is called after each poll that has emitted events, with their number, by several goroutines. Default: nobody is told.
	Polled func(events int)
	// Paused is called with the time between a snapshot of a reader and its next poll, which is how long a barrier keeps its task, by several
	// goroutines. Default: nobody is told.
	Paused func(time.Duration)
}

// Validate implements connectors.Source.
func (s Source) Validate() error {
	var errs []error
	if s.Events < 0 || s.Splits < 0 || s.HoldAt < 0 {
		errs = append(errs, fmt.Errorf("nexmark: Source has Events %d, Splits %d and HoldAt %d, want 0 or more", s.Events, s.Splits, s.HoldAt))
	}
	if s.Pace != nil && !(s.Pace.Rate > 0) {
		errs = append(errs, fmt.Errorf("nexmark: Pace.Rate is %v events per second, want more than 0", s.Pace.Rate))
	}
	return errors.Join(errs...)
}

// NewEnumerator implements connectors.Source.
func (s Source) NewEnumerator(_ connectors.Context, restored []byte) (connectors.Enumerator, error) {
	e := &enumerator{splits: max(s.Splits, 1)}
	switch {
	case restored == nil:
	case len(restored) == 1 && restored[0] <= 1:
		e.assigned = restored[0] == 1
	default:
		return nil, fmt.Errorf("nexmark: enumerator state %x is not one of this source", restored)
	}
	return e, nil
}

// enumerator hands all splits over at once.
type enumerator struct {
	splits   int
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
		sp := split{id: strconv.Itoa(i), next: int64(i), step: int64(e.splits)}
		splits[i] = connectors.Split{ID: sp.id, Position: sp.position()}
	}
	return splits
}

func (e *enumerator) Finished(string) {}
func (e *enumerator) Done() bool      { return e.assigned }
func (e *enumerator) Close() error    { return nil }

func (e *enumerator) Snapshot() ([]byte, error) {
	if e.assigned {
		return []byte{1}, nil
	}
	return []byte{0}, nil
}

// NewReader implements connectors.Source.
func (s Source) NewReader(c connectors.Context) (connectors.Reader[Event], error) {
	r := &reader{s: s, uid: c.UID, gen: New(s.Seed), end: s.Events, wake: make(chan struct{}, 1)}
	if s.HoldAt > 0 {
		r.end = min(r.end, s.HoldAt)
	}
	return r, nil
}

// reader reads the splits of one subtask in turn.
type reader struct {
	s      Source
	uid    string
	gen    *Generator
	end    int64 // first event that is not to be emitted
	splits []*split
	turn   int
	wake   chan struct{}
	timer  *time.Timer // of a paced reader
	// snapshot is when the last one was taken, until the poll after it.
	snapshot time.Time
}

// split is where a split goes on: at next, then each step-th event.
type split struct {
	id         string
	next, step int64
}

func (s *split) position() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(s.next)), uint64(s.step))
}

func (r *reader) AddSplits(splits []connectors.Split) error {
	for _, sp := range splits {
		next, n := binary.Uvarint(sp.Position)
		step, m := binary.Uvarint(sp.Position[max(n, 0):])
		if n <= 0 || m <= 0 || n+m != len(sp.Position) || step == 0 || int64(step) < 0 || int64(next) < 0 {
			return fmt.Errorf("nexmark: split %q at %x is not one of this source", sp.ID, sp.Position)
		}
		r.splits = append(r.splits, &split{id: sp.ID, next: int64(next), step: int64(step)})
	}
	r.ready()
	return nil
}

func (r *reader) ready() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Poll reads one split, the next one at the next call.
func (r *reader) Poll(out connectors.Output[Event], max int) (connectors.Status, error) {
	if !r.snapshot.IsZero() {
		r.s.Paused(time.Since(r.snapshot))
		r.snapshot = time.Time{}
	}
	end := r.end
	if p := r.s.Pace; p != nil {
		end = min(end, p.due())
	}
	for range r.splits {
		r.turn = (r.turn + 1) % len(r.splits)
		sp := r.splits[r.turn]
		if sp.next >= end && sp.next < r.s.Events {
			continue // held back, or not due yet
		}
		n, err := r.read(out, sp, end, max)
		if err != nil {
			return connectors.Idle, err
		}
		if n > 0 && r.s.Polled != nil {
			r.s.Polled(n)
		}
		if sp.next < r.s.Events {
			return connectors.More, nil
		}
		r.splits = append(r.splits[:r.turn], r.splits[r.turn+1:]...)
		return connectors.More, out.Finished(sp.id)
	}
	r.waitForPace()
	return connectors.Idle, nil
}

func (r *reader) read(out connectors.Output[Event], sp *split, end int64, max int) (n int, err error) {
	at := connectors.Coordinates{UID: r.uid, Split: sp.id}
	for ; n < max && sp.next < end; n++ {
		at.Offset = sp.next
		sp.next += sp.step
		if err := out.Emit(r.gen.Event(at.Offset), TimeUS(at.Offset)/1000, at); err != nil {
			return n, err
		}
	}
	return n, nil
}

// waitForPace wakes the reader soon when something will be due.
func (r *reader) waitForPace() {
	if r.s.Pace == nil || len(r.splits) == 0 {
		return
	}
	if r.timer == nil {
		r.timer = time.AfterFunc(paceStep, r.ready)
		return
	}
	r.timer.Reset(paceStep)
}

func (r *reader) Wake() <-chan struct{} { return r.wake }

func (r *reader) Snapshot() ([]connectors.Split, error) {
	if r.s.Paused != nil {
		r.snapshot = time.Now()
	}
	splits := make([]connectors.Split, len(r.splits))
	for i, sp := range r.splits {
		splits[i] = connectors.Split{ID: sp.id, Position: sp.position()}
	}
	return splits, nil
}

func (r *reader) CheckpointCompleted(int64) {}

func (r *reader) Close() error {
	if r.timer != nil {
		r.timer.Stop()
	}
	return nil
}

// Watermarks are those of the benchmark: each split's watermark is 4 s behind its events, and is given every 100 ms of event time, so that results
// depend on neither the wall clock nor the sizes of batches.
func Watermarks() operators.Watermarks[Event] {
	return operators.GeneratedWatermarks(func() operators.WatermarkGenerator[Event] { return &watermarks{} }).WithoutIdleness()
}

type watermarks struct {
	next int64 // event time of the next watermark, Unix ms
}

const (
	outOfOrdernessMS = 4000
	watermarkStepMS  = 100
)

// OnRecord implements operators.WatermarkGenerator.
func (w *watermarks) OnRecord(_ Event, ms int64) (int64, bool) {
	if ms < w.next {
		return 0, false
	}
	w.next = ms + watermarkStepMS
	return ms - outOfOrdernessMS - 1, true
}

// OnPeriodic implements operators.WatermarkGenerator.
func (w *watermarks) OnPeriodic(time.Time) (int64, bool) { return 0, false }

// FirstBeyond is the first event after which the watermark may have reached ms (Unix ms): the cause of what fires then.
func FirstBeyond(ms int64) int64 { return NumberAt((ms + outOfOrdernessMS + 1) * 1000) }

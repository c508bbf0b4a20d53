package dataflow_test

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// paced is a source whose splits bring their records at a pace: record i of a split, the number i·step + from, is also its event time in
// Unix ms. It never says that a split is idle.
type paced struct {
	splits []pace
	start  time.Time
	// pauses says that its readers can pause single splits.
	pauses bool
	emit   func(v int64) // called with each record
}

type pace struct {
	from, step int64
	records    int64
	every      time.Duration // 0: all at hand at once
	after      time.Duration // before the first
	open       bool          // without end after its records
}

func (p paced) Validate() error { return nil }

func (p paced) NewEnumerator(_ connectors.Context, restored []byte) (connectors.Enumerator, error) {
	return &pacedEnumerator{p: p, given: restored != nil}, nil
}

func (p paced) NewReader(connectors.Context) (connectors.Reader[int64], error) {
	r := &pacedReader{p: p, wake: make(chan struct{}, 1), paused: map[string]bool{}}
	r.timer = time.AfterFunc(time.Hour, r.ready)
	if p.pauses {
		return pausingReader{r}, nil
	}
	return r, nil
}

type pacedEnumerator struct {
	p     paced
	given bool
}

func (e *pacedEnumerator) Discover(context.Context) (time.Duration, error) { return 0, nil }
func (e *pacedEnumerator) Finished(string)                                 {}
func (e *pacedEnumerator) Done() bool                                      { return e.given }
func (e *pacedEnumerator) Snapshot() ([]byte, error)                       { return []byte{1}, nil }
func (e *pacedEnumerator) Close() error                                    { return nil }

func (e *pacedEnumerator) Assign() (out []connectors.Split) {
	if !e.given {
		for i := range e.p.splits {
			out = append(out, connectors.Split{ID: strconv.Itoa(i), Position: []byte{0}})
		}
	}
	e.given = true
	return out
}

type pacedReader struct {
	p      paced
	splits []*pacedSplit
	turn   int
	paused map[string]bool
	wake   chan struct{}
	timer  *time.Timer
}

type pacedSplit struct {
	pace
	id   string
	next int64
}

func (r *pacedReader) ready() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *pacedReader) AddSplits(splits []connectors.Split) error {
	for _, s := range splits {
		i, err := strconv.Atoi(s.ID)
		if err != nil {
			return err
		}
		next, _ := binary.Uvarint(s.Position)
		r.splits = append(r.splits, &pacedSplit{r.p.splits[i], s.ID, int64(next)})
	}
	r.ready()
	return nil
}

// due is when the next record of the split comes.
func (r *pacedReader) due(s *pacedSplit) time.Time {
	return r.p.start.Add(s.after + time.Duration(s.next)*s.every)
}

// Poll reads one split, the next one at the next call.
func (r *pacedReader) Poll(out connectors.Output[int64], most int) (connectors.Status, error) {
	now, next := time.Now(), time.Hour
	for range r.splits {
		r.turn = (r.turn + 1) % len(r.splits)
		s := r.splits[r.turn]
		if r.paused[s.id] {
			continue
		}
		n := 0
		for ; n < most && s.next < s.records && !r.due(s).After(now); n++ {
			v := s.from + s.next*s.step
			s.next++
			if r.p.emit != nil {
				r.p.emit(v)
			}
			if err := out.Emit(v, v, connectors.Coordinates{UID: "paced", Split: s.id, Offset: s.next}); err != nil {
				return connectors.Idle, err
			}
		}
		switch {
		case s.next == s.records && !s.open:
			r.splits = slices.Delete(r.splits, r.turn, r.turn+1)
			return connectors.More, out.Finished(s.id)
		case n > 0:
			return connectors.More, nil
		case s.next < s.records:
			next = min(next, r.due(s).Sub(now))
		}
	}
	r.timer.Reset(next)
	return connectors.Idle, nil
}

func (r *pacedReader) Wake() <-chan struct{}     { return r.wake }
func (r *pacedReader) CheckpointCompleted(int64) {}
func (r *pacedReader) Close() error              { r.timer.Stop(); return nil }

func (r *pacedReader) Snapshot() (out []connectors.Split, err error) {
	for _, s := range r.splits {
		out = append(out, connectors.Split{ID: s.id, Position: binary.AppendUvarint(nil, uint64(s.next))})
	}
	return out, nil
}

type pausingReader struct{ *pacedReader }

// PauseSplits implements connectors.SplitPauser.
func (r pausingReader) PauseSplits(pause, resume []string) error {
	for _, id := range pause {
		r.paused[id] = true
	}
	for _, id := range resume {
		delete(r.paused, id)
	}
	r.ready()
	return nil
}

// watched is a watermark or idleness with the time since start at which it came.
type watched struct {
	after time.Duration
	ms    int64
}

// watch notes the watermarks that pass.
func watch(start time.Time, seen *[]watched) operators.Stage[int64, int64] {
	return func(task *operators.Task, emit func(int64) error) (func(int64) error, error) {
		task.OnWatermark(func(ms int64) error {
			*seen = append(*seen, watched{time.Since(start), ms})
			return nil
		})
		return emit, nil
	}
}

// inOrder takes event time from the records themselves.
func inOrder() operators.Watermarks[int64] {
	return operators.MonotonousTimestamps[int64]().WithTimestamp(time.UnixMilli)
}

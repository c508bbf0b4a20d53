package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

// job is one run to make.
type job struct {
	variant
	side    side
	events  int64
	seed    uint64
	heap    string        // of Flink's JVM
	timeout time.Duration // after which the run is given up
}

// runner makes runs. It returns what the run printed on its standard output, and an error unless the run ended well.
type runner interface {
	run(ctx context.Context, j job) ([]byte, error)
}

// status says what became of a run.
type status string

const (
	ok      status = "ok"
	failed  status = "FAILED"  // it did not end well, or printed no figures
	refused status = "REFUSED" // it printed another result than the reference, or figures of another run
)

// record is a run that was made.
type record struct {
	job
	round  int  // from 1 on
	sweep  bool // made to find a heap, not to compare
	line   line
	status status
	why    string // unless ok
}

// session makes all runs of a comparison and keeps every record.
type session struct {
	o       options
	runner  runner
	compute func(query string, events int64, seed uint64) (reference.Result, error)
	log     io.Writer
	saved   func() error // after each record; nil = nothing
	records []record
	heaps   map[variant]string // by variant without checkpoints
	results map[string]reference.Result
	stopped error
}

func newSession(o options, r runner, compute func(string, int64, uint64) (reference.Result, error), log io.Writer) *session {
	return &session{o: o, runner: r, compute: compute, log: log, heaps: map[variant]string{}, results: map[string]reference.Result{}}
}

// perform makes all runs: rounds on the outside, so that a slow minute of the machine spreads over all variants, sides on the inside, so
// that the two that are compared have the same minute. Runs that fail are recorded. The error says what ended everything early.
func (s *session) perform(ctx context.Context) error {
	s.stopped = s.all(ctx)
	if s.saved != nil {
		s.stopped = errors.Join(s.stopped, s.saved())
	}
	return s.stopped
}

func (s *session) all(ctx context.Context) error {
	variants := plan(s.o)
	if err := s.sweep(ctx, variants); err != nil {
		return err
	}
	for round := 1; round <= s.o.Rounds; round++ {
		for _, v := range variants {
			for _, who := range sides(s.o, v) {
				j := job{variant: v, side: who, events: events(s.o, v, who), seed: s.o.Seed, heap: s.heap(v), timeout: s.o.Timeout}
				if _, err := s.one(ctx, j, round, false); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// heap is the heap that Flink is given for a variant.
func (s *session) heap(v variant) string {
	v.rate = 0
	if h, ok := s.heaps[v.plain()]; ok {
		return h
	}
	if s.o.Heap == autoHeap {
		return sweepHeaps[0]
	}
	return s.o.Heap
}

// one makes a run and records it. The error is not the run's: it ends the session.
func (s *session) one(ctx context.Context, j job, round int, sweep bool) (record, error) {
	if err := ctx.Err(); err != nil {
		return record{}, fmt.Errorf("compare: stopped before %s on %s: %w", j.variant, j.side, err)
	}
	want, err := s.want(j)
	if err != nil {
		return record{}, err
	}
	r := record{job: j, round: round, sweep: sweep, status: ok}
	limited, cancel := context.WithTimeout(ctx, j.timeout)
	out, err := s.runner.run(limited, j)
	if limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("took longer than %v", j.timeout)
	}
	cancel()
	if ctx.Err() != nil {
		return record{}, fmt.Errorf("compare: stopped during %s on %s: %w", j.variant, j.side, ctx.Err())
	}
	if err == nil {
		r.line, err = decode(out)
	}
	if err != nil {
		r.status, r.why = failed, err.Error()
	} else if err := r.line.check(j.variant, j.events, j.seed, want); err != nil {
		r.status, r.why = refused, err.Error()
	}
	s.records = append(s.records, r)
	_, err = fmt.Fprintln(s.log, r.summary())
	if s.saved != nil {
		err = errors.Join(err, s.saved())
	}
	return r, err
}

// want is the result of a job by definition, computed before the run so that it takes no time from it.
func (s *session) want(j job) (reference.Result, error) {
	key := fmt.Sprint(j.query, " ", j.events)
	if r, ok := s.results[key]; ok {
		return r, nil
	}
	r, err := s.compute(j.query, j.events, j.seed)
	if err == nil {
		s.results[key] = r
	}
	return r, err
}

// summary is one line for the log.
func (r record) summary() string {
	what := fmt.Sprintf("round %d  %-40s %-8s", r.round, r.variant, r.side)
	if r.sweep {
		what = fmt.Sprintf("heap %-5s %-37s %-8s", r.heap, r.variant, r.side)
	}
	if r.status != ok {
		return fmt.Sprintf("%s %s: %s", what, r.status, r.why)
	}
	return fmt.Sprintf("%s %.3f CPU s/M, %.0f events/s, %.0f MB, digest %s", what, r.line.CPUSPerMillion, r.line.SteadyPerS, r.line.PeakRSSMB, r.line.Digest)
}

// verdict is an error if any run that was to count does not. Runs that looked for a heap may fail: that is what they are for. They may not
// be refused.
func (s *session) verdict() error {
	var bad int
	for _, r := range s.records {
		if r.status == refused || r.status == failed && !r.sweep {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("compare: %d of %d runs failed or were refused; the report lists them", bad, len(s.records))
	}
	return nil
}

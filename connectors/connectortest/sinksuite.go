package connectortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// SinkSuite says how to test a sink.
type SinkSuite[T any] struct {
	// New makes an empty target for one test, and returns what makes the sink over it (once for each attempt) and what reads the target
	// as a consumer would, giving the ID of each record seen.
	New func(t *testing.T) (sink func() connectors.Sink[T], read func() []string)
	// Record is the i-th record; ID names it.
	Record func(i int) T
	ID     func(v T) string
	// ExactlyOnce wants each record once. Otherwise a record may come more often when it was written again after a restore.
	ExactlyOnce bool
	// Records is the number of records of each test. Default 120.
	Records int
	// Bubble runs each test inside testing/synctest.
	Bubble bool
	// Timeout of each test. Default 60 s.
	Timeout time.Duration
	// Histories is the number of random histories. Default 10.
	Histories int
}

// TestSink runs the conformance suite: what a completed checkpoint covers is in the target, whatever crashed, and once if the sink
// says so.
func TestSink[T any](t *testing.T, s SinkSuite[T]) {
	if s.Records <= 0 {
		s.Records = 120
	}
	if s.Timeout <= 0 {
		s.Timeout = time.Minute
	}
	if s.Histories <= 0 {
		s.Histories = 10
	}
	s.run(t, "one checkpoint at the end", 1, func(ctx context.Context, r *sinkRun[T]) error { return nil })
	s.run(t, "empty checkpoints", 2, func(ctx context.Context, r *sinkRun[T]) error {
		return r.each(func() error { return r.checkpoint(ctx) }, 3)
	})
	s.run(t, "several checkpoints", 2, func(ctx context.Context, r *sinkRun[T]) error {
		return r.each(func() error { return r.step(ctx, s.Records/6) }, 5)
	})
	for _, p := range sinkCrashes {
		s.run(t, "crash "+p, 2, func(ctx context.Context, r *sinkRun[T]) error {
			return r.each(func() error { return r.crash(ctx, p, s.Records/8) }, 3)
		})
	}
	for seed := range uint64(s.Histories) {
		s.run(t, fmt.Sprintf("random history with seed %d", seed+1), 2, func(ctx context.Context, r *sinkRun[T]) error {
			return r.history(ctx, rand.New(rand.NewPCG(seed+1, 2)), s.Records)
		})
	}
}

// sinkCrashes are the moments of a crash.
var sinkCrashes = []string{
	"before the barrier", "between two barriers", "before completion", "before commit", "after commit", "after commit and writes",
}

// sinkRun is one test.
type sinkRun[T any] struct {
	sink func() connectors.Sink[T]
	job  *SinkJob[T]
	last *SinkCheckpoint
	id   int64
	high int // the input was written up to here, by any attempt
	o    SinkOptions
	rec  func(i int) T
}

func (s SinkSuite[T]) run(t *testing.T, name string, parallelism int, body func(ctx context.Context, r *sinkRun[T]) error) {
	test := func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
		defer cancel()
		sink, read := s.New(t)
		r := &sinkRun[T]{sink: sink, o: SinkOptions{Parallelism: parallelism}, rec: s.Record}
		must(t, r.restart(ctx))
		must(t, body(ctx, r))
		// What was written after the last checkpoint before a crash may be visible already when delivery is at least once: go on beyond it.
		must(t, r.job.Write(max(0, max(s.Records, r.high)-r.job.Next())))
		must(t, r.checkpoint(ctx))
		total := r.job.Next()
		must(t, r.job.Crash())
		must(t, s.check(read(), total))
	}
	t.Run(name, func(t *testing.T) {
		if s.Bubble {
			synctest.Test(t, test)
			return
		}
		test(t)
	})
}

func (s SinkSuite[T]) check(got []string, total int) error {
	var want []string
	for i := range total {
		want = append(want, s.ID(s.Record(i)))
	}
	if !s.ExactlyOnce {
		got = unique(got)
	}
	return Compare(got, want, func(id string) string { return id }, nil)
}

func unique(ids []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

func (r *sinkRun[T]) each(f func() error, times int) error {
	for range times {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// restart crashes the attempt, if there is one, and starts from the last completed checkpoint.
func (r *sinkRun[T]) restart(ctx context.Context) error {
	if r.job != nil {
		r.high = max(r.high, r.job.Next())
		if err := r.job.Crash(); err != nil {
			return err
		}
	}
	starts := 0
	if r.job != nil {
		starts = r.job.starts
	}
	r.job = NewSinkJob(r.sink(), r.rec, r.o)
	r.job.starts = starts
	return r.job.Start(ctx, r.last)
}

// prepare makes the next checkpoint and completes it.
func (r *sinkRun[T]) prepare(ctx context.Context) error {
	r.id++
	c, err := r.job.Prepare(ctx, r.id, r.o.Parallelism)
	if err != nil {
		return err
	}
	r.last = c
	return nil
}

func (r *sinkRun[T]) checkpoint(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	return r.job.Commit(ctx, r.last)
}

func (r *sinkRun[T]) step(ctx context.Context, n int) error {
	if err := r.job.Write(n); err != nil {
		return err
	}
	return r.checkpoint(ctx)
}

// crash writes n records, checkpoints, writes n more, crashes at the named moment of the next checkpoint, and restarts.
func (r *sinkRun[T]) crash(ctx context.Context, moment string, n int) error {
	if err := r.step(ctx, n); err != nil {
		return err
	}
	if err := r.job.Write(n); err != nil {
		return err
	}
	r.id++ // an id is used once, also by a checkpoint that never completes
	var err error
	switch moment {
	case "before the barrier":
	case "between two barriers":
		_, err = r.job.Prepare(ctx, r.id, 1)
	case "before completion":
		_, err = r.job.Prepare(ctx, r.id, r.o.Parallelism)
	case "before commit":
		err = r.prepare(ctx)
	case "after commit":
		err = r.checkpoint(ctx)
	case "after commit and writes":
		if err = r.checkpoint(ctx); err == nil {
			err = r.job.Write(n)
		}
	}
	if err != nil {
		return err
	}
	return r.restart(ctx)
}

func (r *sinkRun[T]) history(ctx context.Context, rng *rand.Rand, records int) error {
	for r.job.Next() < records {
		n := 1 + rng.IntN(max(records/10, 1))
		var err error
		if rng.IntN(2) == 0 {
			err = r.step(ctx, n)
		} else {
			r.o.Parallelism = 1 + rng.IntN(3)
			if err = r.restart(ctx); err == nil {
				err = r.crash(ctx, sinkCrashes[rng.IntN(len(sinkCrashes))], n)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

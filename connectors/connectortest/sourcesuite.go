package connectortest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// SourceSuite says how to test a source over data that does not change.
type SourceSuite[T any] struct {
	// New makes the source; called once for each test, inside its bubble when Bubble is set.
	New func(t *testing.T) connectors.Source[T]
	// Want is the ID of each record of the data. The records of one key come in this order.
	Want []string
	// ID names a record; two records with one ID are a duplicate, unless Want names it twice.
	ID func(v T) string
	// Key says which records must keep their order. Nil: none.
	Key func(v T) string
	// Bubble runs each test inside testing/synctest: the source must then do no real I/O.
	Bubble bool
	// Timeout of each wait for records. Default 30 s.
	Timeout time.Duration
	// Histories is the number of random histories. Default 20.
	Histories int
}

// TestSource runs the conformance suite: everything is read once and in order, whatever the sizes of polls, the crashes, the restores and the
// parallelism.
func TestSource[T any](t *testing.T, s SourceSuite[T]) {
	if s.Timeout <= 0 {
		s.Timeout = 30 * time.Second
	}
	if s.Histories <= 0 {
		s.Histories = 20
	}
	s.run(t, "reads all", func(t *testing.T) { s.readAll(t, Options{}) })
	s.run(t, "reads all in polls of one", func(t *testing.T) { s.readAll(t, Options{PollMax: 1}) })
	s.run(t, "reads all with more readers than splits", func(t *testing.T) { s.readAll(t, Options{Parallelism: 9}) })
	s.run(t, "closed at once", func(t *testing.T) {
		j := NewJob(s.New(t), Options{Parallelism: 2})
		must(t, j.Start(nil))
		must(t, j.Crash())
	})
	s.run(t, "crash before the first checkpoint", func(t *testing.T) {
		j := s.start(t, Options{PollMax: 3})
		s.until(t, j, len(s.Want)/2)
		must(t, j.Restart(nil, 1))
		s.finish(t, j)
	})
	s.run(t, "checkpoint before the first record", func(t *testing.T) {
		j := s.start(t, Options{})
		c, err := j.Checkpoint(1)
		must(t, err)
		must(t, j.Restart(c, 1))
		s.finish(t, j)
	})
	for i := range 8 {
		s.run(t, fmt.Sprintf("restore after %d eighths, twice", i), func(t *testing.T) { s.restore(t, len(s.Want)*i/8) })
	}
	s.run(t, "restore after the end", func(t *testing.T) {
		j := s.start(t, Options{})
		s.until(t, j, len(s.Want))
		c, err := j.Checkpoint(1)
		must(t, err)
		must(t, j.Restart(c, 2))
		s.finish(t, j)
	})
	s.run(t, "rescale 1 to 7 to 3", s.rescale)
	for seed := range uint64(s.Histories) {
		s.run(t, fmt.Sprintf("random history with seed %d", seed+1), func(t *testing.T) { s.history(t, seed+1) })
	}
}

func (s SourceSuite[T]) run(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		if s.Bubble {
			synctest.Test(t, f)
			return
		}
		f(t)
	})
}

func (s SourceSuite[T]) start(t *testing.T, o Options) *Job[T] {
	t.Helper()
	j := NewJob(s.New(t), o)
	must(t, j.Start(nil))
	t.Cleanup(func() {
		if err := j.Crash(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

// until drives the job until it has n records.
func (s SourceSuite[T]) until(t *testing.T, j *Job[T], n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	must(t, j.Run(ctx, func() bool { return j.Len() >= n }))
}

// finish drives the job to the end, looks whether more comes, and checks the output.
func (s SourceSuite[T]) finish(t *testing.T, j *Job[T]) {
	t.Helper()
	s.until(t, j, len(s.Want))
	for range 50 {
		if _, err := j.Step(); err != nil {
			t.Fatal(err)
		}
	}
	var values []T
	for _, r := range j.Output() {
		values = append(values, r.Value)
	}
	if err := Compare(values, s.Want, s.ID, s.Key); err != nil {
		t.Fatal(err)
	}
}

func (s SourceSuite[T]) readAll(t *testing.T, o Options) { s.finish(t, s.start(t, o)) }

func (s SourceSuite[T]) restore(t *testing.T, at int) {
	j := s.start(t, Options{PollMax: 5, Parallelism: 2})
	s.until(t, j, at)
	c, err := j.Checkpoint(1)
	must(t, err)
	j.Complete(c)
	s.until(t, j, min(c.Len()+7, len(s.Want)))
	must(t, j.Restart(c, 2))
	if j.Len() != c.Len() {
		t.Fatalf("output holds %d records after the restore, want the %d before the barrier", j.Len(), c.Len())
	}
	s.until(t, j, min(c.Len()+3, len(s.Want)))
	must(t, j.Restart(c, 1))
	s.finish(t, j)
}

func (s SourceSuite[T]) rescale(t *testing.T) {
	j := s.start(t, Options{PollMax: 4})
	for i, parallelism := range []int{7, 3} {
		s.until(t, j, len(s.Want)*(i+1)/3)
		c, err := j.Checkpoint(int64(i + 1))
		must(t, err)
		must(t, j.Restart(c, parallelism))
	}
	s.finish(t, j)
}

// history runs the source to its end through random checkpoints, crashes and parallelisms.
func (s SourceSuite[T]) history(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	j := s.start(t, Options{Seed: seed, PollMax: 1 + rng.IntN(20), Parallelism: 1 + rng.IntN(4)})
	var last *Checkpoint[T]
	for id := int64(1); id <= 12; id++ {
		s.until(t, j, min(j.Len()+rng.IntN(2+len(s.Want)/6), len(s.Want)))
		switch rng.IntN(3) {
		case 0:
			c, err := j.Checkpoint(id)
			must(t, err)
			j.Complete(c)
			last = c
		case 1:
			must(t, j.Restart(last, 1+rng.IntN(5)))
		}
	}
	s.finish(t, j)
}

// Compare reports how the output differs from the wanted records: what is lost, what came more often than wanted, and the first
// pair of one key out of order. Key may be nil.
func Compare[T any](got []T, want []string, id, key func(T) string) error {
	left := map[string]int{}
	place := map[string]int{}
	for i, w := range want {
		left[w]++
		place[w] = i
	}
	var extra []string
	last := map[string]string{}
	for _, v := range got {
		if left[id(v)]--; left[id(v)] < 0 {
			extra = append(extra, id(v))
			continue
		}
		if key == nil {
			continue
		}
		if before, ok := last[key(v)]; ok && place[before] > place[id(v)] {
			return fmt.Errorf("connectortest: key %q: %q came after %q", key(v), id(v), before)
		}
		last[key(v)] = id(v)
	}
	var lost []string
	for _, w := range slices.Sorted(maps.Keys(left)) {
		if left[w] > 0 {
			lost = append(lost, w)
		}
	}
	if len(lost)+len(extra) > 0 {
		return fmt.Errorf("connectortest: %d records, want %d; lost %d %v, too many %d %v", len(got), len(want), len(lost), first(lost), len(extra), first(extra))
	}
	return nil
}

func first(s []string) []string { return s[:min(len(s), 20)] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package bench_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/bench"
	"github.com/millrace-io/millrace/examples/nexmark/internal/queries"
	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

const events = 200_000

var full = flag.Bool("full", false, "run every query with every combination of parallelism, backend, transport, checkpoints and restore")

// TestQueries runs every query over 200,000 events and compares digest, count and number of events with those of the reference, which computes them
// from their definitions and shares no code with this package. By default each query meets each value of each dimension; with -full each
// combination.
func TestQueries(t *testing.T) {
	for _, name := range queries.Names() {
		t.Run(name, func(t *testing.T) {
			want, err := reference.Compute(name, events, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range matrix(*full) {
				c.Query, c.Events, c.Seed, c.Dir = name, events, 1, t.TempDir()
				t.Run(describe(c), func(t *testing.T) { compare(t, c, want) })
			}
		})
	}
}

func compare(t *testing.T, c bench.Config, want reference.Result) {
	got, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != fmt.Sprintf("%016x", want.Digest) || got.Count != want.Count {
		t.Errorf("digest %s of %d rows, want %v", got.Digest, got.Count, want)
	}
	if got.RowsOut < got.Count || got.Events != events {
		t.Errorf("%d rows reached the sink for a table of %d, from %d events", got.RowsOut, got.Count, got.Events)
	}
	if c.RestoreAt > 0 && !(got.Savepoint > 0 && got.Restore > 0) {
		t.Errorf("a run with a restore took a savepoint in %v s and began again after %v ms", got.Savepoint, got.Restore)
	}
}

// matrix is what each query runs with.
func matrix(full bool) (all []bench.Config) {
	if !full {
		return []bench.Config{
			{Parallelism: 1, Backend: "memory"},
			{Parallelism: 3, Backend: "memory", Checkpoint: 20 * time.Millisecond, RestoreAt: events / 2, RestoreParallelism: 1},
			{Parallelism: 1, Backend: "pebble", Checkpoint: 20 * time.Millisecond, RestoreAt: events / 2, RestoreParallelism: 3, CacheBytes: 1 << 20, Transport: "tcp"},
			{Parallelism: 3, Backend: "pebble", CacheBytes: 1 << 20},
		}
	}
	for _, p := range []int{1, 3} {
		for _, backend := range []string{"memory", "pebble"} {
			for _, every := range []time.Duration{0, 20 * time.Millisecond} {
				for _, at := range []int64{0, events / 2} {
					c := bench.Config{Parallelism: p, Backend: backend, Checkpoint: every, RestoreAt: at, RestoreParallelism: 4 - p}
					all = append(all, c)
					c.Transport = "tcp"
					all = append(all, c)
				}
			}
		}
	}
	return all
}

func describe(c bench.Config) string {
	s := fmt.Sprintf("%s-%d", c.Backend, c.Parallelism)
	if c.Transport != "" {
		s += "-" + c.Transport
	}
	if c.Checkpoint > 0 {
		s += "-checkpoints"
	}
	if c.RestoreAt > 0 {
		s += fmt.Sprintf("-restore-%d", c.RestoreParallelism)
	}
	return s
}

// TestCheckpoints checks that a run with checkpoints takes some, and measures them and what they hold up.
func TestCheckpoints(t *testing.T) {
	r, err := bench.Run(t.Context(), bench.Config{
		Query: "q0", Events: 20_000, Seed: 1, Checkpoint: 20 * time.Millisecond, Rate: 100_000, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Checkpoints < 2 || !(r.CheckpointP50 > 0) || r.CheckpointP99 < r.CheckpointP50 || !(r.BarrierPause > 0) {
		t.Errorf("%d checkpoints with p50 %v ms, p99 %v ms, pause %v ms; want 2 or more and their times", r.Checkpoints, r.CheckpointP50, r.CheckpointP99, r.BarrierPause)
	}
	if l := r.Latency; l == nil || l.P50 < 0 || l.P99 < l.P50 || l.Max < l.P99 {
		t.Errorf("latencies %+v, want ascending ones", l)
	}
	if r.Wall < 0.19 {
		t.Errorf("20,000 events at 100,000 per second took %v s, want 0.2", r.Wall)
	}
}

// TestValidate checks that every fault is named at once.
func TestValidate(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{Query: "q6", Backend: "disk", Rate: -1, RestoreAt: 5})
	if err == nil {
		t.Fatal("a run of nonsense began")
	}
	for _, want := range []string{`no query "q6"; there are q0, q1`, "events is 0", `no backend "disk"`, "rate is -1", "restore-at is 5"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

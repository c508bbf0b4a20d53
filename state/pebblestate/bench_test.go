package pebblestate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
	"github.com/millrace-io/millrace/state/statetest"
)

// BenchmarkKeyedCount is one read-modify-write of a counter over 100 000 keys, which fit the default cache, and over 1 000 000 keys with
// a cache for a tenth of them.
func BenchmarkKeyedCount(b *testing.B) {
	for _, c := range []struct {
		keys, cache int64
	}{{100_000, 0}, {1_000_000, 5 << 20}} {
		b.Run(fmt.Sprintf("keys=%d/cache=%d", c.keys, c.cache), func(b *testing.B) {
			hash := serde.HashOf(serde.MustFor[int64]())
			s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
			v := s.Value[int64]("v")
			back := pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: c.cache})
			must(b, s.Open(back, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
			for k := range c.keys {
				s.SetCurrent(k, hash(k))
				must(b, v.Set(0))
			}
			b.ReportAllocs()
			x := uint64(1)
			for b.Loop() {
				x = x*6364136223846793005 + 1442695040888963407
				k := int64(x>>33) % c.keys
				s.SetCurrent(k, hash(k))
				n, err := v.Get()
				must(b, err)
				must(b, v.Set(n+1))
			}
			b.StopTimer()
			must(b, s.Close())
		})
	}
}

// BenchmarkBarrier is a checkpoint of 1 M counters that all fit the cache, of which some changed since the last one: pause is what the task waits at the
// barrier, background what it does afterwards for each changed counter, between its batches, with the write-back for a base now and then.
func BenchmarkBarrier(b *testing.B) {
	for _, changed := range []int64{10_000, 1_000_000} {
		b.Run(fmt.Sprint("changed=", changed), func(b *testing.B) { benchmarkBarrier(b, changed) })
	}
}

func benchmarkBarrier(b *testing.B, changed int64) {
	const n = 1_000_000
	hash := serde.HashOf(serde.MustFor[int64]())
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	v := s.Value[int64]("v")
	back := pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: 512 << 20})
	must(b, s.Open(back, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
	set := func(step int64) {
		for k := int64(0); k < n; k += step {
			s.SetCurrent(k, hash(k))
			must(b, v.Set(k))
		}
	}
	set(1)
	var pauses []time.Duration
	var drained time.Duration
	var size int64
	checkpoint := func() {
		start := time.Now()
		image, err := s.Snapshot()
		pauses = append(pauses, time.Since(start))
		must(b, err)
		start = time.Now()
		for more := true; more; {
			more, err = s.Background(50 * time.Microsecond)
			must(b, err)
		}
		drained += time.Since(start)
		w, err := statetest.Write(context.Background(), s, image, nowhere{})
		must(b, err)
		size += w.Bytes
		image.Release()
	}
	checkpoint() // of everything
	pauses, drained, size = nil, 0, 0
	for b.Loop() {
		set(n / changed)
		checkpoint()
	}
	slices.Sort(pauses)
	b.ReportMetric(float64(pauses[len(pauses)*99/100].Nanoseconds())/1000, "µs-pause-p99")
	b.ReportMetric(float64(drained.Nanoseconds())/float64(int64(b.N)*changed), "ns-background/entry")
	b.ReportMetric(float64(size)/float64(int64(b.N)*changed), "B-uploaded/entry")
	must(b, s.Close())
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// nowhere is a state.Files that throws everything away.
type nowhere struct{}

func (nowhere) Write(_ context.Context, groups state.GroupRange, _ int, fill func(io.Writer) error) (state.File, error) {
	var n counting
	err := fill(&n)
	return state.File{Name: "nowhere", Size: int64(n), Groups: groups}, err
}

// counting counts what is written.
type counting int64

func (n *counting) Write(p []byte) (int, error) {
	*n += counting(len(p))
	return len(p), nil
}

func (f nowhere) Later() state.Files { return f }

func (nowhere) Open(context.Context, state.File) (state.Object, error) {
	return nil, errors.New("nothing is kept")
}

func (nowhere) Read(context.Context, state.File) (io.ReadCloser, error) {
	return nil, errors.New("nothing is kept")
}

package pebblestate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// BenchmarkSnapshot is a snapshot of 1 M counters of which 100 000 changed since the last one: pause is what the task waits, then the
// image is written to nowhere while the task is idle.
func BenchmarkSnapshot(b *testing.B) {
	const n, changed = 1_000_000, 100_000
	hash := serde.HashOf(serde.MustFor[int64]())
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	v := s.Value[int64]("v")
	must(b, s.Open(pebblestate.Dir(b.TempDir()), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
	for k := range int64(n) {
		s.SetCurrent(k, hash(k))
		must(b, v.Set(k))
	}
	image, err := s.Snapshot()
	must(b, err)
	image.Release()
	var pause time.Duration
	for b.Loop() {
		for k := range int64(changed) {
			s.SetCurrent(k*10, hash(k*10))
			must(b, v.Set(k))
		}
		start := time.Now()
		image, err := s.Snapshot()
		pause += time.Since(start)
		must(b, err)
		_, err = statetest.Handles(image.Write(context.Background(), nowhere{}))
		must(b, err)
		image.Release()
	}
	b.ReportMetric(float64(pause.Microseconds())/float64(b.N)/1000, "ms-pause/op")
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

func (nowhere) Write(_ context.Context, _ state.GroupRange, _ int, fill func(io.Writer) error) (state.File, error) {
	return state.File{}, fill(io.Discard)
}

func (f nowhere) Later() state.Files { return f }

func (nowhere) Open(context.Context, state.File) (state.Object, error) {
	return nil, errors.New("nothing is kept")
}

func (nowhere) Read(context.Context, state.File) (io.ReadCloser, error) {
	return nil, errors.New("nothing is kept")
}

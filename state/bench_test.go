package state_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/statetest"
)

func open[K comparable](tb testing.TB, s *state.Keyed[K], b state.Backend) {
	tb.Helper()
	if err := s.Open(b, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: "1"}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
}

func benchmarkCount[K comparable](b *testing.B, keys []K) {
	codec := serde.MustFor[K]()
	hash := serde.HashOf(codec)
	s := state.NewKeyed(codec, state.Config{})
	count := s.Value[int64]("count")
	open(b, s, memstate.New())
	hashes := make([]uint64, len(keys))
	for i, k := range keys {
		hashes[i] = hash(k)
		s.SetCurrent(k, hashes[i])
		if err := count.Set(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	i := 0
	for b.Loop() {
		i = (i*5 + 7919) % len(keys)
		s.SetCurrent(keys[i], hashes[i])
		n, err := count.Get()
		if err != nil {
			b.Fatal(err)
		}
		if err := count.Set(n + 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeyedCount is one read-modify-write of a counter, 100 000 keys in random order, without hashing and exchange.
func BenchmarkKeyedCount(b *testing.B) {
	const n = 100_000
	b.Run("int64", func(b *testing.B) {
		keys := make([]int64, n)
		for i := range keys {
			keys[i] = int64(i)
		}
		benchmarkCount(b, keys)
	})
	b.Run("string", func(b *testing.B) {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("customer-%012d", i)
		}
		benchmarkCount(b, keys)
	})
}

// BenchmarkTimers is one registration with its firing: 100 000 keys, about 100 000 timers pending, up to 200 s ahead.
func BenchmarkTimers(b *testing.B) {
	codec := serde.MustFor[int64]()
	hash := serde.HashOf(codec)
	s := state.NewKeyed(codec, state.Config{})
	timers := s.Timers("timers")
	open(b, s, memstate.New())
	b.ReportAllocs()
	var now, fired int64
	x := uint64(1)
	for i := 0; b.Loop(); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		k := int64(x>>33) % 100_000
		s.SetCurrent(k, hash(k))
		timers.Register(state.EventTime, now+int64(x>>20)%200_000)
		if i%10 == 9 {
			now += 20
			for {
				if _, _, _, ok := timers.PopDue(state.EventTime, now); !ok {
					break
				}
				fired++
			}
		}
	}
	b.ReportMetric(float64(fired)/float64(b.N), "fired/op")
}

// BenchmarkTimersAtOnce registers one timer for each of 6,000 keys at the same time and fires them all, as windows do.
func BenchmarkTimersAtOnce(b *testing.B) {
	const keys = 6000
	codec := serde.MustFor[int64]()
	hash := serde.HashOf(codec)
	s := state.NewKeyed(codec, state.Config{})
	timers := s.Timers("timers")
	open(b, s, memstate.New())
	b.ReportAllocs()
	at := int64(1_700_000_000_000)
	for i := range b.N {
		k := int64(i) * 7919 % keys
		s.SetCurrent(k, hash(k))
		timers.Register(state.EventTime, at)
		if i%keys < keys-1 {
			continue
		}
		n := 0
		for {
			if _, _, _, ok := timers.PopDue(state.EventTime, at); !ok {
				break
			}
			n++
		}
		if n != keys {
			b.Fatalf("%d timers fired, want %d", n, keys)
		}
		at += 2000
	}
}

// BenchmarkSnapshot is a snapshot of 1 M counters: pause is what the task waits, then the image is encoded and written to nowhere while
// the task is idle.
func BenchmarkSnapshot(b *testing.B) {
	const n = 1_000_000
	codec := serde.MustFor[int64]()
	hash := serde.HashOf(codec)
	s := state.NewKeyed(codec, state.Config{})
	count := s.Value[int64]("count")
	open(b, s, memstate.New())
	for k := range int64(n) {
		s.SetCurrent(k, hash(k))
		check(b, count.Set(k))
	}
	b.ReportAllocs()
	var pause time.Duration
	var size int64
	for b.Loop() {
		start := time.Now()
		image, err := s.Snapshot()
		pause += time.Since(start)
		check(b, err)
		h, err := statetest.Handles(image.Write(context.Background(), nowhere{&size}))
		check(b, err)
		if len(h) != 1 {
			b.Fatal("no file")
		}
		image.Release()
	}
	b.ReportMetric(float64(pause.Microseconds())/float64(b.N), "µs-pause/op")
	b.ReportMetric(float64(size)/float64(b.N)/n, "B/entry")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}

// nowhere is a state.Files that counts bytes.
type nowhere struct{ size *int64 }

func (f nowhere) Write(_ context.Context, _ state.GroupRange, _ int, fill func(io.Writer) error) (state.File, error) {
	return state.File{}, fill(counter(f))
}

func (f nowhere) Later() state.Files { return f }

func (f nowhere) Open(context.Context, state.File) (state.Object, error) {
	return nil, errors.New("nothing is kept")
}

func (f nowhere) Read(context.Context, state.File) (io.ReadCloser, error) {
	return nil, errors.New("nothing is kept")
}

type counter struct{ size *int64 }

func (c counter) Write(p []byte) (int, error) { *c.size += int64(len(p)); return len(p), nil }

// BenchmarkMapUpdate is one read-modify-write of an entry of a map state, 10 000 keys with 4 entries each.
func BenchmarkMapUpdate(b *testing.B) {
	const n = 10_000
	hash := serde.HashOf(serde.MustFor[int64]())
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	m := s.Map[int64, int64]("m")
	open(b, s, memstate.New())
	step := func(i int64) {
		s.SetCurrent(i*7919%n, hash(i*7919%n))
		v, _, err := m.Get(i & 3)
		if err == nil {
			err = m.Put(i&3, v+1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range int64(8 * n) {
		step(i)
	}
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		step(i)
	}
}

// BenchmarkTTL is one read-modify-write of a counter with time to live, 100 000 keys in random order, each of which expires now and then and is
// then made anew: time passes by 1 ms for each 20 records, so that a key comes again after 5 s on average.
func BenchmarkTTL(b *testing.B) {
	for _, c := range []struct {
		name string
		opts []state.Option
	}{
		{"none", nil},
		{"processing", []state.Option{state.TTL(10 * time.Second)}},
		{"processing, on read", []state.Option{state.TTL(10 * time.Second), state.TTLOnRead()}},
		{"event", []state.Option{state.EventTimeTTL(10 * time.Second)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			const n = 100_000
			codec := serde.MustFor[int64]()
			hash := serde.HashOf(codec)
			nowMS := int64(1_000_000)
			s := state.NewKeyed(codec, state.Config{Now: func() time.Time { return time.UnixMilli(nowMS) },
				EventTime: func() (int64, int64) { return nowMS, nowMS - 100 }})
			count := s.Value[int64]("count", c.opts...)
			open(b, s, memstate.New())
			x := uint64(1)
			step := func(i int) {
				if i%20 == 0 {
					nowMS++
				}
				x = x*6364136223846793005 + 1442695040888963407
				k := int64(x>>33) % n
				s.SetCurrent(k, hash(k))
				v, err := count.Get()
				if err == nil {
					err = count.Set(v + 1)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			for i := range 10 * n {
				step(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				step(i)
			}
		})
	}
}

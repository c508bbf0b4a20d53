package pebblestate_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// timersOf opens timers of int64 keys.
func timersOf(tb testing.TB, o pebblestate.Options) (*state.Keyed[int64], *state.Timers[int64]) {
	tb.Helper()
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	timers := s.Timers("timers")
	succeeds(tb, s.Open(pebblestate.New(o), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, NoSnapshots: true}))
	tb.Cleanup(func() { succeeds(tb, s.Close()) })
	return s, timers
}

// TestTimersLargerThanMemory registers far more timers than may be in memory, many of them at one time, deletes some, and fires the rest in
// order, while new ones come for what is near and far.
func TestTimersLargerThanMemory(t *testing.T) {
	const n = 100_000
	s, timers := timersOf(t, pebblestate.Options{Dir: "state", FS: vfs.NewMem(), MemTableBytes: 256 << 10, CacheBytes: 256 << 10})
	hash := serde.HashOf(serde.MustFor[int64]())
	at := func(k int64) int64 {
		if k%2 == 0 {
			return 1_000_000 // a window of all keys
		}
		return k * 7919 % 2_000_000
	}
	want := map[int64]int{} // timers by time
	register := func(k, ts int64) {
		s.SetCurrent(k, hash(k))
		timers.Register(state.EventTime, ts)
		want[ts]++
	}
	for k := range int64(n) {
		register(k, at(k))
	}
	for k := int64(0); k < n; k += 10 {
		s.SetCurrent(k, hash(k))
		timers.Delete(state.EventTime, at(k))
		want[at(k)]--
	}
	codec := serde.MustFor[int64]()
	var lastKey []byte
	fired, last := 0, int64(-1)
	for now := int64(0); now < 4_000_000; now += 10_000 {
		for {
			k, _, ts, ok := timers.PopDue(state.EventTime, now)
			if !ok {
				break
			}
			key, err := codec.Append(nil, k)
			succeeds(t, err)
			if ts < last || ts == last && bytes.Compare(key, lastKey) <= 0 || ts > now {
				t.Fatalf("timer %d of key %d (%x) fires at %d, after timer %d of key %x", ts, k, key, now, last, lastKey)
			}
			last, lastKey = ts, key
			want[ts]--
			if fired++; fired%100 == 0 && ts < 2_000_000 {
				register(k, ts+int64(fired)%1000+1)
				register(k, ts+1_000_000+int64(fired))
			}
		}
		if ts, ok := timers.Next(state.EventTime); ok && ts <= now {
			t.Fatalf("Next is %d at %d", ts, now)
		}
	}
	succeeds(t, timers.Err())
	for ts, left := range want {
		if left != 0 {
			t.Fatalf("%d timers at %d did not fire, or too often", left, ts)
		}
	}
	if fired < n*9/10 {
		t.Fatalf("%d timers have fired", fired)
	}
}

// BenchmarkTimersLargerThanMemory registers 10 M timers, at random times or all at one, with 16 MB for those in memory, and fires them all. heap is what is in use when
// all are registered, without Pebble's caches.
func BenchmarkTimersLargerThanMemory(b *testing.B) {
	const n = 10_000_000
	for _, c := range []struct {
		name string
		span uint64
	}{{"random times", 1 << 40}, {"one time", 1}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s, timers := timersOf(b, pebblestate.Options{Dir: b.TempDir(), CacheBytes: 64 << 20})
				hash := serde.HashOf(serde.MustFor[int64]())
				for k := range int64(n) {
					s.SetCurrent(k, hash(k))
					timers.Register(state.EventTime, int64(hash(k^0x5555)%c.span))
				}
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
				fired := 0
				for {
					_, _, _, ok := timers.PopDue(state.EventTime, 1<<62)
					if !ok {
						break
					}
					fired++
				}
				if succeeds(b, timers.Err()); fired != n {
					b.Fatalf("%d timers have fired", fired)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/timer")
		})
	}
}

// succeeds fails the test on an error.
func succeeds(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

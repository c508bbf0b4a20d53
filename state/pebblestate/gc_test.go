package pebblestate_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// gcCPU is the CPU time that the collector has used so far, in seconds, without what it took on otherwise idle processors.
func gcCPU() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}, {Name: "/cpu/classes/gc/pause:cpu-seconds"}}
	metrics.Read(s)
	sum := 0.0
	for i := range s {
		sum += s[i].Value.Float64()
	}
	return sum
}

// customer is a value with strings.
type customer struct {
	Name, City string
	Balance    int64
}

// BenchmarkGCCycle is one cycle of the garbage collector with 5 M keys in the decoded tables of one store: numbers, structs with two strings, and
// maps of one entry.
func BenchmarkGCCycle(b *testing.B) {
	const keys = 5_000_000
	hash := serde.HashOf(serde.MustFor[int64]())
	for _, c := range []struct {
		name    string
		declare func(s *state.Keyed[int64]) func(k int64) error
	}{
		{"int64", func(s *state.Keyed[int64]) func(k int64) error {
			v := s.Value[int64]("v")
			return func(k int64) error { return v.Set(k) }
		}},
		{"struct with strings", func(s *state.Keyed[int64]) func(k int64) error {
			v := s.Value[customer]("v")
			return func(k int64) error {
				return v.Set(customer{Name: fmt.Sprintf("customer number %d", k), City: fmt.Sprintf("city %d", k), Balance: k})
			}
		}},
		{"map", func(s *state.Keyed[int64]) func(k int64) error {
			m := s.Map[int64, int64]("m")
			return func(k int64) error { return m.Put(k, k) }
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
			set := c.declare(s)
			back := pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 16 << 30})
			succeeds(b, s.Open(back, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, NoSnapshots: true}))
			for k := range int64(keys) {
				s.SetCurrent(k, hash(k))
				succeeds(b, set(k))
			}
			runtime.GC()
			before, n := gcCPU(), 0
			for b.Loop() {
				runtime.GC()
				n++
			}
			b.ReportMetric(1000*(gcCPU()-before)/float64(n), "ms-cpu/cycle")
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapAlloc)/keys, "B/key")
			succeeds(b, s.Close())
		})
	}
}

// Package statetest is the conformance suite of state backends: what every state.Backend must do, checked through state.Keyed.
package statetest

import (
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Run runs the suite. newBackend makes a backend for one test; it may register clean-up on t.
func Run(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, func(t *testing.T) state.Backend)
	}{
		{"Kinds", testKinds},
		{"ManyKeys", testManyKeys},
		{"ClearAndReuse", testClearAndReuse},
		{"MapOrderAndChange", testMapOrderAndChange},
		{"ListChangeWhileRange", testListChangeWhileRange},
		{"References", testReferences},
		{"TTL", testTTL},
		{"TTLElements", testTTLElements},
		{"TTLInSnapshots", testTTLInSnapshots},
		{"TTLSweep", testTTLSweep},
		{"TTLRenewalIsNotInTheImage", testTTLRenewal},
		{"TTLLateTouch", testLateTouch},
		{"ExpiredListWhileRange", testExpiredListWhileRange},
		{"BlindWrites", testBlindWrites},
		{"Timers", testTimers},
		{"TimersRestore", testTimersRestore},
		{"SnapshotRestore", testSnapshotRestore},
		{"SnapshotIsAnImage", testSnapshotIsAnImage},
		{"SnapshotsOverlap", testSnapshotsOverlap},
		{"Rescale", testRescale},
		{"CrossBackend", testCrossBackend},
		{"Undeclared", testUndeclared},
		{"Mismatches", testMismatches},
		{"Evolution", testEvolution},
		{"SchemaPairs", testPairs},
		{"MaxParallelism", testMaxParallelism},
		{"Keys", testKeys},
		{"KeysMeet", testKeysMeet},
		{"MapKeys", testMapKeys},
		{"SixVersions", testSixVersions},
		{"Migrations", testMigrations},
		{"CodecErrors", testCodecErrors},
		{"Damage", testDamage},
		{"CloseBeforeRelease", testCloseBeforeRelease},
		{"Model", testModel},
		{"TTLModel", testTTLModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBackend) })
	}
}

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// must fails the test on an error.
func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get returns v and fails the test on an error.
func get[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// equal fails the test when got is not deeply want.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// clock is a clock that moves by hand.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.UnixMilli(1_000_000)} }

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

// operator is one state of each kind for string keys.
type operator struct {
	*state.Keyed[string]
	hash   func(string) uint64
	value  *state.Value[int64]
	text   *state.Value[string]
	ref    *state.Value[[]string]
	list   *state.List[string]
	table  *state.Map[string, int64]
	sum    *state.Reducing[int64]
	mean   *state.Aggregating[int64, float64]
	timers *state.Timers[string]
}

// acc is the accumulator of a mean.
type acc struct{ Sum, N int64 }

// declare declares the states without opening them.
func declare(now func() time.Time, opts ...state.Option) *operator {
	codec := serde.MustFor[string]()
	s := state.NewKeyed(codec, state.Config{Now: now})
	return &operator{
		Keyed: s,
		hash:  serde.HashOf(codec),
		value: s.Value[int64]("value", opts...),
		text:  s.Value[string]("text", opts...),
		ref:   s.Value[[]string]("ref", opts...),
		list:  s.List[string]("list", opts...),
		table: s.Map[string, int64]("table", opts...),
		sum:   s.Reducing("sum", func(a, b int64) int64 { return a + b }, opts...),
		mean: s.Aggregating("mean", state.Aggregate[int64, acc, float64]{
			Add:    func(a acc, v int64) acc { return acc{a.Sum + v, a.N + 1} },
			Result: func(a acc) float64 { return float64(a.Sum) / float64(a.N) },
		}, opts...),
		timers: s.Timers("timers"),
	}
}

// attempts counts the stores of the process; tests may run at once.
var attempts atomic.Int64

func attempt() string { return fmt.Sprint(attempts.Add(1)) }

// open opens s on b for all key groups and closes it at the end of the test.
func open[K comparable](t testing.TB, s *state.Keyed[K], b state.Backend) {
	t.Helper()
	must(t, s.Open(b, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt()}))
	t.Cleanup(func() { must(t, s.Close()) })
}

// start opens o on b for one of several subtasks and closes it at the end of the test.
func start(t testing.TB, o *operator, b state.Backend, subtask, parallelism int) *operator {
	t.Helper()
	must(t, o.Open(b, state.OpenOptions{
		UID: "op", Subtask: subtask, Groups: state.RangeOf(subtask, parallelism, state.DefaultMaxParallelism), Attempt: attempt(),
	}))
	t.Cleanup(func() { must(t, o.Close()) })
	return o
}

// at makes key the current one.
func (o *operator) at(key string) *operator {
	o.SetCurrent(key, o.hash(key))
	return o
}

// snapshot takes an image and stores it.
func snapshot(t testing.TB, o state.Operator, files *Files) []state.File {
	t.Helper()
	s, err := o.Snapshot()
	must(t, err)
	return get[[]state.File](t)(Store(o, s, files))
}

// dropping is r without the states called so.
func dropping(r state.Restore, names []string) state.Restore {
	r.Drop = names
	return r
}

// contents is everything that o holds for keys, as text.
func contents(t testing.TB, o *operator, keys []string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, k := range keys {
		o.at(k)
		var parts []string
		note := func(what string, v any, ok bool, err error) {
			must(t, err)
			if ok {
				parts = append(parts, fmt.Sprintf("%s=%v", what, v))
			}
		}
		v, ok, err := o.value.Lookup()
		note("value", v, ok, err)
		s, ok, err := o.text.Lookup()
		note("text", s, ok, err)
		r, ok, err := o.ref.Lookup()
		note("ref", r, ok, err)
		l, err := o.list.Values()
		note("list", l, len(l) > 0, err)
		var m []string
		err = o.table.Range(func(k string, v int64) error {
			m = append(m, fmt.Sprintf("%s:%d", k, v))
			return nil
		})
		note("table", m, len(m) > 0, err)
		x, ok, err := o.sum.Get()
		note("sum", x, ok, err)
		f, ok, err := o.mean.Get()
		note("mean", f, ok, err)
		if len(parts) > 0 {
			all[k] = strings.Join(parts, " ")
		}
	}
	return all
}

// drain pops every timer of both domains.
func drain(o *operator) (fired []string) {
	for _, d := range []state.Domain{state.EventTime, state.ProcessingTime} {
		for {
			key, hash, ts, ok := o.timers.PopDue(d, 1<<62)
			if !ok {
				break
			}
			if hash != o.hash(key) {
				key += "(wrong hash)"
			}
			fired = append(fired, fmt.Sprintf("%v %d %s", d, ts, key))
		}
	}
	return fired
}

// fill gives each key some of every kind, different for every key.
func fill(t testing.TB, o *operator, keys []string) {
	t.Helper()
	for i, k := range keys {
		o.at(k)
		n := int64(i)
		must(t, o.value.Set(n))
		must(t, o.text.Set("text of "+k))
		must(t, o.ref.Set([]string{k, "x"}))
		for j := range i % 4 {
			must(t, o.list.Append(fmt.Sprintf("e%d", j), k))
			must(t, o.table.Put(fmt.Sprintf("k%d", j), n*10+int64(j)))
		}
		must(t, o.sum.Add(n))
		must(t, o.sum.Add(1))
		must(t, o.mean.Add(n))
		must(t, o.mean.Add(n+1))
		o.timers.Register(state.EventTime, n%7*1000)
		o.timers.Register(state.ProcessingTime, -n)
	}
}

// names makes n keys; some hold zero bytes and some are prefixes of others.
func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		switch i % 4 {
		case 0:
			keys[i] = fmt.Sprintf("key-%d", i)
		case 1:
			keys[i] = fmt.Sprintf("key-%d\x00", i-1)
		case 2:
			keys[i] = fmt.Sprintf("key-%d\x00\x01", i-2)
		case 3:
			keys[i] = strings.Repeat("long ", 20) + fmt.Sprint(i)
		}
	}
	return keys
}

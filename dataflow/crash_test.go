package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// killer crashes at one named point, at a few of the times it is reached.
type killer struct {
	mu    sync.Mutex
	point string
	// spoil makes every 23rd part of a checkpoint fail, with an error that is no crash; uploads counts them.
	spoil   bool
	uploads int
	skip    int // times to pass before the next crash
	left    int // crashes still to do
	passed  int
	killed  int
	rng     *rand.Rand
}

func (k *killer) hook(point string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spoil && point == crash.OperatorUploaded {
		if k.uploads++; k.uploads%23 == 0 {
			return errors.New("no space left on device")
		}
	}
	if point != k.point {
		return nil
	}
	k.passed++
	if k.left == 0 {
		return nil
	}
	if k.skip > 0 {
		k.skip--
		return nil
	}
	k.left--
	k.killed++
	if point != crash.CoordinatorStop {
		k.skip = k.rng.IntN(4)
	}
	return &crash.Error{Point: point}
}

// isCrash reports whether err is one of this killer's.
func (k *killer) isCrash(err error) bool {
	var e *crash.Error
	return errors.As(err, &e)
}

// crashJob is the job of the crash tests: two sources' worth of splits, an exchange by key, timers, an exactly-once sink.
func crashJob(src memory.Source[event], sink *memory.Sink[total], timers *memory.Sink[total]) *dataflow.Graph {
	g := dataflow.New("crash")
	g.From("source", src).
		Timestamps(operators.Watermarks[event]{OutOfOrderness: time.Hour}).
		KeyBy(func(e event) string { return e.Key }).
		Process("count", count).
		To("sink", sink)
	g.From("clock", src).
		Timestamps(operators.Watermarks[event]{}).
		KeyBy(func(e event) string { return e.Key }).
		Process("timers", func(b *operators.Keyed[string, event, total]) {
			b.OnRecord(func(c *operators.Ctx[string, total], e event) error {
				c.TimerAt(time.UnixMilli(e.AtMS + 5))
				return nil
			})
			n := b.Value[int64]("fired")
			b.OnTimer(func(c *operators.Ctx[string, total], at time.Time) error {
				k, err := n.Get()
				if err != nil {
					return err
				}
				if err := n.Set(k + 1); err != nil {
					return err
				}
				return c.Emit(total{Key: c.Key(), Count: k + 1, Sum: at.UnixMilli()})
			})
		}).
		To("timer-sink", timers)
	return g
}

// TestEveryCrashPoint kills the job at each named point of the library, several times, and compares what it has made visible with a
// single-threaded replay. A point that is never reached fails the test.
func TestEveryCrashPoint(t *testing.T) {
	for i, point := range crash.Points {
		t.Run(point, func(t *testing.T) {
			var backend state.Backend = memstate.New()
			if i%2 == 1 {
				// A cache of a few entries, so that state lives in the store.
				backend = pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 8 << 10, MemTableBytes: 64 << 10})
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			k := &killer{point: point, left: 3, rng: rand.New(rand.NewPCG(seed, 1))}
			if point != crash.CoordinatorStop { // reached once a run
				k.skip = k.rng.IntN(3)
			}
			defer crash.Set(k.hook)()
			// Every other two points with barriers that overtake records at once.
			timeout := time.Duration(i / 2 % 2)
			if point == crash.OperatorOvertaken || point == crash.OperatorRecorded {
				timeout = time.Nanosecond
			}
			k.spoil = point == crash.CoordinatorAborted || point == crash.OperatorAborted
			crashAndVerify(t, k, backend, timeout)
		})
	}
}

func crashAndVerify(t *testing.T, k *killer, backend state.Backend, timeout time.Duration) {
	src := events(3, 4000, 20)
	src.PerCheckpoint = 300
	sink, timers := memory.NewSink[total](), memory.NewSink[total]()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	store := checkpoint.Dir(t.TempDir())
	o := dataflow.Options{Parallelism: 2, State: backend,
		Checkpoint: checkpoint.Every(10*time.Millisecond, store, checkpoint.Retain(1), checkpoint.AlignmentTimeout(timeout)),
		Restart:    dataflow.Restart{MaxAttempts: -1, InitialDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond},
	}
	if k.spoil {
		o.Checkpoint.TolerableFailures = 10
		if timeout == 0 {
			o.Checkpoint.MaxConcurrent = 3
		}
	}
	g := crashJob(src, sink, timers)
	err := g.Run(ctx, o)
	for k.isCrash(err) { // before the job had begun: the process starts again
		err = g.Run(ctx, o)
	}
	if err != nil {
		t.Fatalf("after %d crashes: %v", k.killed, err)
	}
	if k.killed == 0 {
		t.Fatalf("the point was reached %d times and never killed at", k.passed)
	}
	verify(t, src, sink.Values())
	verifyTimers(t, src, timers.Values())
	verifyState(t, src, store)
}

// verifyState reads the state of the last checkpoint without the library's runtime and compares it with the replay.
func verifyState(t *testing.T, src memory.Source[event], store checkpoint.Storage) {
	t.Helper()
	m, files, err := checkpoint.LoadFrom(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]total{}
	for _, o := range m.Operators {
		if o.UID != "count" {
			continue
		}
		for _, sub := range o.Subtasks {
			readTotals(t, state.Restore{Files: files, Handles: sub.Files, States: o.States, MaxParallelism: m.MaxParallelism}, sub.Groups, got)
		}
	}
	if want := replay(src); !maps.Equal(got, want) {
		t.Fatalf("state of checkpoint %d: %v, want %v", m.ID, got, want)
	}
}

// readTotals adds what the files of one subtask hold of the states "count" and "sum".
func readTotals(t *testing.T, r state.Restore, groups state.GroupRange, got map[string]total) {
	t.Helper()
	keys, values := serde.MustFor[string](), serde.MustFor[int64]()
	_, err := state.ReadEntries(t.Context(), r, groups, func(states []state.Descriptor, e state.Entry) error {
		var key string
		var value int64
		if err := keys.Decode(e.Key, &key); err != nil {
			return err
		}
		if err := values.Decode(e.Value, &value); err != nil {
			return err
		}
		v := got[key]
		v.Key = key
		switch states[e.State].Name {
		case "count":
			v.Count += value
		case "sum":
			v.Sum += value
		}
		got[key] = v
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verifyTimers checks that each (key, time) has fired exactly once, per key in ascending order of count.
func verifyTimers(t *testing.T, src memory.Source[event], got []total) {
	t.Helper()
	want := map[string]bool{}
	for split := range src.Splits {
		for i := range src.Records {
			e := src.Value(split, i)
			want[fmt.Sprint(e.Key, "@", e.AtMS+5)] = true
		}
	}
	fired := map[string]int{}
	counts := map[string]int64{}
	for _, v := range got {
		fired[fmt.Sprint(v.Key, "@", v.Sum)]++
		if v.Count != counts[v.Key]+1 {
			t.Fatalf("key %s: timer %d after %d", v.Key, v.Count, counts[v.Key])
		}
		counts[v.Key] = v.Count
	}
	for k := range want {
		if fired[k] != 1 {
			t.Fatalf("timer %s fired %d times", k, fired[k])
		}
	}
	if len(fired) != len(want) {
		t.Fatalf("%d timers fired, want %d", len(fired), len(want))
	}
}

package e2e

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/operators"
)

// crashing runs what graph makes until it ends, with up to crashes crashes at the given points, and returns what it was restored from. Barriers overtake
// at once. It runs in a synctest bubble.
func crashing(t *testing.T, r *rand.Rand, crashes int, points []string, parallelism func() int, graph func() *dataflow.Graph) (ms []*checkpoint.Manifest) {
	t.Helper()
	store, k := checkpointtest.NewMemory("m"), &killer{}
	defer crash.Set(k.hook)()
	for round := 0; ; round++ {
		k.point = ""
		if round < crashes {
			k.point, k.skip = points[r.IntN(len(points))], r.IntN(12)
		}
		if m, _, err := checkpoint.LoadFrom(t.Context(), store, ""); err == nil {
			ms = append(ms, m)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		err := graph().Run(ctx, dataflow.Options{Parallelism: parallelism(), Restart: dataflow.Restart{Never: true},
			Checkpoint: checkpoint.Every(50*time.Millisecond, store, checkpoint.AlignmentTimeout(time.Nanosecond))})
		cancel()
		if err == nil {
			return ms
		}
		if !isCrash(err) {
			t.Fatal(err)
		}
	}
}

// TestUnalignedNeverOnBroadcast: barriers of a broadcast input stay behind their records, so that every subtask has the same state at the barrier, while
// those of the other input overtake. At the end each key tells how many rules its subtask has seen.
func TestUnalignedNeverOnBroadcast(t *testing.T) {
	const rules = 150
	inFlight := 0
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			src, sink := events(2, 300, 10), memory.NewSink[total]()
			ms := crashing(t, r, 4, crashPoints, func() int { return 1 + r.IntN(3) }, func() *dataflow.Graph {
				g := dataflow.New("broadcast")
				main := g.From("main", src).Timestamps(operators.Watermarks[event]{OutOfOrderness: time.Hour})
				other := g.From("rules", events(1, rules, 7)).Timestamps(operators.Watermarks[event]{OutOfOrderness: time.Hour})
				main.KeyBy(eventKey).ConnectBroadcast(other).Process("rule", applyRules).To("sink", sink)
				return g
			})
			for _, m := range ms {
				for _, c := range m.Channels {
					inFlight++
					if strings.HasPrefix(c.Edge, "rules") {
						t.Errorf("seed %d: records in flight on %q, which is broadcast", seed, c.Edge)
					}
				}
			}
			got := map[string]int64{}
			for _, v := range sink.Values() {
				if _, twice := got[v.Key]; twice {
					t.Fatalf("seed %d: key %s tells twice", seed, v.Key)
				}
				got[v.Key] = v.Count
				if v.Count != rules {
					t.Errorf("seed %d: key %s has seen %d rules, want %d", seed, v.Key, v.Count, rules)
				}
			}
			if len(got) != 10 {
				t.Errorf("seed %d: %d keys, want 10", seed, len(got))
			}
		})
	}
	if inFlight == 0 {
		t.Error("nothing was in flight on the other input: the test means nothing")
	}
}

func applyRules(b *operators.KeyedBroadcast[string, event, event, total]) {
	seen := b.Broadcast[string, int64]("rules")
	b.OnBroadcast(func(c *operators.KeyedBroadcastCtx[string, total], e event) error {
		work(time.Millisecond)
		n, _, err := seen.Get(e.Key)
		if err != nil {
			return err
		}
		return seen.Put(c, e.Key, n+1)
	})
	b.OnRecord(func(c *operators.Ctx[string, total], e event) error {
		work(2 * time.Millisecond)
		c.TimerAt(time.UnixMilli(1 << 40)) // fires when both inputs have ended
		return nil
	})
	b.OnTimer(func(c *operators.Ctx[string, total], _ time.Time) error {
		var sum int64
		if err := seen.Range(func(_ string, n int64) error { sum += n; return nil }); err != nil {
			return err
		}
		return c.Emit(total{Key: c.Key(), Count: sum})
	})
}

// atEnd passes records on, and more of them when its input ends: behind the end of time.
func atEnd(t *operators.Task, emit func(event) error) (func(event) error, error) {
	t.OnEnd(func() error {
		for i := range int64(100) {
			if err := emit(event{Key: "extra", Split: t.Subtask(), N: i}); err != nil {
				return err
			}
		}
		return nil
	})
	return emit, nil
}

// counted counts its records, slowly, and tells when its input has ended.
func counted(t *operators.Task, emit func(int64) error) (func(event) error, error) {
	var n int64
	t.UseRaw(func() ([][]byte, error) { return [][]byte{binary.AppendVarint(nil, n)}, nil }, func(blobs [][]byte) error {
		for _, b := range blobs {
			v, _ := binary.Varint(b)
			n += v
		}
		return nil
	})
	t.OnEnd(func() error { return emit(n) })
	return func(event) error {
		work(2 * time.Millisecond)
		n++
		return nil
	}, nil
}

// TestUnalignedAtTheEnd: a task does not take a checkpoint between the end of time and the end of input, which may be far behind: after a restore its OnEnd
// would not run.
func TestUnalignedAtTheEnd(t *testing.T) {
	inFlight := 0
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			src, sink := events(2, 100, 10), memory.NewSink[int64]()
			points := []string{crash.CoordinatorNotified, crash.CoordinatorCompleted, crash.OperatorAcked, crash.CoordinatorTriggered}
			ms := crashing(t, r, 4, points, func() int { return 2 }, func() *dataflow.Graph {
				g := dataflow.New("end")
				g.From("source", src).KeyBy(eventKey).Transform("at-end", atEnd).Rebalance().Transform("counted", counted).To("sink", sink)
				return g
			})
			for _, m := range ms {
				inFlight += len(m.Channels)
			}
			var sum int64
			for _, n := range sink.Values() {
				sum += n
			}
			if got := len(sink.Values()); got != 2 || sum != 400 {
				t.Errorf("seed %d: %d subtasks have told of %d records at the end, want 2 of 400", seed, got, sum)
			}
		})
	}
	if inFlight == 0 {
		t.Error("nothing was in flight: the test means nothing")
	}
}

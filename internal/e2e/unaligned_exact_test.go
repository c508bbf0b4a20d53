package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
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

var seeds = flag.Uint64("seeds", 60, "number of random jobs")

// killer crashes once at a point, after it was passed skip times.
type killer struct {
	mu    sync.Mutex
	point string
	skip  int
}

func (k *killer) hook(point string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if point != k.point {
		return nil
	}
	if k.skip--; k.skip >= 0 {
		return nil
	}
	k.point = ""
	return &crash.Error{Point: point}
}

func isCrash(err error) bool {
	var e *crash.Error
	return errors.As(err, &e)
}

// crashPoints are those that a short job reaches often.
var crashPoints = []string{crash.SourceEmitted, crash.SourceSnapshot, crash.OperatorFirstBarrier, crash.OperatorAligned, crash.OperatorSnapshot,
	crash.OperatorOvertaken, crash.OperatorRecorded, crash.OperatorUploaded, crash.OperatorAcked, crash.OperatorRestored, crash.SinkPrepared,
	crash.SinkBeforeCommit, crash.SinkAfterCommit, crash.CoordinatorTriggered, crash.CoordinatorAcked, crash.CoordinatorCompleted,
	crash.CoordinatorNotified, crash.StoragePutAfter, crash.StorageCASBefore, crash.StorageCASAfter}

// shape is a job that counts records by key; the same seed gives the same graph.
type shape struct {
	inputs  int    // 2: two sources, in one step with two inputs
	front   string // how the records come to the step before the exchange by key
	back    string // how the totals come to the slow step
	ordered bool   // the totals of a key keep their order
	sources []memory.Source[event]
}

func newShape(r *rand.Rand) shape {
	s := shape{inputs: 1 + r.IntN(2)}
	s.front = []string{"chained", "rebalance", "shuffle", "rescale", "global", "custom", "chain"}[r.IntN(7)]
	s.back = []string{"chain", "chain", "rebalance", "custom", "chained"}[r.IntN(5)]
	s.ordered = s.back == "chain" || s.back == "chained"
	for range s.inputs {
		s.sources = append(s.sources, events(1+r.IntN(3), 200+r.Int64N(300), 1+r.IntN(20)))
	}
	return s
}

// dealt gives a stream to a step that takes one record each d, in the given way.
func dealt[T any](s dataflow.Stream[T], way string, number func(T) int64, d time.Duration) dataflow.Stream[T] {
	switch way {
	case "rebalance":
		s = s.Rebalance()
	case "shuffle":
		s = s.Shuffle(7)
	case "rescale":
		s = s.Rescale()
	case "global":
		s = s.Global()
	case "custom":
		s = s.PartitionBy(func(v T, n int) int { return int(number(v)) % n })
	}
	out := s.Map(func(v T) T {
		work(d)
		return v
	})
	if way == "chain" {
		return out.NewChain()
	}
	return out
}

// graph is the job, into sink; each record takes d in the slow step. It runs in a synctest bubble.
func (s shape) graph(sink *memory.Sink[total], d time.Duration) *dataflow.Graph {
	g := dataflow.New("exact")
	var in []dataflow.Stream[event]
	for i, src := range s.sources {
		from := g.From(fmt.Sprint("source-", i), src).Timestamps(operators.Watermarks[event]{OutOfOrderness: time.Hour})
		in = append(in, dealt(from, s.front, func(e event) int64 { return e.N }, d/4))
	}
	var out dataflow.Stream[total]
	if s.inputs == 1 {
		out = in[0].KeyBy(eventKey).Process("count", count)
	} else {
		out = in[0].KeyBy(eventKey).Connect(in[1].KeyBy(eventKey)).Process("count", countBoth)
	}
	dealt(out, s.back, func(t total) int64 { return t.Count }, d).To("sink", sink)
	return g
}

func countBoth(b *operators.CoKeyed[string, event, event, total]) {
	sum := b.Value[total]("total")
	add := func(c *operators.Ctx[string, total], e event) error {
		t, err := sum.Get()
		if err != nil {
			return err
		}
		t = total{e.Key, t.Count + 1, t.Sum + e.N}
		if err := sum.Set(t); err != nil {
			return err
		}
		return c.Emit(t)
	}
	b.OnFirst(add)
	b.OnSecond(add)
}

// restored counts what jobs were started from.
type restored struct {
	checkpoints, inFlight int
	edges                 map[string]int // with records in flight, when the parallelism was another one then
}

// look notes what a start with the given parallelism finds in the storage.
func (r *restored) look(t *testing.T, store checkpoint.Storage, parallelism int) {
	t.Helper()
	m, _, err := checkpoint.LoadFrom(t.Context(), store, "")
	if err != nil {
		return // there is none yet
	}
	r.checkpoints++
	if len(m.Channels) > 0 {
		r.inFlight++
	}
	for _, c := range m.Channels {
		if c.Receivers != parallelism {
			r.edges[c.Edge]++
		}
	}
}

// TestUnalignedExactlyOnce runs jobs of random shapes, crashes them at random points, starts them again at other parallelisms, and compares what they made
// visible with a replay. The seeds are 0 to -seeds; a failure names its own.
func TestUnalignedExactlyOnce(t *testing.T) {
	r := restored{edges: map[string]int{}}
	for seed := range *seeds {
		synctest.Test(t, func(t *testing.T) { exactlyOnce(t, seed, &r, inProcess, isCrash) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d restores, %d of them with records in flight; after a change of parallelism on %v", r.checkpoints, r.inFlight, r.edges)
	kinds := map[bool]int{}
	for e, n := range maps.All(r.edges) {
		kinds[strings.HasSuffix(e, " by key")] += n
	}
	if r.inFlight*2 < r.checkpoints || kinds[true] < 10 || kinds[false] < 10 {
		t.Errorf("too little was in flight for this test to mean anything: %+v", r)
	}
}

func inProcess(int) dataflow.Transport { return nil }

// exactlyOnce runs one job; each round has the transport that is given, and may fail by what expected knows or by a crash.
func exactlyOnce(t *testing.T, seed uint64, seen *restored, transport func(round int) dataflow.Transport, expected func(error) bool) {
	r := rand.New(rand.NewPCG(seed, 1))
	s, sink, store := newShape(r), memory.NewSink[total](), checkpointtest.NewMemory("m")
	k := &killer{}
	defer crash.Set(k.hook)()
	timeout := []time.Duration{time.Nanosecond, 5 * time.Millisecond, 40 * time.Millisecond}[r.IntN(3)]
	for round := 0; ; round++ {
		if round < 5 {
			k.point, k.skip = crashPoints[r.IntN(len(crashPoints))], r.IntN(12)
		} else {
			k.point = ""
		}
		p := 1 + r.IntN(3)
		seen.look(t, store, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		err := s.graph(sink, 4*time.Millisecond).Run(ctx, dataflow.Options{Parallelism: p, Restart: dataflow.Restart{Never: true}, Transport: transport(round),
			Checkpoint: checkpoint.Every(100*time.Millisecond, store, checkpoint.AlignmentTimeout(timeout))})
		cancel()
		if err == nil {
			break
		}
		if !isCrash(err) && !expected(err) {
			t.Fatalf("seed %d, round %d, parallelism %d, %+v: %v", seed, round, p, s, err)
		}
	}
	t.Logf("seed %d: %s, %s, %d inputs", seed, s.front, s.back, s.inputs)
	verify(t, sink.Values(), s.ordered, s.sources...)
}

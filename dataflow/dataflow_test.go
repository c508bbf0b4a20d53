package dataflow_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
)

// event is the record of the tests: n is its number within the split.
type event struct {
	Key   string
	Split int
	N     int64
	AtMS  int64
}

// total is what the counting step emits after each record.
type total struct {
	Key   string
	Count int64
	Sum   int64
}

func events(splits int, records int64, keys int) memory.Source[event] {
	return memory.Source[event]{Splits: splits, Records: records,
		Value: func(split int, i int64) event {
			return event{Key: fmt.Sprintf("key-%d", (i*7+int64(split))%int64(keys)), Split: split, N: i, AtMS: i * 10}
		},
		Timestamp: func(e event) time.Time { return time.UnixMilli(e.AtMS) },
	}
}

func count(b *operators.Keyed[string, event, total]) {
	n := b.Value[int64]("count")
	sum := b.Value[int64]("sum")
	b.OnRecord(func(c *operators.Ctx[string, total], e event) error {
		k, err := n.Get()
		if err != nil {
			return err
		}
		s, err := sum.Get()
		if err != nil {
			return err
		}
		if err := n.Set(k + 1); err != nil {
			return err
		}
		if err := sum.Set(s + e.N); err != nil {
			return err
		}
		return c.Emit(total{e.Key, k + 1, s + e.N})
	})
}

// replay is what count must give, by a plain loop: the final totals.
func replay(src memory.Source[event]) map[string]total {
	totals := map[string]total{}
	for split := range src.Splits {
		for i := range src.Records {
			e := src.Value(split, i)
			t := totals[e.Key]
			totals[e.Key] = total{e.Key, t.Count + 1, t.Sum + e.N}
		}
	}
	return totals
}

// verify checks the output against the replay: per key each count exactly once, in order, and the last total equal.
func verify(t *testing.T, src memory.Source[event], got []total) {
	t.Helper()
	last := map[string]total{}
	for _, v := range got {
		if want := last[v.Key].Count + 1; v.Count != want {
			t.Fatalf("key %s: count %d after %d: a record was lost, doubled or reordered", v.Key, v.Count, want-1)
		}
		last[v.Key] = v
	}
	want := replay(src)
	if !maps.Equal(last, want) {
		keys := slices.Sorted(maps.Keys(want))
		for _, k := range keys {
			if last[k] != want[k] {
				t.Errorf("key %s: got %+v, want %+v", k, last[k], want[k])
			}
		}
		t.Fatalf("%d keys, want %d", len(last), len(want))
	}
}

func TestBoundedJobCountsEverything(t *testing.T) {
	for _, p := range []int{1, 3} {
		t.Run(fmt.Sprint("parallelism ", p), func(t *testing.T) {
			src, sink := events(4, 5000, 50), memory.NewSink[total]()
			g := dataflow.New("count")
			g.From("source", src).
				Map(func(e event) event { return e }).
				KeyBy(func(e event) string { return e.Key }).
				Process("count", count).
				To("sink", sink)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := g.Run(ctx, dataflow.Options{Parallelism: p, Logger: zaptest.NewLogger(t),
				Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir()))})
			if err != nil {
				t.Fatal(err)
			}
			verify(t, src, sink.Values())
		})
	}
}

// TestNewChain: a sink in tasks of its own sees the same records in the same order, and a slow one does not hold up its sibling.
func TestNewChain(t *testing.T) {
	src := events(2, 2000, 10)
	src.PerCheckpoint = 200
	chained, own := memory.NewSink[total](), memory.NewSink[total]()
	g := dataflow.New("chains")
	counts := g.From("source", src).
		KeyBy(func(e event) string { return e.Key }).
		Process("count", count)
	counts.To("chained", chained)
	counts.To("own", own).NewChain()
	reg := prometheus.NewRegistry()
	j, err := g.Start(t.Context(), dataflow.Options{Parallelism: 2, Metrics: reg,
		Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir()))})
	if err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Wait(); err != nil {
		t.Fatal(err)
	}
	verify(t, src, chained.Values())
	verify(t, src, own.Values())
	tasks := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "task" {
					tasks[l.GetValue()] = true
				}
			}
		}
	}
	if tasks["chained"] || len(tasks) > 0 && !tasks["own"] {
		t.Errorf("tasks are %v, want own as a task and chained as a part of count", tasks)
	}
}

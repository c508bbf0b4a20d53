package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// event is the record of the tests: record N of a split.
type event struct {
	Key   string
	Split int
	N     int64
}

// total is how many records of its key there have been, and the sum of their numbers.
type total struct {
	Key   string
	Count int64
	Sum   int64
}

func eventKey(e event) string { return e.Key }

func events(splits int, records int64, keys int) memory.Source[event] {
	return memory.Source[event]{Splits: splits, Records: records,
		Value: func(split int, i int64) event {
			return event{Key: fmt.Sprintf("key-%d", (i*7+int64(split))%int64(keys)), Split: split, N: i}
		},
		Timestamp: func(e event) time.Time { return time.UnixMilli(e.N * 10) },
	}
}

func count(b *operators.Keyed[string, event, total]) {
	sum := b.Value[total]("total")
	b.OnRecord(func(c *operators.Ctx[string, total], e event) error {
		t, err := sum.Get()
		if err != nil {
			return err
		}
		t = total{e.Key, t.Count + 1, t.Sum + e.N}
		if err := sum.Set(t); err != nil {
			return err
		}
		return c.Emit(t)
	})
}

// work takes d, of virtual time: all its callers run in a synctest bubble.
func work(d time.Duration) { time.Sleep(d) }

// slow passes records on, one each d, in a task of its own. Its callers run in a synctest bubble.
func slow[T any](s dataflow.Stream[T], d time.Duration) dataflow.Stream[T] {
	return s.Map(func(v T) T {
		time.Sleep(d)
		return v
	}).NewChain()
}

// verify checks that the totals are those of the records of the sources, each once; with ordered, those of a key in their order.
func verify(t *testing.T, got []total, ordered bool, sources ...memory.Source[event]) {
	t.Helper()
	want := map[string]total{}
	n := 0
	for _, src := range sources {
		for split := range src.Splits {
			for i := range src.Records {
				e := src.Value(split, i)
				w := want[e.Key]
				want[e.Key] = total{e.Key, w.Count + 1, w.Sum + e.N}
				n++
			}
		}
	}
	seen, last := map[total]bool{}, map[string]int64{}
	for _, v := range got {
		at := total{Key: v.Key, Count: v.Count}
		switch w := want[v.Key]; {
		case seen[at] || v.Count < 1 || v.Count > w.Count:
			t.Fatalf("%+v comes twice, or there are only %d records of its key", v, w.Count)
		case ordered && v.Count != last[v.Key]+1:
			t.Fatalf("%+v comes after %d", v, last[v.Key])
		case v.Count == w.Count && v.Sum != w.Sum:
			t.Fatalf("%+v, want the sum %d", v, w.Sum)
		}
		seen[at], last[v.Key] = true, v.Count
	}
	if len(got) != n {
		t.Fatalf("%d results, want %d", len(got), n)
	}
}

// start starts g and returns what ends it.
func start(t *testing.T, g *dataflow.Graph, o dataflow.Options) (j *dataflow.Job, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	j, err := g.Start(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return j, func() {
		cancel()
		<-j.Done()
	}
}

package dataflow_test

import (
	"strings"
	"testing"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// TestKeyedStateNeedsItsKey: a keyed stage that is put behind an edge that is not partitioned is refused, unless it is one subtask or the step
// before it has its records by key.
func TestKeyedStateNeedsItsKey(t *testing.T) {
	stage := operators.Process(eventKey, nil, count)
	direct := func(s dataflow.Stream[event]) dataflow.Stream[total] { return s.Transform("count", stage) }
	for name, c := range map[string]struct {
		wire    func(s dataflow.Stream[event]) dataflow.Stream[total]
		refused bool
	}{
		"behind a source": {direct, true},
		"in one subtask":  {func(s dataflow.Stream[event]) dataflow.Stream[total] { return direct(s).Parallelism(1) }, false},
		"behind a rebalance": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return direct(s.KeyBy(eventKey).Reduce("r", keepOld).Rebalance())
		}, true},
		"behind a keyed step": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return direct(s.KeyBy(eventKey).Reduce("r", keepOld))
		}, false},
		"behind KeyBy": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return s.KeyBy(eventKey).Transform("count", stage)
		}, false},
		"a union with unkeyed": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return direct(s.KeyBy(eventKey).Reduce("r", keepOld).Union(s))
		}, true},
		"keyed and broadcast": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return s.KeyBy(eventKey).ConnectBroadcast(s).Process("b", onlyCount)
		}, false},
		"keyed at another size": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return direct(s.KeyBy(eventKey).Reduce("r", keepOld).Parallelism(2))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := dataflow.New("partition")
			c.wire(g.From("in", events(1, 1, 1))).To("out", memory.NewSink[total]())
			err := g.Check(dataflow.Options{Parallelism: 3})
			if !c.refused && err != nil {
				t.Error(err)
			}
			if c.refused && (err == nil || !strings.Contains(err.Error(), `step "count" keeps state by key in 3 subtasks`)) {
				t.Errorf("got %v, want the step refused", err)
			}
		})
	}
}

func keepOld(a, _ event) event { return a }

func onlyCount(b *operators.KeyedBroadcast[string, event, event, total]) {
	n := b.Value[int64]("n")
	b.Broadcast[string, int64]("rules")
	b.OnRecord(func(*operators.Ctx[string, total], event) error { return n.Set(1) })
	b.OnBroadcast(func(*operators.KeyedBroadcastCtx[string, total], event) error { return nil })
}

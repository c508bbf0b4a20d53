package dataflow_test

import (
	"context"
	"strings"
	"testing"
	"time"

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
		"behind a broadcast": {func(s dataflow.Stream[event]) dataflow.Stream[total] {
			return direct(s.KeyBy(eventKey).Reduce("r", keepOld).Broadcast())
		}, true},
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
			err := g.Validate(dataflow.Options{Parallelism: 3})
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

// TestAlignmentBehindCalls: where records come later than the source emits them, no split is told of, so none can be held back.
func TestAlignmentBehindCalls(t *testing.T) {
	w := operators.Watermarks[event]{}.WithAlignment("group", time.Second)
	call := func(_ context.Context, e event) ([]event, error) { return []event{e}, nil }
	for name, wire := range map[string]func(s dataflow.Stream[event]) dataflow.Stream[event]{
		"behind calls": func(s dataflow.Stream[event]) dataflow.Stream[event] {
			return s.Async("call", operators.AsyncOptions[event, event]{}, call)
		},
		"behind a filter": func(s dataflow.Stream[event]) dataflow.Stream[event] {
			return s.Filter(func(event) bool { return true })
		},
		"behind other task": func(s dataflow.Stream[event]) dataflow.Stream[event] { return s.Rebalance() },
	} {
		g := dataflow.New("alignment")
		wire(g.From("in", events(1, 1, 1))).Timestamps(w).To("out", memory.NewSink[event]())
		err := g.Validate(dataflow.Options{})
		if refused := err != nil && strings.Contains(err.Error(), "cannot hold any back"); refused != (name != "behind a filter") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

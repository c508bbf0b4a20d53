package operators_test

import (
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// pairGroup is all subtasks of a step with two inputs of orders, the first of them partitioned by who, and the second too or broadcast.
type pairGroup[Out any] struct {
	t         operatortest.TB
	stage     operators.Stage2[order, order, Out]
	broadcast bool
	o         operatortest.Options
	subtasks  []*operatortest.Harness2[order, order, Out]
	marks     [2]int64
}

func newPairGroup[Out any](t operatortest.TB, stage operators.Stage2[order, order, Out], broadcast bool, o operatortest.Options) *pairGroup[Out] {
	g := &pairGroup[Out]{t: t, stage: stage, broadcast: broadcast, o: o, marks: [2]int64{operators.NoWatermark, operators.NoWatermark}}
	g.start(1, nil)
	return g
}

func (g *pairGroup[Out]) start(parallelism int, from []*operatortest.Snapshot) {
	g.subtasks = nil
	second := who
	if g.broadcast {
		second = nil
	}
	for i := range parallelism {
		o := g.o
		o.Subtask, o.Parallelism, o.From = i, parallelism, from
		g.subtasks = append(g.subtasks, operatortest.New2(g.t, g.stage, o).KeyBy(who, second, nil))
	}
}

// restore takes a snapshot of all subtasks and goes on from it with another number of them, to which the inputs say again how far they are.
func (g *pairGroup[Out]) restore(parallelism int) {
	var from []*operatortest.Snapshot
	for _, h := range g.subtasks {
		from = append(from, h.Snapshot())
		h.Close()
	}
	g.start(parallelism, from)
	for input, ms := range g.marks {
		if ms != operators.NoWatermark {
			g.watermark(input, ms)
		}
	}
	g.records()
}

func (g *pairGroup[Out]) process(input int, v order, tsMS int64) {
	switch {
	case input == 0:
		g.subtasks[g.subtasks[0].OwnerA(v)].ProcessA(v, tsMS)
	case g.broadcast:
		for _, h := range g.subtasks {
			h.ProcessB(v, tsMS)
		}
	default:
		g.subtasks[g.subtasks[0].OwnerB(v)].ProcessB(v, tsMS)
	}
}

func (g *pairGroup[Out]) watermark(input int, ms int64) {
	g.marks[input] = max(g.marks[input], ms)
	for _, h := range g.subtasks {
		h.Watermark(input, ms)
	}
}

// current is the watermark of the operator.
func (g *pairGroup[Out]) current() int64 { return min(g.marks[0], g.marks[1]) }

// records are the records of all subtasks as "value@timestamp", sorted.
func (g *pairGroup[Out]) records() []string {
	var out []string
	for _, h := range g.subtasks {
		for _, e := range h.Outputs() {
			if e.Kind == operatortest.Record {
				out = append(out, e.String())
			}
		}
	}
	slices.Sort(out)
	return out
}

// side are the records of a side output of all subtasks as "value@timestamp", sorted.
func (g *pairGroup[Out]) side[S any](tag operators.Tag[S]) []string {
	var out []string
	for _, h := range g.subtasks {
		for _, e := range h.SideOutput(tag) {
			out = append(out, e.String())
		}
	}
	slices.Sort(out)
	return out
}

// bytes is the size of the state of all subtasks as stored.
func (g *pairGroup[Out]) bytes() (n int64) {
	for _, h := range g.subtasks {
		n += h.Snapshot().Bytes()
	}
	return n
}

// tinyPebble is a store beneath a cache of the least size, so that entries come and go between the two.
func tinyPebble() state.Backend {
	return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
}

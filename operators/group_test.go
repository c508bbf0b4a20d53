package operators_test

import (
	"cmp"
	"slices"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// group is all subtasks of a step whose input is partitioned by a text key.
type group[In, Out any] struct {
	t        operatortest.TB
	stage    operators.Stage[In, Out]
	key      func(In) string
	o        operatortest.Options
	subtasks []*operatortest.Harness[In, Out]
}

func newGroup[In, Out any](t operatortest.TB, stage operators.Stage[In, Out], key func(In) string, o operatortest.Options) *group[In, Out] {
	g := &group[In, Out]{t: t, stage: stage, key: key, o: o}
	g.start(1, nil)
	return g
}

func (g *group[In, Out]) start(parallelism int, from []*operatortest.Snapshot) {
	g.subtasks = nil
	for i := range parallelism {
		o := g.o
		o.Subtask, o.Parallelism, o.From = i, parallelism, from
		g.subtasks = append(g.subtasks, operatortest.New(g.t, g.stage, o).KeyBy(g.key, nil))
	}
}

// restore takes a snapshot of all subtasks and goes on from it with another number of them.
func (g *group[In, Out]) restore(parallelism int) {
	var from []*operatortest.Snapshot
	for _, h := range g.subtasks {
		from = append(from, h.Snapshot())
		h.Close()
	}
	g.start(parallelism, from)
}

func (g *group[In, Out]) process(v In, tsMS int64) {
	g.subtasks[g.subtasks[0].Owner(v)].Process(v, tsMS)
}

func (g *group[In, Out]) each(f func(*operatortest.Harness[In, Out])) {
	for _, h := range g.subtasks {
		f(h)
	}
}

// outputs are the records of all subtasks in the given order, then the control elements of the first: the others have the same.
func (g *group[In, Out]) outputs(order func(operatortest.Element[Out]) int64) []operatortest.Element[Out] {
	if len(g.subtasks) == 1 {
		return g.subtasks[0].Outputs()
	}
	var records, control []operatortest.Element[Out]
	for i, h := range g.subtasks {
		for _, e := range h.Outputs() {
			if e.Kind == operatortest.Record {
				records = append(records, e)
			} else if i == 0 {
				control = append(control, e)
			}
		}
	}
	slices.SortStableFunc(records, func(a, b operatortest.Element[Out]) int { return cmp.Compare(order(a), order(b)) })
	return append(records, control...)
}

// byTimestamp merges the outputs of several subtasks by the time at which they fired.
func byTimestamp[Out any](e operatortest.Element[Out]) int64 { return e.TimestampMS }

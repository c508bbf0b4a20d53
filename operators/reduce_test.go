package operators_test

import (
	"testing"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func TestReduce(t *testing.T) {
	g := newGroup(t, operators.Reduce(who, nil, func(a, b order) order { return order{a.Who, a.N*10 + b.N} }), who, operatortest.Options{})
	g.process(order{"a", 1}, 5)
	g.process(order{"b", 7}, 4)
	g.process(order{"a", 2}, 3)
	g.restore(1)
	g.process(order{"a", 3}, 2)
	want(t, "after the restore", g.subtasks[0].Outputs(), "a123@2")
}

func TestFold(t *testing.T) {
	h := operatortest.New(t, operators.Fold(who, nil, func(acc []int64, o order) []int64 {
		return append(acc[:len(acc):len(acc)], o.N)
	}), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 5)
	h.Process(order{"b", 7}, 4)
	h.Process(order{"a", 2}, 3)
	h.EndInput()
	want(t, "output", h.Outputs(), "[1]@5, [7]@4, [1 2]@3, watermark end")
}

package dataflow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// meeting is a record of one input with the subtask that took it.
type meeting struct {
	Key     string
	Input   int
	Subtask int
}

// meet passes on which subtask takes the records of both inputs.
func meet[A, B any](a func(A) string, b func(B) string) operators.Stage2[A, B, meeting] {
	return func(t *operators.Task, emit func(meeting) error) (func(A) error, func(B) error, error) {
		return func(v A) error { return emit(meeting{a(v), 0, t.Subtask()}) },
			func(v B) error { return emit(meeting{b(v), 1, t.Subtask()}) }, nil
	}
}

// TestConnectByKey: records of one key of both inputs, whose records have different types, meet in one subtask.
func TestConnectByKey(t *testing.T) {
	g := dataflow.New("connect")
	a := g.From("a", events(2, 500, 20))
	b := g.From("b", events(3, 400, 20)).Map(func(e event) string { return e.Key })
	sink := memory.NewSink[meeting]()
	a.KeyBy(eventKey).Transform2("meet", b.KeyBy(func(s string) string { return s }),
		meet(eventKey, func(s string) string { return s })).Parallelism(3).To("out", sink)
	if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2}); err != nil {
		t.Fatal(err)
	}
	owner, subtasks, inputs := map[string]int{}, map[int]bool{}, map[int]int{}
	for _, m := range sink.Values() {
		if at, ok := owner[m.Key]; ok && at != m.Subtask {
			t.Fatalf("key %s came to subtasks %d and %d", m.Key, at, m.Subtask)
		}
		owner[m.Key] = m.Subtask
		subtasks[m.Subtask] = true
		inputs[m.Input]++
	}
	if len(subtasks) != 3 || inputs[0] != 1000 || inputs[1] != 1200 {
		t.Errorf("subtasks %v took %v records of the inputs, want 3 subtasks, 1000 and 1200", subtasks, inputs)
	}
}

// TestConnectBroadcast: every subtask takes every record of the broadcast input, and only its own of the other.
func TestConnectBroadcast(t *testing.T) {
	g := dataflow.New("broadcast")
	a := g.From("a", events(2, 500, 20))
	rules := g.From("rules", events(1, 10, 5))
	sink := memory.NewSink[meeting]()
	a.KeyBy(eventKey).TransformBroadcast("meet", rules, meet(eventKey, eventKey)).Parallelism(3).To("out", sink)
	if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2}); err != nil {
		t.Fatal(err)
	}
	took := map[string]int{}
	for _, m := range sink.Values() {
		if m.Input == 1 {
			took[fmt.Sprint(m.Subtask)]++
		} else {
			took["keyed"]++
		}
	}
	if took["0"] != 10 || took["1"] != 10 || took["2"] != 10 || took["keyed"] != 1000 {
		t.Errorf("records taken: %v, want 10 by each of 3 subtasks and 1000 keyed ones", took)
	}
}

// TestWatermarksAreNeeded: a step that gives nothing without watermarks is refused when one of its inputs never has any.
func TestWatermarksAreNeeded(t *testing.T) {
	build := func(both bool) error {
		g := dataflow.New("needs")
		a := g.From("a", events(1, 1, 1)).Timestamps(operators.Watermarks[event]{})
		b := g.From("b", events(1, 1, 1))
		if both {
			b = b.Timestamps(operators.Watermarks[event]{})
		}
		stage := func(t *operators.Task, emit func(meeting) error) (func(event) error, func(event) error, error) {
			t.NeedsWatermarks("a join in event time")
			return meet(eventKey, eventKey)(t, emit)
		}
		a.KeyBy(eventKey).Transform2("join", b.KeyBy(eventKey), stage).To("out", memory.NewSink[meeting]())
		return g.Validate(dataflow.Options{})
	}
	if err := build(true); err != nil {
		t.Error(err)
	}
	err := build(false)
	if err == nil || !strings.Contains(err.Error(), `step "join"`) || !strings.Contains(err.Error(), `source "b"`) {
		t.Errorf("got %v, want an error that names the step and the source without watermarks", err)
	}
}

func eventKey(e event) string { return e.Key }

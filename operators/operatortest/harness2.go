package operatortest

import (
	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// Harness2 is one instance of an operator with two inputs, and its host. What it shares with Harness (clock, snapshots, outputs) are the
// methods of Harness; inputs are numbered 0 and 1. The watermarks of the inputs are merged as a running job merges them.
type Harness2[A, B, Out any] struct {
	*Harness[Either[A, B], Out]
	inputs *watermark.Combiner
}

// Either is a record of one of two inputs.
type Either[A, B any] struct {
	Input int // 0: A holds the record, 1: B
	A     A
	B     B
}

// one makes a stage with two inputs one with a single input.
func one[A, B, Out any](stage operators.Stage2[A, B, Out]) operators.Stage[Either[A, B], Out] {
	if stage == nil {
		return nil
	}
	return func(t *operators.Task, emit func(Out) error) (func(Either[A, B]) error, error) {
		a, b, err := stage(t, emit)
		return func(v Either[A, B]) error {
			if v.Input == 0 {
				return a(v.A)
			}
			return b(v.B)
		}, err
	}
}

// Check2 is Check for a stage with two inputs.
func Check2[A, B, Out any](stage operators.Stage2[A, B, Out], o Options) error {
	return Check(one(stage), o)
}

// New2 is New for a stage with two inputs.
func New2[A, B, Out any](t TB, stage operators.Stage2[A, B, Out], o Options) *Harness2[A, B, Out] {
	t.Helper()
	return &Harness2[A, B, Out]{Harness: New(t, one(stage), o), inputs: watermark.NewCombiner(2)}
}

// KeyBy says by which keys the inputs are partitioned; a nil function says that its input is broadcast. It must be called before the first
// record of a keyed operator; codec nil takes the codec that package serde derives.
func (h *Harness2[A, B, Out]) KeyBy[K comparable](a func(A) K, b func(B) K, codec serde.Serde[K]) *Harness2[A, B, Out] {
	h.t.Helper()
	if a == nil && b == nil {
		h.t.Fatalf("KeyBy needs the key of at least one input")
	}
	h.Harness.KeyBy(func(v Either[A, B]) (k K) {
		switch {
		case v.Input == 0 && a != nil:
			k = a(v.A)
		case v.Input == 1 && b != nil:
			k = b(v.B)
		}
		return k
	}, codec)
	h.broadcast = func(v Either[A, B]) bool { return v.Input == 0 && a == nil || v.Input == 1 && b == nil }
	return h
}

// ProcessA hands over a record of input 0. tsMS is its timestamp, Unix ms, or connectors.NoTimestamp.
func (h *Harness2[A, B, Out]) ProcessA(v A, tsMS int64) {
	h.t.Helper()
	h.Process(Either[A, B]{Input: 0, A: v}, tsMS)
}

// ProcessB hands over a record of input 1.
func (h *Harness2[A, B, Out]) ProcessB(v B, tsMS int64) {
	h.t.Helper()
	h.Process(Either[A, B]{Input: 1, B: v}, tsMS)
}

// OwnerA is the subtask to which the record v of input 0 belongs.
func (h *Harness2[A, B, Out]) OwnerA(v A) int { return h.Owner(Either[A, B]{Input: 0, A: v}) }

// OwnerB is the subtask to which the record v of input 1 belongs, if it is not broadcast.
func (h *Harness2[A, B, Out]) OwnerB(v B) int { return h.Owner(Either[A, B]{Input: 1, B: v}) }

// Watermark hands over a watermark of one input, Unix ms.
func (h *Harness2[A, B, Out]) Watermark(input int, ms int64) {
	h.t.Helper()
	h.merged(h.inputs.Watermark(checkedInput(h.t, input), ms))
}

// Idle tells that one input is idle, or active again.
func (h *Harness2[A, B, Out]) Idle(input int, idle bool) {
	h.t.Helper()
	h.merged(h.inputs.SetIdle(checkedInput(h.t, input), idle))
}

// EndInput ends both inputs: the watermark EndOfTime on each, then the hooks of the end.
func (h *Harness2[A, B, Out]) EndInput() {
	h.t.Helper()
	for input := range 2 {
		h.Watermark(input, operators.EndOfTime)
	}
	h.Harness.EndInput()
}

// merged gives what comes of both inputs to the operator.
func (h *Harness2[A, B, Out]) merged(m watermark.Merged) {
	h.t.Helper()
	if m.Rose {
		h.Harness.Watermark(m.MS)
	}
	if m.Changed {
		h.Harness.Idle(m.Idle)
	}
}

func checkedInput(t TB, input int) int {
	if input != 0 && input != 1 {
		t.Helper()
		t.Fatalf("operatortest: there is no input %d; the inputs are 0 and 1", input)
	}
	return input
}

package dataflow

import (
	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// Transform2 adds a step with two inputs that are partitioned by the same key: records of one key of both inputs meet in one subtask.
// Between records of different inputs there is no order.
func (k KeyedStream[A, K]) Transform2[B, U any](uid string, other KeyedStream[B, K], stage operators.Stage2[A, B, U]) Stream[U] {
	n := k.s.g.add(uid, "keyed")
	n.TwoInputs = true
	k.s.g.needUID(n, "a keyed step")
	if other.codec == nil {
		other.codec = k.codec
	}
	k.partition(n, 0)
	if sameGraph(k.s, other.s, n) {
		other.partition(n, 1)
	}
	return attach2(k.s.g, n, stage)
}

// TransformBroadcast adds a step with two inputs: this one partitioned by its key, and other, of which every subtask takes every record.
func (k KeyedStream[A, K]) TransformBroadcast[B, U any](uid string, other Stream[B], stage operators.Stage2[A, B, U]) Stream[U] {
	n := k.s.g.add(uid, "keyed")
	n.TwoInputs = true
	k.s.g.needUID(n, "a keyed step")
	k.partition(n, 0)
	other.broadcastTo(k.s, n)
	return attach2(k.s.g, n, stage)
}

// Transform2 adds a step with two inputs that are not partitioned by key. uid is needed when the stage has state, and else may be empty.
func (s Stream[A]) Transform2[B, U any](uid string, other Stream[B], stage operators.Stage2[A, B, U]) Stream[U] {
	n := s.g.add(uid, "transform")
	n.TwoInputs = true
	s.forwardTo(n, 0)
	if sameGraph(s, other, n) {
		other.forwardTo(n, 1)
	}
	return attach2(s.g, n, stage)
}

// TransformBroadcast adds a step with two inputs: this one, and other, of which every subtask takes every record.
func (s Stream[A]) TransformBroadcast[B, U any](uid string, other Stream[B], stage operators.Stage2[A, B, U]) Stream[U] {
	n := s.g.add(uid, "transform")
	n.TwoInputs = true
	s.forwardTo(n, 0)
	other.broadcastTo(s, n)
	return attach2(s.g, n, stage)
}

// attach2 gives the node its stage and returns its main output.
func attach2[A, B, U any](g *Graph, n *runtime.Node, stage operators.Stage2[A, B, U]) Stream[U] {
	n.NoOutput = func(U) error { return nil }
	n.Build = func(t *operators.Task, emit any) ([]any, error) {
		a, b, err := stage(t, emit.(func(U) error))
		return []any{a, b}, err
	}
	if stage == nil {
		g.fault("step %q has no stage", n.Label())
	}
	return Stream[U]{g: g, node: n}
}

func sameGraph[A, B any](a Stream[A], b Stream[B], n *runtime.Node) bool {
	if a.g != b.g {
		a.g.fault("step %q takes a stream of another graph as its second input", n.Label())
	}
	return a.g == b.g
}

// partition connects the stream with input of n by key.
func (k KeyedStream[T, K]) partition(n *runtime.Node, input int) {
	codec := k.codec
	if codec == nil {
		var err error
		if codec, err = serde.For[K](); err != nil {
			k.s.g.fault("step %q: the key has no codec: %w; give one by WithKeyCodec", n.Label(), err)
		}
	}
	k.s.connect(n, input, runtime.Hash, runtime.KeyedTypes[T, K]{Key: k.key, NewHash: func() func(K) uint64 { return serde.HashOf(codec) }})
	k.s.needCodec(n)
}

func (s Stream[T]) forwardTo(n *runtime.Node, input int) {
	s.connect(n, input, runtime.Forward, runtime.Types[T]{})
	s.needCodec(n)
}

// broadcastTo connects the stream with input 1 of n, whose input 0 is first.
func (s Stream[T]) broadcastTo[A any](first Stream[A], n *runtime.Node) {
	if sameGraph(first, s, n) {
		s.connect(n, 1, runtime.Broadcast, runtime.BroadcastTypes[T]{})
		s.needCodec(n)
	}
}

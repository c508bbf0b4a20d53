package dataflow

import (
	"cmp"

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
	k.codec = sharedCodec(k, other, n)
	other.codec = k.codec
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

// Connect pairs the stream with another that is partitioned by keys of the same type, so that one function sees the records of both.
func (k KeyedStream[A, K]) Connect[B any](other KeyedStream[B, K]) ConnectedKeyedStreams[A, B, K] {
	return ConnectedKeyedStreams[A, B, K]{k, other}
}

// ConnectedKeyedStreams are two streams partitioned by keys of the same type.
type ConnectedKeyedStreams[A, B any, K comparable] struct {
	first  KeyedStream[A, K]
	second KeyedStream[B, K]
}

// Process adds the general keyed operator with two inputs: build declares state, timers and the functions of both, see operators.CoProcess.
func (c ConnectedKeyedStreams[A, B, K]) Process[U any](uid string, build func(*operators.CoKeyed[K, A, B, U])) Stream[U] {
	return c.first.Transform2(uid, c.second, operators.CoProcess(c.first.key, c.second.key, cmp.Or(c.first.codec, c.second.codec), build))
}

// ConnectBroadcast pairs the stream with one of which every subtask takes every record: rules that change at run time.
func (k KeyedStream[A, K]) ConnectBroadcast[B any](other Stream[B]) KeyedBroadcastStream[A, B, K] {
	return KeyedBroadcastStream[A, B, K]{k, other}
}

// KeyedBroadcastStream is a keyed stream with a broadcast one beside it.
type KeyedBroadcastStream[A, B any, K comparable] struct {
	k     KeyedStream[A, K]
	other Stream[B]
}

// Process adds a keyed operator with broadcast state: build declares states, timers and the functions of both inputs, see
// operators.KeyedBroadcastProcess.
func (c KeyedBroadcastStream[A, B, K]) Process[U any](uid string, build func(*operators.KeyedBroadcast[K, A, B, U])) Stream[U] {
	return c.k.TransformBroadcast(uid, c.other, operators.KeyedBroadcastProcess(c.k.key, c.k.codec, build))
}

// Connect pairs the stream with another, so that two functions make one stream of both.
func (s Stream[A]) Connect[B any](other Stream[B]) ConnectedStreams[A, B] {
	return ConnectedStreams[A, B]{s, other}
}

// ConnectedStreams are two streams without key.
type ConnectedStreams[A, B any] struct {
	first  Stream[A]
	second Stream[B]
}

// Map passes on first of each record of the first stream and second of each of the second. Both functions are pure.
func (c ConnectedStreams[A, B]) Map[U any](first func(A) U, second func(B) U) Stream[U] {
	return c.first.Transform2("", c.second, operators.CoMap(first, second))
}

// FlatMap calls first with each record of the first stream and second with each of the second; they call emit for each result and return its
// error.
func (c ConnectedStreams[A, B]) FlatMap[U any](first func(v A, emit func(U) error) error, second func(v B, emit func(U) error) error) Stream[U] {
	return c.first.Transform2("", c.second, operators.CoFlatMap(first, second))
}

// ConnectBroadcast pairs the stream with one of which every subtask takes every record.
func (s Stream[A]) ConnectBroadcast[B any](other Stream[B]) BroadcastStream[A, B] {
	return BroadcastStream[A, B]{s, other}
}

// BroadcastStream is a stream with a broadcast one beside it.
type BroadcastStream[A, B any] struct {
	s     Stream[A]
	other Stream[B]
}

// Process adds an operator with broadcast state: build declares it and the functions of both inputs, see operators.BroadcastProcess.
func (c BroadcastStream[A, B]) Process[U any](uid string, build func(*operators.PlainBroadcast[A, B, U])) Stream[U] {
	return c.s.TransformBroadcast(uid, c.other, operators.BroadcastProcess(build))
}

// sharedCodec is the codec of the keys of both streams: what either gives. Two that write differently are refused, because equal keys would
// not meet.
func sharedCodec[A, B any, K comparable](a KeyedStream[A, K], b KeyedStream[B, K], n *runtime.Node) serde.Serde[K] {
	if a.codec != nil && b.codec != nil && a.codec.Schema() != b.codec.Schema() {
		a.s.g.fault("step %q: the keys of its inputs have codecs of different schemas, %s and %s; give both the same one by WithKeyCodec", n.Label(), a.codec.Schema(), b.codec.Schema())
	}
	return cmp.Or(a.codec, b.codec)
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

// Package dataflow is the fluent, typed graph of a stream-processing job, and what runs it.
//
//	g := dataflow.New("decisions")
//	g.From("source", src).
//		KeyBy(func(d Decision) string { return d.Customer }).
//		Process("enrich", enrich).
//		To("publish", sink)
//	err := g.Run(ctx, dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(10*time.Second, store)})
//
// Every source, sink and stateful step takes a uid: the stable name under which its state stands in checkpoints. Stateless steps take
// none. Building a graph starts nothing; all faults of the graph and its options are reported together by Run, Start or Check.
//
// The methods here only wire; what a step does is in package operators, and Transform is how all of them get into the graph.
package dataflow

import (
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// Graph is a job under construction. It is not safe for concurrent use.
type Graph struct {
	name  string
	nodes []*runtime.Node
	// validate holds the checks of the options of sources and sinks.
	validate []func() error
	errs     []error
}

// New begins a graph. name is for logs, metrics and checkpoints; it is never compared.
func New(name string) *Graph { return &Graph{name: name} }

// fault records a fault that is found while the graph is built.
func (g *Graph) fault(format string, args ...any) {
	g.errs = append(g.errs, fmt.Errorf("dataflow: "+format, args...))
}

// Stream is an unbounded (or bounded) sequence of records of type T: an output of a step.
type Stream[T any] struct {
	g    *Graph
	node *runtime.Node
	port string
	// codec encodes T between tasks; nil takes the derived one.
	codec serde.Serde[T]
	// part is how the next step takes the records.
	part partition
}

// From adds a source. uid names it in checkpoints.
func (g *Graph) From[T any](uid string, s connectors.Source[T]) Stream[T] {
	n := g.add(uid, "source")
	n.NoOutput = func(T) error { return nil }
	if s == nil {
		g.fault("source %q is nil", uid)
	} else {
		n.Source = runtime.SourceOf(s)
		g.check(uid, s.Validate)
	}
	g.needUID(n, "a source")
	return Stream[T]{g: g, node: n}
}

func (g *Graph) add(uid, kind string) *runtime.Node {
	n := &runtime.Node{UID: uid, Name: uid}
	if uid == "" {
		n.Name = kind + "@" + callSite()
	}
	g.nodes = append(g.nodes, n)
	return n
}

func (g *Graph) check(uid string, validate func() error) {
	g.validate = append(g.validate, func() error {
		if err := validate(); err != nil {
			return fmt.Errorf("step %q: %w", uid, err)
		}
		return nil
	})
}

func (g *Graph) needUID(n *runtime.Node, what string) {
	if n.UID == "" {
		g.fault("%s has no uid (%s); give it a name that is unique in the graph and never changes", what, n.Name)
	}
}

// callSite is "file.go:line" of the innermost caller outside this package: the name of a stateless step in messages.
func callSite() string {
	pcs := make([]uintptr, 16)
	frames := goruntime.CallersFrames(pcs[:goruntime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "/millrace/dataflow.") || !more {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
	}
}

// connect makes s input number input of to.
func (s Stream[T]) connect(to *runtime.Node, input int, kind runtime.EdgeKind, types runtime.EdgeTypes) {
	switch {
	case s.part.name == "":
	case kind == runtime.Forward:
		kind, types = s.part.kind, s.part.types
		s.needCodec(to)
	default:
		s.g.fault("%s of step %q has no effect on step %q, which partitions its input itself; remove it", s.part.name, s.node.Label(), to.Label())
	}
	e := &runtime.Edge{From: s.node, Port: s.port, To: to, Input: input, Kind: kind, Types: types}
	if s.codec != nil {
		e.Codec = s.codec
	}
	s.node.Outputs = append(s.node.Outputs, e)
	to.Inputs = append(to.Inputs, e)
}

// needCodec checks that records of the stream can travel between tasks.
func (s Stream[T]) needCodec(to *runtime.Node) {
	if s.codec != nil {
		return
	}
	if _, err := serde.For[T](); err != nil {
		s.g.fault("the edge from %q to %q carries records without codec: %w; give the stream one by WithCodec", s.node.Label(), to.Label(), err)
	}
}

// WithCodec returns the stream with a codec for its records where they travel between tasks. Default: the one that package serde derives.
func (s Stream[T]) WithCodec(c serde.Serde[T]) Stream[T] {
	s.codec = c
	return s
}

// Transform adds a step: uid is needed when the stage has state, and else may be empty. It is the extension point that all steps of this
// package use.
func (s Stream[T]) Transform[U any](uid string, stage operators.Stage[T, U]) Stream[U] {
	n := s.g.add(uid, "transform")
	s.connect(n, 0, runtime.Forward, runtime.Types[T]{})
	return attach(s.g, n, stage)
}

// attach gives the node its stage and returns its main output.
func attach[T, U any](g *Graph, n *runtime.Node, stage operators.Stage[T, U]) Stream[U] {
	n.NoOutput = func(U) error { return nil }
	n.Build = func(t *operators.Task, emit any) ([]any, error) {
		push, err := stage(t, emit.(func(U) error))
		return []any{push}, err
	}
	if stage == nil {
		g.fault("step %q has no stage", n.Label())
	}
	return Stream[U]{g: g, node: n}
}

// Map passes on f of each record. f is pure.
func (s Stream[T]) Map[U any](f func(T) U) Stream[U] { return s.Transform("", operators.Map(f)) }

// TryMap passes on f of each record. A record for which f fails goes to the DeadLetters of the result if they are consumed, and else fails the
// job.
func (s Stream[T]) TryMap[U any](f func(T) (U, error)) Stream[U] {
	return s.Transform("", operators.TryMap(f))
}

// Filter passes on the records for which keep is true.
func (s Stream[T]) Filter(keep func(T) bool) Stream[T] {
	return s.Transform("", operators.Filter(keep))
}

// FlatMap calls f with each record; f calls emit for each result and returns its error.
func (s Stream[T]) FlatMap[U any](f func(v T, emit func(U) error) error) Stream[U] {
	return s.Transform("", operators.FlatMap(f))
}

// Split sends each record to the first stream, to the second, to both or to none: f calls out or side for each result and returns their
// errors.
func (s Stream[T]) Split[U, S any](name string, f func(v T, out func(U) error, side func(S) error) error) (Stream[U], Stream[S]) {
	tag := operators.NewTag[S]("split")
	out := s.Transform(name, operators.Split(tag, f))
	return out, out.SideOutput(tag)
}

// SideOutput is the side output tag of the step that made this stream.
func (s Stream[T]) SideOutput[S any](tag operators.Tag[S]) Stream[S] {
	s.unpartitioned("SideOutput")
	return Stream[S]{g: s.g, node: s.node, port: tag.Name()}
}

// DeadLetters is the stream of records that the step which made this stream cannot process. Without a consumer for it such a record fails
// the job.
func (s Stream[T]) DeadLetters() Stream[connectors.DeadLetter] {
	return s.SideOutput(operators.DeadLetters)
}

// Union merges streams of one type. Records of one input keep their order; between inputs there is none.
func (s Stream[T]) Union(others ...Stream[T]) Stream[T] {
	n := s.g.add("", "union")
	all := append([]Stream[T]{s}, others...)
	for i, in := range all {
		if in.g != s.g {
			s.g.fault("the union at %s takes a stream of another graph", n.Name)
			continue
		}
		in.connect(n, i, runtime.Forward, runtime.Types[T]{})
		in.needCodec(n)
	}
	n.NoOutput = func(T) error { return nil }
	n.Build = func(_ *operators.Task, emit any) ([]any, error) {
		pushes := make([]any, len(all))
		for i := range pushes {
			pushes[i] = emit
		}
		return pushes, nil
	}
	return Stream[T]{g: s.g, node: n}
}

// Parallelism sets the number of subtasks of the step that made this stream, instead of the job's. It is at least 1 and at most the
// job's maximum.
func (s Stream[T]) Parallelism(n int) Stream[T] {
	s.unpartitioned("Parallelism")
	if n < 1 {
		s.g.fault("step %q has parallelism %d, want at least 1", s.node.Label(), n)
	}
	s.node.Parallelism = n
	return s
}

// NewChain gives the step that made this stream tasks of its own, where it would run in those of the step before it: a slow step then holds up
// nobody else, for the price of an exchange (some 10 ns a record).
func (s Stream[T]) NewChain() Stream[T] {
	s.unpartitioned("NewChain")
	s.node.NewChain = true
	return s
}

// To adds a sink.
func (s Stream[T]) To(uid string, sink connectors.Sink[T]) Output {
	n := s.g.add(uid, "sink")
	s.connect(n, 0, runtime.Forward, runtime.Types[T]{})
	s.g.needUID(n, "a sink")
	if sink == nil {
		s.g.fault("sink %q is nil", uid)
		return Output{s.g, n}
	}
	s.g.check(uid, sink.Validate)
	if c, ok := sink.(connectors.CommittingSink); ok {
		n.Committer = c.NewCommitter
	}
	if p, ok := sink.(connectors.PreparesAhead); ok {
		n.PreparesAhead = p.PreparesAhead()
	}
	attach(s.g, n, runtime.SinkStage(sink))
	return Output{s.g, n}
}

// Output is a sink in the graph.
type Output struct {
	g    *Graph
	node *runtime.Node
}

// DeadLetters is the stream of records that the sink's target refuses for ever. Without a consumer for it such a record fails the job.
func (o Output) DeadLetters() Stream[connectors.DeadLetter] {
	return Stream[connectors.DeadLetter]{g: o.g, node: o.node, port: operators.DeadLetterPort}
}

// NewChain gives the sink tasks of its own. A sink that takes long to prepare a checkpoint (an archive that stores files) then does not hold
// up the other sinks of its stream meanwhile.
func (o Output) NewChain() Output {
	o.node.NewChain = true
	return o
}

// Parallelism sets the number of subtasks of the sink, instead of the job's.
func (o Output) Parallelism(n int) Output {
	Stream[struct{}]{g: o.g, node: o.node}.Parallelism(n)
	return o
}

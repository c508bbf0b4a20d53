package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"

	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// EdgeTypes is what an edge does that depends on the type of its records. Values travel as any once per edge and subtask, when a task is
// built.
type EdgeTypes interface {
	// Combine makes one func(T) error that calls each of outs.
	Combine(outs []any) any
	newEdge(q *exchange.Queue, channel int) any
	// recordType names the type of the records, for messages.
	recordType() string
	attach(edge any, c *operators.Context, push any, prefetch func(hashes []uint64)) error
	// newWriter makes the writer over the edges to all receivers and its func(T) error.
	newWriter(w writerConfig) (exchange.Output, any)
	// codecOf is given, a serde.Serde[T], or the derived codec if it is nil.
	codecOf(given any) (edgeCodec, error)
	setCodec(edge any, c edgeCodec)
	// readable reports why c cannot read records of the schema.
	readable(c edgeCodec, schema string) error
	newReplay(r replayConfig) (replayer, error)
}

type writerConfig struct {
	ctx            context.Context
	context        *operators.Context
	edges          []any
	maxParallelism int
	subtask        int    // of the sender
	step           string // the sender's, for messages
	alarm          *exchange.Alarm
}

// Types is the EdgeTypes of records of type T, for every kind of edge but Hash.
type Types[T any] struct{}

// Combine implements EdgeTypes.
func (Types[T]) Combine(outs []any) any {
	switch len(outs) {
	case 0:
		return func(T) error { return nil }
	case 1:
		return outs[0]
	}
	fs := make([]func(T) error, len(outs))
	for i, o := range outs {
		fs[i] = o.(func(T) error)
	}
	return func(v T) error {
		for _, f := range fs {
			if err := f(v); err != nil {
				return err
			}
		}
		return nil
	}
}

func (Types[T]) recordType() string { return reflect.TypeFor[T]().String() }

func (Types[T]) newEdge(q *exchange.Queue, channel int) any { return exchange.NewEdge[T](q, channel) }

func (Types[T]) attach(edge any, c *operators.Context, push any, prefetch func(hashes []uint64)) error {
	f, ok := push.(func(T) error)
	if !ok {
		return fmt.Errorf("runtime: step takes %T, its input is %T", push, edge)
	}
	e := edge.(*exchange.Edge[T])
	e.Attach(c, f)
	e.Prefetch(prefetch)
	return nil
}

func (Types[T]) writer(c writerConfig) *exchange.Writer[T] {
	edges := make([]*exchange.Edge[T], len(c.edges))
	for i, e := range c.edges {
		edges[i] = e.(*exchange.Edge[T])
	}
	w := exchange.NewWriter(c.ctx, c.context, edges)
	w.Heed(c.alarm)
	return w
}

func (t Types[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	if len(c.edges) == 1 {
		return w, exchange.ToOne(w, 0)
	}
	return w, exchange.Rebalance(w, c.subtask)
}

// BroadcastTypes is the EdgeTypes of a Broadcast edge.
type BroadcastTypes[T any] struct{ Types[T] }

func (t BroadcastTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ToAll(w)
}

// TurnTypes is the EdgeTypes of RoundRobin and Local edges.
type TurnTypes[T any] struct{ Types[T] }

func (t TurnTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.InTurn(w, c.subtask)
}

// GlobalTypes is the EdgeTypes of a Global edge.
type GlobalTypes[T any] struct{ Types[T] }

func (t GlobalTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ToOne(w, 0)
}

// RandomTypes is the EdgeTypes of a Random edge.
type RandomTypes[T any] struct {
	Types[T]
	Seed uint64
}

func (t RandomTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.AtRandom(w, rand.New(rand.NewPCG(t.Seed, uint64(c.subtask))))
}

// CustomTypes is the EdgeTypes of a Custom edge.
type CustomTypes[T any] struct {
	Types[T]
	Pick func(v T, n int) int
}

func (t CustomTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ByFunction(w, t.Pick, func(got int) error { return badPick(c.step, got, len(c.edges)) })
}

// badPick is the error of a partition function behind a step that gives a subtask which is none of n.
func badPick(step string, got, n int) error {
	return fmt.Errorf("runtime: the partition function behind step %q gives subtask %d for a record, want one in [0,%d)", step, got, n)
}

// KeyedTypes is the EdgeTypes of a Hash edge: records of type T partitioned by a key of type K.
type KeyedTypes[T any, K comparable] struct {
	Types[T]
	Key func(T) K
	// NewHash makes a hash function for one goroutine; the hash of a key is the same in every process, for ever.
	NewHash func() func(K) uint64
}

func (t KeyedTypes[T, K]) newEdge(q *exchange.Queue, channel int) any {
	e := exchange.NewEdge[T](q, channel)
	e.Keyed(func(v T) string { return fmt.Sprint(t.Key(v)) })
	return e
}

func (t KeyedTypes[T, K]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ByKey(w, t.Key, t.NewHash(), c.maxParallelism)
}

package runtime

import (
	"context"
	"fmt"

	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// EdgeTypes is what an edge does that depends on the type of its records. Values travel as any once per edge and subtask, when a task is
// built.
type EdgeTypes interface {
	// Combine makes one func(T) error that calls each of outs.
	Combine(outs []any) any
	newEdge(q *exchange.Queue, channel int) any
	attach(edge any, c *operators.Context, push any, prefetch func(hashes []uint64)) error
	// newWriter makes the writer over the edges to all receivers and its func(T) error.
	newWriter(w writerConfig) (exchange.Output, any)
}

type writerConfig struct {
	ctx            context.Context
	context        *operators.Context
	edges          []any
	maxParallelism int
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
	return exchange.NewWriter(c.ctx, c.context, edges)
}

func (t Types[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	if len(c.edges) == 1 {
		return w, exchange.ToOne(w, 0)
	}
	return w, exchange.Rebalance(w)
}

// BroadcastTypes is the EdgeTypes of a Broadcast edge.
type BroadcastTypes[T any] struct{ Types[T] }

func (t BroadcastTypes[T]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ToAll(w)
}

// KeyedTypes is the EdgeTypes of a Hash edge: records of type T partitioned by a key of type K.
type KeyedTypes[T any, K comparable] struct {
	Types[T]
	Key func(T) K
	// NewHash makes a hash function for one goroutine; the hash of a key is the same in every process, for ever.
	NewHash func() func(K) uint64
}

func (t KeyedTypes[T, K]) newWriter(c writerConfig) (exchange.Output, any) {
	w := t.writer(c)
	return w, exchange.ByKey(w, t.Key, t.NewHash(), c.maxParallelism)
}

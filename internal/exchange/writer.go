package exchange

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/internal/exchange/wire"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// Output is the sending side of an exchange with its record type erased: what a task does to it besides sending records.
type Output interface {
	// Flush sends the batches that have records.
	Flush() error
	// Control sends a control element to every receiver, after all records sent so far.
	Control(c Control) error
	// Barrier sends a barrier to every receiver, after all records sent so far, and announces it: from due on the receivers need not wait
	// until they have come to it. It does not wait for credit, unless several barriers are on their way already.
	Barrier(c Control, due time.Time) error
	// BlockedNanos is the time this output has waited for credit, in ns; any goroutine may ask.
	BlockedNanos() int64
	// Waiting is the wait for credit that goes on: on which receiver and since when; any goroutine may ask.
	Waiting() (receiver int, since time.Time, ok bool)
	// Records is the number of records sent in complete batches; any goroutine may ask.
	Records() int64
	// WhileWaiting has f called, again and again while it reports that there is more, in place of waiting for credit. f runs within the call that
	// waits, in the middle of a record: it must not send anything. Its error is that of the call.
	WhileWaiting(f func() (more bool, err error))
}

// Writer sends the records of one subtask to the subtasks of the next step.
type Writer[T any] struct {
	ctx     context.Context
	context *operators.Context
	edges   []*Edge[T]
	open    []*batch[T]
	blocked waited
	records atomic.Int64
	next    int
	// meanwhile is called while there is no credit; nil for nothing.
	meanwhile func() (more bool, err error)
	alarm     *Alarm // of the sending task
}

// NewWriter makes the writer over one edge per receiver. Waiting for credit ends with ctx.
func NewWriter[T any](ctx context.Context, c *operators.Context, edges []*Edge[T]) *Writer[T] {
	return &Writer[T]{ctx: ctx, context: c, edges: edges, open: make([]*batch[T], len(edges)), alarm: &Alarm{}}
}

// Heed has the writer give batches beyond the credit while a, the alarm of the sending task, is raised. By default there is none.
func (w *Writer[T]) Heed(a *Alarm) { w.alarm = a }

// add puts v into the open batch of receiver r.
func (w *Writer[T]) add(r int, v T, hash uint64) error {
	b := w.open[r]
	if b == nil {
		var err error
		if b, err = w.take(r); err != nil {
			return err
		}
		b.at = w.context.At
		w.open[r] = b
	}
	b.values = append(b.values, v)
	b.ts = append(b.ts, w.context.TimestampMS)
	b.hash = append(b.hash, hash)
	if len(b.values) == w.edges[r].size {
		return w.put(r)
	}
	return nil
}

// take returns a free batch of the edge to receiver r.
func (w *Writer[T]) take(r int) (*batch[T], error) {
	return w.edges[r].take(w.ctx, &w.blocked, r, w.meanwhile, w.alarm)
}

// put sends the open batch of receiver r. The queue has room for every batch of every edge, so this never waits.
func (w *Writer[T]) put(r int) error {
	b, e := w.open[r], w.edges[r]
	w.open[r] = nil
	w.records.Add(int64(len(b.values)))
	if e.out != nil {
		return e.ship(b)
	}
	e.queue.C <- b
	return nil
}

// ByKey returns the function that sends each record to the owner of its key group.
func ByKey[T any, K comparable](w *Writer[T], key func(T) K, hash func(K) uint64, maxParallelism int) func(T) error {
	n := len(w.edges)
	owner := make([]int, maxParallelism)
	for g := range owner {
		owner[g] = state.SubtaskOf(g, n, maxParallelism)
	}
	return func(v T) error {
		h := hash(key(v))
		return w.add(owner[state.GroupOf(h, maxParallelism)], v, h)
	}
}

// Rebalance returns the function that sends records to the receivers in turn, a batch to each. first is where it begins, modulo their number:
// many senders that all begin with the same receiver would load it with all that is little.
func Rebalance[T any](w *Writer[T], first int) func(T) error {
	w.next = first % len(w.edges)
	return func(v T) error {
		r := w.next
		if err := w.add(r, v, w.context.KeyHash); err != nil {
			return err
		}
		if w.open[r] == nil {
			w.next = (r + 1) % len(w.edges)
		}
		return nil
	}
}

// ToOne returns the function that sends every record to one receiver.
func ToOne[T any](w *Writer[T], receiver int) func(T) error {
	return func(v T) error { return w.add(receiver, v, w.context.KeyHash) }
}

// ToAll returns the function that sends every record to every receiver.
func ToAll[T any](w *Writer[T]) func(T) error {
	return func(v T) error {
		for r := range w.edges {
			if err := w.add(r, v, w.context.KeyHash); err != nil {
				return err
			}
		}
		return nil
	}
}

// Flush implements Output.
func (w *Writer[T]) Flush() error {
	for r, b := range w.open {
		if b != nil {
			if err := w.put(r); err != nil {
				return err
			}
			w.next = (r + 1) % len(w.edges)
		}
	}
	return nil
}

// Control implements Output.
func (w *Writer[T]) Control(c Control) error {
	for r := range w.edges {
		b := w.open[r]
		if b == nil {
			var err error
			if b, err = w.take(r); err != nil {
				return err
			}
			b.at = w.context.At
			w.open[r] = b
		}
		b.ctl = c
		if err := w.put(r); err != nil {
			return err
		}
	}
	return nil
}

// Barrier implements Output.
func (w *Writer[T]) Barrier(c Control, due time.Time) error {
	for r, e := range w.edges {
		b := w.open[r]
		if b == nil {
			if b = e.within(); b == nil {
				b = e.lend(wire.Barrier, spareBarriers)
			}
			if b == nil {
				var err error
				if b, err = w.take(r); err != nil {
					return err
				}
			}
			b.at = w.context.At
			w.open[r] = b
		}
		b.ctl = c
		b.announced, b.dueNanos = true, int64(time.Until(due))
		if err := w.put(r); err != nil {
			return err
		}
	}
	// Behind all of them: who hears of the barrier finds it in the queue, as far as this sender is concerned. In another process the batch announces it.
	for _, e := range w.edges {
		if e.out == nil {
			e.queue.Announce(c.Value, due)
		}
	}
	return nil
}

// BlockedNanos implements Output.
func (w *Writer[T]) BlockedNanos() int64 { return w.blocked.nanos() }

// Waiting implements Output.
func (w *Writer[T]) Waiting() (receiver int, since time.Time, ok bool) { return w.blocked.now() }

// Records implements Output.
func (w *Writer[T]) Records() int64 { return w.records.Load() }

// WhileWaiting implements Output.
func (w *Writer[T]) WhileWaiting(f func() (more bool, err error)) { w.meanwhile = f }

// holdsPointers reports whether values of T keep other objects alive, so that returned batches must be cleared.
func holdsPointers[T any]() bool { return typeHoldsPointers(reflect.TypeFor[T]()) }

func typeHoldsPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return false
	case reflect.Array:
		return t.Len() > 0 && typeHoldsPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if typeHoldsPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return true
}

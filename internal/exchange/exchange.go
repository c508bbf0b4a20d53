// Package exchange moves records between tasks: pooled typed batches over one queue per receiving task, within a process or between two (Link).
//
// An edge connects one sending subtask with one receiving subtask. It owns a few batches; those that are free are the sender's
// credit. A sender fills a batch, puts it into the receiver's queue and takes the next free one; with none free it waits, which
// is the backpressure. The queue has room for the credit of all its edges, so a put never waits and one slow edge never blocks
// another. Nothing is allocated once every batch of an edge exists.
//
// Control elements (watermark, barrier, end of input) are the tail of a batch: they close it and travel with it, so they never
// overtake records. A receiver that aligns a barrier holds the deliveries of the inputs it waits not for: their credit stays away from
// their senders, which bounds what is held.
//
// A barrier may be announced to the receiver ahead of its arrival (Queue.Announce). A receiver that takes a checkpoint before it has come to the
// barrier stores the records in front of it (Delivery.Record); a restore gives them back (Replay).
package exchange

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/exchange/wire"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

const (
	// BatchRecords is the largest number of records in a batch, and batchBytes the largest size of their fixed parts.
	// Source: measurements; 256 records cost 7.4 ns a record, larger batches gain nothing.
	BatchRecords = 256
	batchBytes   = 64 << 10
	// prefetchRecords is the number of records whose state is fetched ahead: enough for the misses to overlap, few enough to stay in the
	// nearest cache.
	prefetchRecords = 64
	// Credits is the number of batches of an edge: enough to keep both ends busy, and the bound of what waits behind a barrier.
	Credits = 4
	// overdraft is the number of batches beyond the credit that a sender gets while its task's alarm is raised, and spareBarriers of those without
	// records that carry a barrier when there is no credit. Two: one of a checkpoint that was given up may still be on its way.
	overdraft     = Credits
	spareBarriers = 2
)

// Kind is the kind of a control element.
type Kind uint8

// The kinds of control elements.
const (
	None        Kind = iota
	Watermark        // Value: Unix ms
	Idle             // Value: 1 idle, 0 active
	Barrier          // Value: checkpoint id
	BarrierStop      // Value: checkpoint id; the job stops after it
	End              // no record follows
)

// Control is the control element at the tail of a batch.
type Control struct {
	Kind  Kind
	Value int64
}

// Delivery is a batch in a queue, its type erased once per batch.
type Delivery interface {
	// Channel is the index of the sender among the inputs of the receiving task.
	Channel() int
	// Len is the number of records.
	Len() int
	// Key is the hash of the key of record i, in [0, Len()); keyed is false where the edge does not partition by key.
	Key(i int) (hash uint64, keyed bool)
	// KeyText is the key of record i as text, empty where the edge does not partition by key. It is not cheap.
	KeyText(i int) string
	// Deliver passes the records in [from, to) to the receiver's function, with their times and hashes in the receiver's context. A
	// batch may be delivered in parts, in order.
	Deliver(from, to int) error
	// Record appends the records from index from on to dst, for Replay. The edge has a codec. On an error dst is of no use.
	Record(dst []byte, from int) ([]byte, error)
	// Control is the element after the records.
	Control() Control
	// Release gives the batch back to its sender. The delivery must not be used afterwards.
	Release()
}

// Queue is the input of one task: many senders, one receiver.
type Queue struct {
	C chan Delivery
	// Alarm is that of the receiver.
	Alarm *Alarm
	// Bound is the number of batches that wait at most while no alarm is raised.
	Bound int
	notes notes
}

// NewQueue makes a queue for the given number of edges.
func NewQueue(edges int) *Queue {
	return &Queue{C: make(chan Delivery, edges*(Credits+overdraft+spareBarriers)), Bound: edges * Credits,
		Alarm: &Alarm{wake: make(chan struct{}, 1)}}
}

type batch[T any] struct {
	values []T
	ts     []int64
	hash   []uint64
	at     connectors.Coordinates
	ctl    Control
	// announced says that ctl is a barrier of which the receiver is told, dueNanos in how many ns from now it is due; only for another process.
	announced bool
	dueNanos  int64
	lent      wire.Lent // why it is in circulation: wire.Credit, or beyond the credit
	edge      *Edge[T]
}

func (b *batch[T]) Channel() int     { return b.edge.channel }
func (b *batch[T]) Len() int         { return len(b.values) }
func (b *batch[T]) Control() Control { return b.ctl }

func (b *batch[T]) Key(i int) (hash uint64, keyed bool) { return b.hash[i], b.edge.keyText != nil }

func (b *batch[T]) KeyText(i int) string {
	if b.edge.keyText == nil {
		return ""
	}
	return b.edge.keyText(b.values[i])
}

func (b *batch[T]) Deliver(from, to int) error {
	b.edge.context.At = b.at
	if b.edge.prefetch == nil || len(b.values) < prefetchRecords/8 {
		return b.deliver(from, to)
	}
	for from < to {
		end := min(from-from%prefetchRecords+prefetchRecords, len(b.values))
		if from%prefetchRecords == 0 {
			b.edge.prefetch(b.hash[from:end])
		}
		end = min(end, to)
		if err := b.deliver(from, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// deliver passes on the records in [from, to).
func (b *batch[T]) deliver(from, to int) error {
	c, push := b.edge.context, b.edge.push
	for i := from; i < to; i++ {
		c.TimestampMS = b.ts[i]
		c.KeyHash = b.hash[i]
		if err := push(b.values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch[T]) Release() {
	if b.lent != wire.Credit {
		b.edge.lent[b.lent].Add(-1)
		return
	}
	b.empty()
	b.edge.free <- b
}

// empty makes b ready for other records.
func (b *batch[T]) empty() {
	if b.edge.pointers {
		clear(b.values)
	}
	b.values, b.ts, b.hash = b.values[:0], b.ts[:0], b.hash[:0]
	b.ctl, b.announced, b.lent = Control{}, false, wire.Credit
}

// Edge connects one sender with one receiver. The sender's half is used by the sending task's goroutine, the receiver's by the
// receiving task's.
type Edge[T any] struct {
	channel  int
	queue    *Queue
	free     chan *batch[T]
	made     int
	size     int
	pointers bool
	lent     [wire.Lents]atomic.Int32 // batches beyond the credit that are in circulation
	codec    serde.Serde[T]           // nil: nothing is ever recorded or sent to another process
	// out or in is set for one end of an edge to another process; within a process both are nil.
	out *outlet[T]
	in  *inlet[T]

	context  *operators.Context
	push     func(T) error
	prefetch func(hashes []uint64)
	keyText  func(T) string
}

// NewEdge makes the edge that is input channel of the receiver with the given queue.
func NewEdge[T any](q *Queue, channel int) *Edge[T] {
	var zero T
	size := BatchRecords
	if s := int(unsafe.Sizeof(zero)); s > 0 {
		size = max(1, min(size, batchBytes/s))
	}
	return &Edge[T]{channel: channel, queue: q, free: make(chan *batch[T], Credits), size: size, pointers: holdsPointers[T]()}
}

// Attach gives the edge the receiver's context and function. It is called before anything is sent.
func (e *Edge[T]) Attach(c *operators.Context, push func(T) error) { e.context, e.push = c, push }

// Prefetch has f called with the hashes of the next records before they are delivered, a part of a batch at a time.
func (e *Edge[T]) Prefetch(f func(hashes []uint64)) { e.prefetch = f }

// SetCodec has the records of the edge recorded by c.
func (e *Edge[T]) SetCodec(c serde.Serde[T]) { e.codec = c }

// Keyed says that the edge partitions by key, and how the key of a record reads.
func (e *Edge[T]) Keyed(text func(T) string) { e.keyText = text }

// waited is the time that a writer has waited for credit, with the wait that goes on now: a task that is stuck shows.
type waited struct {
	mu    sync.Mutex
	total time.Duration // of the waits that have ended
	since time.Time     // begin of the wait that goes on; zero: none
	on    int           // the receiver that has all batches, of the wait that goes on
}

func (w *waited) begin(receiver int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since, w.on = time.Now(), receiver
}

func (w *waited) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total += time.Since(w.since)
	w.since = time.Time{}
}

func (w *waited) nanos() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := w.total
	if !w.since.IsZero() {
		total += time.Since(w.since)
	}
	return int64(total)
}

// now is the wait that goes on: for which receiver and since when.
func (w *waited) now() (receiver int, since time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.on, w.since, !w.since.IsZero()
}

// take returns a free batch; it waits for one until ctx ends, and counts the time waited in blocked. receiver is where e leads. While there is
// none it calls meanwhile, if it is not nil and as long as that reports that there is more to do. While the alarm is raised it does not wait, up to
// the overdraft.
func (e *Edge[T]) take(ctx context.Context, blocked *waited, receiver int, meanwhile func() (bool, error), alarm *Alarm) (*batch[T], error) {
	if b := e.within(); b != nil {
		return b, nil
	}
	blocked.begin(receiver)
	defer blocked.end()
	wake := alarm.C()
	for more := meanwhile != nil; ; {
		if alarm.Answering || alarm.Raised() {
			if b := e.lend(wire.Records, overdraft); b != nil {
				return b, nil
			}
			wake = nil // nothing is left to be had by it
		}
		if more {
			var err error
			if more, err = meanwhile(); err != nil {
				return nil, err
			}
			select {
			case b := <-e.free:
				return e.given(b), nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			default:
				continue
			}
		}
		select {
		case b := <-e.free:
			return e.given(b), nil
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// within returns a batch within the credit, nil if there is none now.
func (e *Edge[T]) within() *batch[T] {
	select {
	case b := <-e.free:
		return e.given(b)
	default:
	}
	if e.made == Credits {
		return nil
	}
	e.made++
	return e.newBatch(e.size)
}

func (e *Edge[T]) newBatch(size int) *batch[T] {
	if e.out != nil && e.out.only != nil {
		return e.out.only
	}
	b := e.makeBatch(size)
	if e.out != nil {
		e.out.only = b
	}
	return b
}

func (e *Edge[T]) makeBatch(size int) *batch[T] {
	return &batch[T]{values: make([]T, 0, size), ts: make([]int64, 0, size), hash: make([]uint64, 0, size), edge: e}
}

// lend returns a batch beyond the credit, nil if bound of them are in circulation. It is gone when it is released.
func (e *Edge[T]) lend(why wire.Lent, bound int32) *batch[T] {
	if e.lent[why].Load() >= bound {
		return nil
	}
	e.lent[why].Add(1)
	size := 0
	if why == wire.Records || e.out != nil { // the one of an outlet serves for all
		size = e.size
	}
	b := e.newBatch(size)
	b.lent = why
	return b
}

package dynamodb

import (
	"container/heap"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// op is one write of one item.
type op[T any] struct {
	key     string // encoded primary key
	value   T      // the record, for a dead letter
	meta    connectors.Meta
	item    map[string]types.AttributeValue // all attributes; of a plain delete the key only
	del     bool                            // a plain delete
	version attr.Number                     // set if versions are compared
	bytes   int                             // upper bound of its size on the wire
	units   float64                         // estimate of its cost
	since   time.Time                       // when it was handed over
	tries   int                             // failed attempts
}

// lane is the queue of one key: at most one write in flight, and the latest one waiting.
type lane[T any] struct {
	key      string
	waiting  *op[T]
	inFlight *op[T]
	// notBefore and tries slow one key alone; a newer version inherits them.
	notBefore time.Time
	tries     int
	queued    bool
}

// added says what became of a write.
type added int

const (
	queued added = iota
	replaced
	// superseded says that the write was dropped because one of the same or a newer version is buffered.
	superseded
)

// batch is one call.
type batch[T any] struct {
	ops   []*op[T]
	units float64
	epoch int // of the window, when it was sent
	sent  time.Time
}

// core decides which writes go out when. It has no clock, goroutine or lock; time comes with each call.
//
// Contract:
//  1. Of one key, at most one write is in a batch that has not been finished.
//  2. A write is forgotten only when it was done, refused, or overtaken by a later write of its key.
//  3. With versions, a write is overtaken by an equal or newer version only; without, by any later write.
type core[T any] struct {
	versioned bool
	maxOps    int // of a batch
	maxBytes  int // of a batch, on the wire
	window    window
	bucket    bucket
	random    func() float64 // in [0, 1)

	lanes   map[string]*lane[T]
	ready   deque[*lane[T]]
	delayed delays[T]
	halves  [][]*op[T] // of refused batches, to be sent as they are
	calls   int        // in flight
	bytes   int        // held
	streak  int        // failed calls in a row
	pause   time.Time  // no call before this
}

func newCore[T any](versioned bool) *core[T] {
	return &core[T]{versioned: versioned, lanes: map[string]*lane[T]{}}
}

// empty says that nothing waits and nothing is in flight.
func (c *core[T]) empty() bool { return len(c.lanes) == 0 }

// add takes a write.
func (c *core[T]) add(o *op[T]) added {
	l := c.lanes[o.key]
	if l == nil {
		l = &lane[T]{key: o.key}
		c.lanes[o.key] = l
	}
	if c.versioned && (l.waiting != nil && o.version.Cmp(l.waiting.version) <= 0 || l.inFlight != nil && o.version.Cmp(l.inFlight.version) <= 0) {
		return superseded
	}
	c.bytes += o.bytes
	was := l.waiting
	l.waiting = o
	if was != nil {
		c.bytes -= was.bytes
		o.since = was.since // the key has waited since then
		return replaced
	}
	if l.inFlight == nil {
		c.enqueue(l, false)
	}
	return queued
}

// enqueue puts a lane into the queue it belongs to.
func (c *core[T]) enqueue(l *lane[T], front bool) {
	if l.queued {
		return
	}
	l.queued = true
	switch {
	case !l.notBefore.IsZero():
		heap.Push(&c.delayed, l)
	case front:
		c.ready.pushFront(l)
	default:
		c.ready.pushBack(l)
	}
}

// next returns the batch to send now. Without one, wait is how long until there may be one, or 0 if only an event can change that.
func (c *core[T]) next(now time.Time) (b *batch[T], wait time.Duration) {
	if c.calls >= c.window.calls() {
		return nil, 0
	}
	if now.Before(c.pause) {
		return nil, c.pause.Sub(now)
	}
	for len(c.delayed) > 0 && !now.Before(c.delayed[0].notBefore) {
		l := heap.Pop(&c.delayed).(*lane[T])
		l.notBefore = time.Time{}
		c.ready.pushFront(l)
	}
	ops, wait := c.gather(now)
	if ops == nil {
		if wait == 0 && len(c.delayed) > 0 {
			wait = c.delayed[0].notBefore.Sub(now)
		}
		return nil, wait
	}
	b = &batch[T]{ops: ops, epoch: c.window.epoch, sent: now}
	for _, o := range ops {
		b.units += o.units
	}
	c.bucket.take(b.units)
	c.calls++
	return b, 0
}

// gather takes the writes of one batch out of the queues, as far as the bucket allows.
func (c *core[T]) gather(now time.Time) (ops []*op[T], wait time.Duration) {
	if n := len(c.halves); n > 0 {
		half := c.halves[n-1]
		units := 0.0
		for _, o := range half {
			units += o.units
		}
		if wait := c.bucket.wait(units, now); wait > 0 {
			return nil, wait
		}
		c.halves = c.halves[:n-1]
		return half, 0
	}
	bytes, units := 0, 0.0
	for len(ops) < c.maxOps && c.ready.len() > 0 {
		l := c.ready.front()
		o := l.waiting
		if len(ops) > 0 && bytes+o.bytes > c.maxBytes {
			break
		}
		if w := c.bucket.wait(o.units, now); w > 0 && len(ops) == 0 {
			return nil, w
		}
		if len(ops) > 0 && !c.bucket.holds(units+o.units) {
			break
		}
		c.ready.popFront()
		l.queued, l.waiting, l.inFlight = false, nil, o
		bytes, units, ops = bytes+o.bytes, units+o.units, append(ops, o)
	}
	return ops, 0
}

// answer is how a call went, in sorted writes: each write of the batch is in exactly one list.
type answer[T any] struct {
	done    []*op[T]
	retry   []*op[T]
	refused bool // the batch as a whole, for good: ops are in none of the lists
	// slow says whose fault a retry is.
	slow slowness
	// counted are the units that the service counted; -1 if unknown.
	counted float64
}

type slowness int

const (
	nobody slowness = iota
	// oneKey is slowed alone: a hot key range, or single unprocessed items.
	oneKey
	// table is overloaded: fewer calls, and a pause.
	table
	// outage says that the call failed without a word about load: a pause.
	outage
)

// finish takes the answer to a batch. It returns the writes that no batch will ever take.
func (c *core[T]) finish(b *batch[T], a answer[T], now time.Time) (poison []*op[T]) {
	c.calls--
	c.pace(b, a, now)
	if a.refused {
		return c.split(b.ops)
	}
	for _, o := range a.done {
		c.settle(o)
	}
	for _, o := range a.retry {
		c.retry(o, a.slow, now)
	}
	return nil
}

// pace adapts window, bucket and pause to an answer.
func (c *core[T]) pace(b *batch[T], a answer[T], now time.Time) {
	if a.counted >= 0 {
		// Units of throttled writes are not given back: the service has fewer than the bucket thought.
		estimate := 0.0
		for _, o := range a.done {
			estimate += o.units
		}
		if a.refused {
			estimate = b.units
		}
		c.bucket.correct(estimate, a.counted)
	}
	switch a.slow {
	case table:
		c.window.throttle(b.epoch)
	case outage:
	default:
		c.streak = 0
		if len(a.retry) == 0 {
			c.window.success(c.calls + 1)
		}
		return
	}
	// A call that was sent before the pause began knows nothing new.
	if b.sent.Before(c.pause) {
		return
	}
	c.streak++
	c.pause = now.Add(backoff(c.streak, c.random()))
}

// settle forgets a write that is done.
func (c *core[T]) settle(o *op[T]) {
	c.bytes -= o.bytes
	l := c.lanes[o.key]
	l.inFlight, l.tries = nil, 0
	if l.waiting == nil {
		delete(c.lanes, o.key)
		return
	}
	c.enqueue(l, false)
}

// retry puts a write back, unless a later one of its key waits: that one takes its place.
func (c *core[T]) retry(o *op[T], why slowness, now time.Time) {
	l := c.lanes[o.key]
	l.inFlight = nil
	l.tries++
	if l.waiting == nil {
		o.tries++
		l.waiting = o
	} else {
		l.waiting.tries = o.tries + 1
		l.waiting.since = o.since
		c.bytes -= o.bytes
	}
	if why == oneKey {
		l.notBefore = now.Add(backoff(l.tries, c.random()))
	}
	c.enqueue(l, true)
}

// split halves a refused batch until the item at fault is alone: that one is returned.
func (c *core[T]) split(ops []*op[T]) (poison []*op[T]) {
	if len(ops) == 1 {
		c.settle(ops[0])
		return ops
	}
	c.halves = append(c.halves, ops[len(ops)/2:], ops[:len(ops)/2])
	return nil
}

// oldest is the write that has waited longest, for messages; nil when empty.
func (c *core[T]) oldest() *op[T] {
	var out *op[T]
	for _, l := range c.lanes {
		for _, o := range []*op[T]{l.inFlight, l.waiting} {
			if o != nil && (out == nil || o.since.Before(out.since)) {
				out = o
			}
		}
	}
	return out
}

// delays is a heap of lanes by notBefore.
type delays[T any] []*lane[T]

// Len is part of heap.Interface.
func (d delays[T]) Len() int { return len(d) }

// Less is part of heap.Interface. Lanes that are due together keep the order of their keys, so that a script has one outcome.
func (d delays[T]) Less(i, j int) bool {
	if !d[i].notBefore.Equal(d[j].notBefore) {
		return d[i].notBefore.Before(d[j].notBefore)
	}
	return d[i].key < d[j].key
}

// Swap is part of heap.Interface.
func (d delays[T]) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push is part of heap.Interface.
func (d *delays[T]) Push(x any) { *d = append(*d, x.(*lane[T])) }

// Pop is part of heap.Interface.
func (d *delays[T]) Pop() any {
	old := *d
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return x
}

// deque is a queue with two ends, in a ring.
type deque[E any] struct {
	ring        []E
	head, count int
}

func (d *deque[E]) len() int { return d.count }

func (d *deque[E]) front() E { return d.ring[d.head] }

func (d *deque[E]) grow() {
	if d.count < len(d.ring) {
		return
	}
	ring := make([]E, max(16, 2*len(d.ring)))
	n := copy(ring, d.ring[d.head:])
	copy(ring[n:], d.ring[:d.head])
	d.ring, d.head = ring, 0
}

func (d *deque[E]) pushBack(e E) {
	d.grow()
	d.ring[(d.head+d.count)%len(d.ring)] = e
	d.count++
}

func (d *deque[E]) pushFront(e E) {
	d.grow()
	d.head = (d.head + len(d.ring) - 1) % len(d.ring)
	d.ring[d.head] = e
	d.count++
}

func (d *deque[E]) popFront() E {
	var zero E
	e := d.ring[d.head]
	d.ring[d.head] = zero
	d.head = (d.head + 1) % len(d.ring)
	d.count--
	return e
}

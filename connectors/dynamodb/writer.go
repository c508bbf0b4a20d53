package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
	"github.com/millrace-io/millrace/internal/crash"
)

// callsFirst is the window of concurrent calls that a writer starts with.
const callsFirst = 8

// writer carries the decisions of core out. The task's goroutine hands writes over; each call runs on a goroutine of its own, and whoever
// changes the core sends what it then allows: no write waits for a timer while a slot is free.
type writer[T any] struct {
	o      Options[T]
	c      connectors.WriterContext
	m      metrics
	cancel context.CancelFunc
	ctx    context.Context // of all calls
	calls  sync.WaitGroup
	// event holds a token when something was finished. The task's goroutine is the only one that waits for it.
	event chan struct{}

	mu     sync.Mutex // guards all below; never held during a call
	core   *core[T]
	dead   []connectors.DeadLetter // to be handed over by the task's goroutine
	failed error                   // ends the writer
	last   error                   // of the latest call that is repeated, for messages
	timer  *time.Timer
	closed bool
}

func newWriter[T any](o Options[T], c connectors.WriterContext) *writer[T] {
	w := &writer[T]{o: o, c: c, m: newMetrics(c.Metrics), core: newCore[T](o.Version != ""), event: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(c.Ctx)
	k := w.core
	k.random = rand.Float64
	k.maxOps, k.maxBytes = batchItemsMax, batchBytesMax
	if k.versioned {
		k.maxOps = 1
	}
	k.window = newWindow(callsFirst, o.CallsMax)
	if wcu := o.Capacity.wcu; wcu > 0 {
		k.bucket.rate = wcu / float64(max(1, c.Parallelism))
	}
	return w
}

// Write takes one record; it waits while the buffer is full.
func (w *writer[T]) Write(v T, m connectors.Meta) error {
	o, err := w.prepare(v, m)
	if err != nil {
		return w.refuse(v, m, nil, err)
	}
	if err := w.await(w.c.Ctx, func() bool { return w.core.bytes == 0 || w.core.bytes+o.bytes <= w.o.BufferBytesMax }); err != nil {
		return err
	}
	w.mu.Lock()
	o.since = time.Now()
	if w.core.add(o) != queued {
		w.m.superseded.Inc()
	}
	w.pump()
	w.mu.Unlock()
	return w.deliver()
}

// prepare makes the write of a record and checks all that can be checked here.
func (w *writer[T]) prepare(v T, m connectors.Meta) (*op[T], error) {
	item, err := w.o.Item(v)
	if err != nil {
		return nil, err
	}
	o := &op[T]{value: v, meta: m, item: item}
	if o.key, err = encodeKey(item, w.o.Key); err != nil {
		return nil, err
	}
	if w.o.Version != "" {
		n, ok := item[w.o.Version].(*types.AttributeValueMemberN)
		if !ok {
			return nil, fmt.Errorf("version attribute %q is %T, want a number", w.o.Version, item[w.o.Version])
		}
		if o.version, err = attr.ParseNumber(n.Value); err != nil {
			return nil, fmt.Errorf("version attribute %q: %w", w.o.Version, err)
		}
	}
	if w.o.Delete != nil && w.o.Delete(v) {
		w.toDelete(o)
	}
	size, err := measureItem(o.item, 0)
	if err != nil {
		return nil, err
	}
	if size.stored > itemBytesMax {
		return nil, fmt.Errorf("item has %d bytes, the service takes at most %d", size.stored, itemBytesMax)
	}
	o.bytes = size.wire + 64
	o.units = float64(max(1, (size.stored+writeUnit-1)/writeUnit))
	return o, nil
}

// toDelete turns a write into a delete, or into a tombstone when versions are compared.
func (w *writer[T]) toDelete(o *op[T]) {
	keep := map[string]types.AttributeValue{}
	for _, k := range w.o.Key {
		keep[k] = o.item[k]
	}
	if w.o.Version == "" {
		o.del = true
	} else {
		keep[w.o.Version] = o.item[w.o.Version]
		keep[w.o.Tombstone] = &types.AttributeValueMemberBOOL{Value: true}
	}
	o.item = keep
}

// await waits until done holds, the writer fails or ctx ends. Dead letters are handed over meanwhile: they may be what it waits for.
func (w *writer[T]) await(ctx context.Context, done func() bool) error {
	for {
		if err := w.deliver(); err != nil {
			return err
		}
		w.mu.Lock()
		err, ok := w.failed, done()
		w.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-w.event:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pump sends what the core allows now and sets the timer for what it allows later. The caller holds mu.
func (w *writer[T]) pump() {
	for w.failed == nil && !w.closed {
		b, wait := w.core.next(time.Now())
		if b == nil {
			w.wake(wait)
			break
		}
		w.calls.Add(1)
		go w.send(b)
	}
	w.m.calls.Set(float64(w.core.calls))
	w.m.buffered.Set(float64(w.core.bytes))
	w.m.window.Set(float64(w.core.window.calls()))
}

// wake sets the timer; the caller holds mu. A timer that fires early only finds that it must wait again.
func (w *writer[T]) wake(after time.Duration) {
	if after <= 0 {
		return
	}
	if w.timer != nil {
		w.timer.Reset(after)
		return
	}
	w.timer = time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pump()
	})
}

func (w *writer[T]) signal() {
	select {
	case w.event <- struct{}{}:
	default:
	}
}

// finish takes the answer of a call in.
func (w *writer[T]) finish(b *batch[T], a answer[T], cause error) {
	w.mu.Lock()
	if cause != nil && !a.refused {
		if w.core.streak == 0 && a.slow != nobody && a.slow != oneKey {
			w.c.Logger.Warn("writes to DynamoDB are held back and repeated", zap.String("uid", w.c.UID), zap.Int("subtask", w.c.Subtask), zap.String("table", w.o.Table), zap.Error(cause))
		}
		w.last = cause
	}
	for _, o := range w.core.finish(b, a, time.Now()) {
		w.dead = append(w.dead, w.letter(o, cause))
	}
	w.pump()
	w.mu.Unlock()
	w.signal()
}

// fail ends the writer with an error that the next method returns.
func (w *writer[T]) fail(err error) {
	w.mu.Lock()
	if w.failed == nil {
		w.failed = err
	}
	w.mu.Unlock()
	w.signal()
}

// letter makes the dead letter of a write.
func (w *writer[T]) letter(o *op[T], cause error) connectors.DeadLetter {
	return w.letterOf(o.value, o.meta, o.item, cause)
}

func (w *writer[T]) letterOf(v T, m connectors.Meta, item map[string]types.AttributeValue, cause error) connectors.DeadLetter {
	d := connectors.DeadLetter{UID: w.c.UID, At: m.At, TimestampMS: m.TimestampMS,
		Reason: fmt.Sprintf("dynamodb: table %q refuses the item for ever: %v", w.o.Table, cause)}
	d.Key = []byte(showKey(item, w.o.Key))
	raw, err := rawOf(w.o.Raw, v, item)
	if err != nil {
		d.Reason += fmt.Sprintf(" (and its bytes cannot be made: %v)", err)
	}
	d.Raw = raw
	return d
}

func rawOf[T any](raw func(T) ([]byte, error), v T, item map[string]types.AttributeValue) ([]byte, error) {
	if raw != nil {
		return raw(v)
	}
	return appendItem(nil, item)
}

// refuse hands a record over that never got as far as a call.
func (w *writer[T]) refuse(v T, m connectors.Meta, item map[string]types.AttributeValue, cause error) error {
	if item == nil {
		// What Item gave may be the very fault; for the letter, whatever it is will do.
		item, _ = w.o.Item(v) //nolint:errcheck // the cause says what is wrong
	}
	w.mu.Lock()
	w.dead = append(w.dead, w.letterOf(v, m, item, cause))
	w.mu.Unlock()
	return w.deliver()
}

// deliver hands dead letters to the host. Only the task's goroutine calls it. A letter that the host refuses ends the writer: no later
// checkpoint may claim that record, nor those behind it.
func (w *writer[T]) deliver() error {
	w.mu.Lock()
	dead := w.dead
	w.dead = nil
	w.mu.Unlock()
	for _, d := range dead {
		w.m.deadLetters.Inc()
		if err := w.c.DeadLetter(d); err != nil {
			w.fail(err)
			return err
		}
	}
	return nil
}

// Idle hands dead letters over. What can be sent was sent when it came.
func (w *writer[T]) Idle() error {
	w.mu.Lock()
	err := w.failed
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.deliver()
}

// Prepare waits until every write before it is done. It returns no committables: what is written is visible.
func (w *writer[T]) Prepare(ctx context.Context, id int64) ([][]byte, error) {
	if err := crash.At(crash.SinkBeforeFlush); err != nil {
		return nil, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, w.o.PrepareTimeout)
	defer cancel()
	stop := context.AfterFunc(w.ctx, cancel)
	defer stop()
	if err := w.await(ctx, func() bool { return w.core.empty() }); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, w.stuck(id, time.Since(start))
		}
		return nil, err
	}
	// The last finished call may have left a dead letter.
	if err := w.deliver(); err != nil {
		return nil, err
	}
	return nil, crash.At(crash.SinkPrepared)
}

// StuckError reports a checkpoint that had to give up waiting for writes.
type StuckError struct {
	Table      string
	Checkpoint int64
	Waited     time.Duration
	Items      int    // not written
	Bytes      int    // of their requests
	Key        string // of the item that waited longest
	Tries      int    // failed attempts of that item
	Last       error  // of the latest call that failed, or nil
}

// Error names the table, what is stuck, since when, and the remedy.
func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dynamodb: checkpoint %d: %d items (%d bytes) of table %q are not written after %v; the oldest, %s, has failed %d times", e.Checkpoint, e.Items, e.Bytes, e.Table, e.Waited, e.Key, e.Tries)
	if e.Last != nil {
		fmt.Fprintf(&b, "; the last answer was: %v", e.Last)
	}
	b.WriteString("; give the table more capacity, or raise Options.PrepareTimeout")
	return b.String()
}

// Unwrap is the error of the latest call that failed.
func (e *StuckError) Unwrap() error { return e.Last }

func (w *writer[T]) stuck(id int64, waited time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &StuckError{Table: w.o.Table, Checkpoint: id, Waited: waited, Bytes: w.core.bytes, Last: w.last}
	for _, l := range w.core.lanes {
		if l.inFlight != nil {
			e.Items++
		}
		if l.waiting != nil {
			e.Items++
		}
	}
	if o := w.core.oldest(); o != nil {
		e.Key, e.Tries = showKey(o.item, w.o.Key), o.tries
	}
	return e
}

// Close ends all calls and waits for their goroutines.
func (w *writer[T]) Close() error {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.cancel()
	w.calls.Wait()
	return nil
}

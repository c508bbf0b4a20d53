package dynamodbstreams

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// reader reads the shards of one subtask. Each shard has a goroutine that fetches (fetch.go) and hands one page at a time over; Poll
// emits from the pages. Positions are the task goroutine's alone.
//
// mu guards ready, err and the hand-over fields of each heldShard; it is never held over a call.
type reader[T any] struct {
	c       connectors.Context
	o       Options[T]
	metrics *metrics

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{}
	// slots bounds the pages that are being fetched or wait.
	slots chan struct{}

	shards map[string]*heldShard // by the task's goroutine only

	mu    sync.Mutex
	ready []*heldShard // with a page or an idle mark, each once
	err   error        // of a fetching goroutine
}

// heldShard is a shard of the reader between the two sides.
type heldShard struct {
	id  string
	pos position // after the last record passed; the task's goroutine only

	// guarded by reader.mu
	page   *page
	idle   bool
	queued bool
	// quietMS: every record created before was read; 0: nothing is known.
	quietMS int64

	handed bool // a page was ever handed over; the fetching goroutine only
	// taken holds a token when the page was emitted whole.
	taken chan struct{}
}

// page is what one GetRecords gave.
type page struct {
	records []types.Record
	next    int  // first record not emitted
	last    bool // the shard ends behind it
	slot    bool // it holds one of reader.slots
	// reopened says that it is from the oldest record on: it may begin with records that were passed.
	reopened bool
}

func newReader[T any](c connectors.Context, o Options[T]) (*reader[T], error) {
	ctx, cancel := context.WithCancel(context.Background())
	return &reader[T]{
		c: c, o: o, metrics: newMetrics(c.Metrics, false), ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), slots: make(chan struct{}, o.PageBuffer), shards: map[string]*heldShard{},
	}, nil
}

// AddSplits implements connectors.Reader.
func (r *reader[T]) AddSplits(splits []connectors.Split) error {
	for _, s := range splits {
		pos, err := decodePosition(s.ID, s.Position)
		if err != nil {
			return err
		}
		if r.shards[s.ID] != nil {
			return fmt.Errorf("dynamodbstreams: shard %q was given to subtask %d twice", s.ID, r.c.Subtask)
		}
		h := &heldShard{id: s.ID, pos: pos, taken: make(chan struct{}, 1)}
		r.shards[s.ID] = h
		f := &fetcher[T]{r: r, h: h, pos: pos}
		r.tasks.Go(f.run)
	}
	r.metrics.held.Set(float64(len(r.shards)))
	return nil
}

// Poll implements connectors.Reader. Shards take turns.
func (r *reader[T]) Poll(out connectors.Output[T], n int) (connectors.Status, error) {
	for n > 0 {
		h, p, idle, err := r.take()
		if err != nil {
			return connectors.Idle, err
		}
		if h == nil {
			return connectors.Idle, nil
		}
		if p == nil {
			if idle {
				out.SplitIdle(h.id)
			}
			continue
		}
		used, err := r.emit(out, h, p, n)
		if err != nil {
			return connectors.Idle, err
		}
		n -= used
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ready) > 0 {
		return connectors.More, nil
	}
	return connectors.Idle, nil
}

// take takes the next shard that has something, or the error of a fetching goroutine. Once a page is set, only the task's goroutine
// takes it away.
func (r *reader[T]) take() (h *heldShard, p *page, idle bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, nil, false, r.err
	}
	if len(r.ready) == 0 {
		return nil, nil, false, nil
	}
	h = r.ready[0]
	r.ready = r.ready[1:]
	h.queued = false
	idle, h.idle = h.idle, false
	return h, h.page, idle, nil
}

// offer puts a shard at the end of the queue. r.mu is held.
func (r *reader[T]) offer(h *heldShard) {
	if !h.queued {
		h.queued = true
		r.ready = append(r.ready, h)
	}
}

func (r *reader[T]) ping() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// emit emits up to n records of the shard's page, and gives the page back when it is through.
func (r *reader[T]) emit(out connectors.Output[T], h *heldShard, p *page, n int) (used int, err error) {
	if p.reopened {
		p.reopened, h.pos.Reopen = false, h.pos.After != ""
	}
	for ; p.next < len(p.records) && used < n; p.next++ {
		passed, err := r.emitOne(out, h, &p.records[p.next])
		if err != nil {
			return used, err
		}
		if !passed {
			used++
		}
	}
	if d := p.records[:p.next]; used > 0 && d[len(d)-1].Dynamodb.ApproximateCreationDateTime != nil {
		r.metrics.lag.Set(float64(max(0, r.c.Now().Sub(*d[len(d)-1].Dynamodb.ApproximateCreationDateTime).Milliseconds())))
	}
	if p.next < len(p.records) {
		r.mu.Lock()
		r.offer(h)
		r.mu.Unlock()
		return used, nil
	}
	if p.last {
		delete(r.shards, h.id)
		r.metrics.held.Set(float64(len(r.shards)))
		if err := out.Finished(h.id); err != nil {
			return used, err
		}
	}
	r.mu.Lock()
	h.page = nil
	r.mu.Unlock()
	if p.slot {
		<-r.slots
	}
	h.taken <- struct{}{}
	return used, nil
}

// emitOne emits one record, or passes over one that is not wanted.
func (r *reader[T]) emitOne(out connectors.Output[T], h *heldShard, rec *types.Record) (passed bool, err error) {
	c, err := changeOf(h.id, rec)
	if err != nil {
		return false, err
	}
	next := position{ARN: h.pos.ARN, After: c.Sequence, SinceMS: h.pos.sinceAfter(c.CreatedMS), Spent: h.pos.Spent}
	if order := compareSequences(c.Sequence, h.pos.After); h.pos.After != "" && order <= 0 {
		if order == 0 || h.pos.Reopen {
			return true, nil // seen before
		}
		return false, fmt.Errorf("dynamodbstreams: shard %q gave sequence number %s after %s: the server breaks the protocol", h.id, c.Sequence, h.pos.After)
	}
	if before(c.CreatedMS, h.pos.FromMS) {
		next.FromMS = h.pos.FromMS
		h.pos = next
		return true, nil
	}
	at := connectors.Coordinates{UID: r.c.UID, Split: h.id, Sequence: c.Sequence}
	v, err := r.decode(c)
	if err != nil {
		h.pos = next
		return false, r.poison(out, rec, c, at, err)
	}
	ts := c.CreatedMS
	if r.o.Timestamp != nil {
		ts = r.o.Timestamp(v, c)
	}
	if err := out.Emit(v, ts, at); err != nil {
		return false, err
	}
	h.pos = next
	return false, nil
}

// before reports whether a record created at createdMS lies before the start. Servers that round to the minute are taken at their
// word: a record of the start's minute may be later than the start.
func before(createdMS, fromMS int64) bool {
	if fromMS == 0 || createdMS == connectors.NoTimestamp {
		return false
	}
	if createdMS%60_000 == 0 {
		fromMS -= fromMS % 60_000
	}
	return createdMS < fromMS
}

// decode calls the user's function; a panic is an error of the record, with its coordinates.
func (r *reader[T]) decode(c Change) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode panicked: %v", p)
		}
	}()
	return r.o.Decode(c)
}

// poison handles a record that Decode refused; the position has moved past it.
func (r *reader[T]) poison(out connectors.Output[T], rec *types.Record, c Change, at connectors.Coordinates, cause error) error {
	if r.o.OnPoison == FailOnPoison {
		return fmt.Errorf("dynamodbstreams: record %v cannot be decoded: %w; mend Decode, or set OnPoison to DeadLetterPoison", at, cause)
	}
	raw, err := rawRecord(rec)
	if err != nil {
		return fmt.Errorf("dynamodbstreams: record %v has no JSON form: %w", at, err)
	}
	key, err := rawItem(c.Keys)
	if err != nil {
		return fmt.Errorf("dynamodbstreams: the key of record %v has no JSON form: %w", at, err)
	}
	return out.DeadLetter(connectors.DeadLetter{UID: r.c.UID, Reason: cause.Error(), At: at, TimestampMS: c.CreatedMS, Key: key, Raw: raw})
}

// Wake implements connectors.Reader.
func (r *reader[T]) Wake() <-chan struct{} { return r.wake }

// Snapshot implements connectors.Reader.
func (r *reader[T]) Snapshot() ([]connectors.Split, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]connectors.Split, 0, len(r.shards))
	for _, id := range sortedKeys(r.shards) {
		h := r.shards[id]
		pos := h.pos
		if h.page == nil {
			pos.SinceMS = max(pos.SinceMS, h.quietMS)
		}
		b, err := pos.encode()
		if err != nil {
			return nil, fmt.Errorf("dynamodbstreams: encode the position of shard %q: %w", id, err)
		}
		out = append(out, connectors.Split{ID: id, Position: b})
	}
	return out, nil
}

// CheckpointCompleted implements connectors.Reader: the service keeps no positions.
func (r *reader[T]) CheckpointCompleted(int64) {}

// Close implements connectors.Reader.
func (r *reader[T]) Close() error {
	r.cancel()
	r.tasks.Wait()
	return nil
}

// fail hands an error of a fetching goroutine to Poll.
func (r *reader[T]) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.ping()
}

// accept decides on a loss: the error that fails the job, or nil when the loss is accepted, logged and counted.
func (r *reader[T]) accept(loss *DataLossError) error {
	if r.o.OnDataLoss == FailOnLoss {
		return loss
	}
	r.metrics.losses.Inc()
	r.c.Logger.Error("skipping lost records", zap.String("uid", r.c.UID), zap.Int("subtask", r.c.Subtask), zap.Error(loss))
	return nil
}

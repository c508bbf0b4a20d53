package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
)

// pending is a record on its way, with what is needed to name it.
type pending[T any] struct {
	rec     kgo.Record
	at      connectors.Coordinates
	p       *producer[T]
	buf     []byte // holds key and value
	id      []byte // holds the value of the DedupeHeader
	headers [1]kgo.RecordHeader
	promise func(*kgo.Record, error) // made once, not once a record
	err     error                    // why it was refused
}

// producer is what both kinds of writer share: encoding, limits, and the outcome of records.
type producer[T any] struct {
	o      SinkOptions[T]
	c      connectors.WriterContext
	m      sinkMetrics
	limits limitTable

	// attention is set when the task's goroutine has something to settle: it is all that a Write costs normally.
	attention atomic.Bool
	mu        sync.Mutex
	free      []*pending[T]
	refused   []*pending[T]
	failed    error // first failure that is not about one record; final
	acked     int64 // records acknowledged since the last take
	witness   witness
}

// witness is the place of one record of a transaction.
type witness struct {
	topic     string
	partition int32
	offset    int64 // -1: none is known
}

func newProducer[T any](o SinkOptions[T], c connectors.WriterContext) *producer[T] {
	p := &producer[T]{o: o, c: c, m: newSinkMetrics(c.Metrics), witness: witness{offset: -1}}
	p.limits.log = c.Logger
	return p
}

// clientOptions are the defaults, which the user's options override, and the fixed ones, which they do not.
func (p *producer[T]) clientOptions(fixed ...kgo.Opt) (defaults, all []kgo.Opt) {
	defaults = []kgo.Opt{
		kgo.ProducerLinger(0), // batches form by themselves while a request is under way
		kgo.MaxBufferedRecords(p.o.BufferRecords),
		kgo.MaxBufferedBytes(p.o.BufferBytes),
	}
	all = []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchMaxBytesFn(p.limits.batchBytes)}
	return defaults, append(all, fixed...)
}

// record encodes v. A record that can never be written is handed over as dead letter, and the result is nil.
func (p *producer[T]) record(cl *kgo.Client, v T, m connectors.Meta) (*pending[T], error) {
	topic := p.o.Topic
	if p.o.TopicOf != nil {
		topic = p.o.TopicOf(v)
	}
	limits, err := p.limits.of(p.c.Ctx, cl, topic)
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", m.At, err)
	}
	r := p.take()
	if err := p.encode(r, v); err != nil {
		return nil, fmt.Errorf("kafka: sink %s cannot encode the record of %s: %w", p.c.UID, m.At, err)
	}
	r.at = m.At
	r.rec.Topic, r.rec.Timestamp = topic, time.Time{}
	if m.TimestampMS != connectors.NoTimestamp {
		r.rec.Timestamp = time.UnixMilli(m.TimestampMS)
	}
	r.rec.Headers = nil
	if p.o.Headers != nil {
		r.rec.Headers = p.o.Headers(v)
	}
	if p.o.Delivery == AtLeastOnce {
		if p.o.DedupeID != nil {
			r.id = append(r.id[:0], p.o.DedupeID(v, m)...)
		} else {
			r.id = appendCoordinates(r.id[:0], m.At)
		}
		h := kgo.RecordHeader{Key: DedupeHeader, Value: r.id}
		if r.rec.Headers == nil {
			r.headers[0] = h
			r.rec.Headers = r.headers[:]
		} else {
			r.rec.Headers = append(r.rec.Headers[:len(r.rec.Headers):len(r.rec.Headers)], h)
		}
	}
	if why := limits.refuse(topic, &r.rec, p.c.Now()); why != "" {
		return nil, p.deadLetter(r, why)
	}
	return r, nil
}

// appendCoordinates is c.String() without an allocation.
func appendCoordinates(b []byte, c connectors.Coordinates) []byte {
	b = append(append(append(append(b, c.UID...), '/'), c.Split...), '@')
	if c.Sequence != "" {
		return append(b, c.Sequence...)
	}
	return strconv.AppendInt(b, c.Offset, 10)
}

// encode writes key and value into the buffer of r, one behind the other.
func (p *producer[T]) encode(r *pending[T], v T) (err error) {
	buf, null, keyed := r.buf[:0], false, false
	if p.o.Key != nil {
		var k []byte
		if k, err = p.o.Key(buf, v); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		if keyed = k != nil; keyed {
			buf = k
		}
	}
	n := len(buf)
	var b []byte
	if p.o.Value != nil {
		b, err = p.o.Value.Append(buf, v)
	} else {
		b, err = p.o.EncodeValue(buf, v)
		null = b == nil
	}
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if null {
		b = buf
	} else if len(b) < n {
		return fmt.Errorf("value: the encoder returned %d bytes after it was given %d to append to", len(b), n)
	}
	r.buf, r.rec.Key, r.rec.Value = b, nil, nil
	if keyed {
		r.rec.Key = b[:n:n]
	}
	if !null {
		r.rec.Value = b[n:]
	}
	return nil
}

func (p *producer[T]) take() *pending[T] {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		r := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return r
	}
	p.mu.Unlock()
	r := &pending[T]{p: p}
	r.promise = r.done
	return r
}

// release gives a record back; large buffers are left to the collector.
func (p *producer[T]) release(r *pending[T]) {
	if cap(r.buf) > 64<<10 {
		r.buf = nil
	}
	r.rec, r.err = kgo.Record{}, nil
	p.free = append(p.free, r)
}

// done takes the outcome of a record; it runs in a goroutine of the client.
func (r *pending[T]) done(rec *kgo.Record, err error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.written(rec)
		p.release(r)
	case isRefusal(err):
		r.err = err
		p.refused = append(p.refused, r)
		p.attention.Store(true)
	default:
		if p.failed == nil {
			p.failed = fmt.Errorf("kafka: sink %s cannot write to topic %q (record of %s): %w", p.c.UID, rec.Topic, r.at, err)
		}
		p.attention.Store(true)
	}
}

// written counts an acknowledged record; p.mu is held.
func (p *producer[T]) written(rec *kgo.Record) {
	p.acked++
	if rec.Offset >= 0 {
		p.witness = witness{topic: rec.Topic, partition: rec.Partition, offset: rec.Offset}
	}
	p.m.records.Inc()
}

// isRefusal reports whether a broker will never take this record, whatever is tried.
func isRefusal(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) ||
		errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}

// failure returns the final failure, if there is one.
func (p *producer[T]) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *producer[T]) fail(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
	p.attention.Store(true)
	return p.failed
}

// takeRefused returns the refused records in the order in which they were refused.
func (p *producer[T]) takeRefused() []*pending[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attention.Store(p.failed != nil)
	r := p.refused
	p.refused = nil
	return r
}

// retry deals with refused records. The client gives up everything it holds of a partition when one batch is refused, so each record is
// tried once more by itself: what is refused then is the culprit. They keep their order among each other; a record that was
// written while the refusal was on its way may come before them.
func (p *producer[T]) retry(ctx context.Context, cl *kgo.Client, refused []*pending[T]) error {
	for _, r := range refused {
		rec := r.rec
		rec.Context = nil
		res := cl.ProduceSync(ctx, &rec)[0]
		switch {
		case res.Err == nil:
			p.m.retried.Inc()
		case !isRefusal(res.Err):
			return p.fail(fmt.Errorf("kafka: sink %s cannot write to topic %q (record of %s, refused before: %v): %w", p.c.UID, rec.Topic, r.at, r.err, res.Err))
		default:
			if err := p.deadLetter(r, res.Err.Error()); err != nil {
				return err
			}
		}
		p.mu.Lock()
		if res.Err == nil {
			p.written(&rec)
		}
		p.release(r)
		p.mu.Unlock()
	}
	return nil
}

func (p *producer[T]) deadLetter(r *pending[T], why string) error {
	ts := int64(connectors.NoTimestamp)
	if !r.rec.Timestamp.IsZero() {
		ts = r.rec.Timestamp.UnixMilli()
	}
	p.m.deadLetters.Inc()
	d := connectors.DeadLetter{UID: p.c.UID, Reason: "kafka: " + why, At: r.at, TimestampMS: ts, Key: r.rec.Key, Raw: r.rec.Value}
	err := fmt.Errorf("kafka: sink %s: record of %s is refused for ever: %s; give the job a consumer of dead letters", p.c.UID, r.at, why)
	if p.c.DeadLetter != nil {
		if err = p.c.DeadLetter(d); err != nil {
			err = fmt.Errorf("kafka: sink %s: record of %s is refused for ever (%s): %w", p.c.UID, r.at, why, err)
		}
	}
	if err != nil {
		return p.fail(err)
	}
	return nil
}

package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
)

// plainWriter writes at least once: asynchronously, with the idempotent producer, flushed at each barrier.
type plainWriter[T any] struct {
	*producer[T]
	cl *kgo.Client
}

func newPlainWriter[T any](o SinkOptions[T], c connectors.WriterContext) (*plainWriter[T], error) {
	w := &plainWriter[T]{producer: newProducer(o, c)}
	defaults, fixed := w.clientOptions()
	cl, err := newClient(o.Brokers, o.Client, c.Logger, defaults, fixed)
	if err != nil {
		return nil, fmt.Errorf("kafka: sink %s: %w", c.UID, err)
	}
	w.cl = cl
	if o.Topic != "" {
		if _, err := w.limits.of(c.Ctx, cl, o.Topic); err != nil {
			cl.Close()
			return nil, fmt.Errorf("kafka: sink %s: %w", c.UID, err)
		}
	}
	return w, nil
}

func (w *plainWriter[T]) Write(v T, m connectors.Meta) error {
	if w.attention.Load() {
		if err := w.settle(w.c.Ctx); err != nil {
			return err
		}
	}
	r, err := w.record(w.cl, v, m)
	if r == nil || err != nil {
		return err
	}
	w.cl.Produce(w.c.Ctx, &r.rec, r.promise)
	return nil
}

func (w *plainWriter[T]) settle(ctx context.Context) error {
	if err := w.retry(ctx, w.cl, w.takeRefused()); err != nil {
		return err
	}
	return w.failure()
}

// Idle has nothing to send: nothing waits for company. Refused records are looked at by the next Write or Prepare, which may wait.
func (w *plainWriter[T]) Idle() error { return w.failure() }

func (w *plainWriter[T]) Prepare(ctx context.Context, id int64) ([][]byte, error) {
	if err := crash.At(crash.SinkBeforeFlush); err != nil {
		return nil, err
	}
	if err := w.cl.Flush(ctx); err != nil {
		return nil, fmt.Errorf("kafka: sink %s: checkpoint %d: %d records are still unacknowledged: %w", w.c.UID, id, w.cl.BufferedProduceRecords(), err)
	}
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	return nil, crash.At(crash.SinkPrepared)
}

func (w *plainWriter[T]) Close() error {
	w.cl.Close()
	return nil
}

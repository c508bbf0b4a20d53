package runtime

import (
	"context"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/prometheus/client_golang/prometheus"
)

// SinkStage makes the operator that hands records to a writer of s.
func SinkStage[T any](s connectors.Sink[T]) operators.Stage[T, struct{}] {
	return func(t *operators.Task, _ func(struct{}) error) (func(T) error, error) {
		var w connectors.Writer[T]
		c := t.Context()
		t.OnOpen(func(ctx context.Context) (err error) {
			cfg := t.Config()
			w, err = s.NewWriter(connectors.WriterContext{
				Context:            connectorContext(cfg),
				Ctx:                ctx,
				Attempt:            cfg.Attempt,
				RestoredCheckpoint: cfg.RestoredCheckpoint,
				Restored:           cfg.RestoredCommittables,
				DeadLetter:         t.DeadLetter,
			})
			return err
		})
		t.OnDry(func() error { return w.Idle() })
		t.Hooks().Committables = func(ctx context.Context, id int64) ([][]byte, error) { return w.Prepare(ctx, id) }
		t.OnClose(func() error {
			if w == nil {
				return nil
			}
			return w.Close()
		})
		return func(v T) error {
			if err := w.Write(v, connectors.Meta{TimestampMS: c.TimestampMS, KeyHash: c.KeyHash, At: c.At}); err != nil {
				return t.Failure(err)
			}
			return nil
		}, nil
	}
}

// connectorContext is what a connector sees of its task.
func connectorContext(c operators.TaskConfig) connectors.Context {
	m := c.Metrics
	if m == nil {
		m = prometheus.NewRegistry()
	}
	return connectors.Context{UID: c.UID, Subtask: c.Subtask, Parallelism: c.Parallelism, Logger: c.Logger, Metrics: m, Now: c.Now}
}

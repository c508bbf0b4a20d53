package dataflow_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// ticker is a source that has one record after each period until it has given limit; a record is the time at which it was emitted. Its
// position is not kept: it serves a benchmark that never restarts.
type ticker struct {
	period time.Duration
	limit  int
}

func (ticker) Validate() error { return nil }

func (ticker) NewEnumerator(connectors.Context, []byte) (connectors.Enumerator, error) {
	return &tickerEnumerator{}, nil
}

type tickerEnumerator struct{ assigned bool }

func (*tickerEnumerator) Discover(context.Context) (time.Duration, error) { return 0, nil }
func (*tickerEnumerator) Finished(string)                                 {}
func (e *tickerEnumerator) Done() bool                                    { return e.assigned }
func (*tickerEnumerator) Snapshot() ([]byte, error)                       { return nil, nil }
func (*tickerEnumerator) Close() error                                    { return nil }

func (e *tickerEnumerator) Assign() []connectors.Split {
	if e.assigned {
		return nil
	}
	e.assigned = true
	return []connectors.Split{{ID: "0"}}
}

func (s ticker) NewReader(connectors.Context) (connectors.Reader[time.Time], error) {
	return &tickerReader{ticker: s, wake: make(chan struct{}, 1)}, nil
}

type tickerReader struct {
	ticker
	wake  chan struct{}
	next  time.Time
	given int
	timer *time.Timer
}

func (r *tickerReader) AddSplits([]connectors.Split) error {
	r.next = time.Now().Add(r.period)
	r.timer = time.AfterFunc(r.period, r.ready)
	return nil
}

func (r *tickerReader) ready() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *tickerReader) Poll(out connectors.Output[time.Time], max int) (connectors.Status, error) {
	if r.timer == nil {
		return connectors.Idle, nil
	}
	for ; max > 0 && r.given < r.limit && !time.Now().Before(r.next); max-- {
		r.given++
		if err := out.Emit(time.Now(), connectors.NoTimestamp, connectors.Coordinates{Split: "0"}); err != nil {
			return connectors.Idle, err
		}
		r.next = r.next.Add(r.period)
	}
	if r.given == r.limit {
		r.given++
		return connectors.More, out.Finished("0")
	}
	r.timer.Reset(time.Until(r.next))
	return connectors.Idle, nil
}

func (r *tickerReader) Wake() <-chan struct{}                 { return r.wake }
func (r *tickerReader) Snapshot() ([]connectors.Split, error) { return nil, nil }
func (r *tickerReader) CheckpointCompleted(int64)             {}
func (r *tickerReader) Close() error                          { return nil }

// lags is a sink of durations.
type lags struct {
	discard[time.Duration]
	mu  *sync.Mutex
	all *[]time.Duration
}

func (s lags) NewWriter(connectors.WriterContext) (connectors.Writer[time.Duration], error) {
	return s, nil
}

func (s lags) Write(d time.Duration, _ connectors.Meta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.all = append(*s.all, d)
	return nil
}

// BenchmarkLatency is the time from when the source emits a record until the keyed step behind the exchange has it, at 1,000 records a
// second, one an iteration: the wake-up of a goroutine, not the cost of the record.
func BenchmarkLatency(b *testing.B) {
	for _, parallelism := range []int{1, 4} {
		b.Run(fmt.Sprint("parallelism ", parallelism), func(b *testing.B) {
			var all []time.Duration
			g := dataflow.New("latency")
			g.From("source", ticker{time.Millisecond, b.N}).
				KeyBy(func(at time.Time) int64 { return at.UnixNano() }).
				Process("lag", func(k *operators.Keyed[int64, time.Time, time.Duration]) {
					k.OnRecord(func(c *operators.Ctx[int64, time.Duration], emitted time.Time) error {
						return c.Emit(time.Since(emitted))
					})
				}).
				To("sink", lags{mu: &sync.Mutex{}, all: &all})
			if err := g.Run(b.Context(), dataflow.Options{Parallelism: parallelism, Restart: dataflow.Restart{Never: true}}); err != nil {
				b.Fatal(err)
			}
			n := len(all)
			if n != b.N {
				b.Fatalf("%d records arrived, want %d", n, b.N)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[n/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(all[n*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkBarrierPause counts over a table of 200,000 keys with a checkpoint every 50 ms, and reports the longest and the median time between two
// records of the keyed task that a barrier lies between: what the copy of the state costs the records behind it.
func BenchmarkBarrierPause(b *testing.B) {
	const keys = 200_000
	var mu sync.Mutex
	var pauses []time.Duration
	src := memory.Source[bid]{Records: int64(b.N), Value: func(_ int, i int64) bid {
		return bid{Auction: int64(uint64(i) * 0x9E3779B97F4A7C15 % keys), Price: i}
	}}
	g := dataflow.New("pause")
	g.From("source", src).KeyBy(func(v bid) int64 { return v.Auction }).
		Process("count", func(k *operators.Keyed[int64, bid, int64]) {
			n := k.Value[int64]("n")
			var barrier time.Time
			k.Task().OnBarrier(func(context.Context, int64) error {
				barrier = time.Now()
				return nil
			})
			k.OnRecord(func(c *operators.Ctx[int64, int64], _ bid) error {
				if !barrier.IsZero() {
					mu.Lock()
					pauses = append(pauses, time.Since(barrier))
					mu.Unlock()
					barrier = time.Time{}
				}
				v, err := n.Get()
				if err != nil {
					return err
				}
				return n.Set(v + 1)
			})
		}).
		To("sink", discard[int64]{})
	if err := g.Run(b.Context(), dataflow.Options{Restart: dataflow.Restart{Never: true}, Checkpoint: checkpoint.Every(50*time.Millisecond, checkpointtest.NewMemory("m"))}); err != nil {
		b.Fatal(err)
	}
	slices.Sort(pauses)
	if n := len(pauses); n > 0 {
		b.ReportMetric(float64(pauses[n/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(pauses[n-1].Microseconds()), "max-µs")
		b.ReportMetric(float64(n), "barriers")
	}
}

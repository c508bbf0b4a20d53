package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/examples/nexmark/internal/queries"
	"github.com/millrace-io/millrace/state/pebblestate"
	"github.com/prometheus/client_golang/prometheus"
)

// Run runs the query to its end.
func Run(ctx context.Context, c Config) (r Result, err error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	c = c.WithDefaults()
	dir, err := os.MkdirTemp(c.Dir, "nexmark-")
	if err != nil {
		return Result{}, fmt.Errorf("nexmark: no folder for state and checkpoints: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := &bench{c: c, dir: dir, metrics: prometheus.NewRegistry()}
	if c.Rate > 0 {
		b.pace = &gen.Pace{Rate: c.Rate}
		b.latencies = &digest.Latencies{Pace: b.pace, From: c.Events / 4, To: c.Events / 4 * 3}
	}
	b.total = digest.NewTotal(b.latencies)
	b.meter.quarter = c.Events / 4
	b.meter.stopAt, b.meter.stop = c.RestoreAt, make(chan struct{})

	b.start, b.cpu = time.Now(), cpuTime()
	from := ""
	if c.RestoreAt > 0 {
		if from, err = b.untilSavepoint(ctx); err != nil {
			return Result{}, err
		}
	}
	if err := b.toTheEnd(ctx, from); err != nil {
		return Result{}, err
	}
	return b.result()
}

// bench is one run.
type bench struct {
	c         Config
	dir       string
	metrics   *prometheus.Registry
	pace      *gen.Pace
	latencies *digest.Latencies
	total     *digest.Total
	meter     meter
	start     time.Time
	cpu       time.Duration // at start
	savepoint time.Duration
	restored  time.Time // second start
}

// meter is told of the progress of the source by all its subtasks.
type meter struct {
	emitted        atomic.Int64
	quarter        int64
	atQuarter      time.Time
	cpuAtQuarter   time.Duration
	first, resumed atomic.Int64 // wall clock, Unix ns, of the first event of the first and of the second start
	second         atomic.Bool
	pause          atomic.Int64 // longest, ns
	stopAt         int64
	stop           chan struct{}
}

func (m *meter) polled(n int) {
	after := m.emitted.Add(int64(n))
	before := after - int64(n)
	if before == 0 {
		m.first.Store(time.Now().UnixNano())
	}
	if m.second.CompareAndSwap(true, false) {
		m.resumed.Store(time.Now().UnixNano())
	}
	if before < m.quarter && after >= m.quarter {
		m.atQuarter, m.cpuAtQuarter = time.Now(), cpuTime()
	}
	if before < m.stopAt && after >= m.stopAt {
		close(m.stop)
	}
}

func (m *meter) paused(d time.Duration) {
	for {
		longest := m.pause.Load()
		if int64(d) <= longest || m.pause.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// source is the source of the run; from holdAt on it holds events back, unless that is 0.
func (b *bench) source(holdAt int64) gen.Source {
	return gen.Source{Seed: b.c.Seed, Events: b.c.Events, Splits: b.c.Splits, Pace: b.pace, HoldAt: holdAt,
		Polled: b.meter.polled, Paused: b.meter.paused}
}

// options are those of the n-th start.
func (b *bench) options(n, parallelism int) dataflow.Options {
	o := dataflow.Options{Parallelism: parallelism, Restart: dataflow.Restart{Never: true}}
	if b.c.Transport == "tcp" {
		o.Transport = dataflow.TCP(dataflow.TCPOptions{})
	}
	if b.c.Backend == "pebble" {
		o.State = pebblestate.New(pebblestate.Options{
			Dir: filepath.Join(b.dir, "state"), CacheBytes: b.c.CacheBytes, BlockCacheBytes: b.c.BlockCacheBytes,
		})
	}
	if b.c.Checkpoint > 0 || b.c.RestoreAt > 0 {
		o.Checkpoint = checkpoint.Config{Interval: b.c.Checkpoint, Storage: checkpoint.Dir(filepath.Join(b.dir, fmt.Sprint("checkpoints-", n)))}
	}
	// Two jobs cannot count in one registry; figures of checkpoints are those of the last.
	b.metrics = prometheus.NewRegistry()
	o.Metrics = keeper{b.metrics}
	return o
}

// keeper keeps the metrics of a job that has ended, which takes them away.
type keeper struct{ *prometheus.Registry }

// Unregister implements prometheus.Registerer.
func (keeper) Unregister(prometheus.Collector) bool { return true }

// untilSavepoint runs the job until the events are there with which it is to stop, and returns the savepoint.
func (b *bench) untilSavepoint(ctx context.Context) (uri string, err error) {
	// What is at most emitted beyond: more than no events, so that the barrier meets records on their way.
	hold := b.c.RestoreAt + (b.c.Events-b.c.RestoreAt)/2
	g, err := queries.Graph(b.c.Query, b.source(hold), b.total)
	if err != nil {
		return "", err
	}
	job, err := g.Start(ctx, b.options(1, b.c.Parallelism))
	if err != nil {
		return "", err
	}
	select {
	case <-b.meter.stop:
	case <-job.Done():
		return "", errors.Join(errors.New("nexmark: the job has ended before it was stopped"), job.Wait())
	}
	begin := time.Now()
	if uri, err = job.Stop(ctx, false); err != nil {
		return "", err
	}
	b.savepoint = time.Since(begin)
	return uri, job.Wait()
}

// toTheEnd runs the job from a savepoint, or from the beginning, to the end of the events.
func (b *bench) toTheEnd(ctx context.Context, from string) error {
	g, err := queries.Graph(b.c.Query, b.source(0), b.total)
	if err != nil {
		return err
	}
	parallelism := b.c.Parallelism
	if from != "" {
		parallelism, b.restored = b.c.RestoreParallelism, time.Now()
		b.meter.second.Store(true)
	}
	o := b.options(2, parallelism)
	o.Restore.From = from
	return g.Run(ctx, o)
}

func (b *bench) result() (Result, error) {
	c, m, sum := b.c, &b.meter, b.total.Sum()
	wall, cpu := time.Since(b.start), cpuTime()
	steady := float64(c.Events - m.quarter)
	n, durations, err := checkpoints(b.metrics, .5, .99)
	if err != nil {
		return Result{}, err
	}
	if got := m.emitted.Load(); got != c.Events {
		return Result{}, fmt.Errorf("nexmark: the source emitted %d events, want %d", got, c.Events)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r := Result{
		Query: c.Query, Backend: c.Backend, Transport: c.Transport, Parallelism: c.Parallelism, CheckpointMS: c.Checkpoint.Milliseconds(), Seed: c.Seed, Events: c.Events,
		Wall: wall.Seconds(), CPU: (cpu - b.cpu).Seconds(), PeakRSS: peakRSS(), EventsPerS: float64(c.Events) / wall.Seconds(),
		SteadyEventsPerS: steady / b.total.At().Sub(m.atQuarter).Seconds(), SteadyCPUPerM: (cpu - m.cpuAtQuarter).Seconds() * 1e6 / steady,
		FirstEvent: ms(time.Unix(0, m.first.Load()).Sub(b.start)), RowsOut: sum.Rows, Count: sum.Count, Digest: fmt.Sprintf("%016x", sum.Digest),
		Checkpoints: n, CheckpointP50: durations[0], CheckpointP99: durations[1], BarrierPause: ms(time.Duration(m.pause.Load())),
		Savepoint: b.savepoint.Seconds(),
	}
	if first := b.total.FirstRow(); !first.IsZero() {
		r.FirstRow = ms(first.Sub(b.start))
	}
	if !b.restored.IsZero() {
		r.Restore = ms(time.Unix(0, m.resumed.Load()).Sub(b.restored))
	}
	if l := b.latencies; l != nil {
		r.Rate, r.Latency = c.Rate, &Latency{ms(l.Quantile(.5)), ms(l.Quantile(.99)), ms(l.Quantile(.999)), ms(l.Quantile(1))}
	}
	return r, nil
}

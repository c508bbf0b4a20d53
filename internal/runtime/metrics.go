package runtime

import (
	"strconv"
	"sync"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/prometheus/client_golang/prometheus"
)

// jobMetrics collects the figures of a job when they are asked for; the record path only counts, once per batch.
type jobMetrics struct {
	job *Job

	mu        sync.Mutex
	completed uint64
	lastID    int64
	lastBytes int64
	// written are the bytes of changes and of bases of all acknowledgements.
	written, base int64
	failures      uint64
	duration      prometheus.Histogram
}

var (
	taskLabels = []string{"task", "subtask"}
	recordsIn  = prometheus.NewDesc("millrace_task_records_in_total", "Records taken by the first operator of a task.", taskLabels, nil)
	recordsOut = prometheus.NewDesc("millrace_task_records_out_total", "Records sent by a task to other tasks.", taskLabels, nil)
	blocked    = prometheus.NewDesc("millrace_task_backpressure_seconds_total", "Time a task has waited for room downstream.", taskLabels, nil)
	queued     = prometheus.NewDesc("millrace_task_queued_batches", "Batches that wait in front of a task.", taskLabels, nil)
	watermarks = prometheus.NewDesc("millrace_task_watermark_ms", "Watermark of a task's last operator, Unix ms; absent before the first.", taskLabels, nil)
	late       = prometheus.NewDesc("millrace_step_late_records_total", "Records that came too late for a step's windows, pattern or join.", []string{"uid", "subtask"}, nil)
	held       = prometheus.NewDesc("millrace_source_alignment_paused_splits", "Splits of an aligned source that are held back now.", taskLabels, nil)
	drift      = prometheus.NewDesc("millrace_source_alignment_drift_ms", "How far an aligned source is ahead of the least watermark of its group, ms.", taskLabels, nil)
	overtaken  = prometheus.NewDesc("millrace_task_barriers_overtaken_total", "Checkpoints a task has taken in front of their barriers.", taskLabels, nil)
	recorded   = prometheus.NewDesc("millrace_task_in_flight_stored_bytes_total", "Records in flight that a task has stored with checkpoints.", taskLabels, nil)
	restarts   = prometheus.NewDesc("millrace_job_restarts_total", "Restarts of the job in this process.", nil, nil)
	completed  = prometheus.NewDesc("millrace_checkpoints_completed_total", "Checkpoints completed in this process.", nil, nil)
	failedOnes = prometheus.NewDesc("millrace_checkpoints_failed_total", "Checkpoints given up in this process although the job went on.", nil, nil)
	lastID     = prometheus.NewDesc("millrace_checkpoint_last_id", "Id of the last completed checkpoint, 0 before the first.", nil, nil)
	lastBytes  = prometheus.NewDesc("millrace_checkpoint_last_bytes", "State written for the last completed checkpoint, without a new base.", nil, nil)
	written    = prometheus.NewDesc("millrace_checkpoint_written_bytes_total", "State written to the checkpoint storage, by kind: changes or base.", []string{"kind"}, nil)
)

func newJobMetrics(j *Job) *jobMetrics {
	return &jobMetrics{job: j, duration: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "millrace_checkpoint_duration_seconds",
		Help:    "Time from the trigger of a checkpoint until it is durable.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
	})}
}

func (m *jobMetrics) checkpoint(id int64, took time.Duration, bytes int64) {
	m.duration.Observe(took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.completed++
	m.lastID, m.lastBytes = id, bytes
}

// failed counts a checkpoint that was given up and did not fail the job.
func (m *jobMetrics) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures++
}

// wrote counts what one task has stored for a checkpoint.
func (m *jobMetrics) wrote(changes, base int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written += changes
	m.base += base
}

// Completed is the number of checkpoints completed in this process.
func (m *jobMetrics) Completed() (n uint64, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.completed, m.lastID
}

// Describe implements prometheus.Collector.
func (m *jobMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{recordsIn, recordsOut, blocked, queued, watermarks, late, held, drift, overtaken, recorded, restarts, completed, lastID, lastBytes, written, failedOnes} {
		ch <- d
	}
	m.duration.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *jobMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for _, t := range m.job.tasks() {
		name, sub := t.chain.name, strconv.Itoa(t.subtask)
		counter(recordsIn, float64(t.records.Load()), name, sub)
		var out, wait int64
		for _, o := range t.ops {
			if n := o.task.Late(); n > 0 || o.hooks().State != nil {
				counter(late, float64(n), o.node.Label(), sub)
			}
			for _, w := range o.outputs {
				out += w.Records()
				wait += w.BlockedNanos()
			}
		}
		counter(recordsOut, float64(out), name, sub)
		counter(blocked, float64(wait)/1e9, name, sub)
		gauge(queued, float64(t.queued()), name, sub)
		counter(overtaken, float64(t.vitals.overtaken.Load()), name, sub)
		counter(recorded, float64(t.vitals.recorded.Load()), name, sub)
		if ms := t.mark.Load(); ms != operators.NoWatermark {
			gauge(watermarks, float64(ms), name, sub)
		}
		if a, ok := t.alignment(); ok {
			gauge(held, float64(len(a.Paused)), name, sub)
			gauge(drift, float64(a.DriftMS()), name, sub)
		}
	}
	m.mu.Lock()
	n, id, bytes, changes, base, failures := m.completed, m.lastID, m.lastBytes, m.written, m.base, m.failures
	m.mu.Unlock()
	counter(restarts, float64(m.job.Restarts()))
	counter(completed, float64(n))
	counter(failedOnes, float64(failures))
	gauge(lastID, float64(id))
	gauge(lastBytes, float64(bytes))
	counter(written, float64(changes), "changes")
	counter(written, float64(base), "base")
	m.duration.Collect(ch)
}

package bench

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Result is what a run gave and cost. The names in JSON are those of the harness for Flink.
type Result struct {
	Query        string `json:"query"`
	Backend      string `json:"backend"`
	Transport    string `json:"transport"`
	Parallelism  int    `json:"parallelism"`
	CheckpointMS int64  `json:"checkpoint_ms"`
	Seed         uint64 `json:"seed"`
	Events       int64  `json:"events"`
	// Wall is from the start of the job until it has ended, CPU the user and system time of the process meanwhile, both in seconds.
	Wall float64 `json:"wall_s"`
	CPU  float64 `json:"cpu_s"`
	// PeakRSS is the greatest amount of memory that the process ever had, MB.
	PeakRSS int64 `json:"peak_rss_mb"`
	// The steady figures are those of the last three quarters of the events: from the moment when a quarter has been emitted to the last commit of
	// rows.
	EventsPerS       float64 `json:"events_per_s"`
	SteadyEventsPerS float64 `json:"steady_events_per_s"`
	SteadyCPUPerM    float64 `json:"steady_cpu_s_per_m"` // per million events
	// FirstEvent and FirstRow are from the start of the job to its first event and row, ms.
	FirstEvent float64 `json:"first_event_ms"`
	FirstRow   float64 `json:"first_row_ms"`
	RowsOut    int64   `json:"rows_out"`
	Count      int64   `json:"count"`
	Digest     string  `json:"digest"`
	// Checkpoints are those that have completed; the quantiles of their duration, from trigger until durable, are interpolated between the
	// buckets of the job's histogram.
	Checkpoints   int64   `json:"checkpoints"`
	CheckpointP50 float64 `json:"checkpoint_p50_ms"`
	CheckpointP99 float64 `json:"checkpoint_p99_ms"`
	// BarrierPause is the longest time for which a barrier kept a subtask of the source from polling, ms.
	BarrierPause float64 `json:"barrier_pause_max_ms"`
	// Rate and Latency are there when the run had a rate.
	Rate    float64  `json:"rate,omitempty"`
	Latency *Latency `json:"lat_ms,omitempty"`
	// Savepoint and Restore are there when the run was stopped in the middle: seconds until the savepoint was there, and from the second start
	// to its first event, ms.
	Savepoint float64 `json:"savepoint_s,omitempty"`
	Restore   float64 `json:"restore_to_first_event_ms,omitempty"`
}

// Latency is from the moment when the event that caused a row was due to that at which the row reached the sink, ms; of the events between the
// first and the last quarter. −1: no row knew its cause.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// cpuTime is the user and system time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is in MB. The kernel's own mark is preferred: the one of getrusage survives exec, so it may be that of the shell or of the go command.
func peakRSS() int64 {
	if f, err := os.Open("/proc/self/status"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if kb, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64)
				if err == nil {
					return n >> 10
				}
			}
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss >> 10
}

// checkpoints are the checkpoints that the job counted in r, and quantiles of their duration in ms.
func checkpoints(r *prometheus.Registry, q ...float64) (n int64, ms []float64, err error) {
	families, err := r.Gather()
	if err != nil {
		return 0, nil, err
	}
	ms = make([]float64, len(q))
	for _, f := range families {
		if f.GetName() != "millrace_checkpoint_duration_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		for i := range q {
			ms[i] = 1000 * quantile(h, q[i])
		}
		n = int64(h.GetSampleCount())
	}
	return n, ms, nil
}

// quantile is that of a histogram, linear within a bucket.
func quantile(h *dto.Histogram, q float64) float64 {
	want := q * float64(h.GetSampleCount())
	var below, from float64
	for _, b := range h.GetBucket() {
		if n := float64(b.GetCumulativeCount()); n >= want && n > below {
			return from + (b.GetUpperBound()-from)*(want-below)/(n-below)
		}
		below, from = float64(b.GetCumulativeCount()), b.GetUpperBound()
	}
	return from
}

package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/prometheus/client_golang/prometheus"
)

// gather is every value of the registry by "name{label,label}"; of a histogram the number of observations.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			if len(labels) > 0 {
				slices.Sort(labels) // the subtask, a digit, comes first
				name += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.Counter != nil:
				out[name] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[name] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return out
}

func wantMetrics(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (there: %v), want %v", name, g, ok, v)
		}
	}
}

// thirdAttempt are the parts of a job that fails twice and then calls first for its first record.
func thirdAttempt(first func()) hooks {
	var attempts, writes atomic.Int64
	src := numbers(2000)
	src.KeepOpen = true
	return newHooks(src, func(_ context.Context, call string) error {
		switch call {
		case "NewEnumerator":
			if attempts.Add(1) == 2 {
				return errors.New("the second attempt fails early")
			}
		case "Discover":
			if attempts.Load() == 1 {
				return errors.New("the first attempt fails")
			}
		case "Write":
			if attempts.Load() == 3 && writes.Add(1) == 1 {
				first()
			}
		}
		return nil
	})
}

// TestMetrics runs a job whose sink takes five seconds for its first record: what is under way then is known exactly.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		began, store := make(chan struct{}), checkpointtest.NewMemory("m")
		h := thirdAttempt(func() {
			close(began)
			time.Sleep(5 * time.Second)
		})
		g := dataflow.New("metrics")
		g.From("source", h).Timestamps(operators.Watermarks[int64]{}.WithAlignment("g", time.Hour)).
			KeyBy(func(v int64) int64 { return v % 7 }).
			Reduce("sum", func(a, b int64) int64 { return a + b }).
			To("sink", hooksSink{h})
		j, err := g.Start(t.Context(), dataflow.Options{Metrics: r, Restart: dataflow.Restart{InitialDelay: time.Second, MaxDelay: time.Second},
			Checkpoint: checkpoint.Every(time.Hour, store)})
		if err != nil {
			t.Fatal(err)
		}
		<-began
		time.Sleep(2 * time.Second)
		// Of three full batches and one that the watermark of record 1,000 closes the sink holds the first; the source has no credit.
		wantMetrics(t, gather(t, r), map[string]float64{
			"millrace_task_records_in_total{0,sum}":              256,
			"millrace_task_records_out_total{0,source}":          1000,
			"millrace_task_queued_batches{0,sum}":                3,
			"millrace_task_queued_batches{0,source}":             0,
			"millrace_task_backpressure_seconds_total{0,source}": 2,
			"millrace_task_backpressure_seconds_total{0,sum}":    0,
			"millrace_job_restarts_total":                        2,
			"millrace_checkpoints_completed_total":               0,
			"millrace_checkpoint_last_id":                        0,
			"millrace_checkpoint_last_bytes":                     0,
			"millrace_checkpoint_duration_seconds":               0,
		})
		time.Sleep(time.Minute)
		uri, err := j.Savepoint(t.Context(), dataflow.NativeSavepoint())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		id, bytes := stored(t, store, uri)
		got := gather(t, r)
		wantMetrics(t, got, map[string]float64{
			"millrace_task_records_in_total{0,sum}":              2000,
			"millrace_task_records_out_total{0,source}":          2000,
			"millrace_task_records_out_total{0,sum}":             0,
			"millrace_task_queued_batches{0,sum}":                0,
			"millrace_task_backpressure_seconds_total{0,source}": 5,
			"millrace_task_watermark_ms{0,source}":               1998, // the newest timestamp − 1 ms
			"millrace_task_watermark_ms{0,sum}":                  1998,
			"millrace_checkpoints_completed_total":               1,
			"millrace_checkpoint_last_id":                        float64(id),
			"millrace_checkpoint_last_bytes":                     float64(bytes),
			"millrace_checkpoint_written_bytes_total{changes}":   float64(bytes),
			"millrace_checkpoint_duration_seconds":               1,
		})
		if bytes == 0 {
			t.Error("the savepoint holds no state: the test shows nothing")
		}
		if names, want := metricNames(got), documentedMetrics(t); !slices.Equal(names, want) {
			t.Errorf("collected %q, docs/METRICS.md has %q", names, want)
		}
		if _, err := j.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if left := gather(t, r); len(left) != 0 {
			t.Errorf("metrics of the ended job are left: %v", left)
		}
	})
}

// stored is the id of a savepoint and the size of its state.
func stored(t *testing.T, store *checkpointtest.Memory, uri string) (id, bytes int64) {
	t.Helper()
	m, _, err := checkpoint.LoadFrom(t.Context(), store, strings.TrimPrefix(uri, store.URL()+"/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			for _, f := range s.Files {
				bytes += f.Size
			}
		}
	}
	return m.ID, bytes
}

func metricNames(m map[string]float64) (names []string) {
	for n := range m {
		n, _, _ = strings.Cut(n, "{")
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// documentedMetrics are the names in the table of the job in docs/METRICS.md.
func documentedMetrics(t *testing.T) (names []string) {
	t.Helper()
	b, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, job, _ := strings.Cut(string(b), "## The job")
	job, _, ok := strings.Cut(job, "\n## ")
	if !ok {
		t.Fatal("docs/METRICS.md has no section after that of the job")
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)`").FindAllStringSubmatch(job, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

// TestTwoJobsNeedTwoRegisterers: the second is refused with the remedy.
func TestTwoJobsNeedTwoRegisterers(t *testing.T) {
	r := prometheus.NewRegistry()
	src := numbers(1)
	src.KeepOpen = true
	start := func() (*dataflow.Job, error) {
		return newHooks(src, func(context.Context, string) error { return nil }).graph().Start(t.Context(), dataflow.Options{Metrics: r})
	}
	if _, err := start(); err != nil {
		t.Fatal(err)
	}
	if _, err := start(); err == nil || !strings.Contains(fmt.Sprint(err), "give each job a registerer of its own") {
		t.Errorf("got %v", err)
	}
}

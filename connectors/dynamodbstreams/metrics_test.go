package dynamodbstreams

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gather sums each metric over its labels, except that the states of shards and the calls are told apart.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "millrace_dynamodbstreams_")
			for _, l := range m.GetLabel() {
				if l.GetName() == "state" || l.GetName() == "call" {
					name += " " + l.GetValue()
				}
			}
			out[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	scenario(t, opts{Metrics: registry, Parallelism: 2}, func(o *Options[row]) { o.OnDataLoss = SkipLoss }, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		st.split(0, 3)
		throttles := 0
		st.fail(func(call, _ string) error {
			if call == "GetRecords" && throttles < 7 {
				throttles++
				return failure("LimitExceededException")
			}
			return nil
		})
		start(t, j)
		pass(3 * time.Second)
		until(t, j, 10)
		runFor(t, j, time.Second)
		got := gather(t, registry)
		for name, want := range map[string]float64{
			"throttles_total GetRecords": 7, "shards finished": 1, "shards assigned": 3, "shards waiting": 0, "shards_held": 3, "data_loss_skips_total": 0,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		// Written at second 0, read after second 3.
		if got["lag_milliseconds"] < 3000 || got["lag_milliseconds"] > 10_000 {
			t.Errorf("lag is %v ms, want 3 to 10 s", got["lag_milliseconds"])
		}
		// A restart goes on with the same collectors. All three shards count: what a shard held that was not read for two days, nobody knows.
		st.some(10, 10)
		runFor(t, j, time.Second)
		c := checkpoint(t, j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		st.some(20, 10)
		pass(2 * retention)
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		runFor(t, j, time.Minute)
		if got := gather(t, registry); got["data_loss_skips_total"] != 3 || got["throttles_total GetRecords"] != 7 {
			t.Errorf("losses %v, want 3; throttles %v, want 7", got["data_loss_skips_total"], got["throttles_total GetRecords"])
		}
	})
}

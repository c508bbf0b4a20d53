package dynamodbstreams

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-io/millrace/connectors"
)

// metrics are the numbers of one enumerator or reader. A restarted part goes on with the collectors that are registered.
type metrics struct {
	throttles *prometheus.CounterVec // by call
	losses    prometheus.Counter
	lag       prometheus.Gauge
	shards    *prometheus.GaugeVec // by state; enumerator only
	held      prometheus.Gauge     // reader only
}

func newMetrics(r prometheus.Registerer, enumerator bool) *metrics {
	m := &metrics{}
	m.throttles = connectors.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_dynamodbstreams_throttles_total", Help: "Calls that the service refused because of their rate.",
	}, []string{"call"}))
	m.losses = connectors.Register(r, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_dynamodbstreams_data_loss_skips_total", Help: "Times that records deleted before they were read were skipped.",
	}))
	if enumerator {
		m.shards = connectors.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_dynamodbstreams_shards", Help: "Known shards by state: waiting, assigned, drained, finished.",
		}, []string{"state"}))
		return m
	}
	m.lag = connectors.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_dynamodbstreams_lag_milliseconds", Help: "Age of the change emitted last, when it was emitted.",
	}))
	m.held = connectors.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_dynamodbstreams_shards_held", Help: "Shards that the subtask reads now.",
	}))
	return m
}

func (m *metrics) throttle(call string) { m.throttles.WithLabelValues(call).Inc() }

func (m *metrics) phases(counts [len(phaseNames)]int) {
	for p, n := range counts {
		m.shards.WithLabelValues(phaseNames[p]).Set(float64(n))
	}
}

package dynamodbstreams

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the numbers of one enumerator or reader. A restarted part goes on with the collectors that are registered.
type metrics struct {
	throttles *prometheus.CounterVec // by call
	losses    prometheus.Counter
	lag       prometheus.Gauge
	shards    *prometheus.GaugeVec // by state; enumerator only
	held      prometheus.Gauge     // reader only
}

func newMetrics(r prometheus.Registerer, enumerator bool) (*metrics, error) {
	m := &metrics{}
	var err error
	m.throttles, err = register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_dynamodbstreams_throttles_total", Help: "Calls that the service refused because of their rate.",
	}, []string{"call"}), err)
	m.losses, err = register(r, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_dynamodbstreams_data_loss_skips_total", Help: "Times that records deleted before they were read were skipped.",
	}), err)
	if enumerator {
		m.shards, err = register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_dynamodbstreams_shards", Help: "Known shards by state: waiting, assigned, drained, finished.",
		}, []string{"state"}), err)
		return m, err
	}
	m.lag, err = register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_dynamodbstreams_lag_milliseconds", Help: "Age of the change emitted last, when it was emitted.",
	}), err)
	m.held, err = register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_dynamodbstreams_shards_held", Help: "Shards that the subtask reads now.",
	}), err)
	return m, err
}

// register registers c, or finds the one that an earlier attempt registered. It does nothing after an earlier error.
func register[C prometheus.Collector](r prometheus.Registerer, c C, before error) (C, error) {
	if before != nil {
		return c, before
	}
	err := r.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("dynamodbstreams: register metrics: %w", err)
	}
	return c, nil
}

func (m *metrics) throttle(call string) { m.throttles.WithLabelValues(call).Inc() }

func (m *metrics) phases(counts [len(phaseNames)]int) {
	for p, n := range counts {
		m.shards.WithLabelValues(phaseNames[p]).Set(float64(n))
	}
}

package dynamodb

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-io/millrace/connectors"
)

// metrics of one writer. Its series outlive the writer: a restarted task goes on with them.
type metrics struct {
	calls       prometheus.Gauge
	buffered    prometheus.Gauge
	window      prometheus.Gauge
	written     prometheus.Counter
	superseded  prometheus.Counter
	conditions  prometheus.Counter
	deadLetters prometheus.Counter
	sent        prometheus.Counter
	unprocessed prometheus.Counter
	units       prometheus.Counter
	failures    prometheus.Counter
	throttles   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return connectors.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	counter := func(name, help string) prometheus.Counter {
		return connectors.Register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	return metrics{
		calls:       gauge("millrace_dynamodb_sink_calls_in_flight", "Calls that run now."),
		buffered:    gauge("millrace_dynamodb_sink_buffered_bytes", "Bytes held, waiting or in flight; at Options.BufferBytesMax the input waits."),
		window:      gauge("millrace_dynamodb_sink_calls_window", "Calls that may run at once."),
		written:     counter("millrace_dynamodb_sink_items_written_total", "Items written."),
		superseded:  counter("millrace_dynamodb_sink_items_superseded_total", "Items not written because a later one of their key was buffered."),
		conditions:  counter("millrace_dynamodb_sink_condition_failures_total", "Items not written because the table held an equal or newer version."),
		deadLetters: counter("millrace_dynamodb_sink_dead_letters_total", "Items that can never be written, handed over as dead letters."),
		sent:        counter("millrace_dynamodb_sink_items_sent_total", "Items in calls, each attempt counted."),
		unprocessed: counter("millrace_dynamodb_sink_items_unprocessed_total", "Items that the service sent back unprocessed; over items sent it is the unprocessed share."),
		units:       counter("millrace_dynamodb_sink_write_units_total", "Write units that the service counted."),
		failures:    counter("millrace_dynamodb_sink_call_failures_total", "Calls without a usable answer, repeated."),
		throttles: connectors.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_dynamodb_sink_throttles_total",
			Help: "Throttled calls by the service's reason."}, []string{"reason"})),
	}
}

package kafka

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-io/millrace/connectors"
)

func counter(r prometheus.Registerer, name, help string) prometheus.Counter {
	return connectors.Register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

type sourceMetrics struct {
	records, poison, dataLoss prometheus.Counter
	lag                       *prometheus.GaugeVec
}

func newSourceMetrics(r prometheus.Registerer) sourceMetrics {
	return sourceMetrics{
		records:  counter(r, "millrace_kafka_source_records_total", "Records emitted."),
		poison:   counter(r, "millrace_kafka_source_poison_total", "Records that could not be decoded and became dead letters."),
		dataLoss: counter(r, "millrace_kafka_source_data_loss_total", "Times that reading went on behind lost records."),
		lag: connectors.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_kafka_source_lag_records", Help: "Offsets between the position of a split and the end of its partition."}, []string{"split"})),
	}
}

type sinkMetrics struct {
	records, deadLetters, retried prometheus.Counter
}

func newSinkMetrics(r prometheus.Registerer) sinkMetrics {
	return sinkMetrics{
		records:     counter(r, "millrace_kafka_sink_records_total", "Records acknowledged by the brokers."),
		deadLetters: counter(r, "millrace_kafka_sink_dead_letters_total", "Records refused for ever, handed over as dead letters."),
		retried:     counter(r, "millrace_kafka_sink_produce_retries_total", "Records of refused batches that were sent again one by one."),
	}
}

// remaining is a gauge that is computed when it is read: the seconds until the broker aborts the oldest uncommitted transaction.
type remaining struct {
	desc *prometheus.Desc
	f    atomic.Pointer[func() (float64, bool)]
}

func newRemaining(r prometheus.Registerer, f func() (float64, bool)) *remaining {
	g := connectors.Register(r, &remaining{desc: prometheus.NewDesc("millrace_kafka_sink_transaction_remaining_seconds",
		"Seconds until the broker aborts the oldest uncommitted transaction of this subtask; absent when there is none.", nil, nil)})
	g.f.Store(&f)
	return g
}

// Describe implements prometheus.Collector.
func (g *remaining) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect implements prometheus.Collector.
func (g *remaining) Collect(ch chan<- prometheus.Metric) {
	if f := g.f.Load(); f != nil {
		if v, ok := (*f)(); ok {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v)
		}
	}
}

package file

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-io/millrace/connectors"
)

func newTotal(r prometheus.Registerer, name, help string) prometheus.Counter {
	return connectors.Register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

// writerMetrics of one sink subtask.
type writerMetrics struct {
	files, bytes, refused prometheus.Counter
	open, buffered        prometheus.Gauge
}

func newWriterMetrics(r prometheus.Registerer) writerMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return connectors.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	return writerMetrics{
		files:    newTotal(r, "millrace_file_sink_staged_files_total", "Files stored durably, whether or not their checkpoint has completed."),
		bytes:    newTotal(r, "millrace_file_sink_staged_bytes_total", "Bytes of these files."),
		refused:  newTotal(r, "millrace_file_sink_dead_letters_total", "Records that no file can hold."),
		open:     gauge("millrace_file_sink_open_files", "Files open for writing."),
		buffered: gauge("millrace_file_sink_buffered_bytes", "Encoded bytes in memory."),
	}
}

// committerMetrics of one sink.
type committerMetrics struct {
	files, records, orphans prometheus.Counter
}

func newCommitterMetrics(r prometheus.Registerer) committerMetrics {
	return committerMetrics{
		files:   newTotal(r, "millrace_file_sink_committed_files_total", "Files made visible; a commit that is repeated after a restore counts again."),
		records: newTotal(r, "millrace_file_sink_committed_records_total", "Records of these files."),
		orphans: newTotal(r, "millrace_file_sink_orphans_removed_total", "Staged files removed that no checkpoint had committed."),
	}
}

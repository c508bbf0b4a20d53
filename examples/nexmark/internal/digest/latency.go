package digest

import (
	"sync"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// Latencies are the times from the moment when an event was due to that at which a row that it caused reached the sink. It is safe for use by
// several goroutines.
type Latencies struct {
	// Pace says when events are due.
	Pace *gen.Pace
	// From and To bound the events that are counted, [From, To): what the beginning and the end of a run give says little.
	From, To int64

	mu     sync.Mutex
	counts []int64
}

// latencyStep is the resolution, latencyBuckets the number of steps that are told apart.
const (
	latencyStep    = 100 * time.Microsecond
	latencyBuckets = 200_000
)

// Quantile is the latency, to 0.1 ms, that a share q of all measured ones does not exceed, 0 < q ≤ 1. It is −1 when none was measured, and at
// most 20 s. Writers that are still open have not told theirs yet.
func (l *Latencies) Quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all, seen int64
	for _, n := range l.counts {
		all += n
	}
	for i, n := range l.counts {
		if seen += n; seen > 0 && float64(seen) >= q*float64(all) {
			return time.Duration(i) * latencyStep
		}
	}
	return -1
}

// histogram is the part of one writer.
type histogram struct {
	l      *Latencies
	counts []int64
}

func (l *Latencies) open() *histogram { return &histogram{l, make([]int64, latencyBuckets)} }

func (h *histogram) seen(n int64) {
	if n < h.l.From || n >= h.l.To {
		return
	}
	i := time.Since(h.l.Pace.Due(n)) / latencyStep
	h.counts[min(max(i, 0), latencyBuckets-1)]++
}

func (h *histogram) close() {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.l.counts == nil {
		h.l.counts = make([]int64, latencyBuckets)
	}
	for i, n := range h.counts {
		h.l.counts[i] += n
	}
	clear(h.counts)
}

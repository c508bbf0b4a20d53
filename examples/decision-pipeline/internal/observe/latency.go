// Package observe measures a run from outside: how long requests take and how soon a decision is visible in Kafka.
package observe

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// samplesMax bounds the memory of Latency. Beyond it each further sample replaces a random one, so that the kept ones stay an even
// choice of all.
const samplesMax = 200_000

// Latency gathers durations. The zero value is ready; it is safe for use by many goroutines.
type Latency struct {
	mu      sync.Mutex
	samples []time.Duration
	n       int64 // ever added
}

// Add adds one duration; a negative one, from two clocks read in another order, counts as zero.
func (l *Latency) Add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if d = max(d, 0); len(l.samples) < samplesMax {
		l.samples = append(l.samples, d)
	} else if i := rand.Int64N(l.n); i < samplesMax {
		l.samples[i] = d
	}
}

// Percentile is the smallest kept duration that at least the share p, in (0, 1], does not exceed; 0 when there is none (nearest
// rank).
func (l *Latency) Percentile(p float64) time.Duration {
	l.mu.Lock()
	s := slices.Clone(l.samples)
	l.mu.Unlock()
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	rank := int(p * float64(len(s)))
	if float64(rank) < p*float64(len(s)) {
		rank++
	}
	return s[min(max(rank, 1), len(s))-1]
}

package observe

import (
	"testing"
	"time"
)

func TestPercentileIsNearestRank(t *testing.T) {
	var l Latency
	if got := l.Percentile(0.5); got != 0 {
		t.Errorf("of nothing = %v, want 0", got)
	}
	// The textbook example of the nearest-rank method: 15, 20, 35, 40, 50 (Wikipedia, "Percentile").
	for _, ms := range []int{50, 15, 40, 20, 35} {
		l.Add(time.Duration(ms) * time.Millisecond)
	}
	for p, want := range map[float64]int{0.05: 15, 0.30: 20, 0.40: 20, 0.50: 35, 1: 50} {
		if got := l.Percentile(p); got != time.Duration(want)*time.Millisecond {
			t.Errorf("Percentile(%v) = %v, want %d ms", p, got, want)
		}
	}
	l.Add(-time.Second)
	if got := l.Percentile(0.01); got != 0 {
		t.Errorf("a negative duration counts as %v, want 0", got)
	}
}

func TestLatencyIsBounded(t *testing.T) {
	var l Latency
	for range samplesMax + 1000 {
		l.Add(time.Millisecond)
	}
	if len(l.samples) != samplesMax {
		t.Errorf("keeps %d samples, want %d", len(l.samples), samplesMax)
	}
}

package dynamodb

import (
	"math"
	"time"
)

// Pacing. Backoff is the "full jitter" of the AWS architecture blog, "Exponential Backoff And Jitter" (2015): a delay drawn evenly from
// zero to the exponential bound, so that writers that were refused together do not come back together.
const (
	backoffFirst = 25 * time.Millisecond
	// backoffMax bounds the wait after a long outage: what the table can do again is used within seconds.
	backoffMax = 2 * time.Second
)

// backoff is a random delay for the n-th failure in a row, counted from 1; random is in [0, 1).
func backoff(n int, random float64) time.Duration {
	bound := float64(backoffFirst) * math.Pow(2, float64(min(n, 30)-1))
	return time.Millisecond + time.Duration(random*min(bound, float64(backoffMax)))
}

// window adapts how many calls run at once: one more after each window of clean calls, half after a throttle. Source: AIMD, Chiu and
// Jain 1989, as TCP uses it. A plain value.
type window struct {
	limit float64
	max   int
	clean int
	epoch int // counts the cuts
}

func newWindow(start, most int) window { return window{limit: float64(min(start, most)), max: most} }

// calls is how many calls may run now, at least 1.
func (w *window) calls() int { return int(w.limit) }

// success counts a clean call. A window that is less than half filled does not grow: that proves nothing about a larger one.
func (w *window) success(inFlight int) {
	if 2*inFlight < w.calls() {
		return
	}
	if w.clean++; w.clean >= w.calls() {
		w.clean = 0
		w.limit = min(w.limit+1, float64(w.max))
	}
}

// throttle halves the window, once for all calls that were sent before the last cut: they report the same overload.
func (w *window) throttle(sentIn int) {
	if sentIn != w.epoch {
		return
	}
	w.epoch++
	w.clean = 0
	w.limit = max(1, w.limit/2)
}

// The service's bucket and this one fill at the same rate, but requests do not arrive as evenly as they leave: a bucket that is as large as
// the service's would stand at the service's limit with every write. So this one is smaller, and fills a little more slowly.
const (
	bucketSeconds = 0.9
	bucketShare   = 0.98
)

// bucket is a token bucket of write units. The zero value lets everything pass. A plain value.
type bucket struct {
	rate   float64 // units a second; 0 is no limit
	tokens float64
	at     time.Time
}

// size is nearly one second's worth: an idle table takes a burst at once, and no more than it would take in that second anyway.
func (b *bucket) size() float64 { return max(1, b.rate*bucketSeconds) }

func (b *bucket) refill(now time.Time) {
	if b.at.IsZero() {
		b.tokens, b.at = b.size(), now
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens, b.at = min(b.size(), b.tokens+b.rate*bucketShare*d.Seconds()), now
	}
}

// wait is how long until n units can be taken; 0 is now. More units than the bucket holds are taken when it is full, and owed.
func (b *bucket) wait(n float64, now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	b.refill(now)
	lack := min(n, b.size()) - b.tokens
	// Floating point leaves crumbs: waiting for a billionth of a unit would be waiting for nothing.
	if lack <= 1e-9 {
		return 0
	}
	return max(time.Microsecond, time.Duration(lack/(b.rate*bucketShare)*float64(time.Second)))
}

// holds says that n units are there, as of the last refill: nothing would be owed.
func (b *bucket) holds(n float64) bool { return b.rate == 0 || b.tokens >= n }

func (b *bucket) take(n float64) { b.tokens -= n }

// correct replaces an estimate by what the service counted. Units are never given back beyond the bucket's size.
func (b *bucket) correct(estimate, counted float64) {
	if b.rate > 0 {
		b.tokens = min(b.size(), b.tokens+estimate-counted)
	}
}

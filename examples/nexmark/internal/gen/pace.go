package gen

import (
	"sync"
	"time"
)

// paceStep is how often a paced reader looks at the clock.
const paceStep = 200 * time.Microsecond

// Pace lets events come at a rate, by the wall clock. All readers of a source share one, and whoever measures latencies asks it when an event
// was due. It is safe for use by several goroutines; its Rate is not changed after the first use.
type Pace struct {
	Rate  float64 // events per second
	begin sync.Once
	start time.Time
}

// Due is the moment at which event n is to come. The clock starts with the first call of any method.
func (p *Pace) Due(n int64) time.Time {
	p.begin.Do(func() { p.start = time.Now() })
	return p.start.Add(time.Duration(float64(n) / p.Rate * float64(time.Second)))
}

// due is the first event that is not due yet.
func (p *Pace) due() int64 {
	return int64(time.Since(p.Due(0)).Seconds()*p.Rate) + 1
}

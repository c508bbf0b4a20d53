// Package floor has some queries of the benchmark as an engineer would write them by hand for one thread: a loop over the events, arrays and flat
// hash tables, no library, no exchange, no state that survives a crash. What a job on millrace costs above that is the price of the library.
//
// The programs are honest about time: they do not know that the events come in their order, so windows stay open until the watermark of the benchmark
// (4 s behind, given every 100 ms of event time) has passed their end.
package floor

import (
	"fmt"
	"math"

	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// batch is how many events are worked off between two reports of progress.
const batch = 1024

// query is one program. events works off the events from ≤ n < to, in turn; finish ends all windows and returns the result.
type query interface {
	events(g *gen.Generator, from, to int64)
	finish() digest.Sum
}

// Queries returns the names of the queries that are here. The caller owns the slice.
func Queries() []string { return []string{"q0", "q5", "q7"} }

// Run computes a query over events 0 ≤ n < events of a seed. After each 1024 events it calls progress with the number of events done so far;
// nil is allowed. The error says that there is no program for the query.
func Run(name string, events int64, seed uint64, progress func(done int64)) (digest.Sum, error) {
	var q query
	switch name {
	case "q0":
		q = &everyBid{}
	case "q5":
		q = newHotItems()
	case "q7":
		q = &highestBid{}
	default:
		return digest.Sum{}, fmt.Errorf("floor: no program for query %q, want one of %v", name, Queries())
	}
	g := gen.New(seed)
	for from := int64(0); from < events; from += batch {
		to := min(from+batch, events)
		q.events(g, from, to)
		if progress != nil {
			progress(to)
		}
	}
	return q.finish(), nil
}

const (
	outOfOrdernessMS = 4000
	watermarkStepMS  = 100
)

// clock is the watermark.
type clock struct {
	nextMS int64 // event time of the next watermark
}

// advance takes the time of an event and returns a new watermark, if there is one.
func (c *clock) advance(ms int64) (watermarkMS int64, ok bool) {
	if ms < c.nextMS {
		return 0, false
	}
	c.nextMS = ms + watermarkStepMS
	return ms - outOfOrdernessMS - 1, true
}

// endOfTime is the watermark after the last event.
const endOfTime = math.MaxInt64

// everyBid is q0.
type everyBid struct{ sum digest.Sum }

func (q *everyBid) events(g *gen.Generator, from, to int64) {
	for n := from; n < to; n++ {
		if e := g.Event(n); e.Kind() == gen.BidKind {
			q.sum.Add(digest.NewRow().Bid(e.Bid).Hash())
		}
	}
}

func (q *everyBid) finish() digest.Sum { return q.sum }

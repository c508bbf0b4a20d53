package floor

import (
	"slices"

	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// highestBid is q7: in each 10 s the bids with the highest price.
type highestBid struct {
	sum  digest.Sum
	time clock
	open []top // one or two windows, by their end
}

// top is one window.
type top struct {
	endMS, price int64
	bids         []gen.Bid
}

const sizeMS = 10_000

func (q *highestBid) events(g *gen.Generator, from, to int64) {
	for n := from; n < to; n++ {
		e := g.Event(n)
		ms := gen.TimeUS(n) / 1000
		if e.Kind() == gen.BidKind {
			q.add(e.Bid, ms-ms%sizeMS+sizeMS)
		}
		if watermark, ok := q.time.advance(ms); ok {
			q.fire(watermark)
		}
	}
}

func (q *highestBid) add(b gen.Bid, endMS int64) {
	i := len(q.open) - 1
	for ; i >= 0 && q.open[i].endMS != endMS; i-- {
	}
	if i < 0 {
		for i = 0; i < len(q.open) && q.open[i].endMS < endMS; i++ {
		}
		q.open = slices.Insert(q.open, i, top{endMS: endMS})
	}
	switch w := &q.open[i]; {
	case b.Price > w.price:
		w.price, w.bids = b.Price, append(w.bids[:0], b)
	case b.Price == w.price:
		w.bids = append(w.bids, b)
	}
}

func (q *highestBid) fire(watermarkMS int64) {
	for len(q.open) > 0 && q.open[0].endMS-1 <= watermarkMS {
		for _, b := range q.open[0].bids {
			q.sum.Add(digest.NewRow().Bid(b).Int(q.open[0].endMS).Hash())
		}
		q.open = slices.Delete(q.open, 0, 1)
	}
}

func (q *highestBid) finish() digest.Sum {
	q.fire(endOfTime)
	return q.sum
}

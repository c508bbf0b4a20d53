package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// topBids are the bids with the highest price.
type topBids struct {
	Price int64
	Bids  []gen.Bid
}

// windowBid is a bid that is the highest of a window.
type windowBid struct {
	gen.Bid
	EndMS int64
}

// q7 is the highest bids of every 10 s. All bids meet in one place, so they are first reduced in 64 parts, by all subtasks.
func q7(events dataflow.Stream[gen.Event], total *digest.Total) {
	windows := operators.Tumbling(10 * time.Second)
	bids(events).
		KeyBy(func(b gen.Bid) uint8 { return uint8(b.TS / 100 % 64) }).
		Window(windows).
		Aggregate("highest-of-part", highestBids, func(_ uint8, _ operators.Window, t topBids) topBids { return t }).
		WindowAll(windows).
		AggregateProcess("highest", highestOf, func(f *operators.WindowFunc[operators.NoKey, topBids, windowBid]) {
			f.OnFire(func(c *operators.WindowCtx[operators.NoKey, windowBid], t topBids) error {
				for _, b := range t.Bids {
					if err := c.Emit(windowBid{b, c.Window().EndMS}); err != nil {
						return err
					}
				}
				return nil
			})
		}).
		To("digest", digest.Sink[windowBid]{
			Hash:  func(r windowBid) uint64 { return digest.NewRow().Bid(r.Bid).Int(r.EndMS).Hash() },
			Cause: func(r windowBid) int64 { return windowCause(r.EndMS) },
			Total: total,
		})
}

// highestBids takes bids, highestOf the highest ones of parts.
var (
	highestBids = state.Aggregate[gen.Bid, topBids, topBids]{
		Add:    func(t topBids, b gen.Bid) topBids { return t.add(b.Price, b) },
		Result: func(t topBids) topBids { return t },
	}
	highestOf = state.Aggregate[topBids, topBids, topBids]{
		Add:    func(t topBids, part topBids) topBids { return t.add(part.Price, part.Bids...) },
		Result: func(t topBids) topBids { return t },
	}
)

// add adds bids of one price.
func (t topBids) add(price int64, bids ...gen.Bid) topBids {
	switch {
	case price < t.Price:
		return t
	case price > t.Price:
		t.Price, t.Bids = price, t.Bids[:0]
	}
	t.Bids = append(t.Bids, bids...)
	return t
}

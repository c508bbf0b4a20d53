package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// bidderAuction is a person and an auction.
type bidderAuction struct {
	Bidder, Auction int64
}

// bidRow is a bid in a changelog: an insert, or one that takes an earlier insert back.
type bidRow struct {
	gen.Bid
	Retract bool
}

// q18 is the last bid of each person for each auction, as a changelog.
func q18(events dataflow.Stream[gen.Event], total *digest.Total) {
	bids(events).
		KeyBy(func(b gen.Bid) bidderAuction { return bidderAuction{b.Bidder, b.Auction} }).
		Process("last-bid", lastBids).
		To("digest", digest.Sink[bidRow]{
			Hash:    func(r bidRow) uint64 { return digest.NewRow().Bid(r.Bid).Hash() },
			Retract: func(r bidRow) bool { return r.Retract },
			Cause:   func(r bidRow) int64 { return gen.NumberAt(r.TS) },
			Total:   total,
		})
}

func lastBids(b *operators.Keyed[bidderAuction, gen.Bid, bidRow]) {
	last := b.Value[gen.Bid]("last")
	b.OnRecord(func(c *operators.Ctx[bidderAuction, bidRow], b gen.Bid) error {
		before, ok, err := last.Lookup()
		if err != nil || ok && before.TS > b.TS {
			return err
		}
		if ok {
			if err := c.Emit(bidRow{before, true}); err != nil {
				return err
			}
		}
		if err := last.Set(b); err != nil {
			return err
		}
		return c.Emit(bidRow{b, false})
	})
}

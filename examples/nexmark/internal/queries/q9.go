package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// lead is what every bid for an auction is compared with: small, where the auction and the bid are not.
type lead struct {
	TS, Expires  int64 // of the auction, µs
	Price, BidTS int64 // of the best bid; price 0 is none
}

// sale is an auction with the bid that won it.
type sale struct {
	Auction gen.Auction
	Bid     gen.Bid
}

// q9 is the winning bid of every auction.
func q9(events dataflow.Stream[gen.Event], total *digest.Total) {
	auctions(events).KeyBy(func(a gen.Auction) int64 { return a.ID }).
		Connect(bids(events).KeyBy(func(b gen.Bid) int64 { return b.Auction })).
		Process("winning-bid", winningBids).
		To("digest", digest.Sink[sale]{
			Hash: func(r sale) uint64 {
				return digest.NewRow().Int(r.Auction.ID).Item(&r.Auction).
					Int(r.Bid.Bidder).Int(r.Bid.Price).Int(r.Bid.TS).String(r.Bid.Extra).Hash()
			},
			Cause: func(r sale) int64 { return gen.FirstBeyond(r.Auction.Expires / 1000) },
			Total: total,
		})
}

// winningBids passes an auction on with its winner when the watermark says that no bid for it can come any more. See closingPrices for bids that
// come before their auction.
func winningBids(b *operators.CoKeyed[int64, gen.Auction, gen.Bid, sale]) {
	open := b.Value[lead]("open")
	auction, winner := b.Value[gen.Auction]("auction"), b.Value[gen.Bid]("winner")
	early := b.List[gen.Bid]("bids without auction")
	b.OnFirst(func(c *operators.Ctx[int64, sale], a gen.Auction) error {
		l := lead{TS: a.TS, Expires: a.Expires}
		var best gen.Bid
		err := early.Range(func(b gen.Bid) error {
			if l.take(b) {
				best = b
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := early.Clear(); err != nil {
			return err
		}
		if l.Price > 0 {
			if err := winner.Set(best); err != nil {
				return err
			}
		}
		c.TimerAt(time.UnixMilli(a.Expires / 1000))
		if err := open.Set(l); err != nil {
			return err
		}
		return auction.Set(a)
	})
	b.OnSecond(func(c *operators.Ctx[int64, sale], b gen.Bid) error {
		l, ok, err := open.Lookup()
		if err != nil {
			return err
		}
		if !ok {
			c.TimerAt(time.UnixMilli(b.TS / 1000))
			return early.Append(b)
		}
		if !l.take(b) {
			return nil
		}
		if err := open.Set(l); err != nil {
			return err
		}
		return winner.Set(b)
	})
	b.OnTimer(func(c *operators.Ctx[int64, sale], at time.Time) error {
		l, ok, err := open.Lookup()
		switch {
		case err != nil:
			return err
		case !ok:
			return dropUntil(early, at, func(b gen.Bid) int64 { return b.TS })
		case at.UnixMilli() < l.Expires/1000:
			return nil // the timer of a bid that has found its auction
		}
		if l.Price > 0 {
			a, err := auction.Get()
			if err != nil {
				return err
			}
			b, err := winner.Get()
			if err != nil {
				return err
			}
			if err := c.Emit(sale{a, b}); err != nil {
				return err
			}
			if err := winner.Clear(); err != nil {
				return err
			}
		}
		if err := auction.Clear(); err != nil {
			return err
		}
		return open.Clear()
	})
}

// take makes b the best bid if it is.
func (l *lead) take(b gen.Bid) bool {
	if b.TS < l.TS || b.TS > l.Expires || b.Price < l.Price || b.Price == l.Price && b.TS > l.BidTS {
		return false
	}
	l.Price, l.BidTS = b.Price, b.TS
	return true
}

package queries

import (
	"errors"
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
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

// winning is the state of an auction and of bids for it.
type winning struct {
	open    *state.Value[lead]
	auction *state.Value[gen.Auction]
	winner  *state.Value[gen.Bid]
	early   *state.List[gen.Bid]
}

// winningBids passes an auction on with its winner when the watermark says that no bid for it can come any more. See closingPrices for bids that
// come before their auction.
func winningBids(b *operators.CoKeyed[int64, gen.Auction, gen.Bid, sale]) {
	w := winning{b.Value[lead]("open"), b.Value[gen.Auction]("auction"), b.Value[gen.Bid]("winner"), b.List[gen.Bid]("bids without auction")}
	b.OnFirst(w.begin)
	b.OnSecond(w.bid)
	b.OnTimer(w.end)
}

func (w *winning) begin(c *operators.Ctx[int64, sale], a gen.Auction) error {
	l := lead{TS: a.TS, Expires: a.Expires}
	err := w.early.Range(func(b gen.Bid) error {
		if l.take(b) {
			return w.winner.Set(b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.TimerAt(time.UnixMilli(a.Expires / 1000))
	return errors.Join(w.early.Clear(), w.auction.Set(a), w.open.Set(l))
}

func (w *winning) bid(c *operators.Ctx[int64, sale], b gen.Bid) error {
	l, ok, err := w.open.Lookup()
	if err != nil {
		return err
	}
	if !ok {
		c.TimerAt(time.UnixMilli(b.TS / 1000))
		return w.early.Append(b)
	}
	if !l.take(b) {
		return nil
	}
	return errors.Join(w.open.Set(l), w.winner.Set(b))
}

func (w *winning) end(c *operators.Ctx[int64, sale], at time.Time) error {
	l, ok, err := w.open.Lookup()
	switch {
	case err != nil:
		return err
	case !ok:
		return dropUntil(w.early, at, func(b gen.Bid) int64 { return b.TS })
	case at.UnixMilli() < l.Expires/1000:
		return nil // the timer of a bid that has found its auction
	}
	if l.Price > 0 {
		a, errA := w.auction.Get()
		b, errB := w.winner.Get()
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		if err := c.Emit(sale{a, b}); err != nil {
			return err
		}
	}
	return errors.Join(w.open.Clear(), w.auction.Clear(), w.winner.Clear())
}

// take makes b the best bid if it is.
func (l *lead) take(b gen.Bid) bool {
	if b.TS < l.TS || b.TS > l.Expires || b.Price < l.Price || b.Price == l.Price && b.TS > l.BidTS {
		return false
	}
	l.Price, l.BidTS = b.Price, b.TS
	return true
}

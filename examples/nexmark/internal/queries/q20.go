package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// itemBid is a bid with its auction.
type itemBid struct {
	Bid     gen.Bid
	Auction gen.Auction
}

// q20 joins every bid with its auction of category 10, whenever either comes. Bids for other auctions wait for ever: the query is about that state.
func q20(events dataflow.Stream[gen.Event], total *digest.Total) {
	auctions(events).
		Filter(func(a gen.Auction) bool { return a.Category == 10 }).
		KeyBy(func(a gen.Auction) int64 { return a.ID }).
		Connect(bids(events).KeyBy(func(b gen.Bid) int64 { return b.Auction })).
		Process("join", itemsWithBids).
		To("digest", digest.Sink[itemBid]{
			Hash:  func(r itemBid) uint64 { return digest.NewRow().Bid(r.Bid).Item(&r.Auction).Hash() },
			Total: total,
		})
}

func itemsWithBids(b *operators.CoKeyed[int64, gen.Auction, gen.Bid, itemBid]) {
	auction := b.Value[gen.Auction]("auction")
	waiting := b.List[gen.Bid]("bids without auction")
	b.OnFirst(func(c *operators.Ctx[int64, itemBid], a gen.Auction) error {
		if err := auction.Set(a); err != nil {
			return err
		}
		if err := waiting.Range(func(b gen.Bid) error { return c.Emit(itemBid{b, a}) }); err != nil {
			return err
		}
		return waiting.Clear()
	})
	b.OnSecond(func(c *operators.Ctx[int64, itemBid], b gen.Bid) error {
		a, ok, err := auction.Lookup()
		switch {
		case err != nil:
			return err
		case !ok:
			return waiting.Append(b)
		}
		return c.Emit(itemBid{b, a})
	})
}

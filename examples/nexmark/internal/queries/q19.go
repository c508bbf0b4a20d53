package queries

import (
	"cmp"
	"slices"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

const ranks = 10

// rankRow is a bid and its rank among those for its auction, in a changelog.
type rankRow struct {
	gen.Bid
	Rank    int64 // 1 is the best
	Retract bool
}

// q19 is the ten best bids for each auction, as a changelog.
func q19(events dataflow.Stream[gen.Event], total *digest.Total) {
	bids(events).
		KeyBy(func(b gen.Bid) int64 { return b.Auction }).
		Process("ranking", bestBids).
		To("digest", digest.Sink[rankRow]{
			Hash:    func(r rankRow) uint64 { return digest.NewRow().Bid(r.Bid).Int(r.Rank).Hash() },
			Retract: func(r rankRow) bool { return r.Retract },
			Total:   total,
		})
}

// bestBids keeps the ranking, and beside it the price of its last rank, once all are taken: most bids need to look at no more.
func bestBids(b *operators.Keyed[int64, gen.Bid, rankRow]) {
	ranking, least := b.Value[[]gen.Bid]("ranking"), b.Value[int64]("least")
	b.OnRecord(func(c *operators.Ctx[int64, rankRow], b gen.Bid) error {
		if price, ok, err := least.Lookup(); err != nil || ok && b.Price < price {
			return err
		}
		bids, err := ranking.Get()
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearchFunc(bids, b, func(x, b gen.Bid) int {
			return cmp.Or(cmp.Compare(b.Price, x.Price), cmp.Compare(x.TS, b.TS))
		})
		if at == ranks {
			return nil
		}
		for i, x := range bids[at:] {
			if err := c.Emit(rankRow{x, int64(at + i + 1), true}); err != nil {
				return err
			}
		}
		bids = slices.Insert(bids, at, b)
		bids = bids[:min(len(bids), ranks)]
		for i, x := range bids[at:] {
			if err := c.Emit(rankRow{x, int64(at + i + 1), false}); err != nil {
				return err
			}
		}
		if err := ranking.Set(bids); err != nil || len(bids) < ranks {
			return err
		}
		return least.Set(bids[ranks-1].Price)
	})
}

package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// auctionDay is a day, counted from 1970 on, of an auction.
type auctionDay struct {
	Auction, Day int64
}

// dayBid is what q17 needs of a bid.
type dayBid struct {
	auctionDay
	Price int64
}

// dayStats are the bids of an auction on a day.
type dayStats struct {
	Bids, Below10K, Below1M, Above int64
	Min, Max, Sum                  int64
}

// dayRow is a row of q17: an insert, or one that takes an earlier insert back.
type dayRow struct {
	auctionDay
	dayStats
	Retract bool
}

// q17 is statistics of the bids for each auction and day, as a changelog.
func q17(events dataflow.Stream[gen.Event], total *digest.Total) {
	events.
		FlatMap(func(e gen.Event, emit func(dayBid) error) error {
			if e.Kind() != gen.BidKind {
				return nil
			}
			return emit(dayBid{auctionDay{e.Bid.Auction, e.Bid.TS / 1000 / 86_400_000}, e.Bid.Price})
		}).
		KeyBy(func(b dayBid) auctionDay { return b.auctionDay }).
		Process("statistics", dayStatistics).
		To("digest", digest.Sink[dayRow]{
			Hash: func(r dayRow) uint64 {
				return digest.NewRow().Int(r.Auction).Int(r.Day).Int(r.Bids).Int(r.Below10K).Int(r.Below1M).Int(r.Above).
					Int(r.Min).Int(r.Max).Int(r.Sum / r.Bids).Int(r.Sum).Hash()
			},
			Retract: func(r dayRow) bool { return r.Retract },
			Total:   total,
		})
}

func dayStatistics(b *operators.Keyed[auctionDay, dayBid, dayRow]) {
	stats := b.Value[dayStats]("statistics")
	b.OnRecord(func(c *operators.Ctx[auctionDay, dayRow], b dayBid) error {
		s, ok, err := stats.Lookup()
		if err != nil {
			return err
		}
		if ok {
			if err := c.Emit(dayRow{b.auctionDay, s, true}); err != nil {
				return err
			}
		}
		s.add(b.Price)
		if err := stats.Set(s); err != nil {
			return err
		}
		return c.Emit(dayRow{b.auctionDay, s, false})
	})
}

func (s *dayStats) add(price int64) {
	switch {
	case price < 10_000:
		s.Below10K++
	case price < 1_000_000:
		s.Below1M++
	default:
		s.Above++
	}
	if s.Bids == 0 || price < s.Min {
		s.Min = price
	}
	s.Bids++
	s.Max = max(s.Max, price)
	s.Sum += price
}

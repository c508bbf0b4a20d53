package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// auctionBids is the number of bids for an auction in a window.
type auctionBids struct {
	Auction, Count, EndMS int64
}

// hottest are the auctions with the highest count.
type hottest struct {
	Count    int64
	Auctions []int64
}

// q5 is the auctions with the most bids in the last 10 s, every 2 s.
func q5(events dataflow.Stream[gen.Event], total *digest.Total) {
	events.
		FlatMap(func(e gen.Event, emit func(int64) error) error {
			if e.Kind() != gen.BidKind {
				return nil
			}
			return emit(e.Bid.Auction)
		}).
		KeyBy(func(auction int64) int64 { return auction }).
		Window(operators.Sliding(10*time.Second, 2*time.Second)).
		Aggregate("count", operators.Count[int64](), func(auction int64, w operators.Window, n int64) auctionBids {
			return auctionBids{auction, n, w.EndMS}
		}).
		KeyBy(func(b auctionBids) int64 { return b.EndMS }).
		Window(operators.Tumbling(2*time.Second)).
		AggregateProcess("hottest", hottestAuctions, func(f *operators.WindowFunc[int64, hottest, auctionBids]) {
			f.OnFire(func(c *operators.WindowCtx[int64, auctionBids], h hottest) error {
				for _, auction := range h.Auctions {
					if err := c.Emit(auctionBids{auction, h.Count, c.Key()}); err != nil {
						return err
					}
				}
				return nil
			})
		}).
		To("digest", digest.Sink[auctionBids]{
			Hash:  func(r auctionBids) uint64 { return digest.NewRow().Int(r.Auction).Int(r.Count).Int(r.EndMS).Hash() },
			Cause: func(r auctionBids) int64 { return windowCause(r.EndMS) },
			Total: total,
		})
}

var hottestAuctions = state.Aggregate[auctionBids, hottest, hottest]{
	Add: func(h hottest, b auctionBids) hottest {
		switch {
		case b.Count < h.Count:
			return h
		case b.Count > h.Count:
			h.Count, h.Auctions = b.Count, h.Auctions[:0]
		}
		h.Auctions = append(h.Auctions, b.Auction)
		return h
	},
	Result: func(h hottest) hottest { return h },
}

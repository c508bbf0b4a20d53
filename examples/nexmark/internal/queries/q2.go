package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// q2 selects the bids for some auctions.
func q2(events dataflow.Stream[gen.Event], total *digest.Total) {
	bids(events).
		Filter(func(b gen.Bid) bool { return b.Auction%123 == 0 }).
		To("digest", digest.Sink[gen.Bid]{
			Hash:  func(b gen.Bid) uint64 { return digest.NewRow().Int(b.Auction).Int(b.Price).Hash() },
			Total: total,
		})
}

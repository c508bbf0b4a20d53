package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// q1 converts the price of every bid from dollars to euros.
func q1(events dataflow.Stream[gen.Event], total *digest.Total) {
	bids(events).
		Map(func(b gen.Bid) gen.Bid {
			b.Price = b.Price * 908 / 1000
			return b
		}).
		To("digest", bidSink(total))
}

package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// q0 passes every bid through: what it costs to make the events, to move them and to add the rows up.
func q0(events dataflow.Stream[gen.Event], total *digest.Total) {
	bids(events).To("digest", bidSink(total))
}

func bidSink(total *digest.Total) digest.Sink[gen.Bid] {
	return digest.Sink[gen.Bid]{
		Hash:  func(b gen.Bid) uint64 { return digest.NewRow().Bid(b).Hash() },
		Cause: func(b gen.Bid) int64 { return gen.NumberAt(b.TS) },
		Total: total,
	}
}

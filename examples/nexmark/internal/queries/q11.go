package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// session is the bids of a person without a pause.
type session struct {
	Bidder, Count, StartMS, EndMS int64
}

// q11 is the number of bids that a person makes without a pause of more than 10 s.
func q11(events dataflow.Stream[gen.Event], total *digest.Total) {
	events.
		FlatMap(func(e gen.Event, emit func(int64) error) error {
			if e.Kind() != gen.BidKind {
				return nil
			}
			return emit(e.Bid.Bidder)
		}).
		KeyBy(func(bidder int64) int64 { return bidder }).
		Window(operators.Session(10*time.Second)).
		Aggregate("sessions", operators.Count[int64](), func(bidder int64, w operators.Window, n int64) session {
			return session{bidder, n, w.StartMS, w.EndMS}
		}).
		To("digest", digest.Sink[session]{
			Hash: func(r session) uint64 {
				return digest.NewRow().Int(r.Bidder).Int(r.Count).Int(r.StartMS).Int(r.EndMS).Hash()
			},
			Cause: func(r session) int64 { return windowCause(r.EndMS) },
			Total: total,
		})
}

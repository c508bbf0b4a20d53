package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// newcomer is a person that has just registered.
type newcomer struct {
	ID   int64
	Name string
}

// newSeller is a person that registered and began to sell in the same window.
type newSeller struct {
	newcomer
	StartMS int64
}

// q8 is the persons that open their first auction in the 10 s in which they register.
func q8(events dataflow.Stream[gen.Event], total *digest.Total) {
	newcomers := events.FlatMap(func(e gen.Event, emit func(newcomer) error) error {
		if e.Person == nil {
			return nil
		}
		return emit(newcomer{e.Person.ID, e.Person.Name})
	})
	sellers := events.FlatMap(func(e gen.Event, emit func(int64) error) error {
		if e.Auction == nil {
			return nil
		}
		return emit(e.Auction.Seller)
	})
	newcomers.KeyBy(func(p newcomer) int64 { return p.ID }).
		WindowCoGroup("new-sellers", sellers.KeyBy(func(id int64) int64 { return id }), operators.Tumbling(10*time.Second),
			func(c *operators.WindowCtx[int64, newSeller], persons []newcomer, auctions []int64) error {
				if len(persons) == 0 || len(auctions) == 0 {
					return nil
				}
				return c.Emit(newSeller{persons[0], c.Window().StartMS})
			}).
		To("digest", digest.Sink[newSeller]{
			Hash:  func(r newSeller) uint64 { return digest.NewRow().Int(r.ID).String(r.Name).Int(r.StartMS).Hash() },
			Cause: func(r newSeller) int64 { return windowCause(r.StartMS + 10_000) },
			Total: total,
		})
}

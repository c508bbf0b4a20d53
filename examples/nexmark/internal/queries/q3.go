package queries

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
)

// seller is a person of some states.
type seller struct {
	ID                int64
	Name, City, State string
}

// offer is an auction of category 10.
type offer struct {
	Seller, Auction int64
}

// localItem is who sells an auction.
type localItem struct {
	Name, City, State string
	Auction           int64
}

// q3 joins persons of three states with their auctions of category 10, whenever either comes.
func q3(events dataflow.Stream[gen.Event], total *digest.Total) {
	sellers := events.FlatMap(func(e gen.Event, emit func(seller) error) error {
		if p := e.Person; p != nil && (p.State == "OR" || p.State == "ID" || p.State == "CA") {
			return emit(seller{p.ID, p.Name, p.City, p.State})
		}
		return nil
	})
	offers := events.FlatMap(func(e gen.Event, emit func(offer) error) error {
		if a := e.Auction; a != nil && a.Category == 10 {
			return emit(offer{a.Seller, a.ID})
		}
		return nil
	})
	sellers.KeyBy(func(s seller) int64 { return s.ID }).
		Connect(offers.KeyBy(func(o offer) int64 { return o.Seller })).
		Process("join", sellersWithOffers).
		To("digest", digest.Sink[localItem]{
			Hash: func(r localItem) uint64 {
				return digest.NewRow().String(r.Name).String(r.City).String(r.State).Int(r.Auction).Hash()
			},
			Total: total,
		})
}

func sellersWithOffers(b *operators.CoKeyed[int64, seller, offer, localItem]) {
	person := b.Value[seller]("person")
	waiting := b.List[int64]("auctions without person")
	b.OnFirst(func(c *operators.Ctx[int64, localItem], s seller) error {
		if err := person.Set(s); err != nil {
			return err
		}
		err := waiting.Range(func(auction int64) error { return c.Emit(localItem{s.Name, s.City, s.State, auction}) })
		if err != nil {
			return err
		}
		return waiting.Clear()
	})
	b.OnSecond(func(c *operators.Ctx[int64, localItem], o offer) error {
		s, ok, err := person.Lookup()
		switch {
		case err != nil:
			return err
		case !ok:
			return waiting.Append(o.Auction)
		}
		return c.Emit(localItem{s.Name, s.City, s.State, o.Auction})
	})
}

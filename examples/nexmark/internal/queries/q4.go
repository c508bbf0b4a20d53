package queries

import (
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// opened is what q4 needs of an auction, and the highest price so far; 0 is none.
type opened struct {
	Auction, TS, Expires, Category, Best int64
}

// priced is what q4 needs of a bid.
type priced struct {
	Auction, TS, Price int64
}

// closed is an auction that is over.
type closed struct {
	Category, Price int64
}

// prices sums closing prices up.
type prices struct {
	N, Sum int64
}

// categoryPrices are the closing prices of a category in a window.
type categoryPrices struct {
	Category, EndMS int64
	prices
}

// q4 is the average closing price of the auctions of each category that end within 10 s.
func q4(events dataflow.Stream[gen.Event], total *digest.Total) {
	auctions := events.FlatMap(func(e gen.Event, emit func(opened) error) error {
		if a := e.Auction; a != nil {
			return emit(opened{Auction: a.ID, TS: a.TS, Expires: a.Expires, Category: a.Category})
		}
		return nil
	})
	bids := events.FlatMap(func(e gen.Event, emit func(priced) error) error {
		if e.Kind() != gen.BidKind {
			return nil
		}
		return emit(priced{e.Bid.Auction, e.Bid.TS, e.Bid.Price})
	})
	auctions.KeyBy(func(a opened) int64 { return a.Auction }).
		Connect(bids.KeyBy(func(b priced) int64 { return b.Auction })).
		Process("closing-price", closingPrices).
		KeyBy(func(c closed) int64 { return c.Category }).
		Window(operators.Tumbling(10*time.Second)).
		Aggregate("average", averagePrice, func(category int64, w operators.Window, p prices) categoryPrices {
			return categoryPrices{category, w.EndMS, p}
		}).
		To("digest", digest.Sink[categoryPrices]{
			Hash: func(r categoryPrices) uint64 {
				return digest.NewRow().Int(r.Category).Int(r.EndMS).Int(r.N).Int(r.Sum).Int(r.Sum / r.N).Hash()
			},
			Cause: func(r categoryPrices) int64 { return windowCause(r.EndMS) },
			Total: total,
		})
}

var averagePrice = state.Aggregate[closed, prices, prices]{
	Add:         func(p prices, c closed) prices { return prices{p.N + 1, p.Sum + c.Price} },
	Merge:       func(a, b prices) prices { return prices{a.N + b.N, a.Sum + b.Sum} },
	Result:      func(p prices) prices { return p },
	Commutative: true,
}

// closingPrices passes an auction on when the watermark says that no bid for it can come any more. A bid that comes before its auction waits until
// the watermark reaches it: then no auction that is older can come.
func closingPrices(b *operators.CoKeyed[int64, opened, priced, closed]) {
	open := b.Value[opened]("open")
	early := b.List[priced]("bids without auction")
	bid := func(a *opened, b priced) (better bool) {
		if b.Price <= a.Best || b.TS < a.TS || b.TS > a.Expires {
			return false
		}
		a.Best = b.Price
		return true
	}
	b.OnFirst(func(c *operators.Ctx[int64, closed], a opened) error {
		err := early.Range(func(b priced) error {
			bid(&a, b)
			return nil
		})
		if err != nil {
			return err
		}
		if err := early.Clear(); err != nil {
			return err
		}
		c.TimerAt(time.UnixMilli(a.Expires / 1000))
		return open.Set(a)
	})
	b.OnSecond(func(c *operators.Ctx[int64, closed], b priced) error {
		a, ok, err := open.Lookup()
		if err != nil {
			return err
		}
		if !ok {
			c.TimerAt(time.UnixMilli(b.TS / 1000))
			return early.Append(b)
		}
		if bid(&a, b) {
			return open.Set(a)
		}
		return nil
	})
	b.OnTimer(func(c *operators.Ctx[int64, closed], at time.Time) error {
		a, ok, err := open.Lookup()
		switch {
		case err != nil:
			return err
		case !ok:
			return dropUntil(early, at, func(b priced) int64 { return b.TS })
		case at.UnixMilli() < a.Expires/1000:
			return nil // the timer of a bid that has found its auction
		}
		if a.Best > 0 {
			if err := c.Emit(closed{a.Category, a.Best}); err != nil {
				return err
			}
		}
		return open.Clear()
	})
}

// dropUntil leaves those elements of a list that are later than at; ts is the time of an element, µs.
func dropUntil[T any](list *state.List[T], at time.Time, ts func(T) int64) error {
	all, err := list.Values()
	if err != nil {
		return err
	}
	keep := all[:0]
	for _, v := range all {
		if ts(v)/1000 > at.UnixMilli() {
			keep = append(keep, v)
		}
	}
	if len(keep) == len(all) {
		return nil
	}
	return list.Set(keep)
}

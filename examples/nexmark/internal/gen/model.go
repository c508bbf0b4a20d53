// Package gen makes the events of the benchmark: persons, auctions and bids, each a pure function of the seed and the event's number, and the
// source that a job reads them from. SPEC.md, sections 1 and 2, defines both; every implementation of it makes the same events.
package gen

// Person is a new user. Ids start at 1000 and have no gaps.
type Person struct {
	ID         int64
	Name       string
	Email      string
	CreditCard string
	City       string
	State      string
	TS         int64 // event time, Unix µs
	Extra      string
}

// Auction is an item that a person offers. Ids start at 1000 and have no gaps.
type Auction struct {
	ID          int64
	ItemName    string
	Description string
	InitialBid  int64
	Reserve     int64
	TS          int64 // event time, Unix µs
	Expires     int64 // Unix µs; bids count up to and including it
	Seller      int64 // a person, perhaps one that comes up to 10 persons later
	Category    int64 // 10…14
	Extra       string
}

// Bid is an offer for an auction.
type Bid struct {
	Auction int64 // perhaps one that comes up to 10 auctions later
	Bidder  int64
	Price   int64
	TS      int64 // event time, Unix µs
	Extra   string
}

// Event is a bid, unless it has a person or an auction. Those may be kept; nothing changes them.
type Event struct {
	Bid     Bid
	Person  *Person
	Auction *Auction
}

// Kind says what an event is. Its numbers are those of the first field of an event's row.
type Kind int64

// The kinds of events.
const (
	PersonKind Kind = iota
	AuctionKind
	BidKind
)

// Kind is what the event is.
func (e Event) Kind() Kind {
	switch {
	case e.Person != nil:
		return PersonKind
	case e.Auction != nil:
		return AuctionKind
	}
	return BidKind
}

package gen

import "strings"

const (
	baseUS = 1_700_000_000_000_000 // event time of event 0
	stepUS = 100

	firstID = 1000
	// recent is the number of persons that a cold reference may go back, ahead the number that it may go beyond the newest.
	recentPersons  = 1000
	recentAuctions = 100
	ahead          = 10
)

// TimeUS is the event time of event n, Unix µs.
func TimeUS(n int64) int64 { return baseUS + stepUS*n }

// NumberAt is the number of the event at the given event time, Unix µs; between two events it is the earlier one.
func NumberAt(tsUS int64) int64 { return (tsUS - baseUS) / stepUS }

// Generator makes events by number, in any order. One goroutine uses it.
type Generator struct {
	seed uint64
	// Persons, auctions and the strings that are not part of the constant text are cut from slabs, which are never used twice: events may be
	// kept, and one allocation serves many.
	persons  []Person
	auctions []Auction
	strings  *strings.Builder
}

const (
	slabRecords = 64
	slabBytes   = 4 << 10
)

// New is the generator of the events of a seed.
func New(seed uint64) *Generator {
	return &Generator{seed: Mix64(seed + gamma), strings: &strings.Builder{}}
}

// Event is event n, n ≥ 0.
func (g *Generator) Event(n int64) Event {
	u := uint64(n)
	state, e, r := Mix64(g.seed+u), u/50, u%50
	switch {
	case r > 3:
		return Event{Bid: bid(state, n, e)}
	case r > 0:
		return Event{Auction: g.auction(state, n, e, r)}
	}
	return Event{Person: g.person(state, n, e)}
}

func bid(state uint64, n int64, e uint64) Bid {
	d1, d2, d3, d4 := draw(state, 1), draw(state, 2), draw(state, 3), draw(state, 4)
	newest := 3*e + 2
	auction := newest / 100 * 100
	if bounded(hi(d1), 2) == 0 {
		auction = coldAuction(lo(d1), newest)
	}
	bidder := e/100*100 + 1
	if bounded(hi(d2), 4) == 0 {
		bidder = coldPerson(lo(d2), e)
	}
	return Bid{Auction: int64(firstID + auction), Bidder: int64(firstID + bidder), Price: price(hi(d3)), TS: TimeUS(n),
		Extra: part(d4, 54+bounded(hi(d4), 28))}
}

func (g *Generator) auction(state uint64, n int64, e, r uint64) *Auction {
	d1, d2, d3, d4, d5 := draw(state, 1), draw(state, 2), draw(state, 3), draw(state, 4), draw(state, 5)
	if len(g.auctions) == 0 {
		g.auctions = make([]Auction, slabRecords)
	}
	a := &g.auctions[0]
	g.auctions = g.auctions[1:]
	seller := e / 100 * 100
	if bounded(hi(d1), 4) == 0 {
		seller = coldPerson(lo(d1), e)
	}
	initial := price(hi(d2))
	*a = Auction{
		ID: int64(firstID + 3*e + r - 1), ItemName: part(d3, 20), Description: part(d4, 100),
		InitialBid: initial, Reserve: initial + price(lo(d2)), TS: TimeUS(n), Expires: TimeUS(n) + 1000*int64(1+bounded(hi(d4), 333)),
		Seller: int64(firstID + seller), Category: int64(10 + bounded(hi(d3), 5)), Extra: part(d5, 259+bounded(hi(d5), 130)),
	}
	return a
}

func (g *Generator) person(state uint64, n int64, e uint64) *Person {
	d1, d2, d3, d4, d5 := draw(state, 1), draw(state, 2), draw(state, 3), draw(state, 4), draw(state, 5)
	if len(g.persons) == 0 {
		g.persons = make([]Person, slabRecords)
	}
	p := &g.persons[0]
	g.persons = g.persons[1:]
	*p = Person{
		ID: int64(firstID + e), Name: names[bounded(hi(d1), uint64(len(firsts)))][bounded(lo(d1), uint64(len(lasts)))],
		Email: g.email(d2), CreditCard: g.card(d3), City: cities[bounded(hi(d4), uint64(len(cities)))],
		State: states[bounded(lo(d4), uint64(len(states)))], TS: TimeUS(n), Extra: part(d5, 100+bounded(hi(d5), 51)),
	}
	return p
}

// draw is the k-th random number of an event.
func draw(state, k uint64) uint64 { return Mix64(state + k*gamma) }

func coldPerson(u, newest uint64) uint64 {
	persons := newest + 1
	reach := min(persons, recentPersons)
	return persons - reach + bounded(u, reach+ahead)
}

func coldAuction(u, newest uint64) uint64 {
	first := newest - min(newest, recentAuctions)
	return first + bounded(u, newest-first+1+ahead)
}

func (g *Generator) email(d uint64) string {
	at := g.room(17)
	b := g.strings
	b.WriteString(part(hi(d), 7))
	b.WriteByte('@')
	b.WriteString(part(lo(d), 5))
	b.WriteString(".com")
	return b.String()[at:]
}

func (g *Generator) card(d uint64) string {
	at := g.room(19)
	b := g.strings
	for i := range 4 {
		if i > 0 {
			b.WriteByte(' ')
		}
		v := d >> (16 * i) & 0xFFFF % 10000
		for _, unit := range [4]uint64{1000, 100, 10, 1} {
			b.WriteByte('0' + byte(v/unit%10))
		}
	}
	return b.String()[at:]
}

// room makes sure that n more bytes do not move the slab, and returns where they begin.
func (g *Generator) room(n int) int {
	if g.strings.Cap()-g.strings.Len() < n {
		g.strings = &strings.Builder{}
		g.strings.Grow(slabBytes)
	}
	return g.strings.Len()
}

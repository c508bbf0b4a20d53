// Package digest sums rows up to one number that does not depend on their order, and has the sink that does so: two programs gave the same rows
// if their digests are equal. SPEC.md, section 3, defines it.
package digest

import "github.com/millrace-io/millrace/examples/nexmark/internal/gen"

// Row is the hash of the fields of a row so far. Make one with NewRow, add the fields in their order, and end with Hash:
//
//	digest.NewRow().Int(b.Auction).String(b.Extra).Hash()
type Row uint64

// NewRow is a row without fields.
func NewRow() Row { return 0xCBF29CE484222325 }

// Int adds a field with an integer.
func (h Row) Int(v int64) Row { return h.word(uint64(v)) }

func (h Row) word(v uint64) Row {
	x := (uint64(h) ^ v) * 0x9E3779B97F4A7C15
	return Row(x ^ x>>32)
}

// String adds a field with a string: its length, then its bytes, eight at a time, little-endian, the last ones filled up with zeros.
func (h Row) String(s string) Row {
	h = h.word(uint64(len(s)))
	for len(s) >= 8 {
		_ = s[7]
		h = h.word(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
		s = s[8:]
	}
	if len(s) == 0 {
		return h
	}
	var last uint64
	for i := len(s) - 1; i >= 0; i-- {
		last = last<<8 | uint64(s[i])
	}
	return h.word(last)
}

// Hash is the hash of the row.
func (h Row) Hash() uint64 { return gen.Mix64(uint64(h)) }

// Bid adds the fields of a bid.
func (h Row) Bid(b gen.Bid) Row {
	return h.Int(b.Auction).Int(b.Bidder).Int(b.Price).Int(b.TS).String(b.Extra)
}

// Item adds the fields of an auction without its id.
func (h Row) Item(a *gen.Auction) Row {
	return h.String(a.ItemName).String(a.Description).Int(a.InitialBid).Int(a.Reserve).Int(a.TS).Int(a.Expires).Int(a.Seller).
		Int(a.Category).String(a.Extra)
}

// Event adds all fields of an event.
func (h Row) Event(e gen.Event) Row {
	h = h.Int(int64(e.Kind()))
	switch {
	case e.Person != nil:
		p := e.Person
		return h.Int(p.ID).String(p.Name).String(p.Email).String(p.CreditCard).String(p.City).String(p.State).Int(p.TS).String(p.Extra)
	case e.Auction != nil:
		return h.Int(e.Auction.ID).Item(e.Auction)
	}
	return h.Bid(e.Bid)
}

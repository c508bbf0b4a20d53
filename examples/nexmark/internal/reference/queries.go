package reference

import (
	"slices"
)

// Times in rows: ts and expires in microseconds, starts and ends of windows in milliseconds.

func everyEvent(in input, t *table) {
	in.persons(func(p person) {
		t.add(newRow.ints(0, p.id).strs(p.name, p.email, p.creditCard, p.city, p.state).ints(p.ts).strs(p.extra))
	})
	in.auctions(func(a auction) {
		t.add(newRow.ints(1, a.id).strs(a.itemName, a.description).
			ints(a.initialBid, a.reserve, a.ts, a.expires, a.seller, a.category).strs(a.extra))
	})
	in.bids(func(b bid) { t.add(newRow.ints(2).bid(b)) })
}

// q0: every bid.
func q0(in input, t *table) {
	in.bids(func(b bid) { t.add(newRow.bid(b)) })
}

// q1: every bid, its price in another currency.
func q1(in input, t *table) {
	in.bids(func(b bid) {
		b.price = b.price * 908 / 1000
		t.add(newRow.bid(b))
	})
}

// q2: bids on some auctions.
func q2(in input, t *table) {
	in.bids(func(b bid) {
		if b.auction%123 == 0 {
			t.add(newRow.ints(b.auction, b.price))
		}
	})
}

// q3: persons of three states with their auctions of category 10.
func q3(in input, t *table) {
	persons := map[int64]person{}
	in.persons(func(p person) {
		if p.state == "OR" || p.state == "ID" || p.state == "CA" {
			persons[p.id] = p
		}
	})
	in.auctions(func(a auction) {
		if p, ok := persons[a.seller]; ok && a.category == 10 {
			t.add(newRow.strs(p.name, p.city, p.state).ints(a.id))
		}
	})
}

// winners returns the winning bid of each auction that has one: the highest price, then the earliest, among its bids with
// auction.ts ≤ bid.ts ≤ auction.expires.
func winners(in input) map[int64]bid {
	auctions, best := map[int64]auction{}, map[int64]bid{}
	in.auctions(func(a auction) { auctions[a.id] = a })
	in.bids(func(b bid) {
		a, ok := auctions[b.auction]
		if !ok || b.ts < a.ts || b.ts > a.expires {
			return
		}
		if w, ok := best[b.auction]; !ok || b.price > w.price || b.price == w.price && b.ts < w.ts {
			best[b.auction] = b
		}
	})
	return best
}

// q4: closing prices per category and 10 s of expiry: number, sum, average.
func q4(in input, t *table) {
	type key struct{ category, end int64 }
	type sum struct{ n, sum int64 }
	sums, best := map[key]sum{}, winners(in)
	in.auctions(func(a auction) {
		if w, ok := best[a.id]; ok {
			k := key{a.category, a.expires/1000/10_000*10_000 + 10_000}
			sums[k] = sum{sums[k].n + 1, sums[k].sum + w.price}
		}
	})
	for k, v := range sums {
		t.add(newRow.ints(k.category, k.end, v.n, v.sum, v.sum/v.n))
	}
}

// q5: in each window of 10 s, every 2 s, the auctions with the most bids.
func q5(in input, t *table) {
	type key struct{ end, auction int64 }
	counts, top := map[key]int64{}, map[int64]int64{}
	in.bids(func(b bid) {
		first := b.ts/1000/2000*2000 + 2000
		for end := first; end < first+10_000; end += 2000 {
			counts[key{end, b.auction}]++
		}
	})
	for k, n := range counts {
		top[k.end] = max(top[k.end], n)
	}
	for k, n := range counts {
		if n == top[k.end] {
			t.add(newRow.ints(k.auction, n, k.end))
		}
	}
}

// q7: in each 10 s, the bids with the highest price.
func q7(in input, t *table) {
	top := map[int64]int64{}
	end := func(b bid) int64 { return b.ts/1000/10_000*10_000 + 10_000 }
	in.bids(func(b bid) { top[end(b)] = max(top[end(b)], b.price) })
	in.bids(func(b bid) {
		if b.price == top[end(b)] {
			t.add(newRow.bid(b).ints(end(b)))
		}
	})
}

// q8: persons who registered and sold in the same 10 s.
func q8(in input, t *table) {
	type key struct{ person, start int64 }
	sold := map[key]bool{}
	in.auctions(func(a auction) { sold[key{a.seller, a.ts / 1000 / 10_000 * 10_000}] = true })
	in.persons(func(p person) {
		if start := p.ts / 1000 / 10_000 * 10_000; sold[key{p.id, start}] {
			t.add(newRow.ints(p.id).strs(p.name).ints(start))
		}
	})
}

// q9: each auction with its winning bid.
func q9(in input, t *table) {
	best := winners(in)
	in.auctions(func(a auction) {
		if w, ok := best[a.id]; ok {
			t.add(newRow.ints(a.id).strs(a.itemName, a.description).ints(a.initialBid, a.reserve, a.ts, a.expires, a.seller, a.category).
				strs(a.extra).ints(w.bidder, w.price, w.ts).strs(w.extra))
		}
	})
}

// q11: sessions of each bidder.
func q11(in input, t *table) {
	times := map[int64][]int64{}
	in.bids(func(b bid) { times[b.bidder] = append(times[b.bidder], b.ts/1000) })
	for bidder, at := range times {
		for _, s := range sessions(at) {
			t.add(newRow.ints(bidder, s.bids, s.start, s.end))
		}
	}
}

// session is [start, end) in milliseconds.
type session struct{ bids, start, end int64 }

// sessions groups bids by their times in milliseconds, ascending. A session ends 10 s after its last bid; a bid at the very end still belongs to it.
func sessions(at []int64) (all []session) {
	for i, ms := range at {
		if i == 0 || ms-at[i-1] > 10_000 {
			all = append(all, session{start: ms})
		}
		last := &all[len(all)-1]
		last.bids++
		last.end = ms + 10_000
	}
	return all
}

// q17: statistics of the bids per auction and day.
func q17(in input, t *table) {
	type key struct{ auction, day int64 }
	type stats struct{ n, low, middle, high, min, max, sum int64 }
	all := map[key]stats{}
	in.bids(func(b bid) {
		k := key{b.auction, b.ts / 1000 / 86_400_000}
		s, ok := all[k]
		if !ok {
			s.min = b.price
		}
		s.n++
		switch {
		case b.price < 10_000:
			s.low++
		case b.price < 1_000_000:
			s.middle++
		default:
			s.high++
		}
		s.min, s.max, s.sum = min(s.min, b.price), max(s.max, b.price), s.sum+b.price
		all[k] = s
	})
	for k, s := range all {
		t.add(newRow.ints(k.auction, k.day, s.n, s.low, s.middle, s.high, s.min, s.max, s.sum/s.n, s.sum))
	}
}

// q18: the last bid of each bidder on each auction.
func q18(in input, t *table) {
	type key struct{ bidder, auction int64 }
	last := map[key]int64{} // ts of the bid
	in.bids(func(b bid) { last[key{b.bidder, b.auction}] = b.ts })
	for _, ts := range last {
		t.add(newRow.bid(in.bid(ordinal(ts))))
	}
}

// q19: the ten best bids of each auction with their ranks, by price descending, then ts ascending.
func q19(in input, t *table) {
	type offer struct{ price, ts int64 }
	offers := map[int64][]offer{}
	in.bids(func(b bid) { offers[b.auction] = append(offers[b.auction], offer{b.price, b.ts}) })
	for _, l := range offers {
		// The bids are in the order of their ts: a stable sort keeps it among equal prices.
		slices.SortStableFunc(l, func(a, b offer) int { return int(b.price - a.price) })
		for i, o := range l[:min(10, len(l))] {
			t.add(newRow.bid(in.bid(ordinal(o.ts))).ints(int64(i + 1)))
		}
	}
}

// q20: each bid with its auction, of category 10.
func q20(in input, t *table) {
	auctions := map[int64]auction{}
	in.auctions(func(a auction) {
		if a.category == 10 {
			auctions[a.id] = a
		}
	})
	in.bids(func(b bid) {
		if a, ok := auctions[b.auction]; ok {
			t.add(newRow.bid(b).strs(a.itemName, a.description).ints(a.initialBid, a.reserve, a.ts, a.expires, a.seller, a.category).strs(a.extra))
		}
	})
}

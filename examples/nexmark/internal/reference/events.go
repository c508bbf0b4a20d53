package reference

import (
	"fmt"
	"strings"
)

const (
	gamma  = 0x9E3779B97F4A7C15
	baseUS = 1_700_000_000_000_000 // ts of event 0, microseconds
	stepUS = 100                   // between two events
)

// decade is floor(10^(j/64) × 10^6), j = 0..64: the prices are log-uniform, made with integers alone.
var decade = [65]uint64{
	1000000, 1036632, 1074607, 1113973, 1154781, 1197085, 1240937, 1286396, 1333521, 1382372, 1433012, 1485508, 1539926,
	1596338, 1654817, 1715437, 1778279, 1843422, 1910952, 1980956, 2053525, 2128751, 2206734, 2287573, 2371373, 2458244,
	2548296, 2641648, 2738419, 2838735, 2942727, 3050527, 3162277, 3278121, 3398208, 3522694, 3651741, 3785515, 3924189,
	4067944, 4216965, 4371444, 4531583, 4697588, 4869675, 5048065, 5232991, 5424690, 5623413, 5829415, 6042963, 6264335,
	6493816, 6731703, 6978305, 7233941, 7498942, 7773650, 8058421, 8353625, 8659643, 8976871, 9305720, 9646616, 10000000}

var (
	pow10      = [6]uint64{1, 10, 100, 1000, 10000, 100000}
	firstNames = strings.Fields("Ada Bruno Chloe Dmitri Elena Farid Greta Hugo Ines Jonas Kira")
	lastNames  = strings.Fields("Adler Brandt Costa Duval Eriksen Fontana Grieg Holm Ivanov")
	cities     = strings.Fields("Tucson Fresno Oakland Boise Salem Eugene Tacoma Spokane Laramie Casper")
	states     = strings.Fields("AZ CA ID OR WA WY")
	text       = randomText()
)

// randomText is what all random strings are cut from.
func randomText() string {
	b := make([]byte, 65536+1024)
	for i := range b {
		b[i] = 'a' + byte(bounded(high(mix(uint64(i+1)*gamma)), 26))
	}
	return string(b)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func high(x uint64) uint64 { return x >> 32 }

func low(x uint64) uint64 { return x & 0xFFFFFFFF }

// bounded maps a draw of 32 bits to 0 ≤ result < m.
func bounded(u, m uint64) uint64 { return u * m >> 32 }

// cut is a random string: n bytes of the text, from the low 16 bits of the draw on.
func cut(draw, n uint64) string {
	at := draw & 0xFFFF
	return text[at : at+n]
}

// price maps a draw of 32 bits to 100 .. 99,999,946.
func price(u uint64) int64 {
	t := u * 384
	i, f := t>>32, low(t)>>16
	k, j := i/64, i%64
	return int64((decade[j]*65536 + (decade[j+1]-decade[j])*f) * pow10[k] / (65536 * 10000))
}

type person struct {
	id                                   int64
	name, email, creditCard, city, state string
	ts                                   int64
	extra                                string
}

type auction struct {
	id                                                 int64
	itemName, description                              string
	initialBid, reserve, ts, expires, seller, category int64
	extra                                              string
}

type bid struct {
	auction, bidder, price, ts int64
	extra                      string
}

// coldPerson draws one of the last 1000 persons, or one of the ten that are still to come.
func coldPerson(u, last uint64) uint64 {
	active := min(last+1, 1000)
	return last + 1 - active + bounded(u, active+10)
}

// coldAuction draws one of the last 100 auctions, or one of the ten that are still to come.
func coldAuction(u, last uint64) uint64 {
	first := uint64(max(int64(last)-100, 0))
	return first + bounded(u, last-first+1+10)
}

// input is the stream of events 0 ≤ n < events. Nothing is kept: each pass generates what it visits.
type input struct {
	s, events uint64
}

// draw is the k-th random number of event n.
func (in input) draw(n, k uint64) uint64 { return mix(mix(in.s+n) + k*gamma) }

// persons visits the persons in their order.
func (in input) persons(visit func(person)) {
	for n := uint64(0); n < in.events; n += 50 {
		visit(in.person(n))
	}
}

// auctions visits the auctions in their order.
func (in input) auctions(visit func(auction)) {
	for n := uint64(0); n < in.events; n++ {
		if r := n % 50; 1 <= r && r <= 3 {
			visit(in.auction(n))
		}
	}
}

// bids visits the bids in their order.
func (in input) bids(visit func(bid)) {
	for n := uint64(0); n < in.events; n++ {
		if n%50 >= 4 {
			visit(in.bid(n))
		}
	}
}

// person is event n, which must be a person; likewise auction and bid.
func (in input) person(n uint64) person {
	d1, d2, d3, d4, d5 := in.draw(n, 1), in.draw(n, 2), in.draw(n, 3), in.draw(n, 4), in.draw(n, 5)
	digits := func(i int) uint64 { return d3 >> (16 * i) & 0xFFFF % 10000 }
	return person{
		id:         int64(1000 + n/50),
		name:       firstNames[bounded(high(d1), 11)] + " " + lastNames[bounded(low(d1), 9)],
		email:      cut(high(d2), 7) + "@" + cut(low(d2), 5) + ".com",
		creditCard: fmt.Sprintf("%04d %04d %04d %04d", digits(0), digits(1), digits(2), digits(3)),
		city:       cities[bounded(high(d4), 10)],
		state:      states[bounded(low(d4), 6)],
		ts:         int64(baseUS + stepUS*n),
		extra:      cut(low(d5), 100+bounded(high(d5), 51)),
	}
}

func (in input) auction(n uint64) auction {
	d1, d2, d3, d4, d5 := in.draw(n, 1), in.draw(n, 2), in.draw(n, 3), in.draw(n, 4), in.draw(n, 5)
	epoch, ts := n/50, int64(baseUS+stepUS*n)
	seller := epoch / 100 * 100
	if bounded(high(d1), 4) == 0 {
		seller = coldPerson(low(d1), epoch)
	}
	initial := price(high(d2))
	return auction{
		id:         int64(1000 + 3*epoch + n%50 - 1),
		itemName:   cut(low(d3), 20),
		initialBid: initial, reserve: initial + price(low(d2)),
		description: cut(low(d4), 100),
		ts:          ts, expires: ts + 1000*int64(1+bounded(high(d4), 333)),
		seller:   int64(1000 + seller),
		category: int64(10 + bounded(high(d3), 5)),
		extra:    cut(low(d5), 259+bounded(high(d5), 130)),
	}
}

func (in input) bid(n uint64) bid {
	d1, d2, d3, d4 := in.draw(n, 1), in.draw(n, 2), in.draw(n, 3), in.draw(n, 4)
	epoch := n / 50
	last := 3*epoch + 2
	on, by := last/100*100, epoch/100*100+1
	if bounded(high(d1), 2) == 0 {
		on = coldAuction(low(d1), last)
	}
	if bounded(high(d2), 4) == 0 {
		by = coldPerson(low(d2), epoch)
	}
	return bid{
		auction: int64(1000 + on),
		bidder:  int64(1000 + by),
		price:   price(high(d3)),
		ts:      int64(baseUS + stepUS*n),
		extra:   cut(low(d4), 54+bounded(high(d4), 28)),
	}
}

// ordinal is n of the event with this ts: ts is unique, so it names the event.
func ordinal(ts int64) uint64 { return uint64(ts-baseUS) / stepUS }

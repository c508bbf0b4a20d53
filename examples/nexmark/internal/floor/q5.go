package floor

import (
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

const (
	paneMS       = 2000
	panesOfWhole = 5 // panes of a window
	// ring is the number of panes kept: those of the oldest open window, and those that events may be ahead of the watermark. A power of two.
	ring = 16
)

// hotItems is q5: every 2 s the auctions with the most bids in the last 10 s. Bids are counted in panes of 2 s, one table each; a window adds
// the tables of five panes up.
type hotItems struct {
	sum     digest.Sum
	time    clock
	panes   [ring]counts // by number modulo ring
	whole   counts
	started bool
	next    int64 // number of the pane that ends the next window to fire
	last    int64 // newest pane with a bid
}

func newHotItems() *hotItems {
	q := &hotItems{}
	q.whole.grow(1 << 13)
	for i := range q.panes {
		q.panes[i].grow(1 << 11)
	}
	return q
}

func (q *hotItems) events(g *gen.Generator, from, to int64) {
	for n := from; n < to; n++ {
		e := g.Event(n)
		ms := gen.TimeUS(n) / 1000
		if e.Kind() == gen.BidKind {
			pane := ms / paneMS
			if !q.started {
				q.started, q.next, q.last = true, pane, pane
			}
			q.last = max(q.last, pane)
			q.panes[pane%ring].add(e.Bid.Auction, 1)
		}
		if watermark, ok := q.time.advance(ms); ok {
			q.fire(watermark)
		}
	}
}

// fire ends the windows whose last pane is complete. The windows after the last bid end too: they hold the last panes alone.
func (q *hotItems) fire(watermarkMS int64) {
	for q.started && q.next < q.last+panesOfWhole && (q.next+1)*paneMS-1 <= watermarkMS {
		q.window((q.next + 1) * paneMS)
		q.panes[(q.next-panesOfWhole+1)%ring].clear()
		q.next++
	}
}

func (q *hotItems) window(endMS int64) {
	q.whole.clear()
	for i := range int64(panesOfWhole) {
		q.whole.addAll(&q.panes[(q.next-i)%ring])
	}
	var most int64
	for _, c := range q.whole.slots {
		most = max(most, c.n)
	}
	for _, c := range q.whole.slots {
		if c.n == most && most > 0 {
			q.sum.Add(digest.NewRow().Int(c.auction).Int(c.n).Int(endMS).Hash())
		}
	}
}

func (q *hotItems) finish() digest.Sum {
	q.fire(endOfTime)
	return q.sum
}

// counts is a hash table from auctions to numbers of bids: open addressing, linear probing, at most half full. An id is never 0.
type counts struct {
	slots []count
	shift uint // 64 − log2(slots)
	used  int
}

type count struct{ auction, n int64 }

// grow makes a table with the given number of slots, a power of two, and takes the entries over.
func (t *counts) grow(slots int) {
	old := t.slots
	t.slots, t.used, t.shift = make([]count, slots), 0, 64
	for s := slots; s > 1; s >>= 1 {
		t.shift--
	}
	for _, c := range old {
		if c.auction != 0 {
			t.add(c.auction, c.n)
		}
	}
}

func (t *counts) add(auction, n int64) {
	i := uint64(auction) * 0x9E3779B97F4A7C15 >> t.shift
	for {
		switch s := &t.slots[i&uint64(len(t.slots)-1)]; s.auction {
		case auction:
			s.n += n
			return
		case 0:
			if 2*t.used >= len(t.slots) {
				t.grow(2 * len(t.slots))
				t.add(auction, n)
				return
			}
			s.auction, s.n = auction, n
			t.used++
			return
		}
		i++
	}
}

func (t *counts) addAll(o *counts) {
	if o.used == 0 {
		return
	}
	for _, c := range o.slots {
		if c.auction != 0 {
			t.add(c.auction, c.n)
		}
	}
}

func (t *counts) clear() {
	if t.used > 0 {
		clear(t.slots)
		t.used = 0
	}
}

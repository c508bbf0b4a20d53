package floor

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

// TestDigests compares with the results by definition: also an empty input, ends within a window and right at one.
func TestDigests(t *testing.T) {
	for _, q := range Queries() {
		for _, c := range []struct {
			events int64
			seed   uint64
		}{{0, 1}, {4, 1}, {5, 1}, {1000, 3}, {20_000, 1}, {100_000, 2}, {333_333, 1}} {
			want, err := reference.Compute(q, c.events, c.seed)
			if err != nil {
				t.Fatal(err)
			}
			var done int64
			got, err := Run(q, c.events, c.seed, func(n int64) { done = n })
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != want.Digest || got.Count != want.Count {
				t.Errorf("%s, %d events, seed %d: %v, want %v", q, c.events, c.seed, got, want)
			}
			if done != c.events {
				t.Errorf("%s: progress reached %d of %d events", q, done, c.events)
			}
		}
	}
}

func TestUnknownQuery(t *testing.T) {
	if _, err := Run("q4", 1, 1, nil); err == nil || !strings.Contains(err.Error(), `"q4"`) {
		t.Errorf("error %v, want one that names q4", err)
	}
}

// TestCounts compares the table with a map, over more keys than it has room for at first.
func TestCounts(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 0))
	var table counts
	table.grow(4)
	for round := range 3 {
		want := map[int64]int64{}
		for range 5000 {
			k, n := 1+r.Int64N(700), 1+r.Int64N(3)
			table.add(k, n)
			want[k] += n
		}
		seen := 0
		for _, c := range table.slots {
			if c.auction == 0 {
				continue
			}
			seen++
			if c.n != want[c.auction] {
				t.Fatalf("seed %d, round %d: auction %d has %d bids, want %d", seed, round, c.auction, c.n, want[c.auction])
			}
		}
		if seen != len(want) || seen != table.used {
			t.Fatalf("seed %d, round %d: %d auctions, used %d, want %d", seed, round, seen, table.used, len(want))
		}
		table.clear()
	}
}

func BenchmarkFloor(b *testing.B) {
	for _, q := range Queries() {
		b.Run(q, func(b *testing.B) {
			b.ReportAllocs()
			if _, err := Run(q, int64(b.N), 1, nil); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("generator", func(b *testing.B) {
		g := gen.New(1)
		var last int64
		for n := range int64(b.N) {
			last += g.Event(n).Bid.TS
		}
		if last == 0 && b.N > 5 {
			b.Fatal("no bids")
		}
	})
}

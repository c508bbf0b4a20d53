package state

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPropertyRegroup: the range holds the group of every hash, and its ends are needed.
func TestPropertyRegroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, to := rapid.IntRange(1, maxMaxParallelism).Draw(t, "n"), rapid.IntRange(1, maxMaxParallelism).Draw(t, "to")
		r := GroupRange{Start: rapid.IntRange(0, n-1).Draw(t, "start")}
		r.End = rapid.IntRange(r.Start+1, n).Draw(t, "end")
		got := regroup(r, n, to)
		if got.Start < 0 || got.End > to {
			t.Fatalf("regroup(%v, %d, %d) = %v, which is not within %d groups", r, n, to, got, to)
		}
		h := rapid.Uint64().Draw(t, "hash")
		if r.Contains(GroupOf(h, n)) && !got.Contains(GroupOf(h, to)) {
			t.Errorf("hash %x is in group %d of %d and in %d of %d, outside of %v", h, GroupOf(h, n), n, GroupOf(h, to), to, got)
		}
		// Slow and obvious: the least and the greatest hash of r, found by halving.
		least := func(g int) uint64 {
			lo, hi := uint64(0), uint64(1)<<32
			for lo < hi {
				if mid := (lo + hi) / 2; mid < 1<<32 && GroupOf(mid<<32, n) < g {
					lo = mid + 1
				} else {
					hi = mid
				}
			}
			return lo
		}
		if first, last := least(r.Start), least(r.End)-1; got.Start != GroupOf(first<<32, to) || got.End != GroupOf(last<<32, to)+1 {
			t.Errorf("regroup(%v, %d, %d) = %v, want [%d,%d)", r, n, to, got, GroupOf(first<<32, to), GroupOf(last<<32, to)+1)
		}
	})
}

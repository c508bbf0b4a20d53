package runtime

import (
	"fmt"
	"testing"
)

// TestLocalGroups are the groups that Flink's documentation of rescale gives, and the even ones of widths that do not divide.
func TestLocalGroups(t *testing.T) {
	for _, c := range []struct {
		from, to int
		want     string // for each sender the receivers
	}{
		{2, 4, "[[0 1] [2 3]]"}, {2, 6, "[[0 1 2] [3 4 5]]"}, {4, 2, "[[0] [0] [1] [1]]"}, {6, 2, "[[0] [0] [0] [1] [1] [1]]"},
		{3, 3, "[[0] [1] [2]]"}, {1, 3, "[[0 1 2]]"}, {3, 1, "[[0] [0] [0]]"},
		{5, 3, "[[0] [1] [1] [2] [2]]"}, {3, 5, "[[0 1] [2 3] [4]]"}, {2, 3, "[[0 1] [2]]"}, {3, 2, "[[0] [1] [1]]"},
	} {
		e := &Edge{Kind: Local, From: node("from", c.from), To: node("to", c.to)}
		got := make([][]int, c.from)
		for s := range got {
			for r, end := e.receivers(s); r < end; r++ {
				got[s] = append(got[s], r)
			}
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%d to %d: %v, want %s", c.from, c.to, got, c.want)
		}
	}
}

// TestSendersMatchReceivers on every kind of edge and for every pair of widths: both sides name the same pairs, nobody is left out, and on a Local edge
// groups differ by one at most.
func TestSendersMatchReceivers(t *testing.T) {
	for _, kind := range []EdgeKind{Forward, Hash, RoundRobin, Broadcast, Local, Global, Custom, Random} {
		for from := 1; from <= 9; from++ {
			for to := 1; to <= 9; to++ {
				e := &Edge{Kind: kind, From: node("from", from), To: node("to", to)}
				pairs, least, most := map[[2]int]int{}, from*to, 0
				for s := range from {
					first, end := e.receivers(s)
					for r := first; r < end; r++ {
						pairs[[2]int{s, r}]++
					}
					if from < to {
						least, most = min(least, end-first), max(most, end-first)
					}
				}
				for r := range to {
					first, end := e.senders(r)
					for s := first; s < end; s++ {
						pairs[[2]int{s, r}]++
					}
					if from >= to {
						least, most = min(least, end-first), max(most, end-first)
					}
				}
				for p, n := range pairs {
					if n != 2 {
						t.Errorf("kind %d, %d to %d: only one side knows of %v", kind, from, to, p)
					}
				}
				if least < 1 || kind == Local && most > least+1 || kind != Local && !pointwise(e) && len(pairs) != from*to {
					t.Errorf("kind %d, %d to %d: groups of %d to %d, %d pairs", kind, from, to, least, most, len(pairs))
				}
			}
		}
	}
}

package watermark

import (
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestGroupAgainstTheModel: the least of what counts, and a wake-up exactly for those whose wait has come true.
func TestGroupAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g Group
		n := rapid.IntRange(1, 4).Draw(t, "members")
		woken := make([]int, n)
		members := make([]*Member, n)
		marks := make([]int64, n)
		waits := make([]*int64, n)
		for i := range members {
			members[i] = g.Join(func() { woken[i]++ })
			marks[i] = None
		}
		least := func() int64 {
			low := EndOfTime
			for _, m := range marks {
				low = min(low, m)
			}
			return low
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "member")
			ms := rapid.OneOf(rapid.Int64Range(-10, 10), rapid.Just(EndOfTime), rapid.Just(None)).Draw(t, "ms")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				want := least() < ms && ms != EndOfTime || ms == EndOfTime && least() < EndOfTime-1
				if ms == EndOfTime {
					ms = EndOfTime - 1
				}
				if got := members[i].Wait(ms); got != want {
					t.Fatalf("Wait(%d) at least %d: %v", ms, least(), got)
				}
				waits[i] = nil
				if want {
					waits[i] = &ms
				}
			case 1:
				members[i].Go()
				waits[i] = nil
			default:
				before := append([]int(nil), woken...)
				rose := ms > marks[i]
				marks[i] = ms
				members[i].Publish(ms)
				for o, w := range waits {
					called := woken[o] - before[o]
					if want := rose && w != nil && least() >= *w; want != (called > 0) || called > 1 {
						t.Fatalf("member %d waits for %v; after %d published %d it was woken %d times", o, w, i, ms, called)
					}
				}
			}
			if got := g.Least(); got != least() {
				t.Fatalf("least %d, want %d", got, least())
			}
		}
	})
}

// TestGroupLosesNoWakeUp: two members that take turns, each waiting until the other is no further behind than the drift, both come to the end.
func TestGroupLosesNoWakeUp(t *testing.T) {
	var g Group
	var members [2]*Member
	var tokens [2]chan struct{}
	for i := range members {
		tokens[i] = make(chan struct{}, 1)
		members[i] = g.Join(func() {
			select {
			case tokens[i] <- struct{}{}:
			default:
			}
		})
		members[i].Publish(0)
	}
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() {
			for n := int64(1); n <= 20_000; n++ {
				m.Publish(n)
				for m.Wait(n - 1) {
					<-tokens[i]
				}
			}
			m.Publish(EndOfTime)
		})
	}
	all.Wait()
}

func TestLimit(t *testing.T) {
	for _, c := range [][3]int64{{5, 10, 15}, {None, 10, None + 10}, {EndOfTime, 1, EndOfTime}, {EndOfTime - 5, 5, EndOfTime}, {EndOfTime - 5, 6, EndOfTime}, {-5, 0, -5}} {
		if got := Limit(c[0], c[1]); got != c[2] {
			t.Errorf("Limit(%d, %d) = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

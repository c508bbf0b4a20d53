package watermark

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// TestBoundedAgainstTheModel: the newest timestamp − bound − 1, computed in a wider type and never before the beginning of time.
func TestBoundedAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64-1)).Draw(t, "bound")
		b := NewBounded(bound)
		if got := b.Watermark(); got != None {
			t.Fatalf("before the first record %d", got)
		}
		newest := None
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			ms := rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64Range(None, None+200), rapid.Int64Range(EndOfTime-5, EndOfTime)).Draw(t, "ms")
			b.See(ms)
			newest = max(newest, ms)
			// In Go's own big numbers there is nothing to wrap round.
			exact := new(big.Int).Sub(big.NewInt(newest), new(big.Int).Add(big.NewInt(bound), big.NewInt(1)))
			want := None
			if exact.Cmp(big.NewInt(None)) > 0 {
				want = exact.Int64()
			}
			if got := b.Watermark(); got != want {
				t.Fatalf("newest %d, bound %d: got %d, want %d", newest, bound, got, want)
			}
		}
	})
}

// look is one periodic look of the timer's model: at which time, and whether a record had come since the one before.
type look struct {
	nowMS int64
	fresh bool
}

// idleAt goes through all looks so far: the last run of them without a record starts at its first, and the last must lie more than the
// timeout behind that.
func idleAt(looks []look, timeout int64) bool {
	start := len(looks)
	for start > 0 && !looks[start-1].fresh {
		start--
	}
	return start < len(looks) && looks[len(looks)-1].nowMS-looks[start].nowMS > timeout
}

func TestIdleTimerAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		timeout := rapid.Int64Range(1, 50).Draw(t, "timeout")
		var timer IdleTimer
		var looks []look
		now := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			now += rapid.Int64Range(0, 30).Draw(t, "passes")
			l := look{now, rapid.IntRange(0, 3).Draw(t, "record") == 0}
			if l.fresh {
				timer.Seen()
			}
			looks = append(looks, l)
			if got, want := timer.Idle(now, timeout), idleAt(looks, timeout); got != want {
				t.Fatalf("looks %v, timeout %d: got %v", looks, timeout, got)
			}
		}
	})
}

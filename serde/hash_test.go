package serde

import (
	"fmt"
	"math"
	"math/bits"
	"testing"
	"time"
)

func TestHashOfIntegers(t *testing.T) {
	// Origin: first outputs of SplitMix64 for the seeds 0 and 1234567 (Vigna, splitmix64.c; the second is the test of Rosetta Code).
	for k, want := range map[int64]uint64{0: 0xe220a8397b1dcdaf, 1234567: 6457827717110365317} {
		if got := HashOf(MustFor[int64]())(k); got != want {
			t.Errorf("hash of %d = %#x, want %#x", k, got, want)
		}
		if got := HashOf(MustFor[uint32]())(uint32(k)); got != want {
			t.Errorf("hash of uint32 %d = %#x, want %#x", k, got, want)
		}
	}
	if HashOf(MustFor[int32]())(-1) != HashOf(MustFor[int64]())(-1) {
		t.Error("-1 hashes differently as int32 and int64")
	}
}

func TestHashOfStrings(t *testing.T) {
	type customer string
	// Origin: XXH3_64bits of the reference implementation (xxHash 0.8): the empty input; "a" and "abc" as printed by xxhsum -H3.
	for k, want := range map[string]uint64{"": 0x2d06800538d394c2, "a": 0xe6c632b61e964e1f, "abc": 0x78af5f94892f3950} {
		if got := HashOf(MustFor[string]())(k); got != want {
			t.Errorf("hash of %q = %#x, want %#x", k, got, want)
		}
		if got := HashOf(MustFor[customer]())(customer(k)); got != want {
			t.Errorf("hash of customer %q = %#x, want %#x", k, got, want)
		}
	}
}

func TestHashOfOtherTypes(t *testing.T) {
	negZero := math.Copysign(0, -1)
	if h := HashOf(MustFor[float64]()); h(0) != h(negZero) {
		t.Error("0 and -0 are equal keys with different hashes")
	}
	type key struct {
		A int64
		B string
	}
	h := HashOf(mustAvro[key](t))
	if h(key{1, "x"}) != HashOf(mustAvro[key](t))(key{1, "x"}) || h(key{1, "x"}) == h(key{1, "y"}) {
		t.Error("struct keys: the hash is not a function of the value")
	}
	if h := HashOf(MustFor[time.Time]()); h(time.Unix(1, 0)) == h(time.Unix(2, 0)) {
		t.Error("times hash equal")
	}
	if got := HashOf(mustAvro[outcome](t)); got("A") == got("B") {
		t.Error("enums hash equal")
	}
	type bad struct{ D outcome }
	if got := HashOf(mustAvro[bad](t))(bad{"nope"}); got != 0 {
		t.Errorf("a key that has no encoding hashes to %#x, want 0", got)
	}
}

// TestHashHighBits: key groups come from the high 32 bits. Small consecutive keys must spread over 128 groups as random ones do:
// chi-square with 127 degrees of freedom is over 181.99 once in 1,000 times for a fair hash; the keys are fixed, so it is no lottery.
func TestHashHighBits(t *testing.T) {
	const groups, n = 128, 128 * 200
	ints, strs := HashOf(MustFor[int64]()), HashOf(MustFor[string]())
	for name, hash := range map[string]func(i int) uint64{
		"integers": func(i int) uint64 { return ints(int64(i)) },
		"strings":  func(i int) uint64 { return strs(fmt.Sprintf("customer-%d", i)) },
	} {
		var count [groups]int
		flips := 0
		for i := range n {
			count[hash(i)>>32*groups>>32]++
			flips += bits.OnesCount32(uint32((hash(i) ^ hash(i^1)) >> 32))
		}
		chi := 0.0
		for _, c := range count {
			d := float64(c - n/groups)
			chi += d * d / (n / groups)
		}
		if chi > 181.99 {
			t.Errorf("%s: chi-square %.1f over %d groups", name, chi, groups)
		}
		if mean := float64(flips) / n; mean < 15.5 || mean > 16.5 {
			t.Errorf("%s: a changed bit flips %.2f of the high 32, want 16", name, mean)
		}
	}
}

package pattern_test

import (
	"testing"

	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
)

type tick struct {
	Key  int64
	Kind int64
}

func tickKey(t tick) int64 { return t.Key }

func kind(k int64) func(tick) bool { return func(t tick) bool { return t.Kind == k } }

// BenchmarkNoMatch is a record of a stream in which nothing begins the pattern a b c, over 1,000 keys with 10 records a watermark each.
func BenchmarkNoMatch(b *testing.B) { benchPattern(b, func(int64) int64 { return 9 }) }

// BenchmarkFewMatches has one match of three events among a hundred.
func BenchmarkFewMatches(b *testing.B) {
	benchPattern(b, func(n int64) int64 {
		if n%100 < 3 {
			return n % 100
		}
		return 9
	})
}

// BenchmarkAllMatch has nothing but events of matches.
func BenchmarkAllMatch(b *testing.B) { benchPattern(b, func(n int64) int64 { return n % 3 }) }

func benchPattern(b *testing.B, kindOf func(n int64) int64) {
	const keys = 1000
	p := pattern.Begin[tick]("a").Where(kind(0)).FollowedBy("b").Where(kind(1)).FollowedBy("c").Where(kind(2)).Within(ms(1000))
	h := operatortest.New(b, pattern.Stage(tickKey, nil, p, pattern.Options[tick]{}, func(k int64, m pattern.Match[tick]) int64 { return k }),
		operatortest.Options{Discard: true}).KeyBy(tickKey, nil)
	record := func(n int64) {
		h.Process(tick{n % keys, kindOf(n / keys)}, n/keys)
		if n%(10*keys) == 10*keys-1 {
			h.Watermark(n / keys)
		}
	}
	n := int64(0)
	for ; n < 40*keys; n++ {
		record(n)
	}
	b.ReportAllocs()
	for b.Loop() {
		record(n)
		n++
	}
}

// BenchmarkPartialMatches is a record that 1,000 partial matches of its key pass over.
func BenchmarkPartialMatches(b *testing.B) {
	p := pattern.Begin[tick]("a").Where(kind(0)).FollowedBy("b").Where(kind(1))
	h := operatortest.New(b, pattern.Stage(tickKey, nil, p, pattern.Options[tick]{}, func(k int64, m pattern.Match[tick]) int64 { return k }),
		operatortest.Options{Discard: true}).KeyBy(tickKey, nil)
	n := int64(0)
	for ; n < 1000; n++ {
		h.Process(tick{1, 0}, n)
	}
	h.Watermark(n)
	b.ReportAllocs()
	for b.Loop() {
		n++
		h.Process(tick{1, 9}, n)
		h.Watermark(n)
	}
}

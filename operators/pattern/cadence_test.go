package pattern_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
)

// drawStage adds a stage of any kind to q; first says that it begins the pattern, last that it ends it.
func drawStage(t *rapid.T, q pattern.Pattern[event], name string, first, last bool) pattern.Pattern[event] {
	kinds := rapid.SampledFrom([]string{"a", "b", "c", "ab", "abcd"}).Draw(t, "kinds")
	link := rapid.IntRange(0, 5).Draw(t, "link")
	if !first && link >= 4 {
		absent := q.NotNext(name).Where(of(kinds))
		if link == 5 {
			absent = q.NotFollowedBy(name).Where(of(kinds))
		}
		if absent.Within(ms(1)).Validate() == nil { // not behind an optional stage
			return absent
		}
		link = 1
	}
	if rapid.IntRange(0, 6).Draw(t, "group") == 0 {
		g := pattern.Begin[event](name + "x").Where(of(kinds)).FollowedBy(name + "y").Where(of("bc"))
		switch {
		case first:
			q = pattern.BeginGroup(g)
		case link == 0:
			q = q.NextGroup(g)
		case link < 3:
			q = q.FollowedByGroup(g)
		default:
			q = q.FollowedByAnyGroup(g)
		}
	} else {
		switch {
		case first:
			q = pattern.Begin[event](name)
		case link == 0:
			q = q.Next(name)
		case link < 3:
			q = q.FollowedBy(name)
		default:
			q = q.FollowedByAny(name)
		}
		q = q.Where(of(kinds))
		if !first && rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
			q = q.WithinPrevious(ms(rapid.Int64Range(1, 5).Draw(t, "gap of")))
		}
	}
	variants := []pattern.Pattern[event]{q.OneOrMore(), q.Times(2), q.TimesRange(1, 3), q.TimesOrMore(2).Until(of("d")), q.OneOrMore().Greedy(), q.OneOrMore().Consecutive(),
		q.OneOrMore().Greedy().Until(of("d")), q.TimesRange(1, 2).AllowCombinations(), q.Optional(), q.OneOrMore().Optional()}
	if v := variants[rapid.IntRange(0, len(variants)-1).Draw(t, "variant")]; rapid.Bool().Draw(t, "vary") && v.Validate() == nil {
		q = v
	}
	return q
}

// drawPattern is a valid pattern of any kind, with a bound.
func drawPattern(t *rapid.T) pattern.Pattern[event] {
	var q pattern.Pattern[event]
	n := rapid.IntRange(1, 3).Draw(t, "stages")
	for i := range n {
		q = drawStage(t, q, fmt.Sprint("s", i), i == 0, i == n-1)
	}
	q = q.Within(ms(rapid.SampledFrom([]int64{5, 8, 20}).Draw(t, "within")))
	return q.AfterMatch(rapid.SampledFrom([]pattern.SkipStrategy{pattern.NoSkip(), pattern.NoSkip(), pattern.SkipToNext(), pattern.SkipPastLastEvent()}).Draw(t, "skip"))
}

// TestWatermarksDoNotMatter: the same events give the same results, with the same times, whether watermarks come once in a while, with restores between
// them, or every ms.
func TestWatermarksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawPattern(t)
		if err := q.Validate(); err != nil {
			t.Fatalf("%v", err)
		}
		s, dense := newSubtasks(t, q), newSubtasks(t, q)
		byKey := history(t, s)
		var all []modelEvent
		first, last := int64(1<<60), operators.NoWatermark
		for _, es := range byKey {
			all = append(all, es...)
			first, last = min(first, es[0].ts), max(last, es[len(es)-1].ts)
		}
		for ms := first; ms <= last+30; ms++ {
			for _, e := range all {
				if e.ts == ms {
					dense.process(e.event, ms)
				}
			}
			dense.watermark(ms)
		}
		dense.watermark(operators.EndOfTime)
		for key := range byKey {
			for _, key := range []string{key, "timed out " + key} {
				got, want := sorted(s.lists[key]), sorted(dense.lists[key])
				if !slices.Equal(got, want) {
					t.Fatalf("%v, key %s: %v\n got %v\nwith a watermark every ms %v", q, key, byKey, got, want)
				}
			}
		}
	})
}

func sorted(es []operatortest.Element[string]) []string {
	var out []string
	for _, e := range es {
		out = append(out, e.String())
	}
	slices.Sort(out)
	return out
}

package pattern_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
)

func begin(name, kinds string) pattern.Pattern[event] {
	return pattern.Begin[event](name).Where(of(kinds))
}

// TestDocumentedMatches: the examples of Flink's documentation of CEP and of the comments on its Pattern class.
func TestDocumentedMatches(t *testing.T) {
	a, bLoop := begin("a", "a"), begin("b", "b").OneOrMore().Consecutive().Next("c").Where(of("c"))
	middle := begin("c", "c").FollowedBy("a").Where(of("a")).OneOrMore()
	greedy := begin("x", "abc").Next("y").Where(of("bc")).Next("c").Where(of("c")).OneOrMore().Consecutive().Greedy().Next("d").Where(of("d"))
	endless := a.Next("b").Where(of("b")).OneOrMore()
	for _, c := range []struct {
		name   string
		p      pattern.Pattern[event]
		events string
		want   []string
	}{
		{"strict", a.Next("b").Where(of("b")), "a0 c0 b1 b2", nil},
		{"relaxed", a.FollowedBy("b").Where(of("b")), "a0 c0 b1 b2", []string{"a0 b1"}},
		{"any", a.FollowedByAny("b").Where(of("b")), "a0 c0 b1 b2", []string{"a0 b1", "a0 b2"}},
		{"not next", a.NotNext("c").Where(of("c")).FollowedBy("b").Where(of("b")), "a0 c0 b1", nil},
		{"not next holds", a.NotNext("c").Where(of("c")).FollowedBy("b").Where(of("b")), "a0 d0 c0 b1", []string{"a0 b1"}},
		{"not followed by", a.NotFollowedBy("c").Where(of("c")).FollowedBy("b").Where(of("b")), "a0 d0 c0 b1", nil},
		{"not followed by holds", a.NotFollowedBy("c").Where(of("c")).FollowedBy("b").Where(of("b")), "a0 d0 b1 c0", []string{"a0 b1"}},
		{"loop consecutive", middle.Consecutive().FollowedBy("b").Where(of("b")), "c0 d0 a1 a2 a3 d0 a4 b0", []string{"c0 a1 b0", "c0 a1 a2 b0", "c0 a1 a2 a3 b0"}},
		{"loop relaxed", middle.FollowedBy("b").Where(of("b")), "c0 d0 a1 a2 a3 d0 a4 b0", []string{"c0 a1 b0", "c0 a1 a2 b0", "c0 a1 a2 a3 b0", "c0 a1 a2 a3 a4 b0"}},
		{"loop of combinations", middle.AllowCombinations().FollowedBy("b").Where(of("b")), "c0 d0 a1 a2 a3 d0 a4 b0",
			[]string{"c0 a1 b0", "c0 a1 a2 b0", "c0 a1 a3 b0", "c0 a1 a4 b0", "c0 a1 a2 a3 b0", "c0 a1 a2 a4 b0", "c0 a1 a3 a4 b0", "c0 a1 a2 a3 a4 b0"}},
		{"b+ c, no skip", bLoop, "b1 b2 b3 c0", []string{"b1 b2 b3 c0", "b2 b3 c0", "b3 c0"}},
		{"b+ c, to next", bLoop.AfterMatch(pattern.SkipToNext()), "b1 b2 b3 c0", []string{"b1 b2 b3 c0", "b2 b3 c0", "b3 c0"}},
		{"b+ c, past last", bLoop.AfterMatch(pattern.SkipPastLastEvent()), "b1 b2 b3 c0", []string{"b1 b2 b3 c0"}},
		{"b+ c, to first", bLoop.AfterMatch(pattern.SkipToFirst("b")), "b1 b2 b3 c0", []string{"b1 b2 b3 c0", "b2 b3 c0", "b3 c0"}},
		{"b+ c, to last", bLoop.AfterMatch(pattern.SkipToLast("b")), "b1 b2 b3 c0", []string{"b1 b2 b3 c0", "b3 c0"}},
		{"greedy, no skip", greedy, "a0 b0 c1 c2 c3 d0", []string{"a0 b0 c1 c2 c3 d0", "b0 c1 c2 c3 d0", "c1 c2 c3 d0"}},
		{"greedy, to first", greedy.AfterMatch(pattern.SkipToFirst("c")), "a0 b0 c1 c2 c3 d0", []string{"a0 b0 c1 c2 c3 d0", "c1 c2 c3 d0"}},
		{"a b+, no skip", endless, "a0 b1 b2 b3", []string{"a0 b1", "a0 b1 b2", "a0 b1 b2 b3"}},
		{"a b+, to next", endless.AfterMatch(pattern.SkipToNext()), "a0 b1 b2 b3", []string{"a0 b1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			slices.Sort(c.want)
			if got := matches(t, c.p, c.events); !slices.Equal(got, c.want) {
				t.Errorf("%s:\n got %v\nwant %v", c.events, got, c.want)
			}
		})
	}
}

// TestConditions: Where and Or join in the order of the calls; iterative conditions see what the partial match has taken; Until ends a loop.
func TestConditions(t *testing.T) {
	rising := func(e event, m *pattern.Partial[event]) bool {
		taken := m.Events("a")
		return len(taken) == 0 || e.N > taken[len(taken)-1].N
	}
	even := func(e event) bool { return e.N%2 == 0 }
	for _, c := range []struct {
		name   string
		p      pattern.Pattern[event]
		events string
		want   []string
	}{
		{"no condition", pattern.Begin[event]("any"), "a1 b2", []string{"a1", "b2"}},
		{"(a or b) and even", begin("x", "a").Or(of("b")).Where(even), "a1 a2 b3 b4 c6", []string{"a2", "b4"}},
		{"rising", begin("a", "a").WhereIterative(rising).Times(3), "a5 a7 a6 a9", []string{"a5 a7 a9"}},
		{"or iterative", begin("a", "b").OrIterative(func(e event, m *pattern.Partial[event]) bool { return len(m.Events("a")) == 1 && e.Kind == "c" }).Times(2), "c1 b2 c3", []string{"b2 c3"}},
		{"until", begin("a", "a").OneOrMore().Until(of("x")).FollowedBy("b").Where(of("b")), "a1 x0 a2 b3", []string{"a1 b3", "a2 b3"}},
		{"until iterative", begin("a", "a").OneOrMore().UntilIterative(func(_ event, m *pattern.Partial[event]) bool { return len(m.Events("a")) == 2 }), "a1 a2 a3",
			[]string{"a1", "a1 a2", "a2", "a2 a3", "a3"}},
		{"optional", begin("a", "a").Next("b").Where(of("b")).Optional().Next("c").Where(of("c")), "a1 c2 a3 b4 c5", []string{"a1 c2", "a3 b4 c5"}},
		{"0 to 2 times", begin("a", "a").Next("b").Where(of("b")).TimesRange(0, 2).Consecutive().Next("c").Where(of("c")), "a0 c0 a1 b1 c1 a2 b2 b2 c2 a3 b3 b3 b3 c3",
			[]string{"a0 c0", "a1 b1 c1", "a2 b2 b2 c2"}},
		{"2 times or more", begin("b", "b").TimesOrMore(2).Consecutive().Next("c").Where(of("c")), "b1 c1 b2 b3 c3", []string{"b2 b3 c3"}},
		{"group", pattern.BeginGroup(begin("a", "a").Next("b").Where(of("b"))).Times(2).FollowedBy("c").Where(of("c")), "a1 b1 x0 a2 b2 c0",
			[]string{"a1 a2 b1 b2 c0"}}, // a match is sorted by stage
		{"optional group", begin("s", "s").FollowedByGroup(begin("a", "a").Next("b").Where(of("b"))).Optional().FollowedBy("c").Where(of("c")), "s1 a2 b3 c4",
			[]string{"s1 a2 b3 c4", "s1 c4"}},
		{"group after any", begin("s", "s").FollowedByAnyGroup(begin("a", "a").Next("b").Where(of("b"))), "s1 a2 b3 a4 b5", []string{"s1 a2 b3", "s1 a4 b5"}},
		{"group next", begin("s", "s").NextGroup(begin("a", "a").Next("b").Where(of("b"))), "s1 a2 b3 s4 x5 a6 b7", []string{"s1 a2 b3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := matches(t, c.p, c.events)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s:\n got %v\nwant %v", c.events, got, c.want)
			}
		})
	}
}

// TestPatternsAreValues: patterns that share a beginning do not disturb each other.
func TestPatternsAreValues(t *testing.T) {
	p := begin("a", "a").FollowedBy("b")
	b, c := p.Where(of("b")), p.Where(of("c")).OneOrMore()
	d := c.FollowedBy("d").Where(of("d"))
	for text, p := range map[string]pattern.Pattern[event]{"a1 b2": b, "a1 c2": c, "a1 c2 d3": d} {
		if got := matches(t, p, "a1 "+strings.TrimPrefix(text, "a1 ")); len(got) != 1 || got[0] != text {
			t.Errorf("got %v, want %s", got, text)
		}
	}
}

// TestFaults: every fault of a pattern is reported, with what to do, and the graph is refused with all of them.
func TestFaults(t *testing.T) {
	a := begin("a", "a")
	for _, c := range []struct {
		name string
		p    pattern.Pattern[event]
		want string
	}{
		{"empty", pattern.Pattern[event]{}, "without stages; start it with Begin"},
		{"empty changed", pattern.Pattern[event]{}.Optional(), "without stages"},
		{"no beginning", pattern.Pattern[event]{}.Next("a"), "has no stage before it; start the pattern with Begin"},
		{"no name", begin("", "a"), `stage "" has no name`},
		{"name twice", a.Next("a"), `stage "a" is there twice`},
		{"name twice in a group", a.NextGroup(begin("b", "b").Next("a")), `stage "a" is there twice`},
		{"endless absence", a.NotFollowedBy("b"), "at the end without Within; say how long"},
		{"absence ends group", a.NextGroup(begin("b", "b").NotFollowedBy("c")).Within(time.Second), "at the end of a group"},
		{"absence behind optional", a.Optional().NotNext("b").Next("c"), "behind an optional stage; use two patterns"},
		{"optional absence", a.NotNext("b").Optional().Next("c"), "cannot be optional"},
		{"repeated absence", a.NotNext("b").OneOrMore().Next("c"), "cannot be repeated"},
		{"greedy absence", a.NotNext("b").Greedy().Next("c"), "cannot be greedy"},
		{"optional twice", a.Optional().Optional(), "optional twice"},
		{"optional behind greedy", a.OneOrMore().Greedy().Next("b").Optional(), "optional behind a greedy stage"},
		{"greedy group", pattern.BeginGroup(a).Times(2).Greedy(), "is a group and cannot be greedy; make loops inside the group greedy"},
		{"greedy single", a.Greedy(), "greedy without a loop"},
		{"greedy combinations", a.OneOrMore().AllowCombinations().Greedy(), "contradict"},
		{"negative times", a.Times(-1), "has Times from -1 to -1, want 1 ≤ min ≤ max"},
		{"zero times", a.Times(0), "want 1 ≤ min ≤ max"},
		{"range reversed", a.TimesRange(3, 2), "has TimesRange from 3 to 2"},
		{"too many", a.Times(1001), "the limit is 1000; use TimesOrMore"},
		{"two quantifiers", a.Times(2).OneOrMore(), "two quantifiers; drop OneOrMore"},
		{"until without loop", a.Until(of("b")), "Until without an open loop; call OneOrMore or TimesOrMore first"},
		{"until of times", a.Times(2).Until(of("b")), "Until without an open loop"},
		{"until twice", a.OneOrMore().Until(of("b")).Until(of("c")), "two conditions that end its loop"},
		{"consecutive single", a.Consecutive(), "Consecutive without a loop"},
		{"two contiguities", a.OneOrMore().Consecutive().AllowCombinations(), "two of Consecutive and AllowCombinations"},
		{"nil condition", a.Where(nil), "nil function in Where"},
		{"nil until", a.OneOrMore().Until(nil), "nil function in Until"},
		{"condition on a group", pattern.BeginGroup(a).Where(of("a")), "is a group with Where; put conditions on the stages inside"},
		{"empty group", a.NextGroup(pattern.Pattern[event]{}), "a group without stages"},
		{"group that may be empty", pattern.BeginGroup(a.Optional()).OneOrMore(), "all of its stages are optional"},
		{"window in a group", a.NextGroup(begin("b", "b").Within(time.Second)), "Within inside the group"},
		{"skip in a group", a.NextGroup(begin("b", "b").AfterMatch(pattern.SkipToNext())), "AfterMatch inside the group"},
		{"window too short", a.Within(time.Microsecond), "Within 1µs, want a whole number of ms"},
		{"negative window", a.Within(-time.Second), "Within -1s"},
		{"gap at the beginning", a.WithinPrevious(time.Second), "has no event before it"},
		{"gap of a group", a.NextGroup(begin("b", "b")).WithinPrevious(time.Second), "put it on a stage inside the group"},
		{"gap longer than window", a.Next("b").WithinPrevious(2 * time.Second).Within(time.Second), "WithinPrevious 2s, longer than Within 1s"},
		{"skip to nowhere", a.AfterMatch(pattern.SkipToFirst("b")), `AfterMatch(SkipToFirst("b")) names no stage`},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, c.p.Validate(), "pattern: ", c.want)
			wantError(t, operatortest.Check(stage(c.p, pattern.Options[event]{}), operatortest.Options{}), c.want)
		})
	}
	all := pattern.BeginGroup(a.Times(-1)).Greedy().Next("").Until(of("b")).AfterMatch(pattern.SkipToLast("z"))
	wantError(t, all.Validate(), "from -1 to -1", "cannot be greedy", "no name", "without an open loop", `SkipToLast("z")`)
	if err := a.NotFollowedBy("b").Within(time.Second).Validate(); err != nil {
		t.Errorf("a pattern without fault: %v", err)
	}
}

func TestStageFaults(t *testing.T) {
	type noCodec struct{ F func() }
	s := pattern.Stage(func(noCodec) string { return "" }, nil, pattern.Begin[noCodec]("a"), pattern.Options[noCodec]{}, (func(string, pattern.Match[noCodec]) int)(nil))
	wantError(t, operatortest.Check(s, operatortest.Options{}), "makes results of matches", "give one by Options.Codec")
}

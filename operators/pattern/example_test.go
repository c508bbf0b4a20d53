package pattern_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
)

// login is the record of the examples.
type login struct {
	Account string
	OK      bool
	Amount  int64
}

func account(l login) string { return l.Account }

func failed(l login) bool { return !l.OK }

func succeeded(l login) bool { return l.OK }

// Three failed logins in a row and then one that succeeds, within ten minutes.
func Example() {
	p := pattern.Begin[login]("failed").Where(failed).TimesOrMore(3).Consecutive().Greedy().
		Next("ok").Where(succeeded).
		Within(10 * time.Minute).
		AfterMatch(pattern.SkipPastLastEvent())
	stage := pattern.Stage(account, nil, p, pattern.Options[login]{}, func(account string, m pattern.Match[login]) string {
		return fmt.Sprintf("%s: %d failures, then a login after %v", account, len(m.Events("failed")), m.Duration())
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(account, nil)
	minute := time.Minute.Milliseconds()
	for i, ok := range []bool{true, false, false, false, false, true, false, true} {
		h.Process(login{Account: "ann", OK: ok}, int64(i)*minute)
	}
	h.EndInput()
	for _, hit := range h.Records() {
		fmt.Println(hit)
	}
	// Output:
	// ann: 4 failures, then a login after 4m0s
}

// A payment that is not confirmed in time: what has not come is seen when the time is over, and what timed out before is a side output.
func ExamplePattern_NotFollowedBy() {
	kind := func(k int64) func(login) bool { return func(l login) bool { return l.Amount == k } }
	p := pattern.Begin[login]("ordered").Where(kind(1)).
		FollowedBy("paid").Where(kind(2)).
		NotFollowedBy("confirmed").Where(kind(3)).
		Within(time.Minute)
	stage := pattern.Stage(account, nil, p, pattern.Options[login]{}, func(account string, _ pattern.Match[login]) string { return account })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(account, nil)
	h.Process(login{Account: "ann", Amount: 1}, 0)
	h.Process(login{Account: "bob", Amount: 1}, 0)
	h.Process(login{Account: "cid", Amount: 1}, 0)
	h.Process(login{Account: "ann", Amount: 2}, 10_000)
	h.Process(login{Account: "bob", Amount: 2}, 10_000)
	h.Process(login{Account: "bob", Amount: 3}, 20_000)
	h.Watermark(60_000)
	fmt.Println("paid, not confirmed:", h.Records())
	for _, e := range h.SideOutput(pattern.TimedOut[login]()) {
		order, _ := e.Value.First("ordered")
		fmt.Println("not paid:", order.Account, "at", e.TimestampMS)
	}
	// Output:
	// paid, not confirmed: [ann]
	// not paid: cid at 60000
}

// Prices that rise three times: the condition sees what this partial match has taken.
func ExamplePattern_WhereIterative() {
	rising := func(l login, m *pattern.Partial[login]) bool {
		taken := m.Events("rise")
		return len(taken) == 0 || l.Amount > taken[len(taken)-1].Amount
	}
	p := pattern.Begin[login]("rise").WhereIterative(rising).Times(3).Consecutive().AfterMatch(pattern.SkipPastLastEvent())
	stage := pattern.Stage(account, nil, p, pattern.Options[login]{}, func(_ string, m pattern.Match[login]) string {
		first, _ := m.First("rise")
		last, _ := m.Last("rise")
		return fmt.Sprintf("%d to %d", first.Amount, last.Amount)
	})
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(account, nil)
	for i, amount := range []int64{5, 4, 6, 9, 7, 8, 8} {
		h.Process(login{Account: "x", Amount: amount}, int64(i))
	}
	h.EndInput()
	fmt.Println(h.Records())
	// Output:
	// [4 to 9]
}

// Two groups in a row, and a pattern that is refused with all of its faults.
func ExamplePattern_Validate() {
	pair := pattern.Begin[login]("failed").Where(failed).Next("ok").Where(succeeded)
	fmt.Println(pattern.BeginGroup(pair).Times(2).Validate())
	fmt.Println(pattern.BeginGroup(pair).Times(0).Greedy().NotFollowedBy("ok").Validate())
	// Output:
	// <nil>
	// pattern: group "failed ok" has Times from 0 to 0, want 1 ≤ min ≤ max; make a stage that may be missing Optional
	// pattern: group "failed ok" is a group and cannot be greedy; make loops inside the group greedy instead
	// pattern: stage "ok" is there twice; names of stages are unique in a pattern, also across groups
	// pattern: stage "ok" is a NotFollowedBy at the end without Within; say how long the event must stay away
}

// What a match discards: of b+ c over b1 b2 b3 c.
func ExampleSkipStrategy() {
	p := pattern.Begin[event]("b").Where(of("b")).OneOrMore().Consecutive().Next("c").Where(of("c"))
	for _, s := range []pattern.SkipStrategy{pattern.NoSkip(), pattern.SkipToNext(), pattern.SkipPastLastEvent(), pattern.SkipToFirst("b"), pattern.SkipToLast("b")} {
		h := start(exampleTB{}, p.AfterMatch(s), pattern.Options[event]{}, operatortest.Options{})
		feed(h, "b1@1 b2@2 b3@3 c4@4")
		h.EndInput()
		fmt.Println(s, h.Records())
	}
	// Output:
	// NoSkip() [b1 b2 b3 c4 b2 b3 c4 b3 c4]
	// SkipToNext() [b1 b2 b3 c4 b2 b3 c4 b3 c4]
	// SkipPastLastEvent() [b1 b2 b3 c4]
	// SkipToFirst("b") [b1 b2 b3 c4 b2 b3 c4 b3 c4]
	// SkipToLast("b") [b1 b2 b3 c4 b3 c4]
}

// Options bound the partial matches of a key: what would exceed the bound is refused, not remembered.
func ExampleOptions() {
	p := pattern.Begin[event]("a").Where(of("a")).OneOrMore().AllowCombinations().FollowedBy("b").Where(of("b"))
	h := start(exampleTB{}, p, pattern.Options[event]{MaxPartialMatches: 10}, operatortest.Options{DeadLetters: true})
	feed(h, "a1@1 a2@2 a3@3 a4@4 a5@5")
	h.Watermark(operators.EndOfTime)
	for _, d := range h.DeadLetters() {
		fmt.Println("refused: the event at", d.TimestampMS)
	}
	// Output:
	// refused: the event at 4
	// refused: the event at 5
}

func ExampleTimedOut() {
	p := pattern.Begin[event]("a").Where(of("a")).FollowedBy("b").Where(of("b")).Within(10 * time.Millisecond)
	h := start(exampleTB{}, p, pattern.Options[event]{}, operatortest.Options{})
	feed(h, "a1@1 b2@30")
	h.Watermark(30)
	for _, e := range h.SideOutput(pattern.TimedOut[event]()) {
		fmt.Println(e.Value.Stages, e.TimestampMS)
	}
	// Output:
	// [{a [a1]}] 11
}

// A match gives the events of each stage, and the time it took.
func ExampleMatch() {
	m := pattern.Match[int]{Stages: []pattern.StageEvents[int]{{Stage: "a", Events: []int{1}}, {Stage: "b", Events: []int{4, 5}}}, StartMS: 1000, EndMS: 3500}
	first, _ := m.First("b")
	last, _ := m.Last("b")
	_, any := m.First("c")
	fmt.Println(m.Events("a"), first, last, any, m.Duration())
	// Output:
	// [1] 4 5 false 2.5s
}

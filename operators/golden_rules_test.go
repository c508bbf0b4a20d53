package operators_test

import (
	"slices"
	"testing"
)

// goldenRule is a difference between Flink and millrace that is meant. What differs is also said where the operator is documented.
type goldenRule struct {
	name, reason string
	families     []string
	// jobs says that the rule is about whole jobs alone, not about an operator in the harness.
	jobs bool
	// adjust takes from the expected outputs of a case what only Flink promises; changed says that there was something.
	adjust func(c goldenCase) (expect [][]goldenOutput, changed bool)
	// from is the first step of a case from which on outputs may differ. What comes before must be the same, and nothing behind the first
	// difference is compared.
	from func(c goldenCase) (step int, ok bool)
}

// goldenRules are all of them. Nothing else is left out or changed.
var goldenRules = []goldenRule{
	{name: "end of time", reason: "EndOfTime comes out when it has come on every channel: in Flink the active ones decide alone, and what an idle one brings when it " +
		"wakes is late for ever",
		families: []string{"watermark_valve"}, adjust: endOfTimeNeedsAll},
}

// applyGoldenRules applies the rules that concern the family, and counts in applied the cases that each has changed.
func applyGoldenRules(rules []goldenRule, jobs bool, family string, c goldenCase, applied map[string]int) goldenCase {
	for _, r := range rules {
		if !slices.Contains(r.families, family) || r.jobs && !jobs {
			continue
		}
		if r.adjust != nil {
			expect, changed := r.adjust(c)
			if changed {
				applied[r.name]++
				c.Expect = expect
			}
		}
		if r.from != nil {
			if step, ok := r.from(c); ok {
				c.excuses = append(c.excuses, goldenExcuse{step, func() { applied[r.name]++ }})
			}
		}
	}
	return c
}

// goldenExcuse lets a case end at its first difference at or behind a step.
type goldenExcuse struct {
	step int
	use  func()
}

// excused says whether a difference at step i is meant.
func (c goldenCase) excused(i int) bool {
	for _, e := range c.excuses {
		if i >= e.step {
			e.use()
			return true
		}
	}
	return false
}

// logRules says how many cases each rule has changed.
func logRules(t *testing.T, applied map[string]int) {
	for _, r := range goldenRules {
		if n := applied[r.name]; n > 0 {
			t.Logf("rule %q concerns %d of them: %s", r.name, n, r.reason)
		}
	}
}

package operators_test

import (
	"slices"
	"testing"

	"github.com/millrace-io/millrace/operators"
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
	{name: "growing watermarks", reason: "Flink's bare generator emits at every periodic call; only watermarks that grow ever leave an operator",
		families: []string{"watermark_generator"}, adjust: onlyGrowing},
	{name: "end of time", reason: "EndOfTime comes out when it has come on every channel: in Flink the active ones decide alone, and what an idle one brings when it " +
		"wakes is late for ever",
		families: []string{"watermark_valve"}, from: endedBesideIdle},
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

// onlyGrowing drops watermarks that do not grow.
func onlyGrowing(c goldenCase) (expect [][]goldenOutput, changed bool) {
	last := operators.NoWatermark
	expect = make([][]goldenOutput, len(c.Expect))
	for i, step := range c.Expect {
		for _, o := range step {
			if o.Kind == "watermark" && *o.TS <= last {
				changed = true
				continue
			}
			if o.Kind == "watermark" {
				last = *o.TS
			}
			expect[i] = append(expect[i], o)
		}
	}
	return expect, changed
}

// logRules says how many cases each rule has changed.
func logRules(t *testing.T, applied map[string]int) {
	for _, r := range goldenRules {
		if n := applied[r.name]; n > 0 {
			t.Logf("rule %q concerns %d of them: %s", r.name, n, r.reason)
		}
	}
}

// endedBesideIdle is the first step at which a channel has ended while another that has not is idle.
func endedBesideIdle(c goldenCase) (step int, ok bool) {
	ended, idle := map[int]bool{}, map[int]bool{}
	for i, s := range c.Steps {
		switch s.Op {
		case "watermark":
			if *s.TS == operators.EndOfTime && !idle[s.Input] {
				ended[s.Input] = true
			}
		case "idle":
			idle[s.Input] = true
		default:
			delete(idle, s.Input)
		}
		for channel := range idle {
			if !ended[channel] && len(ended) > 0 {
				return i, true
			}
		}
	}
	return 0, false
}

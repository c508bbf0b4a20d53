package operators_test

import (
	"slices"
	"testing"
)

// goldenRule is a difference between Flink and millrace that is meant. What differs is also said where the operator is documented.
type goldenRule struct {
	name, reason string
	families     []string
	// adjust returns the expected outputs of a case without what only Flink does; changed says that something is different now. It leaves c as
	// it is.
	adjust func(c goldenCase) (expect [][]goldenOutput, changed bool)
	// end is the first step of a case that is not replayed any more, because from there on Flink's answers are wrong.
	end func(c goldenCase) (step int, ok bool)
}

// goldenRules are all of them. Nothing else is left out or changed.
var goldenRules = []goldenRule{
	{name: "end of time", reason: "EndOfTime comes out when it has come on every channel: in Flink the active ones decide alone, and what an idle one brings when it " +
		"wakes is late for ever",
		families: []string{"watermark_valve"}, adjust: endOfTimeNeedsAll},
	{name: "own hash", reason: "keys are hashed by their encoding, not as Java objects; the way from a key group to its subtask is Flink's",
		families: []string{"key_groups"}, adjust: ownHash},
	{name: "event taken for another", reason: "after a restore Flink numbers the events of a timestamp from 0 again, so that one which comes with the timestamp of an " +
		"event seen before takes that one's place in partial matches; the case ends there",
		families: []string{"cep"}, end: sameTimestampAfterRestore},
}

// applyGoldenRules applies the rules that concern the family, and counts in applied the cases that each has changed.
func applyGoldenRules(rules []goldenRule, family string, c goldenCase, applied map[string]int) goldenCase {
	for _, r := range rules {
		if !slices.Contains(r.families, family) {
			continue
		}
		if r.adjust != nil {
			if expect, changed := r.adjust(c); changed {
				applied[r.name]++
				c.Expect = expect
			}
		}
		if r.end != nil {
			if step, ok := r.end(c); ok {
				applied[r.name]++
				c.Steps, c.Expect = c.Steps[:step], c.Expect[:step]
			}
		}
	}
	return c
}

// logRules says how many cases each rule has changed.
func logRules(t *testing.T, applied map[string]int) {
	for _, r := range goldenRules {
		if n := applied[r.name]; n > 0 {
			t.Logf("rule %q concerns %d of them: %s", r.name, n, r.reason)
		}
	}
}

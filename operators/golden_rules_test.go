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
}

// goldenRules are all of them. Nothing else is left out or changed.
var goldenRules = []goldenRule{
	{name: "end of time", reason: "EndOfTime comes out when it has come on every channel: in Flink the active ones decide alone, and what an idle one brings when it " +
		"wakes is late for ever",
		families: []string{"watermark_valve"}, adjust: endOfTimeNeedsAll},
	{name: "own hash", reason: "keys are hashed by their encoding, not as Java objects; the way from a key group to its subtask is Flink's",
		families: []string{"key_groups"}, adjust: ownHash},
}

// applyGoldenRules applies the rules that concern the family, and counts in applied the cases that each has changed.
func applyGoldenRules(rules []goldenRule, family string, c goldenCase, applied map[string]int) goldenCase {
	for _, r := range rules {
		if !slices.Contains(r.families, family) {
			continue
		}
		if expect, changed := r.adjust(c); changed {
			applied[r.name]++
			c.Expect = expect
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

package watermark

import "testing"

// TestCombiner: each step is "input watermark", "input end", "input idle" or "input active", and what comes out after "→".
func TestCombiner(t *testing.T) {
	for name, script := range map[string][]string{
		"least of both, never back":       {"0 10 →", "1 5 → 5", "1 3 →", "1 20 → 10", "0 20 → 20"},
		"an idle input does not count":    {"0 10 →", "1 idle → 10", "0 12 → 12"},
		"all idle: the newest of all":     {"0 10 →", "1 5 → 5", "0 idle →", "1 idle → 10 idle", "1 active → active"},
		"a watermark wakes an idle input": {"0 10 →", "1 idle → 10", "1 11 →", "0 30 → 11"},
		"a watermark wakes, silently":     {"0 idle →", "1 idle → idle", "1 5 → 5", "0 active →"},
		"repeated words change nothing":   {"1 5 →", "0 idle → 5", "0 idle →", "0 active →", "0 active →"},
		"EndOfTime needs every input":     {"0 end →", "1 7 → 7", "1 end → end"},
		"EndOfTime waits for an idle one": {"0 5 →", "1 idle → 5", "0 end → idle", "1 active → active", "1 9 → 9", "1 end → end"},
	} {
		t.Run(name, func(t *testing.T) {
			replay(t, NewCombiner(2), script)
		})
	}
}

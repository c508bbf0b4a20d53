package watermark

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

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
			c := NewCombiner(2)
			for i, line := range script {
				step, want, _ := strings.Cut(line, "→")
				var in int
				var what string
				if _, err := fmt.Sscan(step, &in, &what); err != nil {
					t.Fatal(err)
				}
				var m Merged
				switch what {
				case "idle", "active":
					m = c.SetIdle(in, what == "idle")
				case "end":
					m = c.Watermark(in, EndOfTime)
				default:
					ms, err := strconv.ParseInt(what, 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					m = c.Watermark(in, ms)
				}
				if got := m.text(); got != strings.TrimSpace(want) {
					t.Fatalf("step %d, %s: got %q", i, line, got)
				}
			}
		})
	}
}

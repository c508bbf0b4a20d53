package watermark

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// text is what comes out, as the tables below write it.
func (m Merged) text() string {
	var out []string
	if m.Rose {
		ms := strconv.FormatInt(m.MS, 10)
		if m.MS == EndOfTime {
			ms = "end"
		}
		out = append(out, ms)
	}
	if m.Changed {
		out = append(out, map[bool]string{true: "idle", false: "active"}[m.Idle])
	}
	return strings.Join(out, " ")
}

// merger is what merges: the channels of an input, or the inputs of an operator.
type merger interface {
	Watermark(input int, mark int64) Merged
	SetIdle(input int, idle bool) Merged
}

// replay takes the steps of a script, and compares what comes out.
func replay(t *testing.T, v merger, script []string) {
	t.Helper()
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
			m = v.SetIdle(in, what == "idle")
		case "end":
			m = v.Watermark(in, EndOfTime)
		default:
			ms, err := strconv.ParseInt(what, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			m = v.Watermark(in, ms)
		}
		if got := m.text(); got != strings.TrimSpace(want) {
			t.Fatalf("step %d, %s: got %q", i, line, got)
		}
	}
}

// TestValve: each step is "input watermark", "input idle" or "input active", and what comes out after "→".
func TestValve(t *testing.T) {
	for name, script := range map[string][]string{
		"least of all inputs, never back":                            {"0 10 →", "1 5 → 5", "1 3 →", "1 20 → 10", "0 20 → 20"},
		"before every input has one":                                 {"0 10 →", "2 11 →", "1 12 → 10"},
		"an idle input does not count":                               {"0 10 →", "1 idle → 10", "0 12 → 12"},
		"all idle: the newest counts if the last was what held back": {"0 10 →", "1 5 →", "2 7 → 5", "0 idle →", "2 idle →", "1 idle → 10 idle"},
		"all idle: else it stays":                                    {"0 10 →", "1 5 →", "2 30 → 5", "2 idle →", "1 idle → 10", "1 active →", "0 idle →", "1 7 →", "1 idle → idle"},
		"first one back":                                             {"0 idle →", "1 idle →", "2 idle → idle", "1 active → active", "0 active →"},
		"repeated words change nothing":                              {"1 5 →", "0 idle → 5", "0 idle →", "0 active →", "0 active →"},
		"what an idle input says is lost":                            {"0 10 →", "1 10 →", "2 idle → 10", "2 50 →", "0 20 →", "1 20 → 20"},
		"one that wakes counts when it has caught up": {"0 10 →", "1 10 →", "2 idle → 10", "2 active →", "0 20 →", "1 20 → 20", "2 15 →", "0 30 →",
			"1 30 → 30", "2 31 →", "0 40 →", "1 40 → 31"},
		"EndOfTime needs every input":         {"0 end →", "1 10 →", "2 12 → 10", "1 end → 12", "2 end → end"},
		"EndOfTime waits for idle ones":       {"1 idle →", "2 5 →", "2 idle →", "0 7 → 7", "0 end → idle", "1 active → active", "1 9 → 9", "1 end → idle", "2 active → active", "2 end → end"},
		"an ended input with newer idle ones": {"0 5 →", "1 50 →", "2 60 → 5", "1 idle →", "2 idle →", "0 end → 60 idle"},
		"after the end nothing":               {"0 end →", "1 end →", "2 end → end", "0 idle →", "1 active →", "2 100 →"},
	} {
		t.Run(name, func(t *testing.T) {
			inputs := 0
			for _, line := range script {
				inputs = max(inputs, int(line[0]-'0')+1)
			}
			v := NewValve(inputs)
			replay(t, v, script)
		})
	}
}

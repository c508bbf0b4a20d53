package operators_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// splitLog is everything that has happened to one split, in order.
type splitLog struct {
	events []operators.SplitEvent // a record counts as SplitAdded
	times  []int64
}

func (s *splitLog) active() bool {
	return len(s.events) > 0 && s.events[len(s.events)-1] == operators.SplitAdded
}

// least is the watermark that the definition gives: the newest time of each active split, the least of them, minus bound and 1 ms.
func least(logs map[int]*splitLog, bound int64) int64 {
	low := operators.EndOfTime
	for _, s := range logs {
		if !s.active() {
			continue
		}
		newest := operators.NoWatermark
		for _, ts := range s.times {
			newest = max(newest, ts)
		}
		low = min(low, newest)
	}
	if low == operators.EndOfTime || low == operators.NoWatermark {
		return operators.NoWatermark
	}
	return low - bound - 1
}

// TestWatermarksAgainstTheModel compares the watermarks over splits that come, wake, idle and finish in random order.
func TestWatermarksAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 20).Draw(t, "bound")
		h := operatortest.New(t, operators.Timestamps(operators.Watermarks[int64]{Timestamp: time.UnixMilli, OutOfOrderness: ms(bound)}), operatortest.Options{})
		logs := map[int]*splitLog{}
		mark, last, finished := operators.NoWatermark, operators.NoWatermark, map[int]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			split := rapid.IntRange(0, 3).Draw(t, "split")
			if logs[split] == nil {
				logs[split] = &splitLog{}
			}
			s, step := logs[split], rapid.IntRange(0, 9).Draw(t, "step")
			switch {
			case finished[split]:
				continue
			case len(s.events) == 0:
				mark = max(mark, least(logs, bound)) // what the others have shown counts before it holds them back
				h.Split(split, operators.SplitAdded)
				s.events = append(s.events, operators.SplitAdded)
			case step < 2:
				e := operators.SplitIdle
				if step == 1 {
					e, finished[split] = operators.SplitFinished, true
				}
				mark = max(mark, least(logs, bound)) // what it has shown counts before it stops counting
				h.Split(split, e)
				s.events = append(s.events, e)
			default:
				ts := rapid.Int64Range(0, 200).Draw(t, "ts")
				h.ProcessSplit(split, ts, 0)
				s.events, s.times = append(s.events, operators.SplitAdded), append(s.times, ts)
			}
			if rapid.Bool().Draw(t, "dry") {
				h.Dry()
				mark = max(mark, least(logs, bound))
			} else if !s.active() {
				mark = max(mark, least(logs, bound))
			}
			for _, e := range h.Outputs() {
				if e.Kind != operatortest.Watermark {
					continue
				}
				if e.TimestampMS <= last {
					t.Fatalf("watermark %d after %d", e.TimestampMS, last)
				}
				last = e.TimestampMS
			}
			if last != mark {
				t.Fatalf("watermark %d, want %d", last, mark)
			}
		}
	})
}

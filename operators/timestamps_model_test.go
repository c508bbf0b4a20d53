package operators_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// splitLog is everything that has happened to one split.
type splitLog struct {
	times []int64
	looks []splitLook
	said  bool // the source has said that it is idle, and no record has come since
}

// splitLook is one periodic look at a split.
type splitLook struct {
	atMS    int64
	records int // so far
}

// idle goes back over the looks for the first of those that have found no record: the split is idle if the last lies more than the timeout
// behind it, and no record has come since.
func (s *splitLog) idle(timeoutMS int64) bool {
	if s.said {
		return true
	}
	n := len(s.looks)
	if n == 0 || s.looks[n-1].records != len(s.times) {
		return false
	}
	first := n - 1
	for first > 0 && s.looks[first-1].records == len(s.times) {
		first--
	}
	if s.looks[first].records > 0 { // that look has found the last record
		first++
	}
	return first < n && s.looks[n-1].atMS-s.looks[first].atMS > timeoutMS
}

func (s *splitLog) watermark(bound int64) int64 {
	newest := operators.NoWatermark
	for _, ts := range s.times {
		newest = max(newest, ts)
	}
	if newest == operators.NoWatermark {
		return newest
	}
	return newest - bound - 1
}

// merged is the watermark that the definition gives, and whether all splits are idle.
func merged(logs map[int]*splitLog, bound, timeoutMS int64) (ms int64, idle bool) {
	low, high, idle := operators.EndOfTime, operators.NoWatermark, true
	for _, s := range logs {
		w := s.watermark(bound)
		high = max(high, w)
		if !s.idle(timeoutMS) {
			low, idle = min(low, w), false
		}
	}
	if idle {
		return high, len(logs) > 0
	}
	return low, false
}

// TestTimestampsAgainstTheModel: splits come, are read, idle by the source's word or by their silence, and finish, in random order.
func TestTimestampsAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound, timeout := rapid.Int64Range(0, 20).Draw(t, "bound"), rapid.Int64Range(1, 40).Draw(t, "timeout")
		w := operators.BoundedOutOfOrderness[int64](ms(bound)).WithTimestamp(time.UnixMilli).WithIdleness(ms(timeout)).WithInterval(ms(10))
		h := operatortest.New(t, operators.Timestamps(w), operatortest.Options{})
		m := &timestampsModel{t: t, h: h, logs: map[int]*splitLog{}, bound: bound, timeout: timeout, mark: operators.NoWatermark, last: operators.NoWatermark}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			m.step()
			m.compare()
		}
	})
}

type timestampsModel struct {
	t              *rapid.T
	h              *operatortest.Harness[int64, int64]
	logs           map[int]*splitLog
	bound, timeout int64
	nowMS, dueMS   int64
	mark, last     int64
	idle, lastIdle bool
}

func (m *timestampsModel) step() {
	split := rapid.IntRange(0, 3).Draw(m.t, "split")
	s, step := m.logs[split], rapid.IntRange(0, 9).Draw(m.t, "step")
	switch {
	case s == nil:
		m.update() // what the others have shown counts before it holds them back
		m.h.Split(split, operators.SplitAdded)
		m.logs[split], m.idle = &splitLog{}, false
	case step == 0:
		m.update() // what it has shown counts before it stops counting
		m.h.Split(split, operators.SplitIdle)
		s.said = true
		m.update()
	case step == 1:
		m.update()
		m.h.Split(split, operators.SplitFinished)
		delete(m.logs, split)
		if len(m.logs) > 0 {
			m.update()
		}
	case step < 5:
		m.look(rapid.Int64Range(1, 30).Draw(m.t, "passes"))
	case step == 5:
		m.h.Dry()
		m.update()
	default:
		ts := rapid.Int64Range(0, 200).Draw(m.t, "ts")
		m.h.ProcessSplit(split, ts, 0)
		s.times, s.said, m.idle = append(s.times, ts), false, false
	}
}

// look lets time pass; the look comes if it is due.
func (m *timestampsModel) look(passes int64) {
	m.nowMS += passes
	m.h.AdvanceProcessingTime(m.nowMS)
	if m.dueMS == 0 {
		m.dueMS = 10
	}
	if m.nowMS < m.dueMS {
		return
	}
	m.dueMS = m.nowMS + 10
	for _, s := range m.logs {
		s.looks = append(s.looks, splitLook{m.nowMS, len(s.times)})
	}
	if len(m.logs) > 0 {
		m.update()
	}
}

func (m *timestampsModel) update() {
	ms, idle := merged(m.logs, m.bound, m.timeout)
	m.mark, m.idle = max(m.mark, ms), m.idle || idle
}

func (m *timestampsModel) compare() {
	for _, e := range m.h.Outputs() {
		switch e.Kind {
		case operatortest.Watermark:
			if e.TimestampMS <= m.last {
				m.t.Fatalf("watermark %d after %d", e.TimestampMS, m.last)
			}
			m.last = e.TimestampMS
		case operatortest.Idle, operatortest.Active:
			if idle := e.Kind == operatortest.Idle; idle == m.lastIdle {
				m.t.Fatalf("%s twice", e.Kind)
			} else {
				m.lastIdle = idle
			}
		}
	}
	if m.last != m.mark || m.lastIdle != m.idle {
		m.t.Fatalf("watermark %d and idle %v, want %d and %v", m.last, m.lastIdle, m.mark, m.idle)
	}
}

package watermark_test

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/internal/watermark/watermarktest"
)

// drawEvents draws a history of the given sources, with EndOfTime among the watermarks if ends.
func drawEvents(t *rapid.T, from int, ends bool) []watermarktest.Event {
	var events []watermarktest.Event
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		e := watermarktest.Event{From: rapid.IntRange(0, from-1).Draw(t, "from"), MS: rapid.Int64Range(-20, 20).Draw(t, "ms")}
		switch k := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case k < 2:
			e.Kind = watermarktest.Idle
		case k < 4:
			e.Kind = watermarktest.Active
		case k == 4 && ends:
			e.MS = watermark.EndOfTime
		}
		events = append(events, e)
	}
	return events
}

func textOf(m watermark.Merged) string {
	var out []string
	if m.Rose {
		ms := strconv.FormatInt(m.MS, 10)
		if m.MS == watermark.EndOfTime {
			ms = "end"
		}
		out = append(out, ms)
	}
	if m.Changed {
		out = append(out, map[bool]string{true: "idle", false: "active"}[m.Idle])
	}
	return strings.Join(out, " ")
}

func TestValveAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "channels")
		events := drawEvents(t, n, true)
		want := watermarktest.Valve(n, events)
		v := watermark.NewValve(n)
		for i, e := range events {
			var m watermark.Merged
			if e.Kind == watermarktest.Watermark {
				m = v.Watermark(e.From, e.MS)
			} else {
				m = v.SetIdle(e.From, e.Kind == watermarktest.Idle)
			}
			if got := textOf(m); got != strings.Join(want[i], " ") {
				t.Fatalf("event %d %+v: got %q, want %q", i, e, got, want[i])
			}
		}
	})
}

func TestCombinerAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 3).Draw(t, "inputs")
		events := drawEvents(t, n, true)
		want := watermarktest.Combiner(n, events)
		c := watermark.NewCombiner(n)
		for i, e := range events {
			var m watermark.Merged
			if e.Kind == watermarktest.Watermark {
				m = c.Watermark(e.From, e.MS)
			} else {
				m = c.SetIdle(e.From, e.Kind == watermarktest.Idle)
			}
			if got := textOf(m); got != strings.Join(want[i], " ") {
				t.Fatalf("event %d %+v: got %q, want %q", i, e, got, want[i])
			}
		}
	})
}

func TestMultiplexerAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []watermarktest.Event
		there := map[int]bool{}
		for _, e := range drawEvents(t, 4, false) {
			e.Later = rapid.Bool().Draw(t, "later")
			switch {
			case !there[e.From]:
				e.Kind, there[e.From] = watermarktest.Register, true
			case rapid.IntRange(0, 9).Draw(t, "leave") == 0:
				e.Kind = watermarktest.Unregister
				delete(there, e.From)
			}
			events = append(events, e)
			if rapid.IntRange(0, 3).Draw(t, "update") == 0 {
				events = append(events, watermarktest.Event{Kind: watermarktest.Update})
			}
		}
		want := watermarktest.Multiplexer(events)
		m := watermark.NewMultiplexer()
		for i, e := range events {
			got := textOf(multiplex(m, e))
			if got != strings.Join(want[i], " ") {
				t.Fatalf("event %d %+v: got %q, want %q", i, e, got, want[i])
			}
		}
	})
}

// multiplex does one event. An idleness that has not changed is shown all the same.
func multiplex(m *watermark.Multiplexer, e watermarktest.Event) (out watermark.Merged) {
	switch idle := e.Kind == watermarktest.Idle; e.Kind {
	case watermarktest.Register:
		m.Register(e.From)
	case watermarktest.Unregister:
		m.Unregister(e.From)
	case watermarktest.Update:
		out = m.Update()
	case watermarktest.Watermark:
		if e.Later {
			m.WatermarkLater(e.From, e.MS)
		} else {
			out = m.Watermark(e.From, e.MS)
		}
	default:
		if e.Later {
			m.SetIdleLater(e.From, idle)
		} else {
			out = m.SetIdle(e.From, idle)
		}
	}
	out.Changed = out.Idle
	return out
}

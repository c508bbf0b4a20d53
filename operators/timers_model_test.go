package operators_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// chainedTimers takes commands as records. A firing does what chained says: at a multiple of 10 it registers a timer in the past, at other multiples of 5
// one that is soon due; one ms later it deletes the timer 2 ms after it.
func chainedTimers(b *operators.Keyed[string, timerCommand, string]) {
	type ctx = *operators.Ctx[string, string]
	b.OnRecord(func(c ctx, r timerCommand) error {
		setTimer(c, r.domain, r.atMS, r.remove)
		return nil
	})
	fire := func(c ctx, d state.Domain, at int64) error {
		for _, next := range chained(d, c.Key(), at) {
			setTimer(c, d, next.atMS, next.remove)
		}
		return c.Emit(fmt.Sprintf("%s %v %d", c.Key(), d, at))
	}
	b.OnTimer(func(c ctx, at time.Time) error { return fire(c, state.EventTime, at.UnixMilli()) })
	b.OnProcessingTimer(func(c ctx, at time.Time) error { return fire(c, state.ProcessingTime, at.UnixMilli()) })
}

func setTimer(c *operators.Ctx[string, string], d state.Domain, atMS int64, remove bool) {
	at := time.UnixMilli(atMS)
	switch {
	case d == state.EventTime && remove:
		c.DeleteTimer(at)
	case d == state.EventTime:
		c.TimerAt(at)
	case remove:
		c.DeleteProcessingTimer(at)
	default:
		c.ProcessingTimerAt(at)
	}
}

// timerCommand is a registration or deletion.
type timerCommand struct {
	key    string
	domain state.Domain
	atMS   int64
	remove bool
}

func commandKey(c timerCommand) string { return c.key }

// chained are the commands of a firing.
func chained(d state.Domain, key string, at int64) []timerCommand {
	switch ((at % 10) + 10) % 10 {
	case 0:
		return []timerCommand{{key, d, at - 19, false}}
	case 5:
		return []timerCommand{{key, d, at + 3, false}}
	case 1, 6:
		return []timerCommand{{key, d, at + 2, true}}
	}
	return nil
}

// timerList is a sorted list without duplicates, of one domain.
type timerList []timerCommand

func (l *timerList) do(c timerCommand) {
	*l = slices.DeleteFunc(*l, func(x timerCommand) bool { return x.key == c.key && x.atMS == c.atMS })
	if !c.remove {
		*l = append(*l, c)
	}
	slices.SortFunc(*l, func(a, b timerCommand) int { return cmp.Or(cmp.Compare(a.atMS, b.atMS), cmp.Compare(a.key, b.key)) })
}

// fire takes out what is due, one after the other, and does what each firing does.
func (l *timerList) fire(upTo int64) (fired []string) {
	for len(*l) > 0 && (*l)[0].atMS <= upTo {
		c := (*l)[0]
		*l = slices.Delete(*l, 0, 1)
		fired = append(fired, fmt.Sprintf("%s %v %d", c.key, c.domain, c.atMS))
		for _, next := range chained(c.domain, c.key, c.atMS) {
			l.do(next)
		}
	}
	return fired
}

// TestTimersAgainstTheModel compares random registrations and deletions in both domains, by records and by firings, near and far, in the past and at
// the ends of time, with a sorted list; across restores at other parallelisms, and at the end of the input.
func TestTimersAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGroup(t, operators.Process(commandKey, nil, chainedTimers), commandKey, operatortest.Options{MaxParallelism: 8})
		var lists [2]timerList
		// Of one subtask everything is in order; between several only what one key did is.
		check := func(want []string) {
			t.Helper()
			if len(g.subtasks) == 1 {
				if got := g.subtasks[0].Records(); !slices.Equal(got, want) {
					t.Fatalf("fired %q, want %q", got, want)
				}
				return
			}
			var got []string
			for _, h := range g.subtasks {
				got = append(got, h.Records()...)
			}
			if a, b := byKey(got), byKey(want); a != b {
				t.Fatalf("fired %s, want %s", a, b)
			}
		}
		watermark, clock := int64(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0:
				g.restore(rapid.IntRange(1, 3).Draw(t, "parallelism"))
			case 1:
				watermark += rapid.Int64Range(1, 30).Draw(t, "watermark")
				g.each(func(h *operatortest.Harness[timerCommand, string]) { h.Watermark(watermark) })
				check(lists[state.EventTime].fire(watermark))
			case 2:
				clock += rapid.Int64Range(1, 30).Draw(t, "clock")
				g.o.NowMS = clock
				g.each(func(h *operatortest.Harness[timerCommand, string]) { h.AdvanceProcessingTime(clock) })
				check(lists[state.ProcessingTime].fire(clock))
			default:
				c := timerCommand{key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), domain: rapid.SampledFrom([]state.Domain{state.EventTime, state.ProcessingTime}).Draw(t, "domain"),
					remove: rapid.IntRange(0, 3).Draw(t, "verb") == 0}
				near := max(watermark, clock)
				c.atMS = rapid.OneOf(rapid.Int64Range(near-40, near+40), rapid.SampledFrom([]int64{-1 << 62, 1 << 62})).Draw(t, "at")
				g.process(c, 1)
				lists[c.domain].do(c)
			}
		}
		g.each(func(h *operatortest.Harness[timerCommand, string]) { h.EndInput() })
		check(lists[state.EventTime].fire(operators.EndOfTime))
	})
}

// byKey joins what each key did.
func byKey(fired []string) string {
	keys := map[string][]string{}
	for _, f := range fired {
		keys[f[:1]] = append(keys[f[:1]], f)
	}
	return fmt.Sprint(strings.Join(keys["a"], ", "), "; ", strings.Join(keys["b"], ", "), "; ", strings.Join(keys["c"], ", "))
}

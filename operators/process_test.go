package operators_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

type (
	orderKeyed = operators.Keyed[string, order, string]
	orderCtx   = operators.Ctx[string, string]
)

func process(t *testing.T, o operatortest.Options, build func(*orderKeyed)) *operatortest.Harness[order, string] {
	t.Helper()
	return operatortest.New(t, operators.Process(who, nil, build), o).KeyBy(who, nil)
}

// TestStatesBelongToTheKey uses all kinds of state at once, restored in the middle from two subtasks into one.
func TestStatesBelongToTheKey(t *testing.T) {
	build := func(b *orderKeyed) {
		value := b.Value[int64]("value")
		list := b.List[int64]("list")
		byN := b.Map[int64, string]("map")
		sum := b.Reducing("reducing", func(a, b int64) int64 { return a + b })
		count := b.Aggregating("aggregating", operators.Count[int64]())
		b.OnRecord(func(c *orderCtx, o order) error {
			last, err := value.Get()
			if err == nil {
				err = errors.Join(value.Set(o.N), list.Append(o.N), byN.Put(o.N, o.Who), sum.Add(o.N), count.Add(o.N))
			}
			if err != nil {
				return err
			}
			all, err0 := list.Values()
			keys, err3 := byN.Len()
			s, _, err1 := sum.Get()
			n, _, err2 := count.Get()
			return errors.Join(err0, err1, err2, err3, c.Emit(fmt.Sprint(c.Key(), " last ", last, " list ", all, " map ", keys, " sum ", s, " count ", n)))
		})
	}
	g := newGroup(t, operators.Process(who, nil, build), who, operatortest.Options{})
	g.restore(2)
	var got []string
	take := func() {
		g.each(func(h *operatortest.Harness[order, string]) { got = append(got, h.Records()...) })
	}
	for _, o := range []order{{"ann", 3}, {"bob", 5}, {"ann", 3}, {"ann", 4}} {
		g.process(o, 1)
		take()
	}
	g.restore(1)
	g.process(order{"bob", 6}, 1)
	take()
	text := []string{
		"ann last 0 list [3] map 1 sum 3 count 1",
		"bob last 0 list [5] map 1 sum 5 count 1",
		"ann last 3 list [3 3] map 1 sum 6 count 2",
		"ann last 3 list [3 3 4] map 2 sum 10 count 3",
		"bob last 5 list [5 6] map 2 sum 11 count 2",
	}
	if !slices.Equal(got, text) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(text, "\n"))
	}
}

// timerFunc registers the timers that records name: order.N is the time. Each firing emits.
func timerFunc(b *orderKeyed) {
	b.OnRecord(func(c *orderCtx, o order) error {
		switch {
		case o.N < 0:
			c.DeleteTimer(time.UnixMilli(-o.N))
			c.DeleteProcessingTimer(time.UnixMilli(-o.N))
		default:
			c.TimerAt(time.UnixMilli(o.N))
			c.ProcessingTimerAt(time.UnixMilli(o.N))
		}
		return nil
	})
	b.OnTimer(func(c *orderCtx, at time.Time) error {
		return c.Emit(fmt.Sprintf("%s event %d watermark %d", c.Key(), at.UnixMilli(), c.WatermarkMS()))
	})
	b.OnProcessingTimer(func(c *orderCtx, at time.Time) error {
		return c.Emit(fmt.Sprintf("%s proc %d now %d", c.Key(), at.UnixMilli(), c.Now().UnixMilli()))
	})
}

// TestTimersInBothDomains: ascending by time and then key, duplicates once, deleted ones never, the context is the timer's.
func TestTimersInBothDomains(t *testing.T) {
	h := process(t, operatortest.Options{}, timerFunc)
	for _, o := range []order{{"b", 30}, {"b", 10}, {"a", 30}, {"c", 20}, {"b", 10}, {"c", -20}, {"c", -21}, {"a", 40}} {
		h.Process(o, 5)
	}
	h.Watermark(9)
	h.Watermark(35)
	want(t, "event time", h.Outputs(), "watermark 9, b event 10 watermark 35@10, a event 30 watermark 35@30, b event 30 watermark 35@30, watermark 35")
	h.AdvanceProcessingTime(9)
	h.AdvanceProcessingTime(35)
	want(t, "processing time", h.Outputs(), "b proc 10 now 35@none, a proc 30 now 35@none, b proc 30 now 35@none")
	h.Watermark(35)
	h.AdvanceProcessingTime(39)
	want(t, "nothing is due", h.Outputs(), "")
}

// TestPassedTimersFireNext: a timer at or before the watermark (clock) fires with the next one, not at once.
func TestPassedTimersFireNext(t *testing.T) {
	h := process(t, operatortest.Options{NowMS: 100}, timerFunc)
	h.Watermark(100)
	h.Process(order{"a", 50}, 1)
	h.Process(order{"a", 100}, 1)
	want(t, "at once", h.Outputs(), "watermark 100")
	h.Watermark(101)
	want(t, "next watermark", h.Outputs(), "a event 50 watermark 101@50, a event 100 watermark 101@100, watermark 101")
	h.AdvanceProcessingTime(100)
	want(t, "next look at the clock", h.Outputs(), "a proc 50 now 100@none, a proc 100 now 100@none")
}

// TestTimersOfTheEnd: EndOfTime fires all event-time timers, also one at the end of time; those of processing time stay unfired.
func TestTimersOfTheEnd(t *testing.T) {
	h := process(t, operatortest.Options{}, timerFunc)
	h.Process(order{"a", operators.EndOfTime}, 1)
	h.Process(order{"a", 1 << 50}, 1)
	h.EndInput()
	h.AdvanceProcessingTime(1 << 60)
	want(t, "end of input", h.Outputs(), fmt.Sprintf("a event %d watermark %d@%[1]d, a event %[2]d watermark %[2]d@end, watermark end", int64(1)<<50, operators.EndOfTime))
}

// TestTimersOfTimers: what a firing registers in the past fires in the same step in its place in time; what it deletes does not.
func TestTimersOfTimers(t *testing.T) {
	var other int64
	h := process(t, operatortest.Options{}, func(b *orderKeyed) {
		b.OnRecord(func(c *orderCtx, o order) error {
			c.TimerAt(time.UnixMilli(o.N))
			return nil
		})
		b.OnTimer(func(c *orderCtx, at time.Time) error {
			if at.UnixMilli() == 10 {
				c.TimerAt(time.UnixMilli(5))
				c.TimerAt(time.UnixMilli(15))
				c.TimerAt(time.UnixMilli(99))
				c.DeleteTimer(time.UnixMilli(20))
			}
			if other++; other > 50 {
				return errors.New("endless")
			}
			return c.Emit("fired")
		})
	})
	for _, o := range []order{{"a", 10}, {"a", 20}, {"b", 12}, {"b", 20}} {
		h.Process(o, 1)
	}
	h.Watermark(30)
	want(t, "step", h.Outputs(), "fired@10, fired@5, fired@12, fired@15, fired@20, watermark 30")
	h.Watermark(99)
	want(t, "later", h.Outputs(), "fired@99, watermark 99")
}

// TestTimersAreState: timers of both domains survive a restore into three subtasks, and the watermark with them.
func TestTimersAreState(t *testing.T) {
	g := newGroup(t, operators.Process(who, nil, timerFunc), who, operatortest.Options{})
	for n := range int64(20) {
		g.process(order{fmt.Sprint("key", n%7), 100 + n}, 1)
	}
	g.process(order{"key0", -107}, 1)
	g.each(func(h *operatortest.Harness[order, string]) { h.Watermark(104); h.Outputs() })
	g.restore(3)
	g.process(order{"late", 50}, 1)
	g.each(func(h *operatortest.Harness[order, string]) {
		if ms := h.Task().Watermark(); ms != 104 {
			t.Errorf("watermark %d after the restore, want 104", ms)
		}
		h.Watermark(104)
	})
	want(t, "after the restore", g.outputs(byTimestamp), "watermark 104")
	g.each(func(h *operatortest.Harness[order, string]) { h.Watermark(200) })
	var times []int64
	for _, e := range g.outputs(byTimestamp) {
		if e.Kind == operatortest.Record {
			times = append(times, e.TimestampMS)
		}
	}
	if fmt.Sprint(times) != "[50 105 106 108 109 110 111 112 113 114 115 116 117 118 119]" {
		t.Errorf("event timers fired at %v", times)
	}
	g.each(func(h *operatortest.Harness[order, string]) { h.AdvanceProcessingTime(200) })
	if n := len(g.outputs(byTimestamp)); n != 20 { // 50 and 100…119 without 107
		t.Errorf("%d processing-time timers fired, want 20", n)
	}
}

func TestTimersWithoutFunctionAreDropped(t *testing.T) {
	h := process(t, operatortest.Options{}, func(b *orderKeyed) {
		b.OnRecord(func(c *orderCtx, o order) error {
			c.TimerAt(time.UnixMilli(o.N))
			c.ProcessingTimerAt(time.UnixMilli(o.N))
			return nil
		})
	})
	h.Process(order{"a", 5}, 1)
	h.AdvanceProcessingTime(5)
	h.Watermark(5)
	want(t, "output", h.Outputs(), "watermark 5")
}

func TestContext(t *testing.T) {
	side := operators.NewTag[int64]("side")
	opened, closed := false, 0
	t.Run("run", func(t *testing.T) {
		h := process(t, operatortest.Options{NowMS: 77}, func(b *orderKeyed) {
			out := b.Side(side)
			b.OnOpen(func(context.Context) error { opened = true; return nil })
			b.OnClose(func() error { closed++; return nil })
			b.OnRecord(func(c *orderCtx, o order) error {
				if !c.Timestamp().IsZero() && c.Timestamp().UnixMilli() != c.TimestampMS() {
					return fmt.Errorf("timestamps %v and %d", c.Timestamp(), c.TimestampMS())
				}
				return errors.Join(out(o.N), c.Emit(fmt.Sprint(c.Key(), " ", c.Timestamp().IsZero(), " ", c.Now().UnixMilli(), " ", c.WatermarkMS() == operators.NoWatermark)))
			})
		})
		if !opened {
			t.Error("OnOpen was not called before the first record")
		}
		h.Process(order{"a", 1}, 0)
		h.Process(order{"a", 2}, connectors.NoTimestamp)
		want(t, "main", h.Outputs(), "a false 77 true@0, a true 77 true@none")
		want(t, "side", h.SideOutput(side), "1@0, 2@none")
	})
	if closed != 1 {
		t.Errorf("OnClose was called %d times", closed)
	}
}

// TestFailingFunction: with dead letters the record goes there and what it has changed stays; errors of Emit are never dead letters,
// not even when the function swallows them.
func TestFailingFunction(t *testing.T) {
	build := func(b *orderKeyed) {
		n := b.Value[int64]("n")
		b.OnRecord(func(c *orderCtx, o order) error {
			v, err := n.Get()
			if err != nil {
				return err
			}
			if err := n.Set(v + 1); err != nil {
				return err
			}
			if o.N < 0 {
				return operators.BadRecord(errors.New("negative"))
			}
			return c.Emit(fmt.Sprint(v + 1))
		})
	}
	h := process(t, operatortest.Options{UID: "count", DeadLetters: true}, build)
	h.Process(order{"a", 1}, 1)
	h.Process(order{"a", -1}, 2)
	h.Process(order{"a", 1}, 3)
	want(t, "main", h.Outputs(), "1@1, 3@3")
	if d := h.DeadLetters(); len(d) != 1 || d[0].Reason != "negative" || d[0].TimestampMS != 2 {
		t.Errorf("dead letters %+v", d)
	}
	wantError(t, process(t, operatortest.Options{UID: "count"}, build).TryProcess(order{"a", -1}, 2), `step "count"`, "negative")
}

func TestErrorsOfEmitFailTheTask(t *testing.T) {
	full := errors.New("the consumer has gone")
	for _, returned := range []bool{true, false} {
		stage := operators.Process(who, nil, func(b *orderKeyed) {
			b.OnRecord(func(c *orderCtx, o order) error {
				c.TimerAt(time.UnixMilli(10))
				if o.N == 0 {
					return nil
				}
				if err := c.Emit("x"); returned {
					return err
				}
				return nil
			})
			b.OnTimer(func(c *orderCtx, _ time.Time) error {
				if err := c.Emit("x"); returned {
					return err
				}
				return nil
			})
		})
		failing := func(t *operators.Task, _ func(string) error) (func(order) error, error) {
			return stage(t, func(string) error { return full })
		}
		for _, n := range []int64{0, 1} {
			h := operatortest.New(t, failing, operatortest.Options{DeadLetters: true}).KeyBy(who, nil)
			err := h.TryProcess(order{"a", n}, 1)
			if n == 0 {
				err = h.TryWatermark(10)
			}
			if !errors.Is(err, full) || len(h.DeadLetters()) != 0 {
				t.Errorf("returned %v, timer %v: got %v", returned, n == 0, err)
			}
		}
	}
}

func TestFaultsOfProcess(t *testing.T) {
	build := func(b *orderKeyed) { b.OnRecord(func(*orderCtx, order) error { return nil }) }
	for _, c := range []struct {
		what, says string
		stage      operators.Stage[order, string]
	}{
		{"no OnRecord", "OnRecord", operators.Process(who, nil, func(*orderKeyed) {})},
		{"no key", "key function", operators.Process[string](nil, nil, build)},
		{"no build", "build function", operators.Process[string, order, string](who, nil, nil)},
		{"state twice", `"n"`, operators.Process(who, nil, func(b *orderKeyed) {
			build(b)
			b.Value[int64]("n")
			b.Value[int64]("n")
		})},
		{"two keyed operators", "twice", func(t *operators.Task, emit func(string) error) (func(order) error, error) {
			if _, err := operators.Process(who, nil, build)(t, emit); err != nil {
				return nil, err
			}
			return operators.Process(who, nil, build)(t, emit)
		}},
	} {
		err := operatortest.Check(c.stage, operatortest.Options{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an error that says %q", c.what, err, c.says)
		}
	}
	if err := operatortest.Check(operators.Process(who, nil, build), operatortest.Options{}); err != nil {
		t.Errorf("a sound operator is refused: %v", err)
	}
}

// TestOtherErrorsFailTheTask: an error that is not marked, of the backend or of a service that is asked, is no fault of the record.
func TestOtherErrorsFailTheTask(t *testing.T) {
	broken := errors.New("no answer")
	h := process(t, operatortest.Options{DeadLetters: true}, func(b *orderKeyed) {
		b.OnRecord(func(*orderCtx, order) error { return fmt.Errorf("read: %w", broken) })
	})
	if err := h.TryProcess(order{"a", 1}, 1); !errors.Is(err, broken) || len(h.DeadLetters()) != 0 {
		t.Errorf("got %v", err)
	}
}

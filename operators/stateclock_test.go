package operators_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// remembering keeps N of the last order of a key for 100 ms of event time. A record with N > 0 is kept and registers event timers 50 and 150 ms
// later; one with N = 0 only reads; one with a negative N registers a processing-time timer at -N. Each tells what it finds.
func remembering(opts ...state.Option) operators.Stage[order, string] {
	return operators.Process(who, nil, func(b *operators.Keyed[string, order, string]) {
		type ctx = *operators.Ctx[string, string]
		last := b.Value[int64]("last", append([]state.Option{state.EventTimeTTL(100 * time.Millisecond)}, opts...)...)
		tell := func(c ctx, what string) error {
			n, ok, err := last.Lookup()
			if err != nil {
				return err
			}
			if !ok {
				return c.Emit(what + " finds nothing")
			}
			return c.Emit(fmt.Sprint(what, " finds ", n))
		}
		b.OnRecord(func(c ctx, o order) error {
			switch {
			case o.N < 0:
				c.ProcessingTimerAt(time.UnixMilli(-o.N))
				return nil
			case o.N == 0:
				return tell(c, "record")
			}
			ts := c.Timestamp()
			c.TimerAt(ts.Add(50 * time.Millisecond))
			c.TimerAt(ts.Add(150 * time.Millisecond))
			return last.Set(o.N)
		})
		b.OnTimer(func(c ctx, at time.Time) error { return tell(c, fmt.Sprint("timer ", at.UnixMilli())) })
		b.OnProcessingTimer(func(c ctx, at time.Time) error {
			if err := tell(c, "clock"); err != nil {
				return err
			}
			return last.Set(at.UnixMilli())
		})
	})
}

// TestTimersSeeStateOfTheirTime: what a timer finds does not depend on how far apart watermarks are.
func TestTimersSeeStateOfTheirTime(t *testing.T) {
	for _, watermarks := range [][]int64{{1000}, {49, 50, 99, 100, 149, 150, 1000}, {50, 1000}, {99, 1000}, {operators.EndOfTime}} {
		h := operatortest.New(t, remembering(), operatortest.Options{}).KeyBy(who, nil)
		h.Process(order{"a", 7}, 0)
		for _, ms := range watermarks {
			h.Watermark(ms)
		}
		h.Process(order{"a", 0}, 1000)
		if got := fmt.Sprint(h.Records()); got != "[timer 50 finds 7 timer 150 finds nothing record finds nothing]" {
			t.Errorf("watermarks %v: %s", watermarks, got)
		}
	}
}

// TestStateExpiresByTheWatermark: a late record neither brings expired state back nor shortens a life, and one by more than the time to live writes
// what nobody reads; a record or timer without timestamp touches at the watermark.
func TestStateExpiresByTheWatermark(t *testing.T) {
	h := operatortest.New(t, remembering(), operatortest.Options{NowMS: 1}).KeyBy(who, nil)
	says := func(what, text string) {
		t.Helper()
		if got := fmt.Sprint(h.Records()); got != text {
			t.Errorf("%s: %s, want %s", what, got, text)
		}
	}
	h.Process(order{"a", 1}, 1000)
	h.Process(order{"a", 2}, 950) // late for nobody yet
	h.Watermark(999)
	says("timer of the earlier record", "[]")
	h.Process(order{"a", 3}, 980) // late; it changes the value and not the time
	h.Watermark(1099)
	says("timers", "[timer 1000 finds 3 timer 1030 finds 3 timer 1050 finds 3]")
	h.Process(order{"a", 0}, 1)
	says("record 1 ms before", "[record finds 3]")
	h.Watermark(1100)
	h.Process(order{"a", 0}, 5000)
	says("record at the time of expiry", "[timer 1100 finds nothing record finds nothing]")
	h.Process(order{"a", 4}, 1000)
	h.Process(order{"a", 0}, 1100)
	says("record late by the time to live", "[record finds nothing]")
	h.Watermark(2000)
	h.Records()
	h.Process(order{"b", -5}, connectors.NoTimestamp)
	h.AdvanceProcessingTime(5)
	h.Watermark(2099)
	h.Process(order{"b", 0}, connectors.NoTimestamp)
	says("touched at the watermark", "[clock finds nothing record finds 5]")
	h.Watermark(2100)
	h.Process(order{"b", 0}, connectors.NoTimestamp)
	says("and expired by it", "[record finds nothing]")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("the snapshot has %d bytes when everything has expired", n)
	}
}

// TestRestoredStateClock: the restored watermark counts at once, and a state that gains its time to live at a restore lives from there.
func TestRestoredStateClock(t *testing.T) {
	old := operatortest.New(t, remembering(), operatortest.Options{}).KeyBy(who, nil)
	old.Process(order{"a", 1}, 1000)
	old.Process(order{"b", 2}, 1060)
	old.Watermark(1099)
	from := []*operatortest.Snapshot{old.Snapshot()}
	h := operatortest.New(t, remembering(), operatortest.Options{From: from}).KeyBy(who, nil)
	h.Process(order{"a", 0}, 0)
	h.Watermark(1100)
	h.Process(order{"a", 0}, 0)
	h.Process(order{"b", 0}, 0)
	if got := fmt.Sprint(h.Records()); got != "[record finds 1 record finds nothing record finds 2]" {
		t.Errorf("restored: %s", got)
	}
}

func TestEventTimeTTLNeedsWatermarks(t *testing.T) {
	for ttl, want := range map[string]string{"event": "state that expires in event time", "processing": ""} {
		opt := state.EventTimeTTL(time.Second)
		if ttl == "processing" {
			opt = state.TTL(time.Second)
		}
		task := operators.NewTask(operators.TaskConfig{UID: "step", Name: "step", Check: true, MaxParallelism: 128, Parallelism: 1})
		if _, err := operators.Distinct(who, nil, opt)(task, func(order) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if got := task.Hooks().NeedsWatermarks; got != want {
			t.Errorf("%s time: watermarks are needed for %q, want %q", ttl, got, want)
		}
	}
}

package operators_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func triggered(t *testing.T, s operators.WindowSpec[order], o operatortest.Options) *operatortest.Harness[order, string] {
	t.Helper()
	return operatortest.New(t, operators.WindowAggregate(who, nil, s, sumOrders(), windowText), o).KeyBy(who, nil)
}

// lists is a window function that shows all numbers.
func lists(f *operators.WindowFunc[string, []order, string]) {
	f.OnFire(func(c *operators.WindowCtx[string, string], os []order) error {
		text := fmt.Sprintf("%s[%d,%d):", c.Key(), c.Window().StartMS, c.Window().EndMS)
		if c.Window() == operators.Everything {
			text = c.Key() + ":"
		}
		for _, o := range os {
			text += fmt.Sprint(" ", o.N)
		}
		return c.Emit(text)
	})
}

// TestTimeout: a window that waits for company longer than the timeout gives what it has; Flink's ProcessingTimeoutTrigger.
func TestTimeout(t *testing.T) {
	s := operators.CountWindows[order](3)
	s.Trigger = operators.CountTrigger[order](3).WithTimeout(operators.Timeout{After: 100 * time.Millisecond}).Purging()
	h := operatortest.New(t, operators.WindowProcess(who, nil, s, lists), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 0)
	h.AdvanceProcessingTime(50)
	h.Process(order{"a", 2}, 0)
	h.AdvanceProcessingTime(99)
	want(t, "waiting", h.Outputs(), "")
	from := h.Snapshot() // the state of the trigger within is restored too
	h = operatortest.New(t, operators.WindowProcess(who, nil, s, lists), operatortest.Options{From: []*operatortest.Snapshot{from}, NowMS: 99}).KeyBy(who, nil)
	h.AdvanceProcessingTime(100)
	want(t, "timeout", h.Outputs(), "a: 1 2@end")
	for n := range int64(3) {
		h.Process(order{"a", n}, 0)
	}
	h.AdvanceProcessingTime(1000)
	want(t, "the count has begun again, and the timeout went with the result", h.Outputs(), "a: 0 1 2@end")

	s.Trigger = operators.CountTrigger[order](3).WithTimeout(operators.Timeout{After: 100 * time.Millisecond, ResetOnRecord: true, KeepState: true}).Purging()
	h = operatortest.New(t, operators.WindowProcess(who, nil, s, lists), operatortest.Options{}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 0)
	h.AdvanceProcessingTime(50)
	h.Process(order{"a", 2}, 0)
	h.AdvanceProcessingTime(149)
	want(t, "the second record began anew", h.Outputs(), "")
	h.AdvanceProcessingTime(150)
	h.Process(order{"a", 3}, 0)
	want(t, "the count went on", h.Outputs(), "a: 1 2@end, a: 3@end")
}

// bigFirst is a trigger of one's own: it fires when the sum of a window reaches ten, and at its end.
var bigFirst = operators.NewTrigger("sum of ten", operators.TriggerFuncs[order, int64]{
	OnRecord: func(c *operators.TriggerCtx, sum *int64, o order) operators.TriggerResult {
		if *sum += o.N; *sum >= 10 {
			*sum = 0
			return operators.FireAndPurge
		}
		c.EventTimer(c.Window().LastMS())
		return operators.Continue
	},
	OnEventTime: func(*operators.TriggerCtx, *int64, int64) operators.TriggerResult { return operators.Fire },
	Merge:       func(sum, other *int64) { *sum += *other },
	Clear:       func(c *operators.TriggerCtx, _ *int64) { c.DeleteEventTimer(c.Window().LastMS()) },
})

// TestOwnTrigger: its state is one value per window, goes through a restore and merges with the windows.
func TestOwnTrigger(t *testing.T) {
	s := operators.WindowSpec[order]{Windows: operators.Session(10 * time.Millisecond), Trigger: bigFirst}
	h := triggered(t, s, operatortest.Options{})
	h.Process(order{"a", 4}, 0)
	h.Process(order{"a", 5}, 18)
	h.Process(order{"b", 1}, 3)
	h = triggered(t, s, operatortest.Options{From: []*operatortest.Snapshot{h.Snapshot()}})
	h.Process(order{"a", 1}, 9)
	want(t, "ten together", h.Outputs(), "a[0,28)=10@27")
	h.Process(order{"a", 2}, 26)
	h.EndInput()
	want(t, "end", h.Outputs(), "b[3,13)=1@12, a[0,36)=2@35, watermark end")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestTriggerFailure: what a trigger refuses is a bad record.
func TestTriggerFailure(t *testing.T) {
	s := operators.WindowSpec[order]{Windows: operators.Global(), Trigger: operators.ContinuousEventTimeTrigger[order](time.Second)}
	h := triggered(t, s, operatortest.Options{DeadLetters: true})
	h.Process(order{"a", 1}, connectors.NoTimestamp)
	if d := h.DeadLetters(); len(d) != 1 {
		t.Errorf("dead letters %+v", d)
	}
}

// TestGlobalAtTheEnd: the global window ends with the input, and a continuous trigger does not go on until the end of time.
func TestGlobalAtTheEnd(t *testing.T) {
	for name, trigger := range map[string]operators.Trigger[order]{
		"event time": operators.EventTimeTrigger[order](), "continuous": operators.ContinuousEventTimeTrigger[order](time.Hour),
	} {
		h := triggered(t, operators.WindowSpec[order]{Windows: operators.Global(), Trigger: trigger}, operatortest.Options{})
		h.Process(order{"a", 1}, 5)
		h.Process(order{"a", 2}, 3)
		h.EndInput()
		sums := h.Records()
		if last := sums[len(sums)-1]; last != windowText("a", operators.Everything, 3) || len(sums) > 2 {
			t.Errorf("%s: %v", name, sums)
		}
	}
}

// TestErrorOfTheFunctionIsNotTheRecords: the record that makes the window fire must not become a dead letter for what the function says.
func TestErrorOfTheFunctionIsNotTheRecords(t *testing.T) {
	stage := operators.WindowProcess(who, nil, operators.CountWindows[order](1), func(f *operators.WindowFunc[string, []order, string]) {
		f.OnFire(func(*operators.WindowCtx[string, string], []order) error {
			return operators.BadRecord(fmt.Errorf("no"))
		})
	})
	h := operatortest.New(t, stage, operatortest.Options{DeadLetters: true}).KeyBy(who, nil)
	wantError(t, h.TryProcess(order{"a", 1}, 1), "no")
}

func TestFaultsOfTriggers(t *testing.T) {
	check := func(w operators.Windows, trigger operators.Trigger[order]) error {
		return operators.WindowSpec[order]{Windows: w, Trigger: trigger}.Validate()
	}
	hour := operators.Tumbling(time.Hour)
	wantError(t, check(hour, operators.CountTrigger[order](0)), "every 0th record")
	wantError(t, check(hour, operators.ContinuousEventTimeTrigger[order](0)), "ContinuousEventTimeTrigger fires every 0s")
	wantError(t, check(hour, operators.ContinuousProcessingTimeTrigger[order](time.Microsecond)), "ContinuousProcessingTimeTrigger fires every 1µs")
	wantError(t, check(hour, operators.DeltaTrigger[order](1, nil)), "needs a delta function")
	wantError(t, check(hour, operators.Trigger[order]{}.Purging()), "default trigger cannot purge")
	wantError(t, check(hour, operators.Trigger[order]{}.WithTimeout(operators.Timeout{After: 1})), "default trigger has no timeout")
	wantError(t, check(hour, operators.CountTrigger[order](1).WithTimeout(operators.Timeout{})), "Timeout.After is 0s")
	wantError(t, check(hour, operators.NewTrigger("", operators.TriggerFuncs[order, int64]{})), "has no name")
	wantError(t, check(operators.Global(), operators.Trigger[order]{}), "global windows never end")
	wantError(t, operators.WindowSpec[order]{Windows: hour, AllowedLateness: -1}.Validate(), "allowed lateness is -1ns")
	stage := func(trigger operators.Trigger[order]) operators.Stage[order, string] {
		return operators.WindowAggregate(who, nil, operators.WindowSpec[order]{Windows: hour, Trigger: trigger}, sumOrders(), windowText)
	}
	wantError(t, operatortest.Check(stage(operators.NewTrigger("channels", operators.TriggerFuncs[order, chan int]{})), operatortest.Options{}), "chan int")
}

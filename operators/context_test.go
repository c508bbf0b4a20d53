package operators_test

import (
	"testing"

	"github.com/millrace-io/millrace/operators/operatortest"
)

// TestTimersLeaveTheContext: a watermark may come in the middle of a record, from an operator in the same chain; the timers that it fires
// have a context of their own, and the record keeps its.
func TestTimersLeaveTheContext(t *testing.T) {
	h := process(t, operatortest.Options{}, timerFunc)
	h.Process(order{"a", 10}, 3)
	h.Process(order{"b", 10}, 5)
	c := h.Task().Context()
	hash := c.KeyHash
	h.Watermark(10)
	h.AdvanceProcessingTime(10)
	want(t, "output", h.Outputs(), "a event 10 watermark 10@10, b event 10 watermark 10@10, watermark 10, a proc 10 now 10@none, b proc 10 now 10@none")
	if c.TimestampMS != 5 || c.KeyHash != hash {
		t.Errorf("the context has timestamp %d and hash %x, want 5 and %x", c.TimestampMS, c.KeyHash, hash)
	}
	h.Process(order{"a", 99}, 7)
	c.TimestampMS, c.KeyHash = 70, 700
	h.Watermark(98)
	if c.TimestampMS != 70 || c.KeyHash != 700 {
		t.Errorf("a watermark that fires nothing changes the context to %d and %x", c.TimestampMS, c.KeyHash)
	}
}

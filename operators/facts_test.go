package operators_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/operators"
)

// TestLateAndWaits: what a task shows to others of late records and of a wait.
func TestLateAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		task := operators.NewTask(operators.TaskConfig{})
		first, second := task.Waits("a call"), task.Waits("room")
		if what, _, ok := task.Waiting(); ok || task.Late() != 0 {
			t.Errorf("a new task waits for %q and has %d late records", what, task.Late())
		}
		began := time.Now()
		second.Begin()
		time.Sleep(time.Minute)
		if what, since, ok := task.Waiting(); !ok || what != "room" || !since.Equal(began) {
			t.Errorf("waits for %q since %v (%v), want room since %v", what, since, ok, began)
		}
		second.End()
		first.Begin()
		if what, _, _ := task.Waiting(); what != "a call" {
			t.Errorf("waits for %q, want a call", what)
		}
		first.End()
		task.CountLate()
		task.CountLate()
		if _, _, ok := task.Waiting(); ok || task.Late() != 2 {
			t.Errorf("still waits (%v) and has %d late records, want no wait and 2", ok, task.Late())
		}
	})
}

// BenchmarkWait is what a wait costs beside what it waits for.
func BenchmarkWait(b *testing.B) {
	w := operators.NewTask(operators.TaskConfig{}).Waits("a call")
	for b.Loop() {
		w.Begin()
		w.End()
	}
}

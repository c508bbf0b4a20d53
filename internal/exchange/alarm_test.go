package exchange

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnnouncements: the alarm is raised when a checkpoint is due, the earliest due of several senders counts, and none is raised for one that was taken.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, start := NewQueue(1), time.Now()
		expect := func(after time.Duration, raised bool, due ...int64) {
			t.Helper()
			time.Sleep(time.Until(start.Add(after)))
			synctest.Wait()
			if q.Alarm.Raised() != raised || !slices.Equal(q.Overdue(), due) {
				t.Errorf("after %v: raised %v, due %v, want %v and %v", after, q.Alarm.Raised(), q.Overdue(), raised, due)
			}
			q.Alarm.Lower()
		}
		q.Announce(1, start.Add(5*time.Second))
		q.Announce(2, start.Add(8*time.Second))
		q.Announce(1, start.Add(3*time.Second))
		q.Announce(1, start.Add(9*time.Second))
		if got := q.Due(1).Sub(start); got != 3*time.Second {
			t.Errorf("checkpoint 1 is due after %v, want the earliest, 3s", got)
		}
		expect(2999*time.Millisecond, false)
		expect(3*time.Second, true, 1)
		expect(7*time.Second, false, 1)
		q.Settle(1)
		if got := q.Due(1); !got.IsZero() {
			t.Errorf("checkpoint 1 was taken and is due at %v", got)
		}
		q.Alarm.Lower()
		expect(7999*time.Millisecond, false)
		expect(8*time.Second, true, 2)
		q.Settle(2)
		q.Alarm.Lower()
		expect(time.Hour, false)
		q.Announce(2, start) // it may end a recording
		expect(time.Hour, true)
		q.Announce(3, time.Now().Add(time.Second))
		q.Settle(4)
		expect(2*time.Hour, false)
	})
}

// TestNothingWaitsForCreditDuringAnAlarm: a writer without credit waits; the alarm of its task gives it batches beyond the credit, up to a bound.
func TestNothingWaitsForCreditDuringAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f, alarm := newFan[int](ctx, 1), NewQueue(0).Alarm
		f.w.Heed(alarm)
		send := ToOne(f.w, 0)
		fill(t, send)
		sent, done := 0, make(chan error, 1)
		go func() {
			for {
				if err := send(sent); err != nil {
					done <- err
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		if sent != 0 {
			t.Fatalf("%d records without credit", sent)
		}
		alarm.Raise()
		synctest.Wait()
		if sent != overdraft*BatchRecords {
			t.Errorf("%d records during the alarm, want %d", sent, overdraft*BatchRecords)
		}
		if n := len(f.queues[0].C); n != Credits+overdraft {
			t.Errorf("%d batches in the queue, want %d", n, Credits+overdraft)
		}
		for range Credits + overdraft {
			(<-f.queues[0].C).Release() // the credit comes back, and what was lent is gone
		}
		synctest.Wait()
		if want := (overdraft + Credits + overdraft) * BatchRecords; sent != want {
			t.Errorf("%d records, want %d: as many batches as were released", sent, want)
		}
		alarm.Lower()
		cancel()
		<-done
	})
}

// TestBarrierNeedsNoCredit: it goes behind the records that were sent, in a batch of its own if there is no credit, and is announced when it is in
// the queue.
func TestBarrierNeedsNoCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, due := newFan[int](t.Context(), 2), time.Now().Add(time.Minute)
		send := ToOne(f.w, 0)
		fill(t, send)
		for id := int64(1); id <= spareBarriers; id++ {
			if err := f.w.Barrier(Control{Barrier, id}, due); err != nil {
				t.Fatal(err)
			}
			for r, q := range f.queues {
				if !q.Due(id).Equal(due) {
					t.Errorf("receiver %d was told %v of barrier %d", r, q.Due(id), id)
				}
			}
		}
		third := make(chan error, 1)
		go func() { third <- f.w.Barrier(Control{Barrier, 3}, due) }()
		synctest.Wait()
		if !f.queues[0].Due(3).IsZero() {
			t.Error("a barrier was announced that waits for credit")
		}
		got := f.drain(t, 0)
		if n := len(f.seen[0]); n != Credits*BatchRecords {
			t.Errorf("%d records, want %d", n, Credits*BatchRecords)
		}
		if err := <-third; err != nil {
			t.Fatal(err)
		}
		got = append(got, f.drain(t, 0)...)
		if want := []Control{{Barrier, 1}, {Barrier, 2}, {Barrier, 3}}; !slices.Equal(got, want) {
			t.Errorf("receiver 0: %v, want %v behind the records", got, want)
		}
		if err := f.w.Barrier(Control{Barrier, 4}, due); err != nil {
			t.Fatal(err)
		}
		if got, want := f.drain(t, 0), []Control{{Barrier, 4}}; !slices.Equal(got, want) {
			t.Errorf("receiver 0: %v, want %v", got, want)
		}
	})
}

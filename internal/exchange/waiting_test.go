package exchange

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// fill sends records to receiver 0 until no credit is left: the next record waits.
func fill(t *testing.T, send func(int) error) {
	t.Helper()
	for i := range Credits * BatchRecords {
		if err := send(i); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhileWaiting: a writer without credit does other work, as long as there is some, and goes on as soon as there is credit.
func TestWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFan[int](t.Context(), 1)
		send, turns := ToOne(f.w, 0), 0
		f.w.WhileWaiting(func() (bool, error) {
			turns++
			time.Sleep(time.Second)
			return turns < 5, nil
		})
		fill(t, send)
		if turns != 0 {
			t.Fatalf("%d turns with credit", turns)
		}
		go func() {
			time.Sleep(2500 * time.Millisecond)
			f.drain(t, 0)
		}()
		if err := send(0); err != nil || turns != 3 {
			t.Fatalf("%d turns of a second before credit at 2.5 s, want 3 (%v)", turns, err)
		}
		synctest.Wait()
		if err := f.w.Flush(); err != nil {
			t.Fatal(err)
		}
		f.drain(t, 0)
		fill(t, send)
		go func() {
			time.Sleep(time.Minute)
			f.drain(t, 0)
		}()
		if err := send(0); err != nil || turns != 5 {
			t.Fatalf("%d turns, want the 5 that there are (%v)", turns, err)
		}
	})
}

// TestWhileWaitingEnds with the context, and with the error of the other work.
func TestWhileWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		f := newFan[int](ctx, 1)
		send := ToOne(f.w, 0)
		fill(t, send)
		broken, over := errors.New("disk full"), errors.New("the attempt is over")
		f.w.WhileWaiting(func() (bool, error) { return true, broken })
		if err := send(0); !errors.Is(err, broken) {
			t.Errorf("got %v, want the error of the other work", err)
		}
		f.w.WhileWaiting(func() (bool, error) { time.Sleep(time.Second); return true, nil })
		time.AfterFunc(10*time.Second, func() { cancel(over) })
		if err := send(0); !errors.Is(err, over) {
			t.Errorf("got %v, want the cause of the context", err)
		}
	})
}

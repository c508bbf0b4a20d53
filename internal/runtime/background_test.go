package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// frozenState is a state whose snapshots leave work that takes the given time.
type frozenState struct {
	state.Operator
	left  atomic.Int64 // ns; read beside the task
	done  time.Duration
	calls int
	err   error
}

func (s *frozenState) Snapshot() (state.Snapshot, error) {
	s.left.Store(int64(20 * time.Millisecond))
	return nil, nil
}

func (s *frozenState) Background(slice time.Duration) (bool, error) {
	s.calls++
	n := min(slice, time.Duration(s.left.Load()))
	<-time.After(n)
	s.done += n
	return s.left.Add(-int64(n)) > 0, s.err
}

// withState gives the rig's operator a state and a place to store it.
func (r *rig) withState(s state.Operator) {
	r.op.task.Hooks().State = s
	r.t.files = func(int64) state.Files { return nil }
}

// TestBackgroundShare: while records flow what a snapshot has left gets a tenth of the time, in slices that are worth it, until it is done.
func TestBackgroundShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newRig(t, 1), &frozenState{}
		r.withState(s)
		const batch = 30 * time.Microsecond
		loop := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(batch)
				if err := r.t.between(); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.t.vitals.work()
		loop(10 * time.Millisecond)
		if s.calls != 0 {
			t.Fatalf("%d calls before there was a snapshot", s.calls)
		}
		time.Sleep(time.Hour) // no credit for a time without work
		r.t.vitals.work()
		if _, err := r.t.images(1); err != nil {
			t.Fatal(err)
		}
		loop(100 * time.Millisecond)
		if lo, hi := 9500*time.Microsecond, 10100*time.Microsecond; s.done < lo || s.done > hi || s.calls > int(s.done/backgroundSlice) {
			t.Errorf("%v of work in %d calls within 100ms, want %v to %v in slices of at least %v", s.done, s.calls, lo, hi, backgroundSlice)
		}
		loop(150 * time.Millisecond)
		if calls := s.calls; s.left.Load() > 0 || len(r.t.frozen.left) > 0 {
			t.Errorf("%v left after 250ms", time.Duration(s.left.Load()))
		} else if loop(10 * time.Millisecond); s.calls != calls {
			t.Error("called again when there was nothing left")
		}
	})
}

// TestBackgroundWhenDry: a task with nothing else to do does all of it at once, and takes a record that comes meanwhile within a turn.
func TestBackgroundWhenDry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, s := newRig(t, 1), &frozenState{}
		r.withState(s)
		r.t.ctx = ctx
		if _, err := r.t.images(1); err != nil {
			t.Fatal(err)
		}
		done, began := make(chan error, 1), time.Now()
		go func() { done <- r.t.run(func() error { return nil }) }()
		time.Sleep(5*time.Millisecond + 10*time.Microsecond)
		if err := r.inputs[0].Control(exchange.Control{Kind: exchange.Watermark, Value: 5}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(dryTurn)
		synctest.Wait()
		if r.t.mark.Load() != 5 || s.left.Load() == 0 {
			t.Errorf("a record waits longer than a turn of %v", dryTurn)
		}
		time.Sleep(20*time.Millisecond - time.Since(began) + dryTurn)
		synctest.Wait()
		if s.left.Load() > 0 {
			t.Errorf("%v left after as long as it takes without a pause", time.Duration(s.left.Load()))
		}
		cancel()
		<-done
	})
}

// TestBackgroundWhileBlocked: a task that waits for room downstream works on, and an error of that names the step.
func TestBackgroundWhileBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, next, s := newRig(t, 1), newRig(t, 1), &frozenState{}
		r.withState(s)
		r.op.outputs = []exchange.Output{next.inputs[0]}
		next.inputs[0].WhileWaiting(r.t.frozen.whileWaiting)
		if _, err := r.t.images(1); err != nil {
			t.Fatal(err)
		}
		for range exchange.Credits {
			if err := r.op.forwardWatermark(1); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			time.Sleep(time.Minute)
			(<-next.t.queue.C).Release()
		}()
		if err := r.op.forwardWatermark(2); err != nil || s.left.Load() > 0 {
			t.Errorf("%v left after a minute without room (%v)", time.Duration(s.left.Load()), err)
		}
		if _, err := r.t.images(2); err != nil {
			t.Fatal(err)
		}
		s.err = errors.New("disk full")
		var te *TaskError
		if err := r.op.forwardWatermark(operators.EndOfTime); !errors.As(err, &te) || te.UID != "step" || !errors.Is(err, s.err) {
			t.Errorf("got %v", err)
		}
	})
}

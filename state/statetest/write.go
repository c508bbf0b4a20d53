package statetest

import (
	"context"
	"errors"
	"time"

	"github.com/millrace-io/millrace/state"
)

// Write stores the snapshot s of op, as the runtime does: Write runs in a goroutine of its own while the caller, who must be the one who uses op,
// does what it has left for the background, at most slice at a time. It returns when both are done.
func Write(ctx context.Context, op state.Operator, s state.Snapshot, files state.Files) (state.Written, error) {
	type result struct {
		w   state.Written
		err error
	}
	done := make(chan result, 1)
	go func() {
		w, err := s.Write(ctx, files)
		done <- result{w, err}
	}()
	for {
		more, err := op.Background(100 * time.Microsecond)
		if err != nil {
			s.Release()
			r := <-done
			return r.w, errors.Join(err, r.err)
		}
		if !more {
			r := <-done
			return r.w, r.err
		}
		select {
		case r := <-done:
			return r.w, r.err
		default:
		}
	}
}

// Store is Write without a deadline. It releases s, and returns the handles; files takes note of the states.
func Store(op state.Operator, s state.Snapshot, files *Files) ([]state.File, error) {
	defer s.Release()
	w, err := Write(context.Background(), op, s, files)
	files.mu.Lock()
	defer files.mu.Unlock()
	files.states = op.Descriptors()
	return w.Files, err
}

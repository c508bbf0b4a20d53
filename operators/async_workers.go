package operators

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// asyncJob is a call that is to be made by a worker.
type asyncJob[In, Out any] struct {
	e     *asyncElement[In, Out]
	token uint64
	value In
	ctx   context.Context
}

// asyncWorkers are the goroutines on which blocking functions run: one is started when a call finds none idle, and stays until the step is closed.
// All but group is guarded by the step's mu.
type asyncWorkers[In, Out any] struct {
	jobs    []asyncJob[In, Out] // from head on
	head    int
	work    sync.Cond
	started int
	idle    int // of these, waiting for work
	stopped bool
	group   sync.WaitGroup
}

func (w *asyncWorkers[In, Out]) init(mu *sync.Mutex) { w.work.L = mu }

// submit adds a job; spawn says that the caller must start a worker for it.
func (w *asyncWorkers[In, Out]) submit(j asyncJob[In, Out], most int) (spawn bool) {
	if w.head > 0 && len(w.jobs) == cap(w.jobs) {
		n := copy(w.jobs, w.jobs[w.head:])
		clear(w.jobs[n:])
		w.jobs, w.head = w.jobs[:n], 0
	}
	w.jobs = append(w.jobs, j)
	if len(w.jobs)-w.head <= w.idle {
		w.work.Signal()
		return false
	}
	if w.started < most {
		w.started++
		return true
	}
	return false
}

// take returns the oldest job, waiting for one; ok is false when the step is closed.
func (w *asyncWorkers[In, Out]) take() (j asyncJob[In, Out], ok bool) {
	for w.head == len(w.jobs) && !w.stopped {
		w.idle++
		w.work.Wait()
		w.idle--
	}
	if w.stopped {
		return j, false
	}
	j = w.jobs[w.head]
	w.jobs[w.head] = asyncJob[In, Out]{}
	if w.head++; w.head == len(w.jobs) {
		w.jobs, w.head = w.jobs[:0], 0
	}
	return j, true
}

// forget drops the jobs of e, which nobody waits for any more: behind functions that do not come back they would gather.
func (w *asyncWorkers[In, Out]) forget(e *asyncElement[In, Out]) {
	if w.head < len(w.jobs) {
		kept := slices.DeleteFunc(w.jobs[w.head:], func(j asyncJob[In, Out]) bool { return j.e == e })
		w.jobs = w.jobs[:w.head+len(kept)]
	}
}

func (w *asyncWorkers[In, Out]) stop() {
	w.jobs, w.head, w.stopped = nil, 0, true
	w.work.Broadcast()
}

// closeWarning is how long a function may take to come back from a cancelled context before the log says who is waited for.
const closeWarning = 10 * time.Second

// join waits for all workers to end.
func (w *asyncWorkers[In, Out]) join(t *Task) {
	ended := make(chan struct{})
	go func() {
		w.group.Wait()
		close(ended)
	}()
	timer := time.NewTimer(closeWarning)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return
		case <-timer.C:
			t.Logger().Warn("an asynchronous function does not come back though its context is cancelled; the task waits for it",
				zap.String("step", t.Config().Name))
			timer.Reset(closeWarning)
		}
	}
}

// errAsyncGoexit is what a function that ends its goroutine gives.
var errAsyncGoexit = errors.New("the function has called runtime.Goexit, as testing.T.Fatal and FailNow do; return an error instead")

// asyncPanic is a panic, or a call of runtime.Goexit (without stack), in the user's function, on a goroutine of the step's own. It fails the task.
type asyncPanic struct {
	cause error
	stack []byte
}

func (p *asyncPanic) Error() string {
	if p.stack == nil {
		return p.cause.Error()
	}
	return fmt.Sprintf("panic: %v\n%s", p.cause, p.stack)
}

// Unwrap returns what the function has panicked with.
func (p *asyncPanic) Unwrap() error { return p.cause }

// work makes calls, one after the other, on a goroutine of its own.
func (a *asyncStep[In, Out]) work() {
	var j asyncJob[In, Out]
	working := false
	a.mu.Lock()
	defer func() {
		// Not locked only when the function has ended the goroutine.
		if working {
			a.mu.Lock()
			a.finishedLocked(j.e, j.token, nil, &asyncPanic{errAsyncGoexit, nil})
		}
		a.workers.started--
		a.mu.Unlock()
	}()
	for {
		var ok bool
		if j, ok = a.workers.take(); !ok {
			return
		}
		working = true
		a.mu.Unlock()
		out, err := a.protected(j)
		a.mu.Lock()
		working = false
		a.finishedLocked(j.e, j.token, out, err)
		j = asyncJob[In, Out]{}
	}
}

// protected calls the user's function and turns a panic into an error.
func (a *asyncStep[In, Out]) protected(j asyncJob[In, Out]) (out []Out, err error) {
	defer func() {
		if v := recover(); v != nil {
			cause, ok := v.(error)
			if !ok {
				cause = fmt.Errorf("%v", v)
			}
			out, err = nil, &asyncPanic{cause, debug.Stack()}
		}
	}()
	return a.f.blocking(j.ctx, j.value)
}

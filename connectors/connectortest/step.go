package connectortest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// Run drives the job until the condition holds, checked before each step. It fails with the source's error, with a breach of the
// contract, or when ctx ends. In a synctest bubble a ctx with a deadline is one in virtual time.
func (j *Job[T]) Run(ctx context.Context, until func() bool) error {
	for !until() {
		progress, err := j.Step()
		if err != nil {
			return err
		}
		if progress {
			continue
		}
		if err := j.wait(ctx); err != nil {
			return fmt.Errorf("connectortest: after %d records, holding %d splits: %w", len(j.records), len(j.attempt.owner), err)
		}
	}
	return nil
}

// RunFor drives the job for that long.
func (j *Job[T]) RunFor(d time.Duration) error {
	end := time.Now().Add(d)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	for time.Now().Before(end) {
		progress, err := j.Step()
		if err != nil {
			return err
		}
		if !progress && j.wait(ctx) != nil {
			return nil
		}
	}
	return nil
}

// Step does once what is at hand: takes over a discovery, tells the enumerator of finished splits, hands splits over and polls each
// reader that may have something. It waits for nothing and reports whether anything was done.
func (j *Job[T]) Step() (progress bool, err error) {
	a := j.attempt
	if progress, err = j.discover(a); err != nil {
		return progress, err
	}
	told, err := j.tell(a)
	if err != nil {
		return true, err
	}
	progress = progress || told
	for _, i := range j.order(len(a.readers)) {
		polled, err := j.poll(a, a.readers[i])
		if err != nil {
			return true, err
		}
		progress = progress || polled
	}
	return progress, nil
}

// order is the subtasks in the order in which they are served.
func (j *Job[T]) order(n int) []int {
	if j.rng != nil {
		return j.rng.Perm(n)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// discover takes the result of a discovery over and starts one that is due.
func (j *Job[T]) discover(a *attempt[T]) (bool, error) {
	progress := false
	select {
	case d := <-a.results:
		a.discovering, progress = false, true
		if d.err != nil {
			return true, d.err
		}
		if a.due = (time.Time{}); d.next > 0 {
			a.due = time.Now().Add(d.next)
		}
		if err := j.assign(a); err != nil {
			return true, err
		}
	default:
	}
	if a.discovering || a.due.IsZero() || time.Now().Before(a.due) {
		return progress, nil
	}
	a.discovering = true
	a.tasks.Go(func() {
		next, err := a.enum.Discover(a.ctx)
		a.results <- discovery{next, err}
		ping(a.wake)
	})
	return true, nil
}

// tell tells the enumerator of finished splits; with a seed, now or later.
func (j *Job[T]) tell(a *attempt[T]) (bool, error) {
	if len(a.untold) == 0 {
		return false, nil
	}
	if j.rng != nil && j.rng.IntN(3) == 0 {
		return true, nil // later; true: the caller must not wait
	}
	for _, id := range a.untold {
		a.enum.Finished(id)
	}
	a.untold = a.untold[:0]
	if !a.discovering {
		a.due = time.Now()
	}
	return true, j.assign(a)
}

// assign hands over the splits that may start.
func (j *Job[T]) assign(a *attempt[T]) error {
	for _, s := range a.enum.Assign() {
		if a.given[s.ID] {
			return fmt.Errorf("connectortest: contract: split %q was handed over twice", s.ID)
		}
		a.given[s.ID] = true
		to := a.leastLoaded()
		if j.rng != nil {
			to = j.pick(len(a.readers))
		}
		if i, ok := a.endedBy[s.After]; ok {
			to = i
		}
		if err := j.give(a, s, to); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt[T]) leastLoaded() int {
	best := 0
	for i, r := range a.readers {
		if len(r.held)+len(r.queued) < len(a.readers[best].held)+len(a.readers[best].queued) {
			best = i
		}
	}
	return best
}

// give gives one split to a subtask, behind the barrier when one is on its way.
func (j *Job[T]) give(a *attempt[T], s connectors.Split, subtask int) error {
	if i, held := a.owner[s.ID]; held {
		return fmt.Errorf("connectortest: contract: split %q is held by subtask %d", s.ID, i)
	}
	r := a.readers[subtask]
	if r.barrier {
		r.queued = append(r.queued, s)
		return nil
	}
	a.owner[s.ID], r.held[s.ID] = subtask, true
	if err := r.AddSplits([]connectors.Split{s}); err != nil {
		return fmt.Errorf("connectortest: add split %q: %w", s.ID, err)
	}
	return nil
}

func (a *attempt[T]) queued() bool {
	return slices.ContainsFunc(a.readers, func(r *reader[T]) bool { return len(r.queued) > 0 })
}

// poll polls one reader when it may have something.
func (j *Job[T]) poll(a *attempt[T], r *reader[T]) (bool, error) {
	select {
	case <-r.woken:
		r.ready = true
	default:
	}
	if !r.ready {
		return false, nil
	}
	n := j.o.PollMax
	if j.rng != nil {
		n = 1 + j.rng.IntN(n)
	}
	out := &output[T]{j: j, a: a, r: r, left: n}
	status, err := r.Poll(out, n)
	if err == nil {
		err = out.breach
	}
	r.ready = status == connectors.More
	return true, err
}

// wait waits until something may be at hand.
func (j *Job[T]) wait(ctx context.Context) error {
	a := j.attempt
	var due <-chan time.Time
	if !a.discovering && !a.due.IsZero() {
		t := time.NewTimer(time.Until(a.due))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-a.wake:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// output takes what one Poll gives and checks it.
type output[T any] struct {
	j      *Job[T]
	a      *attempt[T]
	r      *reader[T]
	left   int
	breach error
}

// Emit implements connectors.Output.
func (o *output[T]) Emit(v T, timestampMS int64, at connectors.Coordinates) error {
	if err := o.check(at.Split, "emitted a record of"); err != nil {
		return err
	}
	if o.left--; o.left < 0 {
		return o.fail(fmt.Errorf("connectortest: contract: one Poll emitted more than it was asked for"))
	}
	if at.UID != o.j.o.UID {
		return o.fail(fmt.Errorf("connectortest: contract: coordinates %v do not carry the uid %q", at, o.j.o.UID))
	}
	delete(o.r.idle, at.Split)
	o.j.records = append(o.j.records, record[T]{Record[T]{v, timestampMS, at, o.r.subtask}, o.r.seq})
	o.r.seq++
	return nil
}

// DeadLetter implements connectors.Output.
func (o *output[T]) DeadLetter(d connectors.DeadLetter) error {
	if err := o.check(d.At.Split, "gave a dead letter of"); err != nil {
		return err
	}
	o.j.letters = append(o.j.letters, letter{d, o.r.subtask, o.r.seq})
	o.r.seq++
	return nil
}

// Finished implements connectors.Output.
func (o *output[T]) Finished(split string) error {
	if err := o.check(split, "finished"); err != nil {
		return err
	}
	delete(o.r.held, split)
	delete(o.r.idle, split)
	delete(o.a.owner, split)
	o.a.endedBy[split] = o.r.subtask
	o.r.finished = append(o.r.finished, split)
	o.a.untold = append(o.a.untold, split)
	return nil
}

// SplitIdle implements connectors.Output.
func (o *output[T]) SplitIdle(split string) {
	if o.check(split, "called idle") == nil {
		o.r.idle[split] = true
	}
}

func (o *output[T]) check(split, did string) error {
	if o.r.held[split] {
		return nil
	}
	return o.fail(fmt.Errorf("connectortest: contract: subtask %d %s split %q, which it does not hold", o.r.subtask, did, split))
}

// fail keeps the first breach: a reader may swallow the returned error, the job does not.
func (o *output[T]) fail(err error) error {
	if o.breach == nil {
		o.breach = err
	}
	return err
}

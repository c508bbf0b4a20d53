package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// enumerator runs one connectors.Enumerator: Discover on a goroutine of its own, everything else on the job's.
type enumerator struct {
	uid   string
	e     connectors.Enumerator
	tasks []*task
	// owner is the subtask that reads a split, or has read it in this attempt; loads counts the splits that each is reading.
	owner map[string]int
	loads []int
	last  bool // the tasks know that no split will come
	first bool // Discover has returned once
	kick  chan struct{}
}

func newEnumerator(uid string, e connectors.Enumerator, tasks []*task) *enumerator {
	return &enumerator{uid: uid, e: e, tasks: tasks, owner: map[string]int{}, loads: make([]int, len(tasks)), kick: make(chan struct{}, 1)}
}

// discover calls Discover until the context ends, when it is due or something has happened, and reports each call.
func (e *enumerator) discover(ctx context.Context, report func(any)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		next, err := e.e.Discover(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return &TaskError{UID: e.uid, Err: fmt.Errorf("discover splits: %w", err)}
		}
		report(discoveredEvent{e.uid})
		if next > 0 {
			timer.Reset(next)
		}
		select {
		case <-timer.C:
		case <-e.kick:
			timer.Stop()
		case <-ctx.Done():
			return nil
		}
	}
}

// restore gives a subtask the splits that it got from a checkpoint.
func (e *enumerator) restore(subtask int, splits []connectors.Split) {
	if len(splits) == 0 {
		return
	}
	for _, s := range splits {
		e.owner[s.ID] = subtask
	}
	e.loads[subtask] += len(splits)
	e.tasks[subtask].box.put(splitsLetter{splits: splits})
}

// assign gives the splits that may start now to the subtasks with the fewest.
func (e *enumerator) assign() {
	lots := make([][]connectors.Split, len(e.tasks))
	for _, s := range e.e.Assign() {
		to := e.place(s)
		e.owner[s.ID] = to
		e.loads[to]++
		lots[to] = append(lots[to], s)
	}
	last := !e.last && e.e.Done()
	e.last = e.last || last
	for i, lot := range lots {
		if len(lot) > 0 || last {
			e.tasks[i].box.put(splitsLetter{splits: lot, last: last})
		}
	}
}

// discovered gives out what Discover has found. After its first return every task knows that it has got what there is, if nothing.
func (e *enumerator) discovered() {
	e.assign()
	if e.first {
		return
	}
	e.first = true
	for _, t := range e.tasks {
		t.box.put(splitsLetter{})
	}
}

// place is the subtask for a split: that of the split it follows, so that both travel the same edges in order, else the one with the
// fewest.
func (e *enumerator) place(s connectors.Split) int {
	if to, ok := e.owner[s.After]; ok && s.After != "" {
		return to
	}
	to := 0
	for i, n := range e.loads {
		if n < e.loads[to] {
			to = i
		}
	}
	return to
}

// finished tells the enumerator, then the reader that the enumerator knows: a snapshot of the one or of the other has it.
func (e *enumerator) finished(subtask int, split string) {
	e.e.Finished(split)
	e.tasks[subtask].box.put(knownLetter{split})
	e.loads[subtask]--
	e.assign()
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

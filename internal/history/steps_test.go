package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

// run is a whole history.
func (w *world) run(ctx context.Context) error {
	if err := w.start(ctx); err != nil {
		return err
	}
	defer func() { w.stop(false) }()
	for range 4 + w.rng.IntN(12) {
		var err error
		switch n := w.rng.IntN(20); {
		case n < 8:
			err = w.change(1 + w.rng.IntN(60))
		case n < 15:
			err = w.checkpoint(ctx)
		case n < 17:
			err = w.restart(ctx, w.rng.IntN(2) == 0)
		case n < 18:
			err = w.zombie(ctx)
		default:
			err = w.compare()
		}
		if errors.Is(err, checkpointtest.ErrRefused) || errors.Is(err, checkpoint.ErrTransient) {
			w.log("the attempt fails with the storage: %v", err) // a table that is read when it is needed, and cannot be
			w.flaky(0)
			err = w.restart(ctx, true)
		}
		if err != nil {
			return err
		}
	}
	if err := w.restart(ctx, true); err != nil {
		return err
	}
	return w.compare()
}

func (w *world) key() string { return fmt.Sprintf("k%02d", w.rng.IntN(40)) }

// change makes n random changes, each after a comparison of what it changes.
func (w *world) change(n int) error {
	for range n {
		if err := w.changeOne(); err != nil {
			return err
		}
		if w.rng.IntN(4) == 0 {
			if err := w.background(); err != nil {
				return err
			}
		}
	}
	return nil
}

// background gives every subtask a short time for what it owes to a snapshot.
func (w *world) background() error {
	for _, s := range w.subs {
		if _, err := s.Background(time.Nanosecond); err != nil {
			return fmt.Errorf("background: %w", err)
		}
	}
	return nil
}

func (w *world) changeOne() error {
	key := w.key()
	s := w.owner(key).at(key)
	e := w.live.at(key)
	if w.rng.IntN(10) == 0 {
		got, err := s.read(key)
		if want := e.text(w.nowMS()); err != nil || got != want {
			return fmt.Errorf("key %q has\n\t%s\nwant\n\t%s\n(%v)", key, got, want, err)
		}
		s.at(key)
	}
	switch w.rng.IntN(9) {
	case 0, 1:
		return w.changeValue(s, e)
	case 2:
		n := int64(1 + w.rng.IntN(5))
		e.sum += n
		return s.sum.Add(n)
	case 3, 4:
		return w.changeList(s, e)
	case 5, 6:
		return w.changeTable(s, e)
	case 7:
		w.now = w.now.Add(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
		s.at(key)
		e.mortal, e.until = int64(1+w.rng.IntN(99)), w.nowMS()+ttl.Milliseconds()
		return s.mortal.Set(e.mortal)
	default:
		return w.changeTimers(s, key)
	}
}

func (w *world) changeValue(s *subtask, e *entry) error {
	if w.rng.IntN(4) == 0 {
		e.value = ""
		return s.value.Clear()
	}
	e.value = fmt.Sprintf("v%d", w.rng.IntN(1000))
	return s.value.Set(e.value)
}

func (w *world) changeList(s *subtask, e *entry) error {
	v := fmt.Sprintf("e%d", w.rng.IntN(1000))
	switch w.rng.IntN(5) {
	case 0:
		e.list = nil
		return s.list.Clear()
	case 1:
		e.list = []string{v}
		return s.list.Set(e.list)
	default:
		e.list = append(e.list, v)
		return s.list.Append(v)
	}
}

func (w *world) changeTable(s *subtask, e *entry) error {
	k := int64(w.rng.IntN(6))
	switch w.rng.IntN(6) {
	case 0:
		delete(e.table, k)
		return s.table.Remove(k)
	case 1:
		clear(e.table)
		return s.table.Clear()
	default:
		e.table[k] = fmt.Sprintf("t%d", w.rng.IntN(1000))
		return s.table.Put(k, e.table[k])
	}
}

func (w *world) changeTimers(s *subtask, key string) error {
	d := state.Domain(w.rng.IntN(2))
	at := int64(w.rng.IntN(1000))
	switch w.rng.IntN(6) {
	case 0:
		s.timers.Delete(d, at)
		delete(w.live.timers, pending{d, key, at})
		return nil
	case 1:
		upTo := int64(w.rng.IntN(1000))
		if w.rng.IntN(10) == 0 {
			upTo = math.MaxInt64
		}
		for _, want := range w.live.due(d, upTo, s.owns) {
			key, hash, at, ok := s.timers.PopDue(d, upTo)
			if got := (pending{d, key, at}); !ok || got != want || hash != hashKey(key) {
				return fmt.Errorf("timer %+v fires (%v), want %+v", got, ok, want)
			}
		}
		if key, _, at, ok := s.timers.PopDue(d, upTo); ok {
			return fmt.Errorf("%v timer of %q at %d fires, want none up to %d", d, key, at, upTo)
		}
		return nil
	default:
		s.timers.Register(d, at)
		w.live.timers[pending{d, key, at}] = true
		return nil
	}
}

// checkpoint takes one, with changes between its barrier and its completion. It may be aborted, and then the state goes on.
func (w *world) checkpoint(ctx context.Context) error {
	id := w.nextID
	w.nextID++
	w.marks[id] = w.live.clone()
	images := make([]state.Snapshot, len(w.subs))
	for i, s := range w.subs {
		var err error
		if images[i], err = s.Snapshot(); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	w.flaky([]int{0, 0, 3, 20}[w.rng.IntN(4)])
	written, err := w.write(ctx, id, images)
	for _, image := range images {
		image.Release()
	}
	if err != nil && (errors.Is(err, errFound) || !w.sawFaults()) {
		return err
	}
	if err != nil || w.rng.IntN(8) == 0 {
		w.log("checkpoint %d is aborted: %v", id, err)
		w.flaky(0)
		w.stats.aborted++
		return w.sweepWildly(ctx)
	}
	return w.complete(ctx, id, written)
}

func (w *world) sawFaults() bool { return w.faults.Load() > 0 }

// write has every image written while changes go on. It runs in a synctest bubble.
func (w *world) write(ctx context.Context, id int64, images []state.Snapshot) ([]state.Written, error) {
	type result struct {
		i   int
		w   state.Written
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result, len(images))
	var writers sync.WaitGroup
	defer writers.Wait()
	defer cancel()
	for i, image := range images {
		files := w.journal.Files(id)
		writers.Go(func() {
			got, err := image.Write(ctx, files)
			results <- result{i, got, err}
		})
	}
	written := make([]state.Written, len(images))
	var errs error
	for open, turns := len(images), 0; open > 0; turns++ {
		if turns > 5_000_000 { // 5 s and more of the bubble: all retries have ended long before
			return nil, fmt.Errorf("%w: %d of %d snapshots of checkpoint %d are never written", errFound, open, len(images), id)
		}
		select {
		case r := <-results:
			written[r.i], errs = r.w, errors.Join(errs, r.err)
			open--
			continue
		default:
		}
		if w.rng.IntN(2) == 0 {
			if err := w.change(1 + w.rng.IntN(5)); err != nil {
				return nil, errors.Join(errFound, err)
			}
		}
		if err := errors.Join(w.background(), w.sweepWildly(ctx)); err != nil {
			return nil, errors.Join(errFound, err)
		}
		time.Sleep(time.Microsecond) // lets the writers run, and their waits end
	}
	return written, errs
}

func (w *world) manifest(id int64, written []state.Written) *checkpoint.Manifest {
	op := checkpoint.OperatorState{UID: uid, Parallelism: len(w.subs), States: w.states}
	for i, s := range w.subs {
		sub := checkpoint.SubtaskState{Groups: s.groups, Files: slices.Clone(written[i].Files), Pending: written[i].Pending}
		for _, f := range sub.Files {
			switch f.Kind {
			case state.FileDelta:
				w.stats.deltas++
			case state.FileBase:
				w.stats.bases++
			}
		}
		if n := len(sub.Files); w.planted.dropDelta && n > 1 {
			sub.Files = slices.Delete(sub.Files, n-2, n-1)
		}
		op.Subtasks = append(op.Subtasks, sub)
	}
	return &checkpoint.Manifest{ID: id, Epoch: w.journal.Epoch(), Job: "history", MaxParallelism: maxParallelism, Operators: []checkpoint.OperatorState{op}}
}

// complete makes the checkpoint the one to restart from, and removes old ones.
func (w *world) complete(ctx context.Context, id int64, written []state.Written) error {
	m := w.manifest(id, written)
	w.asked = id
	var err error
	if w.rng.IntN(10) == 0 {
		_, err = w.journal.Savepoint(ctx, m)
	} else {
		err = w.journal.Complete(ctx, m)
	}
	if err != nil {
		w.flaky(0)
		w.log("checkpoint %d: %v", id, err)
		return w.restart(ctx, true)
	}
	w.told = id
	w.stats.checkpoints++
	w.log("checkpoint %d is complete", id)
	if w.rng.IntN(3) > 0 {
		_ = w.journal.Prune(ctx, 1+w.rng.IntN(2)) // what it leaves, a later one finds
	}
	w.flaky(0)
	if w.rng.IntN(10) == 0 {
		if err := checkpoint.Verify(ctx, w.storage); err != nil {
			return fmt.Errorf("verify after checkpoint %d: %w", id, err)
		}
	}
	return nil
}

// restart ends the attempt and begins another.
func (w *world) restart(ctx context.Context, crash bool) error {
	w.stop(crash)
	if err := w.start(ctx); err != nil {
		return err
	}
	if w.rng.IntN(3) == 0 {
		return w.compare()
	}
	return nil
}

// zombie has the leader of an attempt that is over complete a checkpoint, which must not count.
func (w *world) zombie(ctx context.Context) error {
	if len(w.zombies) == 0 {
		return nil
	}
	j := w.zombies[w.rng.IntN(len(w.zombies))]
	m := &checkpoint.Manifest{ID: j.NextID(), Epoch: j.Epoch(), Job: "history", MaxParallelism: maxParallelism, Operators: []checkpoint.OperatorState{
		{UID: uid, Parallelism: 1, States: w.states, Subtasks: []checkpoint.SubtaskState{{Groups: state.GroupRange{End: maxParallelism}}}}}}
	if err := j.Complete(ctx, m); err == nil && !w.planted.blindSwap {
		return fmt.Errorf("a leader whose epoch %d is over has completed checkpoint %d", j.Epoch(), m.ID)
	}
	return nil
}

// sweepWildly is the planted fault of a collector that follows no name rule.
func (w *world) sweepWildly(ctx context.Context) error {
	if !w.planted.wildGC || w.rng.IntN(4) > 0 {
		return nil
	}
	marked := map[string]bool{}
	kept, saves, err := checkpoint.List(ctx, w.storage)
	if err != nil {
		return nil // the storage has faults; another time
	}
	for _, r := range append(kept, saves...) {
		m, _, err := checkpoint.LoadFrom(ctx, w.storage, r.Name)
		if err != nil {
			return nil
		}
		for _, o := range m.Operators {
			for _, s := range o.Subtasks {
				for _, f := range s.Files {
					marked[f.Name] = true
				}
			}
		}
	}
	names, err := w.storage.List(ctx, "data/")
	for _, name := range names {
		if !marked[name] {
			err = errors.Join(err, w.storage.Delete(ctx, name))
		}
	}
	_ = err
	return nil
}

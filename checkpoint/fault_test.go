package checkpoint_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/state"
)

// life is what one leader does with a storage: it goes through every kind of call. The ids that it was told are complete are noted.
type life struct {
	st   checkpoint.Storage
	done []int64
	last int64 // id that was tried last
}

func manifest(epoch, id int64, files ...state.File) *checkpoint.Manifest {
	all := state.GroupRange{Start: 0, End: 4}
	return &checkpoint.Manifest{ID: id, Epoch: epoch, Job: "job", MaxParallelism: 4, Operators: []checkpoint.OperatorState{
		{UID: "op", Parallelism: 1, Subtasks: []checkpoint.SubtaskState{{Groups: all, Files: files}}}}}
}

func (l *life) run(t *testing.T, checkpoints int) error {
	ctx := t.Context()
	j, err := checkpoint.Lead(ctx, l.st, nil)
	if err != nil {
		return err
	}
	var base state.File // written once and kept by every checkpoint, as an incremental backend does
	if m := j.Latest(); m != nil {
		base = m.Operators[0].Subtasks[0].Files[0]
	}
	for n := range checkpoints {
		id := j.NextID()
		l.last = id
		write := func(text string) (state.File, error) {
			return j.Files(id).Write(ctx, state.GroupRange{Start: 0, End: 4}, 0, func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			})
		}
		if base.Name == "" {
			if base, err = write("base"); err != nil {
				return err
			}
		}
		delta, err := write(fmt.Sprintf("delta %d", id))
		if err != nil {
			return err
		}
		m := manifest(j.Epoch(), id, base, delta)
		if n%3 == 1 {
			_, err = j.Savepoint(ctx, m)
		} else {
			err = j.Complete(ctx, m)
		}
		if err != nil {
			return err
		}
		l.done = append(l.done, id)
		if err := j.Prune(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// check looks at the storage after a life with faults: whatever was said to be complete is, nothing that HEAD names is missing or
// changed, and the next leader can go on.
func (l *life) check(t *testing.T) error {
	ctx := t.Context()
	if err := checkpoint.Verify(ctx, l.st); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	list, _, err := checkpoint.List(ctx, l.st)
	if err != nil {
		return err
	}
	var newest int64
	if len(list) > 0 {
		newest = list[len(list)-1].ID
	}
	var told int64
	if len(l.done) > 0 {
		told = l.done[len(l.done)-1]
	}
	// The last one may be complete although the answer was lost; nothing else may differ.
	if newest != told && newest != l.last {
		return fmt.Errorf("newest checkpoint is %d, completed were %v, tried last was %d", newest, l.done, l.last)
	}
	next := life{st: l.st}
	if err := next.run(t, 4); err != nil {
		return fmt.Errorf("next leader: %w", err)
	}
	if next.done[0] != newest+1 {
		return fmt.Errorf("next leader began with id %d, want %d", next.done[0], newest+1)
	}
	if err := checkpoint.Verify(ctx, l.st); err != nil {
		return fmt.Errorf("after the next leader: %w", err)
	}
	return nil
}

// leftovers counts the objects that no manifest needs: after a life of 4 checkpoints with the last one retained and the second
// pinned, the storage holds HEAD, two manifests, the base and two deltas, and nothing else of this or an earlier life but what earlier
// savepoints pin.
func leftovers(t *testing.T, m *checkpointtest.Memory) int {
	t.Helper()
	list, saves, err := checkpoint.List(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{"HEAD": true}
	for _, r := range append(list, saves...) {
		man, _, err := checkpoint.LoadFrom(t.Context(), m, r.Name)
		if err != nil {
			t.Fatal(err)
		}
		needed[r.Name] = true
		for _, f := range man.Operators[0].Subtasks[0].Files {
			needed[f.Name] = true
		}
	}
	n := 0
	for _, name := range m.Names() {
		if !needed[name] {
			n++
		}
	}
	return n
}

func TestEveryCallFails(t *testing.T) {
	plain := checkpointtest.NewMemory("plain")
	if err := (&life{st: plain}).run(t, 4); err != nil {
		t.Fatal(err)
	}
	calls := plain.Calls()
	if n := leftovers(t, plain); n != 0 {
		t.Fatalf("%d objects are left over without any fault: %v", n, plain.Names())
	}
	once := func(k int, f checkpointtest.Fault) func(checkpointtest.Call) checkpointtest.Fault {
		return func(c checkpointtest.Call) checkpointtest.Fault {
			if c.N == k {
				return f
			}
			return checkpointtest.OK
		}
	}
	from := func(k int, f checkpointtest.Fault) func(checkpointtest.Call) checkpointtest.Fault {
		return func(c checkpointtest.Call) checkpointtest.Fault {
			if c.N >= k {
				return f
			}
			return checkpointtest.OK
		}
	}
	for _, c := range []struct {
		name  string
		fault func(k int) func(checkpointtest.Call) checkpointtest.Fault
		// survives says that further tries hide the fault.
		survives bool
	}{
		{"fail once", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return once(k, checkpointtest.Fail) }, true},
		{"lose once", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return once(k, checkpointtest.Lose) }, true},
		{"delay once", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return once(k, checkpointtest.Delay) }, true},
		{"refuse once", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return once(k, checkpointtest.Refuse) }, false},
		{"fail for ever", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return from(k, checkpointtest.Fail) }, false},
		{"lose for ever", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return from(k, checkpointtest.Lose) }, false},
		{"delay for ever", func(k int) func(checkpointtest.Call) checkpointtest.Fault { return from(k, checkpointtest.Delay) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k := range calls {
				synctest.Test(t, func(t *testing.T) {
					st := checkpointtest.NewMemory(fmt.Sprintf("call-%d", k))
					st.SetFault(c.fault(k))
					l := &life{st: st}
					err := l.run(t, 4)
					if c.survives && err != nil {
						t.Fatalf("call %d: %v", k, err)
					}
					if !c.survives && err == nil && st.Calls() == calls {
						t.Fatalf("call %d: no error", k)
					}
					st.SetFault(nil)
					if err := l.check(t); err != nil {
						t.Fatalf("call %d (life: %v): %v", k, err, l.done)
					}
					// The first prune of a leader finds what earlier ones have left, but not what a delayed call brought later.
					if n := leftovers(t, st); n != 0 {
						t.Fatalf("call %d: %d objects are left over: %v", k, n, st.Names())
					}
				})
			}
		})
	}
}

var errKilled = errors.New("killed")

// A process that dies at any of the named points of the storage leaves something that the next one can go on from. Each point has to be
// hit.
func TestCrashAtEveryPoint(t *testing.T) {
	hits := map[string]int{}
	for k := 0; ; k++ {
		n, reached := 0, false
		remove := crash.Set(func(point string) error {
			if n++; n == k+1 {
				hits[point]++
				reached = true
			}
			if n > k {
				return errKilled // dead processes do not go on
			}
			return nil
		})
		for name, st := range map[string]checkpoint.Storage{"memory": checkpointtest.NewMemory("crash"), "dir": checkpoint.Dir(t.TempDir())} {
			if name == "dir" && k%7 != 0 {
				continue // the same code above Objects; a sample is enough for the time that fsync takes
			}
			n, reached = 0, false
			l := &life{st: st}
			err := l.run(t, 4)
			if reached != errors.Is(err, errKilled) {
				t.Fatalf("%s, point %d: reached %v, error %v", name, k, reached, err)
			}
			was := n
			n = -1 << 30 // the next process lives
			if err := l.check(t); err != nil {
				t.Fatalf("%s, point %d of %d: %v", name, k, was, err)
			}
			n = was
		}
		remove()
		if n <= k && !reached {
			break
		}
	}
	for _, p := range []string{crash.StoragePutBefore, crash.StoragePutAfter, crash.StorageCASBefore, crash.StorageCASAfter,
		crash.StorageDelBefore, crash.StorageDelAfter} {
		if hits[p] == 0 {
			t.Errorf("no process died at %s", p)
		}
	}
}

// A leader that has lost the storage must not complete anything, nor delete what the new one needs.
func TestZombieLeader(t *testing.T) {
	ctx := t.Context()
	st := checkpointtest.NewMemory("zombie")
	l := &life{st: st}
	if err := l.run(t, 2); err != nil {
		t.Fatal(err)
	}
	zombie, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.run(t, 3); err != nil {
		t.Fatal(err)
	}
	f, err := zombie.Files(zombie.NextID()).Write(ctx, state.GroupRange{End: 4}, 0, func(w io.Writer) error {
		_, err := w.Write([]byte("late"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := zombie.Prune(ctx, 1); err != nil && !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatal(err)
	}
	for range 2 {
		if err := zombie.Complete(ctx, manifest(zombie.Epoch(), zombie.NextID(), f)); !errors.Is(err, checkpoint.ErrFenced) {
			t.Fatalf("Complete of a fenced leader: %v, want ErrFenced", err)
		}
	}
	if err := zombie.Prune(ctx, 1); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("Prune of a fenced leader: %v, want ErrFenced", err)
	}
	if err := l.check(t); err != nil {
		t.Fatal(err)
	}
	if n := leftovers(t, st); n != 0 {
		t.Fatalf("%d objects of the fenced leader are left over: %v", n, st.Names())
	}
}

// A write whose answer never came leaves the journal unusable, and the next leader knows.
func TestUnknownOutcome(t *testing.T) {
	for _, fault := range []checkpointtest.Fault{checkpointtest.Fail, checkpointtest.Lose} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			st := checkpointtest.NewMemory("unknown")
			j, err := checkpoint.Lead(ctx, st, nil)
			if err != nil {
				t.Fatal(err)
			}
			swapped := false
			st.SetFault(func(c checkpointtest.Call) checkpointtest.Fault {
				swapped = swapped || c.Op == "swap"
				if swapped {
					return fault
				}
				return checkpointtest.OK
			})
			for range 2 {
				if err := j.Complete(ctx, manifest(1, 1)); !errors.Is(err, checkpoint.ErrUnknownOutcome) {
					t.Fatalf("fault %d: Complete: %v, want ErrUnknownOutcome", fault, err)
				}
				st.SetFault(nil) // the second call must not find out by luck
			}
			j, err = checkpoint.Lead(ctx, st, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := j.Latest() != nil, fault == checkpointtest.Lose; got != want {
				t.Fatalf("fault %d: complete: %v, want %v", fault, got, want)
			}
		})
	}
}

// Pruning runs beside the next checkpoints: it never deletes what they write or need, and in the end nothing is left over.
func TestPruneBesideComplete(t *testing.T) {
	ctx := t.Context()
	st := checkpointtest.NewMemory("beside")
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for id := int64(1); id <= 200; id++ {
		var files []state.File
		for range 3 {
			f, err := j.Files(id).Write(ctx, state.GroupRange{End: 4}, 0, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "state of %d", id)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if err := j.Complete(ctx, manifest(1, id, files...)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := j.Prune(ctx, 2); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := j.Prune(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Verify(ctx, st); err != nil {
		t.Fatal(err)
	}
	if n := leftovers(t, st); n != 0 || len(j.Checkpoints()) != 2 {
		t.Errorf("%d objects are left over, %d checkpoints", n, len(j.Checkpoints()))
	}
}

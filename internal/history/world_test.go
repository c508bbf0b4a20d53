package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

const uid = "op"

// world is one history: the storage and the local disk outlive the attempts.
type world struct {
	rng     *rand.Rand
	log     func(format string, args ...any)
	planted planted
	storage *checkpointtest.Memory
	disk    *vfs.MemFS
	now     time.Time

	// Of the attempt that runs.
	attempts int
	journal  *checkpoint.Journal
	states   []state.Descriptor
	subs     []*subtask
	nextID   int64
	zombies  []*checkpoint.Journal

	live  *model
	marks map[int64]*model // what the state was at the barrier of a checkpoint
	told  int64            // newest checkpoint that Complete has confirmed
	asked int64            // newest checkpoint whose completion was tried
	stats stats
	// faults of the storage so far
	faults atomic.Int64
}

// stats count what histories did, so that a test can see that they did it.
type stats struct {
	checkpoints, aborted, restores, rescales, crashes, deltas, bases, attached int
	faults                                                                     int64
}

// planted is a fault built into the world, to see that histories find it.
type planted struct {
	dropDelta bool // a manifest lacks one of its deltas
	wildGC    bool // whatever no manifest names is deleted, what is being written included
	blindSwap bool // HEAD is replaced whatever its tag is
}

func newWorld(seed uint64, log func(string, ...any)) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 5)), log: log, storage: checkpointtest.NewMemory("history"), disk: vfs.NewCrashableMem(),
		now: time.UnixMilli(1_700_000_000_000), live: newModel(), marks: map[int64]*model{0: newModel()}}
}

func (w *world) nowMS() int64 { return w.now.UnixMilli() }

func (w *world) store() checkpoint.Storage {
	if w.planted.blindSwap {
		return blind{w.storage}
	}
	return w.storage
}

// start begins an attempt: it becomes the leader, and restores the newest completed checkpoint at a random parallelism.
func (w *world) start(ctx context.Context) error {
	w.attempts++
	journal, err := checkpoint.Lead(ctx, w.store(), nil)
	if err != nil {
		return fmt.Errorf("lead: %w", err)
	}
	w.journal, w.nextID = journal, journal.NextID()
	backend := pebblestate.New(pebblestate.Options{Dir: "state", FS: w.disk, CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
	parallelism := 1 + w.rng.IntN(3)
	m := journal.Latest()
	id := int64(0)
	var old *checkpoint.OperatorState
	if m != nil {
		id, old = m.ID, &m.Operators[0]
	}
	if id != w.told && id != w.asked {
		return fmt.Errorf("the newest checkpoint is %d, completed was %d, tried last was %d", id, w.told, w.asked)
	}
	w.told, w.asked = id, id
	w.live = w.marks[id].clone()
	w.subs = nil
	w.states = state.Assign(nil, declare(w.clock).Descriptors(), nil)
	if old != nil {
		w.states = state.Assign(old.States, w.states, nil)
		w.stats.restores++
		if old.Parallelism != parallelism {
			w.stats.rescales++
		}
	}
	for i := range parallelism {
		s := declare(w.clock)
		s.groups = state.RangeOf(i, parallelism, maxParallelism)
		w.subs = append(w.subs, s)
		err := s.Open(backend, state.OpenOptions{UID: uid, Subtask: i, Groups: s.groups, Attempt: fmt.Sprint(w.attempts), States: w.states, MaxDeltas: 1 + w.rng.IntN(4)})
		if err != nil {
			return fmt.Errorf("open subtask %d: %w", i, err)
		}
	}
	if m == nil {
		return nil
	}
	plan, err := checkpoint.PlanRestore(m, []checkpoint.OperatorInfo{{UID: uid, Parallelism: parallelism, States: declare(w.clock).Descriptors()}}, maxParallelism, checkpoint.Mapping{})
	if err != nil {
		return err
	}
	from, _ := plan.Operator(uid)
	for i, s := range w.subs {
		r := state.Restore{Files: journal.Files(m.ID), Handles: from.Subtasks[i].Files, States: old.States, MaxParallelism: maxParallelism}
		if err := s.Restore(ctx, r); err != nil {
			return fmt.Errorf("restore subtask %d of %d from checkpoint %d: %w", i, parallelism, id, err)
		}
		for _, f := range r.Handles {
			if f.Kind != state.FileEntries {
				w.stats.attached++
			}
		}
	}
	w.log("attempt %d: parallelism %d from checkpoint %d with %d keys", w.attempts, parallelism, id, len(w.live.keys))
	return nil
}

func (w *world) clock() time.Time { return w.now }

// stop ends the attempt. A dead process closes nothing: its disk is what counts, and the next attempt finds it as a crash leaves it.
func (w *world) stop(crash bool) {
	if crash {
		w.stats.crashes++
		w.disk = w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	}
	for _, s := range w.subs {
		_ = s.Close() // an attempt that has failed may fail to close, too
	}
	if w.journal != nil {
		w.zombies = append(w.zombies, w.journal)
	}
	w.subs, w.journal = nil, nil
}

// owner is the subtask of a key.
func (w *world) owner(key string) *subtask {
	i := slices.IndexFunc(w.subs, func(s *subtask) bool { return s.owns(key) })
	return w.subs[i]
}

func (w *world) compare() error {
	for i, s := range w.subs {
		if err := s.compare(w.live, w.nowMS()); err != nil {
			return fmt.Errorf("subtask %d of %d: %w", i, len(w.subs), err)
		}
	}
	return nil
}

// flaky makes calls of the storage fail now and then, before or after they took effect.
func (w *world) flaky(percent int) {
	if percent == 0 {
		w.storage.SetFault(nil)
		return
	}
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 7))
	w.storage.SetFault(func(checkpointtest.Call) checkpointtest.Fault {
		if rng.IntN(100) >= percent {
			return checkpointtest.OK
		}
		w.faults.Add(1)
		return []checkpointtest.Fault{checkpointtest.Fail, checkpointtest.Lose, checkpointtest.Delay, checkpointtest.Refuse}[rng.IntN(4)]
	})
}

// blind is a storage that ignores If-Match on HEAD.
type blind struct{ *checkpointtest.Memory }

func (b blind) Open(context.Context) (checkpoint.Objects, error) { return b, nil }

func (b blind) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	if name == "HEAD" {
		if _, now, err := b.Get(ctx, name); err == nil {
			tag = now
		}
	}
	return b.Memory.Swap(ctx, name, tag, data)
}

var errFound = errors.New("difference")

package checkpoint_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

var (
	protocolSeed = flag.Uint64("protocol.seed", 0, "replay one history of the protocol simulation; 0 runs many")
	protocolRuns = flag.Int("protocol.runs", 200, "histories of the protocol simulation; of each broken variant two fifths of it")
)

// fault is a way to break the protocol, to see that the simulation finds it.
type fault string

const (
	faultNone       fault = ""
	faultBlindSwap  fault = "HEAD without If-Match"
	faultNoEpoch    fault = "names without the epoch"
	faultAnything   fault = "anything unmarked goes"
	faultFilesFirst fault = "files go before HEAD drops the manifest"
	faultNoPending  fault = "pending is not marked"
)

var faults = []fault{faultBlindSwap, faultNoEpoch, faultAnything, faultFilesFirst, faultNoPending}

// ofGC says that the fault is one of Prune.
func (f fault) ofGC() bool { return f == faultAnything || f == faultFilesFirst || f == faultNoPending }

// world is one history: up to four processes at a time, eight in all, over one storage. A seed decides who makes the next call to the
// storage and what becomes of it.
type world struct {
	rng    *rand.Rand
	fault  fault
	memory *checkpointtest.Memory
	names  *names
	look   *direct
	// badCalls is how many of 100 calls fail in one way or another.
	badCalls int
	step     int
	started  int
	procs    []*process
	late     []func()

	mu     sync.Mutex
	asking []*turn
	alive  int
	told   []told

	checked   map[string]string // tag of an object that was found to be right
	manifests map[string]*checkpoint.Manifest
	seen      map[int64]string // manifest name by id, as ever seen in HEAD
	epoch     int64            // highest seen in HEAD
	lastID    int64
}

// told is a checkpoint that a leader was told to be complete.
type told struct {
	id, epoch int64
}

func newWorld(seed uint64, f fault) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2)), fault: f, memory: checkpointtest.NewMemory("protocol"), checked: map[string]string{},
		manifests: map[string]*checkpoint.Manifest{}, seen: map[int64]string{}}
	w.badCalls = []int{0, 0, 3, 10}[w.rng.IntN(4)]
	if f == faultNoEpoch {
		w.names = &names{memory: w.memory, short: map[string]string{}, owner: map[string]string{}, count: map[string]int{}}
	}
	w.look = &direct{w.memory, w.names}
	return w
}

func (w *world) tell(t told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, t)
}

func (w *world) start(ctx context.Context) {
	p := &process{w: w, number: w.started, rng: rand.New(rand.NewPCG(w.rng.Uint64(), 3))}
	w.started++
	w.procs = append(w.procs, p)
	w.alive++
	go func() {
		p.live(ctx, 2+p.rng.IntN(6))
		w.mu.Lock()
		w.alive--
		w.mu.Unlock()
	}()
}

// choose takes one of the waiting calls; nil when all are of processes that stand still.
func (w *world) choose() *turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	var may []*turn
	for _, t := range w.asking {
		if t.process.until <= w.step || t.process.dead {
			may = append(may, t)
		}
	}
	if len(may) == 0 {
		return nil
	}
	slices.SortStableFunc(may, func(a, b *turn) int { return a.process.number - b.process.number })
	t := may[w.rng.IntN(len(may))]
	w.asking = slices.DeleteFunc(w.asking, func(o *turn) bool { return o == t })
	return t
}

// state of the world for the scheduler.
func (w *world) counts() (alive, asking int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alive, len(w.asking)
}

// run makes one history and returns the first broken invariant.
func (w *world) run(ctx context.Context) error {
	defer w.drain()
	w.start(ctx)
	for {
		synctest.Wait() // everybody waits for a turn, for somebody else of its process, or for time to pass
		w.step++
		alive, asking := w.counts()
		if w.started < 8 && alive < 4 && (alive == 0 || w.rng.IntN(40) == 0) {
			w.start(ctx)
			continue
		}
		if alive == 0 {
			break
		}
		if asking == 0 {
			<-time.After(20 * time.Millisecond) // of the bubble: pauses between tries
			continue
		}
		if len(w.late) > 0 && w.rng.IntN(30) == 0 {
			if err := w.arrive(ctx); err != nil {
				return err
			}
		}
		if t := w.choose(); t != nil {
			if err := w.let(ctx, t); err != nil {
				return err
			}
		}
	}
	for len(w.late) > 0 {
		if err := w.arrive(ctx); err != nil {
			return err
		}
	}
	return w.atEnd(ctx)
}

// arrive has one of the delayed calls take effect.
func (w *world) arrive(ctx context.Context) error {
	i := w.rng.IntN(len(w.late))
	w.late[i]()
	w.late = slices.Delete(w.late, i, i+1)
	if err := w.check(ctx); err != nil {
		return fmt.Errorf("after a call that came late: %w", err)
	}
	return nil
}

// let decides about the call and the process that makes it.
func (w *world) let(ctx context.Context, t *turn) error {
	p := t.process
	switch r := w.rng.IntN(1000); {
	case r < 5:
		p.dead = true
	case r < 12:
		p.until = w.step + 20 + w.rng.IntN(600) // stopped, or cut off: a zombie when it comes back
	}
	f := fateOK
	if w.rng.IntN(100) < w.badCalls {
		f = []fate{fateFail, fateLose, fateDelay}[w.rng.IntN(3)]
	}
	if p.dead {
		f = fateDie
	}
	t.fate <- f
	<-t.done
	if t.op == "get" || t.op == "list" || t.op == "put" && w.names == nil {
		return nil
	}
	if err := w.check(ctx); err != nil {
		return fmt.Errorf("after %s of %s by process %d: %w", t.op, t.name, p.number, err)
	}
	return nil
}

// drain ends the processes that a broken invariant has left.
func (w *world) drain() {
	for {
		synctest.Wait()
		alive, asking := w.counts()
		switch {
		case alive == 0 && asking == 0:
			return
		case asking == 0:
			<-time.After(time.Second) // of the bubble
			continue
		}
		w.step = 1 << 40
		t := w.choose()
		t.fate <- fateDie
		<-t.done
	}
}

// check looks at the storage itself: everything that HEAD names is there and as it was written, and neither ids nor epochs go back.
func (w *world) check(ctx context.Context) error {
	if _, _, err := w.memory.Get(ctx, "HEAD"); errors.Is(err, checkpoint.ErrNotFound) {
		return nil // nobody has led yet
	}
	list, saves, err := checkpoint.List(ctx, w.look)
	if err != nil {
		return err
	}
	var newest int64
	for _, r := range append(list, saves...) {
		if err := w.checkRef(ctx, r); err != nil {
			return fmt.Errorf("checkpoint %d: %w", r.ID, err)
		}
		if was := w.seen[r.ID]; was != "" && was != r.Name {
			return fmt.Errorf("checkpoint %d is %s and was %s", r.ID, r.Name, was)
		}
		w.seen[r.ID] = r.Name
		newest = max(newest, r.ID)
		if r.Epoch < w.epoch && r.ID > w.lastID {
			return fmt.Errorf("epoch %d completes %d after epoch %d has begun", r.Epoch, r.ID, w.epoch)
		}
		w.epoch = max(w.epoch, r.Epoch)
	}
	if newest < w.lastID {
		return fmt.Errorf("newest checkpoint went from %d back to %d", w.lastID, newest)
	}
	w.lastID = newest
	return nil
}

// checkRef looks at one checkpoint. What was read before and has the same tag is not read again.
func (w *world) checkRef(ctx context.Context, r checkpoint.Ref) error {
	_, tag, err := w.memory.Get(ctx, r.Name)
	if err != nil {
		return err
	}
	if w.checked[r.Name] != tag {
		m, _, err := checkpoint.LoadFrom(ctx, w.look, r.Name)
		if err != nil {
			return err
		}
		w.checked[r.Name], w.manifests[r.Name] = tag, m
	}
	for _, s := range w.manifests[r.Name].Operators[0].Subtasks {
		for _, f := range s.Files {
			_, tag, err := w.look.Get(ctx, f.Name)
			if err != nil {
				return err
			}
			if w.checked[f.Name] == tag {
				continue
			}
			if err := readFile(ctx, w.look, f); err != nil {
				return err
			}
			w.checked[f.Name] = tag
		}
	}
	return nil
}

// atEnd compares what leaders were told with what was seen, and has a last leader without trouble clean up.
func (w *world) atEnd(ctx context.Context) error {
	ids := map[int64]bool{}
	for _, x := range w.told {
		name := w.seen[x.id]
		if ids[x.id] || !strings.HasPrefix(name, fmt.Sprintf("ckpt/%d-%d-", x.epoch, x.id)) {
			return fmt.Errorf("checkpoint %d of epoch %d was said to be complete, HEAD has had %q (twice: %v)", x.id, x.epoch, name, ids[x.id])
		}
		ids[x.id] = true
	}
	j, err := checkpoint.Lead(ctx, w.look, nil)
	if err != nil {
		return err
	}
	if err := j.Prune(ctx, 1); err != nil {
		return err
	}
	if err := checkpoint.Verify(ctx, w.look); err != nil {
		return err
	}
	needed := map[string]bool{"HEAD": true}
	for _, r := range append(j.Checkpoints(), j.Savepoints()...) {
		m, _, err := checkpoint.LoadFrom(ctx, w.look, r.Name)
		if err != nil {
			return err
		}
		needed[r.Name] = true
		for _, s := range m.Operators[0].Subtasks {
			for _, f := range s.Files {
				needed[f.Name] = true
			}
			for _, name := range s.Pending {
				needed[name] = true
			}
		}
	}
	if left := slices.DeleteFunc(w.memory.Names(), func(n string) bool { return needed[n] }); len(left) > 0 && w.names == nil {
		return fmt.Errorf("left over are %v of %v", left, slices.Sorted(maps.Keys(needed)))
	}
	return nil
}

// history runs one history and gives how many checkpoints were completed.
func history(t *testing.T, seed uint64, f fault) (completed int, err error) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, f)
		err = w.run(context.Background())
		completed = len(w.told)
	})
	return completed, err
}

// Processes that come, stop for a while, go on, die, lose answers, give checkpoints up and upload bases beside them, with garbage collections
// that delete long after they have listed: at each step everything that HEAD names is there, ids and epochs never go back, what a
// leader was told to be complete is, and in the end nothing is left over.
func TestProtocol(t *testing.T) {
	base, n := uint64(time.Now().UnixNano()), *protocolRuns
	if *protocolSeed != 0 {
		base, n = *protocolSeed, 1
	}
	completed := 0
	for i := range n {
		c, err := history(t, base+uint64(i), faultNone)
		if err != nil {
			t.Fatalf("seed %d: %v; replay with -run TestProtocol$ -protocol.seed=%[1]d", base+uint64(i), err)
		}
		completed += c
	}
	t.Logf("seeds %d…: %d histories, %d checkpoints completed", base, n, completed)
	if completed < 3*n {
		t.Errorf("%d checkpoints in %d histories: the simulation does not get anywhere", completed, n)
	}
}

// The simulation is worth something: each way to break the protocol is found.
func TestProtocolFindsFaults(t *testing.T) {
	n := max(*protocolRuns*2/5, 20)
	for _, f := range faults {
		t.Run(string(f), func(t *testing.T) {
			found := 0
			var first error
			for seed := range uint64(n) {
				if _, err := history(t, seed, f); err != nil {
					found++
					first = cmpOr(first, err)
				}
			}
			t.Logf("%d of %d histories broke an invariant; the first: %v", found, n, first)
			if found == 0 {
				t.Errorf("none of %d histories broke an invariant", n)
			}
		})
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

package checkpoint_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

var (
	leadersSeed      = flag.Uint64("leaders.seed", 0, "replay one history of the leader simulator; 0 runs many")
	leadersHistories = flag.Int("leaders.histories", 120, "histories of the leader simulator")
)

// gate lets exactly one leader make exactly one storage call at a time, in an order that a seed decides. Everything between two calls
// of one leader is then as if it happened at once, and any call may come arbitrarily late: a leader that is not chosen for a while
// is a zombie. A leader that is killed gets an error from the call that it waits for, and from every later one.
type gate struct {
	ask chan *turn // leaders that want to make a call, or have ended
}

type turn struct {
	actor  int
	ended  bool
	call   checkpointtest.Call
	permit chan error // nil: make the call
	done   chan struct{}
}

// gated is the storage as one leader sees it.
type gated struct {
	*checkpointtest.Memory
	gate  *gate
	actor int
	// broken variants, to see that the invariants can fail
	blind bool // HEAD is swapped whatever its tag is
}

func (g *gated) Open(context.Context) (checkpoint.Objects, error) { return g, nil }

func (g *gated) wait(op, name string) (func(), error) {
	t := &turn{actor: g.actor, call: checkpointtest.Call{Op: op, Name: name}, permit: make(chan error), done: make(chan struct{})}
	g.gate.ask <- t
	if err := <-t.permit; err != nil {
		return nil, err
	}
	return func() { close(t.done) }, nil
}

func (g *gated) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	done, err := g.wait("put", name)
	if err != nil {
		return err
	}
	defer done()
	return g.Memory.Put(ctx, name, body, size)
}

func (g *gated) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	done, err := g.wait("swap", name)
	if err != nil {
		return "", err
	}
	defer done()
	if g.blind && name == "HEAD" {
		g.Change(name, func([]byte) []byte { return nil })
		tag = ""
	}
	return g.Memory.Swap(ctx, name, tag, data)
}

func (g *gated) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	done, err := g.wait("get", name)
	if err != nil {
		return nil, "", err
	}
	defer done()
	return g.Memory.Get(ctx, name)
}

func (g *gated) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	done, err := g.wait("get", name)
	if err != nil {
		return nil, err
	}
	defer done()
	return g.Memory.GetRange(ctx, name, off, n)
}

func (g *gated) List(ctx context.Context, prefix string) ([]string, error) {
	done, err := g.wait("list", prefix)
	if err != nil {
		return nil, err
	}
	defer done()
	return g.Memory.List(ctx, prefix)
}

func (g *gated) Delete(ctx context.Context, name string) error {
	done, err := g.wait("delete", name)
	if err != nil {
		return err
	}
	defer done()
	return g.Memory.Delete(ctx, name)
}

// world is one history: up to four leaders live at a time, eight in all.
type world struct {
	rng     *rand.Rand
	memory  *checkpointtest.Memory
	gate    *gate
	blind   bool
	waiting map[int]*turn
	alive   int
	started int
	killed  map[int]bool
	told    []told
	seen    map[int64]string // manifest name by id, as ever seen in HEAD
	epoch   int64            // highest seen in HEAD
	lastID  int64
}

// told is a checkpoint that a leader was told to be complete.
type told struct {
	id, epoch int64
}

func (w *world) start(ctx context.Context) {
	actor := w.started
	w.started++
	w.alive++
	st := &gated{Memory: w.memory, gate: w.gate, actor: actor, blind: w.blind}
	checkpoints := 1 + w.rng.IntN(4)
	go func() {
		lead(ctx, st, checkpoints, w)
		w.gate.ask <- &turn{actor: actor, ended: true}
	}()
}

// lead is the life of one leader. It touches w.told only while it holds the turn of the gate or has not yet asked for the next one, which
// the scheduler waits for.
func lead(ctx context.Context, st *gated, checkpoints int, w *world) {
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		return
	}
	var base state.File
	if m := j.Latest(); m != nil {
		base = m.Operators[0].Subtasks[0].Files[0]
	}
	for range checkpoints {
		id := j.NextID()
		var files []state.File
		for range 2 {
			f, err := j.Files(id).Write(ctx, state.GroupRange{End: 4}, 0, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d/%d", j.Epoch(), id)
				return err
			})
			if err != nil {
				return
			}
			files = append(files, f)
		}
		if base.Name == "" || id%3 == 0 {
			base = files[0] // a new base now and then: the old one becomes garbage
		}
		m := manifest(j.Epoch(), id, base, files[1])
		if id%4 == 0 {
			_, err = j.Savepoint(ctx, m)
		} else {
			err = j.Complete(ctx, m)
		}
		if err != nil {
			return
		}
		w.told = append(w.told, told{id: id, epoch: j.Epoch()})
		if err := j.Prune(ctx, 1); err != nil {
			return
		}
	}
}

var errGateKilled = errors.New("killed")

// run makes one history and returns the first broken invariant.
func (w *world) run(ctx context.Context) error {
	defer w.drain()
	w.start(ctx)
	for w.alive > 0 {
		for len(w.waiting) < w.alive { // everybody alive waits for a turn: nobody else moves
			t := <-w.gate.ask
			if t.ended {
				w.alive--
				continue
			}
			w.waiting[t.actor] = t
		}
		if w.started < 8 && w.alive < 4 && (w.alive == 0 || w.rng.IntN(15) == 0) {
			w.start(ctx)
			continue
		}
		if w.alive == 0 {
			break
		}
		actors := make([]int, 0, 4)
		for a := range w.waiting {
			actors = append(actors, a)
		}
		slices.Sort(actors)
		t := w.waiting[actors[w.rng.IntN(len(actors))]]
		delete(w.waiting, t.actor)
		if w.killed[t.actor] = w.killed[t.actor] || w.rng.IntN(120) == 0; w.killed[t.actor] {
			t.permit <- errGateKilled
			continue
		}
		t.permit <- nil
		<-t.done
		if err := w.check(ctx, t.call); err != nil {
			return fmt.Errorf("after %s of %s by leader %d: %w", t.call.Op, t.call.Name, t.actor, err)
		}
	}
	return w.atEnd(ctx)
}

// drain ends the leaders that a broken invariant has left waiting.
func (w *world) drain() {
	for _, t := range w.waiting {
		t.permit <- errGateKilled
	}
	for w.alive > 0 {
		if t := <-w.gate.ask; t.ended {
			w.alive--
		} else {
			t.permit <- errGateKilled
		}
	}
}

// check looks at the storage itself, past the gate.
func (w *world) check(ctx context.Context, c checkpointtest.Call) error {
	if c.Op == "get" || c.Op == "list" || c.Op == "put" {
		return nil
	}
	if len(w.memory.Names()) == 0 {
		return nil
	}
	if !w.memory.Change("HEAD", func(b []byte) []byte { return b }) {
		return nil // nobody has led yet
	}
	if err := checkpoint.Verify(ctx, w.memory); err != nil {
		return err
	}
	list, saves, err := checkpoint.List(ctx, w.memory)
	if err != nil {
		return err
	}
	var newest int64
	for _, r := range append(list, saves...) {
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

func (w *world) atEnd(ctx context.Context) error {
	ids := map[int64]bool{}
	for _, x := range w.told {
		name := w.seen[x.id]
		if ids[x.id] || !strings.HasPrefix(name, fmt.Sprintf("ckpt/%d-%d-", x.epoch, x.id)) {
			return fmt.Errorf("checkpoint %d of epoch %d was said to be complete, HEAD has had %q (twice: %v)", x.id, x.epoch, name, ids[x.id])
		}
		ids[x.id] = true
	}
	// A last leader without trouble leaves nothing behind.
	j, err := checkpoint.Lead(ctx, w.memory, nil)
	if err != nil {
		return err
	}
	if err := j.Prune(ctx, 1); err != nil {
		return err
	}
	return checkpoint.Verify(ctx, w.memory)
}

func newWorld(seed uint64, blind bool) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 2)), memory: checkpointtest.NewMemory("leaders"), gate: &gate{ask: make(chan *turn)}, blind: blind,
		waiting: map[int]*turn{}, killed: map[int]bool{}, seen: map[int64]string{}}
}

// Leaders that come, stop for a while, go on, die and delete at the same time: at each step everything that HEAD names is there, ids and
// epochs never go back, and what a leader was told to be complete is.
func TestLeaders(t *testing.T) {
	base, n := uint64(time.Now().UnixNano()), *leadersHistories
	if *leadersSeed != 0 {
		base, n = *leadersSeed, 1
	}
	completed := 0
	for i := range n {
		w := newWorld(base+uint64(i), false)
		if err := w.run(t.Context()); err != nil {
			t.Fatalf("seed %d: %v; replay with -run TestLeaders -leaders.seed=%[1]d", base+uint64(i), err)
		}
		completed += len(w.told)
	}
	t.Logf("seeds %d…: %d histories, %d checkpoints completed", base, n, completed)
	if completed < n {
		t.Errorf("%d checkpoints in %d histories: the simulator does not get anywhere", completed, n)
	}
}

// The invariants are worth something: a store that ignores the condition on HEAD breaks them.
func TestLeadersSeeABlindSwap(t *testing.T) {
	broken := 0
	for seed := range uint64(50) {
		if newWorld(seed, true).run(t.Context()) != nil {
			broken++
		}
	}
	if broken < 25 {
		t.Errorf("%d of 50 histories without conditional writes broke an invariant, want most", broken)
	}
}

package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state"
)

func clockAt(ms *int64) func() time.Time { return func() time.Time { return time.UnixMilli(*ms) } }

// deltaImage is a barrier that was not written yet, with what it must hold.
type deltaImage struct {
	id    int
	parts []state.Snapshot
	m     deltaModel
}

// deltaRun is a job with several subtasks above plain stores, beside its model.
type deltaRun struct {
	cache  int64
	nowMS  int64
	ops    []*deltaStates
	states []state.Descriptor
	m      deltaModel
	images []deltaImage
	bucket *bucketFiles
	next   int // checkpoint
	last   int // completed
	cuts   *deltaCuts
}

// deltaCuts counts what the histories of a test have reached.
type deltaCuts struct{ checkpoints, failed, restores, rescales, bases, deltas int }

// TestDeltas takes random histories of changes, barriers, pieces of background work, evictions, failing uploads, bases and restarts through every
// state, on stores that apply what they are given and a storage that drops what no checkpoint lists. Everything that is restored must be as it
// was at the barrier, at any parallelism.
func TestDeltas(t *testing.T) {
	defer state.SetRunBytesMax(state.SetRunBytesMax(2000))
	for _, cache := range []int64{1, 3000, 1 << 30} {
		t.Run(fmt.Sprint("cache=", cache), func(t *testing.T) {
			var cuts deltaCuts
			rapid.Check(t, func(rt *rapid.T) { deltaHistory(rt, cache, &cuts) })
			t.Logf("%+v", cuts)
			if cuts.restores == 0 || cuts.rescales == 0 || cuts.failed == 0 || cuts.bases == 0 || cuts.deltas < cuts.checkpoints {
				t.Errorf("the histories missed something: %+v", cuts)
			}
		})
	}
}

func deltaHistory(t *rapid.T, cache int64, cuts *deltaCuts) {
	r := &deltaRun{cache: cache, nowMS: 1000, m: deltaModel{}, next: 1, cuts: cuts,
		bucket: &bucketFiles{objects: map[string][]byte{}, ids: map[string]int{}}}
	r.ops = r.open(t, rapid.IntRange(1, 2).Draw(t, "parallelism"))
	defer func() { r.close(t) }()
	t.Repeat(map[string]func(*rapid.T){
		"change": r.change, "change more": r.change, "change again": r.change, "change even more": r.change,
		"time":       func(t *rapid.T) { r.nowMS += rapid.Int64Range(0, 30).Draw(t, "ms") },
		"pop":        r.pop,
		"look":       func(t *rapid.T) { r.look(t, r.ops, r.m, deltaKeyOf(t)) },
		"barrier":    r.barrier,
		"background": r.step,
		"write":      r.write,
		"base":       r.base,
		"clean up": func(t *rapid.T) {
			for _, o := range r.ops {
				succeeds(t, o.CleanUp())
			}
		},
	})
	r.lookAll(t, r.ops, r.m)
}

func (r *deltaRun) open(t *rapid.T, parallelism int) (ops []*deltaStates) {
	for i := range parallelism {
		o := newDeltaStates(&r.nowMS)
		succeeds(t, o.Open(plainStores{r.cache}, state.OpenOptions{UID: "op", Subtask: i, Groups: state.RangeOf(i, parallelism, deltaGroups), States: r.states}))
		ops = append(ops, o)
	}
	if r.states == nil {
		r.states = state.Assign(nil, ops[0].Descriptors(), nil)
		closeDeltas(t, ops)
		return r.open(t, parallelism)
	}
	return ops
}

func closeDeltas(t *rapid.T, ops []*deltaStates) {
	for _, o := range ops {
		succeeds(t, o.Close())
	}
}

func (r *deltaRun) close(t *rapid.T) {
	closeDeltas(t, r.ops)
	for _, image := range r.images {
		for _, p := range image.parts {
			p.Release()
		}
	}
	r.images = nil
}

// deltaKeys are few, so that much happens to each of them.
var deltaKeys = []string{"", "k", "k\x00", "l"}

func deltaKeyOf(t *rapid.T) string {
	return rapid.SampledFrom(deltaKeys).Draw(t, "key")
}

func (r *deltaRun) of(ops []*deltaStates, key string) *deltaStates {
	h := ops[0].hash(key)
	o := ops[state.SubtaskOf(state.GroupOf(h, deltaGroups), len(ops), deltaGroups)]
	o.SetCurrent(key, h)
	return o
}

func (r *deltaRun) change(t *rapid.T) {
	key := deltaKeyOf(t)
	deltaWrite(t, r.of(r.ops, key), r.m.at(key), r.nowMS)
}

func (r *deltaRun) look(t *rapid.T, ops []*deltaStates, m deltaModel, key string) {
	got, want := r.of(ops, key).describe(t), m.at(key).describe(r.nowMS)
	if got != want {
		t.Fatalf("key %q has\n%s, want\n%s", key, got, want)
	}
}

func (r *deltaRun) lookAll(t *rapid.T, ops []*deltaStates, m deltaModel) {
	for _, key := range deltaKeys {
		r.look(t, ops, m, key)
	}
}

func (r *deltaRun) pop(t *rapid.T) {
	upTo := rapid.Int64Range(0, 9).Draw(t, "up to")
	for _, o := range r.ops {
		popUpTo(t, o, r.m, upTo)
	}
}

// popUpTo lets timers fire and compares them with those of the model.
func popUpTo(t *rapid.T, o *deltaStates, m deltaModel, upTo int64) {
	for {
		key, _, at, ok := o.timers.PopDue(state.EventTime, upTo)
		if !ok {
			return
		}
		if !m.at(key).timers[at] {
			t.Fatalf("a timer of %q fires at %d that nobody registered", key, at)
		}
		delete(m.at(key).timers, at)
	}
}

func (r *deltaRun) barrier(t *rapid.T) {
	if len(r.images) == 3 {
		return
	}
	image := deltaImage{id: r.next, m: r.m.clone()}
	r.next++
	for _, o := range r.ops {
		s, err := o.Snapshot()
		succeeds(t, err)
		image.parts = append(image.parts, s)
	}
	r.images = append(r.images, image)
}

// step does a piece of background work.
func (r *deltaRun) step(t *rapid.T) {
	o := rapid.SampledFrom(r.ops).Draw(t, "subtask")
	_, err := o.Step(rapid.IntRange(1, 12).Draw(t, "entries"))
	succeeds(t, err)
}

// base begins a base and does some of it, or all.
func (r *deltaRun) base(t *rapid.T) {
	o := rapid.SampledFrom(r.ops).Draw(t, "subtask")
	if o.RequestBase() {
		r.cuts.bases++
	}
	if rapid.Bool().Draw(t, "all of it") {
		for {
			more, err := o.Step(50)
			succeeds(t, err)
			if !more {
				break
			}
		}
		succeeds(t, o.AwaitBase())
	}
}

// write stores one of the images, or tries to, and goes on from the checkpoint in one case of three.
func (r *deltaRun) write(t *rapid.T) {
	if len(r.images) == 0 {
		return
	}
	i := rapid.IntRange(0, len(r.images)-1).Draw(t, "image")
	image := r.images[i]
	r.images = slices.Delete(r.images, i, i+1)
	r.bucket.failAt(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "failing upload"))
	files := checkpointFiles{r.bucket, image.id}
	var parts []state.Written
	for i, p := range image.parts {
		if rapid.IntRange(0, 9).Draw(t, "drop") == 0 { // it is never written
			p.Release()
			continue
		}
		w, err := writeDelta(r.ops[i], p, files)
		if err != nil && !errors.Is(err, errUpload) {
			t.Fatal(err)
		}
		if err == nil {
			parts = append(parts, w)
		}
		p.Release()
	}
	r.bucket.failAt(0)
	if len(parts) < len(image.parts) || image.id < r.last {
		r.cuts.failed++
		return
	}
	r.last = image.id
	r.cuts.checkpoints++
	r.bucket.complete(image.id, parts)
	r.restore(t, image, parts)
}

func writeDelta(o *deltaStates, p state.Snapshot, files state.Files) (w state.Written, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, err = p.Write(context.Background(), files)
	}()
	for {
		more, failed := o.Step(20)
		if failed != nil || !more {
			<-done
			return w, errors.Join(err, failed)
		}
		select {
		case <-done:
			return w, err
		default:
		}
	}
}

func (r *deltaRun) restore(t *rapid.T, image deltaImage, parts []state.Written) {
	var handles []state.File
	for _, w := range parts {
		handles = append(handles, w.Files...)
	}
	r.cuts.deltas += len(handles)
	parallelism := rapid.IntRange(1, 3).Draw(t, "parallelism")
	ops := r.open(t, parallelism)
	for _, o := range ops {
		succeeds(t, o.Restore(context.Background(), state.Restore{Files: checkpointFiles{r.bucket, image.id}, Handles: handles, States: r.states}))
	}
	r.cuts.restores++
	if parallelism != len(r.ops) {
		r.cuts.rescales++
	}
	m := image.m.clone()
	r.lookAll(t, ops, m)
	if rapid.IntRange(0, 2).Draw(t, "go on") == 0 {
		r.close(t)
		r.ops, r.m = ops, m
		return
	}
	for _, o := range ops {
		popUpTo(t, o, m, 100)
	}
	for key, k := range m {
		if len(k.timers) > 0 {
			t.Fatalf("timers of %q at %v are lost", key, k.timers)
		}
	}
	closeDeltas(t, ops)
}

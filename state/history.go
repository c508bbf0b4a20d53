package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// history is what the checkpoints of an operator in one subtask consist of: a base and the deltas since. It is shared by the task's goroutine,
// which hands runs over, by the one that builds tables of them (see builder.go), by those in Snapshot.Write, and by the one that makes a base.
//
// A delta is kept until a base makes it superfluous. What could not be uploaded is uploaded by the next Write.
type history struct {
	uid     string
	subtask int
	groups  GroupRange
	store   Store
	// maxDeltas: see OpenOptions.MaxDeltas.
	maxDeltas int

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // goroutines that Close waits for
	turn   chan struct{}  // holds one token: who has it uploads deltas

	mu      sync.Mutex
	changed chan struct{} // closed at every change of what follows
	closed  bool
	err     error // why no checkpoint can be right any more
	builder
	epoch    uint64              // the current one: the next snapshot has this number
	complete uint64              // all epochs below it are in deltas
	deltas   []*delta            // by epoch, oldest first
	lineages []lineage           // oldest first; the first has valid 0
	images   map[uint64]struct{} // snapshots that were neither released nor dropped, by number
	baseWork
	wantBase atomic.Bool // the task shall write back what is dirty
}

// lineage is something that deltas follow on.
type lineage struct {
	files []File
	// from is the first epoch whose delta follows. The files may hold changes of later epochs too, of those below valid: only snapshots from valid
	// on may use them.
	from, valid uint64
	// Of the files, the deltas among them apart.
	baseBytes, deltaBytes int64
	deltas                int
}

// delta is one table of what changed in an epoch; an epoch may have several.
type delta struct {
	epoch uint64
	table Table // nil once it was stored
	busy  bool  // table is being read: who does removes it if the history was closed meanwhile
	file  File  // Groups, Kind and Elements from the start
	done  bool  // file is stored
}

const (
	// deltaInlineBytes is the size up to which a delta is kept in the manifest. It is small, as later manifests repeat it.
	deltaInlineBytes = 2 << 10
	// DefaultMaxDeltas is OpenOptions.MaxDeltas when nothing is said.
	DefaultMaxDeltas = 64
	// A base is made when the deltas are more than OpenOptions.MaxDeltas, or larger than the base and deltaBytesMin.
	deltaBytesMin = 4 << 20
)

var (
	errStateClosed      = errors.New("the state was closed")
	errSnapshotReleased = errors.New("the snapshot was released")
)

func newHistory(uid string, subtask int, groups GroupRange, store Store, maxDeltas int, limit Limit) *history {
	h := &history{uid: uid, subtask: subtask, groups: groups, store: store, changed: make(chan struct{}), turn: make(chan struct{}, 1),
		images: map[uint64]struct{}{}, lineages: []lineage{{}}}
	h.turn <- struct{}{}
	h.limit, h.maxDeltas = limit, cmp.Or(maxDeltas, DefaultMaxDeltas)
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	return h
}

// notify wakes all who wait for a change. The lock is held.
func (h *history) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// fail notes that something is lost for all checkpoints to come.
func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
		h.notify()
	}
}

// failure is why no checkpoint can be right any more; nil while it can.
func (h *history) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// close ends all work and frees all tables that nobody is reading.
func (h *history) close() error {
	h.cancel(errStateClosed)
	h.mu.Lock()
	h.closed = true
	h.notify()
	h.mu.Unlock()
	h.work.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, d := range h.deltas {
		if d.table != nil && !d.busy {
			errs = append(errs, d.table.Remove())
			d.table = nil
		}
	}
	return errors.Join(errs...)
}

// barrier ends the current epoch and returns its snapshot.
func (h *history) barrier() *deltaImage {
	h.mu.Lock()
	defer h.mu.Unlock()
	im := &deltaImage{h: h, epoch: h.epoch}
	im.ctx, im.cancel = context.WithCancelCause(h.ctx)
	h.images[h.epoch] = struct{}{}
	h.epoch++
	return im
}

// deltaImage is the Snapshot of an operator above a store.
type deltaImage struct {
	h      *history
	epoch  uint64
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Write implements Snapshot.
func (im *deltaImage) Write(ctx context.Context, files Files) (Written, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(im.ctx, func() { cancel(context.Cause(im.ctx)) })
	defer stop()
	w, err := im.h.write(ctx, im.epoch, files)
	if err != nil {
		return Written{}, fmt.Errorf("state: write the snapshot of operator %q subtask %d: %w", im.h.uid, im.h.subtask, err)
	}
	return w, nil
}

// Release implements Snapshot.
func (im *deltaImage) Release() {
	im.cancel(errSnapshotReleased)
	im.h.mu.Lock()
	defer im.h.mu.Unlock()
	delete(im.h.images, im.epoch)
	im.h.prune()
}

func (h *history) write(ctx context.Context, epoch uint64, files Files) (w Written, err error) {
	if err := h.await(ctx, func() bool { return h.complete > epoch }); err != nil {
		return w, err
	}
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return w, context.Cause(ctx)
	}
	for {
		d := h.unstored(epoch)
		if d == nil {
			break
		}
		n, err := h.upload(ctx, d, files)
		if err != nil {
			return w, err
		}
		w.Bytes += n
	}
	defer h.resumeBase()
	if err := h.pauseBase(ctx); err != nil {
		return w, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.usable(ctx); err != nil {
		return w, err
	}
	l := h.lineageOf(epoch)
	w.Files = slices.Clone(l.files)
	for _, d := range h.deltas {
		if d.epoch >= l.from && d.epoch <= epoch {
			w.Files = append(w.Files, d.file)
		}
	}
	h.listBase(&w, epoch, files)
	if h.outgrown() {
		h.wantBase.Store(true)
	}
	return w, nil
}

// usable is the reason not to go on. The lock is held.
func (h *history) usable(ctx context.Context) error {
	switch {
	case h.err != nil:
		return h.err
	case h.closed:
		return errStateClosed
	}
	return context.Cause(ctx)
}

// await waits until ready, which is asked with the lock held.
func (h *history) await(ctx context.Context, ready func() bool) error {
	for {
		h.mu.Lock()
		err, changed := h.usable(ctx), h.changed
		ok := err == nil && ready()
		h.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// unstored is the first delta up to an epoch that is to be stored, marked as busy.
func (h *history) unstored(epoch uint64) *delta {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.deltas {
		if d.epoch <= epoch && !d.done && d.table != nil {
			d.busy = true
			return d
		}
	}
	return nil
}

// upload stores a delta and returns its size.
func (h *history) upload(ctx context.Context, d *delta, files Files) (n int64, err error) {
	h.mu.Lock()
	table, meta := d.table, d.file
	h.mu.Unlock()
	f, err := files.Write(ctx, meta.Groups, deltaInlineBytes, func(w io.Writer) error {
		_, err := table.WriteTo(w)
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	d.busy = false
	if err == nil {
		f.Kind, f.Groups, f.Elements = meta.Kind, meta.Groups, meta.Elements
		d.file, d.done = f, true
	}
	if err == nil || h.closed {
		d.table = nil
		err = errors.Join(err, table.Remove())
	}
	return f.Size, err
}

// lineageOf is what a snapshot builds on. The lock is held.
func (h *history) lineageOf(epoch uint64) *lineage {
	for i := len(h.lineages) - 1; i > 0; i-- {
		if h.lineages[i].valid <= epoch {
			return &h.lineages[i]
		}
	}
	return &h.lineages[0]
}

// prune forgets what no snapshot to come needs. The lock is held.
func (h *history) prune() {
	next := h.epoch
	for e := range h.images {
		next = min(next, e)
	}
	for len(h.lineages) > 1 && h.lineages[1].valid <= next {
		h.lineages = slices.Delete(h.lineages, 0, 1)
	}
	from := h.lineages[0].from
	h.deltas = slices.DeleteFunc(h.deltas, func(d *delta) bool {
		if d.epoch >= from || d.busy {
			return false
		}
		if d.table != nil {
			_ = d.table.Remove() // what it holds is in the base; a file left behind goes with the store
		}
		return true
	})
}

// outgrown reports whether a base is worth its price. The lock is held.
func (h *history) outgrown() bool {
	if h.making {
		return false
	}
	l := &h.lineages[len(h.lineages)-1]
	n, size := l.deltas, l.deltaBytes
	for _, d := range h.deltas {
		if d.epoch >= l.from && d.done {
			n++
			size += d.file.Size
		}
	}
	return n > h.maxDeltas || size > max(l.baseBytes, deltaBytesMin)
}

// inherit makes the files of a restored checkpoint what deltas follow on.
func (h *history) inherit(files []File) {
	l := lineage{files: files}
	for _, f := range files {
		if f.Kind == FileDelta {
			l.deltas++
			l.deltaBytes += f.Size
		} else {
			l.baseBytes += f.Size
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lineages = []lineage{l}
}

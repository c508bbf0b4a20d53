package state

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Limit is called before each part of a new base is uploaded, with its size in bytes, and may wait; an error ends the upload.
type Limit func(ctx context.Context, bytes int) error

// BaseBytesPerSecond is the rate at which a base is uploaded when nothing else is said.
const BaseBytesPerSecond = 50 << 20

// LimitTo is a Limit to a rate in bytes per second, at least 1, with bursts of a second. Those who share it share the rate. It is safe for use from many
// goroutines.
func LimitTo(rate int64) Limit {
	turn := make(chan time.Time, 1) // until when what was let through takes at the rate
	turn <- time.Time{}
	return func(ctx context.Context, bytes int) error {
		until := <-turn
		now := time.Now()
		if until.Before(now.Add(-time.Second)) {
			until = now.Add(-time.Second)
		}
		until = until.Add(time.Duration(float64(bytes) / float64(max(rate, 1)) * float64(time.Second)))
		turn <- until
		wait := until.Sub(now)
		if wait <= 0 {
			return context.Cause(ctx)
		}
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// baseWork is the part of history that makes a new base. A base is made in three steps: the task writes back what is dirty, the store lists
// its tables, and those that no earlier base or restore has stored are uploaded. It may take as long as it takes.
//
// An object of a base is named after the checkpoint that comes next and must stand in its list of pending objects. So a Write waits for the
// object that is being uploaded, and while it waits the rate is not limited.
type baseWork struct {
	limit      Limit
	making     bool
	later      Files  // where objects of a base go: safe until the checkpoint after that of laterEpoch
	laterEpoch uint64 // the latest that was written
	pending    []string
	uploading  bool               // an object is under way
	pausing    int                // Writes that wait for it or list what there is
	hurry      context.CancelFunc // lifts the limit of the object under way; nil when none is
	baseBytes  int64              // stored since the last Write
	baseErr    error              // why the last base failed, if it did since the last Write
}

// pauseBase waits until no object of a base is under way and keeps the next one from being begun until resumeBase.
func (h *history) pauseBase(ctx context.Context) error {
	h.mu.Lock()
	h.pausing++
	if h.hurry != nil {
		h.hurry()
	}
	h.mu.Unlock()
	return h.await(ctx, func() bool { return !h.uploading })
}

func (h *history) resumeBase() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pausing--
	h.notify()
}

// listBase says in w what has become of a new base, for the snapshot of an epoch that builds on l; what is uploaded from then on belongs to the
// checkpoint after files. The lock is held.
func (h *history) listBase(w *Written, epoch uint64, files Files) {
	w.Pending = slices.Clone(h.pending)
	for _, l := range h.lineages {
		if l.valid > epoch { // done, but too late for this snapshot
			for _, f := range l.files {
				if f.Name != "" {
					w.Pending = append(w.Pending, f.Name)
				}
			}
		}
	}
	w.BaseBytes, w.BaseError = h.baseBytes, h.baseErr
	h.baseBytes, h.baseErr = 0, nil
	if h.later == nil || epoch >= h.laterEpoch {
		h.later, h.laterEpoch = files.Later(), epoch
	}
}

// startBase makes a base of what the store has now, on which the deltas from the given epoch on follow.
func (h *history) startBase(from, elements uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wantBase.Store(false)
	if h.closed || h.err != nil {
		return
	}
	h.making = true
	h.work.Add(1)
	go func() {
		defer h.work.Done()
		h.makeBase(from, elements)
	}()
}

func (h *history) makeBase(from, elements uint64) {
	lo := appendHead(nil, h.groups.Start, 0)[:2]
	hi := appendHead(nil, h.groups.End, 0)[:2]
	files, err := h.store.Base(h.ctx, lo, hi, h.uploadBase)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.making, h.pending = false, nil
	if err != nil {
		h.baseErr = fmt.Errorf("state: make a base of operator %q subtask %d: %w", h.uid, h.subtask, err)
		return
	}
	// What was applied while the base was made may be in it: only snapshots that hold all of that can use it.
	l := lineage{files: files, from: from, valid: h.epoch}
	for i := range files {
		files[i].Kind, files[i].Elements = FileBase, max(files[i].Elements, elements)
		l.baseBytes += files[i].Size
	}
	h.lineages = append(h.lineages, l)
	h.prune()
	h.notify()
}

// uploadBase stores one table of a base.
func (h *history) uploadBase(ctx context.Context, groups GroupRange, fill func(w io.Writer) error) (File, error) {
	limited, hurry := context.WithCancel(ctx)
	defer hurry()
	var files Files
	err := h.await(ctx, func() bool {
		if h.pausing > 0 {
			return false
		}
		h.uploading, h.hurry, files = true, hurry, h.later
		return true
	})
	if err != nil {
		return File{}, err
	}
	f, err := files.Write(ctx, groups, 0, func(w io.Writer) error {
		return fill(&limitedWriter{ctx: ctx, limited: limited, limit: h.limit, w: w})
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploading, h.hurry = false, nil
	if err == nil {
		h.pending = append(h.pending, f.Name)
		h.baseBytes += f.Size
	}
	h.notify()
	return f, err
}

// limitedWriter writes at a limited rate until the context limited ends.
type limitedWriter struct {
	ctx, limited context.Context
	limit        Limit
	w            io.Writer
}

// limitedPart is how much passes a Limit at once.
const limitedPart = 256 << 10

// Write implements io.Writer.
func (l *limitedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), limitedPart)]
		if l.limited.Err() == nil {
			if err := l.limit(l.limited, len(part)); err != nil && l.limited.Err() == nil {
				return n, err
			}
		}
		if err := context.Cause(l.ctx); err != nil {
			return n, err
		}
		m, err := l.w.Write(part)
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}

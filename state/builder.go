package state

import "fmt"

// builder turns runs into tables, in a goroutine of its own. It is part of history, whose lock guards it.
type builder struct {
	jobs    []job
	queued  int64 // bytes in jobs
	running bool
	spare   []*deltaRun // emptied
}

// job is a run, or the end of a table.
type job struct {
	run   *deltaRun
	group int // absolute

	end      bool
	epoch    uint64
	last     bool // nothing else comes for the epoch
	elements uint64
}

const (
	// queuedBytesMax is how much may wait for the builder before the task stops to drain, and waits where it cannot stop.
	queuedBytesMax = 32 << 20
	// spareRuns and spareRunBytes bound what is kept to be used again.
	spareRuns     = 16
	spareRunBytes = 256 << 10
)

// put queues a job. The runs are in ascending order of groups within a table. It returns an empty run, or nil.
func (h *history) put(j job) *deltaRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.err != nil {
		return nil
	}
	h.jobs = append(h.jobs, j)
	if j.run != nil {
		h.queued += j.run.bytes()
	}
	if !h.running {
		h.running = true
		h.work.Add(1)
		go h.build()
	} else if len(h.jobs) == 1 {
		h.notify()
	}
	n := len(h.spare)
	if n == 0 {
		return nil
	}
	r := h.spare[n-1]
	h.spare = h.spare[:n-1]
	return r
}

// crowded reports whether the builder lags behind.
func (h *history) crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queued > queuedBytesMax
}

// catchUp waits until the builder does not lag behind.
func (h *history) catchUp() error {
	return h.await(h.ctx, func() bool { return h.queued <= queuedBytesMax })
}

// build works the jobs off until the history is closed or fails.
func (h *history) build() {
	defer h.work.Done()
	var t building
	for {
		var jobs []job
		err := h.await(h.ctx, func() bool {
			jobs, h.jobs = h.jobs, nil
			return len(jobs) > 0
		})
		for _, j := range jobs {
			if err == nil {
				err = t.do(h, j)
			}
		}
		if err != nil {
			if h.ctx.Err() == nil {
				h.fail(fmt.Errorf("state: build a delta of operator %q subtask %d: %w", h.uid, h.subtask, err))
			}
			if t.table != nil {
				_ = t.table.Remove() // the first error counts
			}
			return
		}
	}
}

// building is the table under way.
type building struct {
	table  Table // nil before the first run
	groups GroupRange
}

func (b *building) do(h *history, j job) (err error) {
	if !j.end {
		if b.table == nil {
			if b.table, err = h.store.NewTable(); err != nil {
				return err
			}
			b.groups.Start = j.group
		}
		b.groups.End = j.group + 1
		if err := j.run.emit(b.table); err != nil {
			return err
		}
		h.recycle(j.run)
		return nil
	}
	var d *delta
	if b.table != nil {
		if _, err := b.table.Finish(); err != nil {
			return err
		}
		d = &delta{epoch: j.epoch, table: b.table, file: File{Kind: FileDelta, Groups: b.groups, Elements: j.elements}}
		b.table = nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if d != nil {
		h.deltas = append(h.deltas, d)
	}
	if j.last {
		h.complete = j.epoch + 1
	}
	h.notify()
	return nil
}

// recycle takes a run back that has been written.
func (h *history) recycle(r *deltaRun) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.queued
	h.queued -= r.bytes()
	if was > queuedBytesMax && h.queued <= queuedBytesMax {
		h.notify()
	}
	if len(h.spare) < spareRuns && cap(r.buf) <= spareRunBytes {
		r.buf, r.changes = r.buf[:0], r.changes[:0]
		h.spare = append(h.spare, r)
	}
}

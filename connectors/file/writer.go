package file

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace-io/millrace/connectors"
)

// writer fills the files of one subtask. All of it belongs to the task's goroutine.
type writer[T any] struct {
	options Options[T]
	context connectors.WriterContext
	store   objects
	format  format
	name    func() string // random part of a staged name
	metrics writerMetrics

	open   map[int64]*openFile // by hour
	opened int64               // files opened so far
	buffer int                 // sum of openFile.buffer
	done   []*openFile         // ended and durable, not yet part of a checkpoint
	datum  []byte
}

const (
	hourMS = int64(time.Hour / time.Millisecond)
	// Event times that have a four-digit year.
	yearFirstMS = -62167219200000 // 0000-01-01T00:00:00Z
	yearEndMS   = 253402300800000 // 10000-01-01T00:00:00Z
)

// hourOf is the hour, counted from 1970 in UTC, that holds the time.
func hourOf(ms int64) int64 {
	h := ms / hourMS
	if ms%hourMS < 0 {
		h--
	}
	return h
}

func hourStart(hour int64) time.Time { return time.UnixMilli(hour * hourMS).UTC() }

// Write adds one record to the file of its hour.
func (w *writer[T]) Write(v T, m connectors.Meta) error {
	ms := m.TimestampMS
	if w.options.Time != nil {
		ms = w.options.Time(v).UnixMilli()
	}
	var err error
	if w.datum, err = w.options.Serde.Append(w.datum[:0], v); err != nil {
		return w.refuse(nil, m, fmt.Sprintf("file: the record cannot be encoded: %v", err))
	}
	if ms < yearFirstMS || ms >= yearEndMS {
		reason := fmt.Sprintf("file: event time %d ms is outside of the years 0 to 9999", ms)
		if ms == connectors.NoTimestamp {
			reason = "file: the record has no event time: give it one in the dataflow, or set Options.Time"
		}
		return w.refuse(slices.Clone(w.datum), m, reason)
	}
	f, err := w.fileOf(hourOf(ms))
	if err != nil {
		return err
	}
	if err := f.enc.append(w.datum); err != nil {
		return fmt.Errorf("file: writing %q: %w", f.file.Staged, err)
	}
	if f.file.Records == 0 || ms < f.file.FirstMS {
		f.file.FirstMS = ms
	}
	if f.file.Records == 0 || ms > f.file.LastMS {
		f.file.LastMS = ms
	}
	f.file.Records++
	f.buffer += len(w.datum)
	w.buffer += len(w.datum)
	return w.bound(f)
}

func (w *writer[T]) refuse(raw []byte, m connectors.Meta, reason string) error {
	w.metrics.refused.Inc()
	return w.context.DeadLetter(connectors.DeadLetter{
		UID: w.context.UID, Reason: reason, At: m.At, TimestampMS: m.TimestampMS, Raw: raw,
	})
}

// bound ends the file that was written to when it is large enough, and writes buffers out when all of them together are too large.
func (w *writer[T]) bound(f *openFile) error {
	if w.options.Format == Avro && f.buffer >= avroBlockBytes {
		w.unbuffer(f) // the encoder has written its block
	}
	if f.count.n+int64(f.buffer) >= w.options.FileBytes {
		// What is buffered counts in full although it will be compressed; only what is on disk ends a file for good.
		if err := f.enc.flush(); err != nil {
			return fmt.Errorf("file: writing %q: %w", f.file.Staged, err)
		}
		w.unbuffer(f)
		if f.count.n >= w.options.FileBytes-w.options.FileBytes/8 {
			return w.end(w.context.Ctx, f)
		}
	}
	for w.buffer > w.options.BufferBytes {
		largest := f
		for _, o := range w.open {
			if o.buffer > largest.buffer || o.buffer == largest.buffer && o.seq < largest.seq {
				largest = o
			}
		}
		if err := largest.enc.flush(); err != nil {
			return fmt.Errorf("file: writing %q: %w", largest.file.Staged, err)
		}
		w.unbuffer(largest)
	}
	return nil
}

func (w *writer[T]) unbuffer(f *openFile) {
	w.buffer -= f.buffer
	f.buffer = 0
	w.metrics.buffered.Set(float64(w.buffer))
}

// fileOf returns the open file of an hour. When one file too many would be open, the one opened first is ended.
func (w *writer[T]) fileOf(hour int64) (*openFile, error) {
	if f := w.open[hour]; f != nil {
		return f, nil
	}
	if len(w.open) >= w.options.OpenFiles {
		var oldest *openFile
		for _, f := range w.open {
			if oldest == nil || f.seq < oldest.seq {
				oldest = f
			}
		}
		if err := w.end(w.context.Ctx, oldest); err != nil {
			return nil, err
		}
	}
	name := path.Join(stagingOf(w.context.UID, w.context.Attempt), fmt.Sprintf("%d-%s", w.context.Subtask, w.name()))
	staged, err := w.store.stage(w.context.Ctx, name)
	if err != nil {
		return nil, err
	}
	w.opened++
	f := &openFile{file: stagedFile{Staged: name}, hour: hour, seq: w.opened, staged: staged, count: newCounter(staged)}
	if f.enc, err = w.format.encoder(f.count); err != nil {
		staged.abort()
		return nil, err
	}
	w.open[hour] = f
	w.metrics.open.Set(float64(len(w.open)))
	return f, nil
}

// end stores one open file.
func (w *writer[T]) end(ctx context.Context, f *openFile) error {
	w.unbuffer(f)
	delete(w.open, f.hour)
	if err := f.finish(ctx); err != nil {
		return err
	}
	w.done = append(w.done, f)
	w.stored(f)
	return nil
}

// stored counts a file that is durable.
func (w *writer[T]) stored(f *openFile) {
	w.metrics.files.Inc()
	w.metrics.bytes.Add(float64(f.file.Bytes))
	w.metrics.open.Set(float64(len(w.open)))
}

// Idle does nothing: files grow until the barrier.
func (w *writer[T]) Idle() error { return nil }

// prepareParallel is how many files of one subtask are stored at once at a barrier.
const prepareParallel = 8

// Prepare stores every open file, gives all files written since the last checkpoint their visible names and returns their list.
func (w *writer[T]) Prepare(ctx context.Context, id int64) ([][]byte, error) {
	if err := w.endAll(ctx); err != nil {
		return nil, err
	}
	if len(w.done) == 0 {
		return nil, nil
	}
	if err := w.store.settle(ctx, stagingOf(w.context.UID, w.context.Attempt)); err != nil {
		return nil, err
	}
	slices.SortFunc(w.done, func(a, b *openFile) int { return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.seq, b.seq)) })
	c := committable{Version: formatVersion, Attempt: w.context.Attempt, Subtask: w.context.Subtask}
	for n, f := range w.done {
		f.file.Path = partName(f.hour, id, w.context.Subtask, n, f.file.Staged, w.options.Format)
		c.Files = append(c.Files, f.file)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	// The checkpoint owns them from here on: Close must not touch them.
	w.done = nil
	return [][]byte{data}, nil
}

// endAll stores every open file.
func (w *writer[T]) endAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(prepareParallel)
	ended := make([]*openFile, 0, len(w.open))
	for _, f := range w.open {
		g.Go(func() error { return f.finish(ctx) })
		ended = append(ended, f)
	}
	clear(w.open)
	w.buffer = 0
	w.metrics.buffered.Set(0)
	w.done = append(w.done, ended...)
	if err := g.Wait(); err != nil {
		return err
	}
	for _, f := range ended {
		w.stored(f)
	}
	return nil
}

// Close gives up what no checkpoint has got. Files that cannot be removed now are orphans for the next start.
func (w *writer[T]) Close() error {
	var errs []error
	for _, f := range w.open {
		f.staged.abort()
	}
	clear(w.open)
	for _, f := range w.done {
		errs = append(errs, w.store.remove(w.context.Ctx, f.file.Staged))
	}
	w.done = nil
	return errors.Join(errs...)
}

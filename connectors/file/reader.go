package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// Bounds of one chunk and of how many wait between the fetching goroutine and Poll.
const (
	chunkRecords = 256
	chunkBytes   = 1 << 20
	chunksAhead  = 2
)

// chunk is a run of records of one split.
type chunk[T any] struct {
	split string
	first int64 // index of the first record
	items []item[T]
	last  bool // nothing of the split comes after it
}

// item is one record, or the reason why there is none.
type item[T any] struct {
	v   T
	err error  // of this record, or of the rest of the file
	raw []byte // of a record that cannot be decoded
}

// NewReader makes the reader of one subtask, with no splits.
func (s *Source[T]) NewReader(c connectors.Context) (connectors.Reader[T], error) {
	o := s.options
	var err error
	if o.Serde, err = derived(o.Serde); err != nil {
		return nil, err
	}
	store, err := s.connect()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader[T]{
		options: o, context: c, store: store, held: map[string]position{}, wake: make(chan struct{}, 1),
		chunks: make(chan chunk[T], chunksAhead), more: make(chan struct{}, 1), cancel: cancel,
	}
	r.fetching.Add(1)
	go r.fetch(ctx)
	return r, nil
}

// reader reads the files of one subtask one after another. A goroutine of its own fetches and decodes; everything else belongs to the
// task's goroutine.
type reader[T any] struct {
	options SourceOptions[T]
	context connectors.Context
	store   objects

	held  map[string]position // splits not finished
	chunk chunk[T]            // what Poll emits from

	wake     chan struct{}
	chunks   chan chunk[T]
	waiting  atomic.Int64  // chunks sent, not yet received
	more     chan struct{} // tells the goroutine that the queue has grown
	mu       sync.Mutex    // guards queue
	queue    []connectors.Split
	cancel   context.CancelFunc
	fetching sync.WaitGroup
}

// AddSplits queues files behind those that the reader has.
func (r *reader[T]) AddSplits(splits []connectors.Split) error {
	for _, s := range splits {
		var p position
		if err := json.Unmarshal(s.Position, &p); err != nil || p.Record < 0 {
			return fmt.Errorf("file: position %q of split %q of %q is damaged", s.Position, s.ID, r.context.UID)
		}
		r.held[s.ID] = p
	}
	r.mu.Lock()
	r.queue = append(r.queue, splits...)
	r.mu.Unlock()
	signal(r.more)
	return nil
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Wake holds a token when a chunk has arrived.
func (r *reader[T]) Wake() <-chan struct{} { return r.wake }

// Poll emits up to limit records of what was fetched.
func (r *reader[T]) Poll(out connectors.Output[T], limit int) (connectors.Status, error) {
	for n := 0; n < limit; {
		if r.chunk.split == "" {
			select {
			case r.chunk = <-r.chunks:
				r.waiting.Add(-1)
			default:
				return connectors.Idle, nil
			}
		}
		for len(r.chunk.items) > 0 && n < limit {
			if err := r.emit(out, r.chunk.items[0]); err != nil {
				return connectors.More, err
			}
			r.chunk.items = r.chunk.items[1:]
			p := r.held[r.chunk.split]
			p.Record++
			r.held[r.chunk.split] = p
			n++
		}
		if len(r.chunk.items) > 0 {
			return connectors.More, nil
		}
		split, last := r.chunk.split, r.chunk.last
		r.chunk = chunk[T]{}
		if last {
			delete(r.held, split)
			if err := out.Finished(split); err != nil {
				return connectors.More, err
			}
		}
	}
	if r.waiting.Load() > 0 {
		return connectors.More, nil
	}
	return connectors.Idle, nil
}

// emit hands over the record at the split's position.
func (r *reader[T]) emit(out connectors.Output[T], i item[T]) error {
	at := connectors.Coordinates{UID: r.context.UID, Split: r.chunk.split, Offset: r.held[r.chunk.split].Record}
	if i.err != nil {
		if r.options.OnCorrupt == FailCorrupt || !errors.Is(i.err, ErrCorrupt) {
			return i.err
		}
		return out.DeadLetter(connectors.DeadLetter{
			UID: r.context.UID, Reason: i.err.Error(), At: at, TimestampMS: connectors.NoTimestamp, Raw: i.raw,
		})
	}
	ms := int64(connectors.NoTimestamp)
	if r.options.Time != nil {
		ms = r.options.Time(i.v).UnixMilli()
	}
	return out.Emit(i.v, ms, at)
}

// Snapshot returns every split held with the index of its next record.
func (r *reader[T]) Snapshot() ([]connectors.Split, error) {
	splits := make([]connectors.Split, 0, len(r.held))
	for id, p := range r.held {
		splits = append(splits, connectors.Split{ID: id, Position: p.encode()})
	}
	return splits, nil
}

// CheckpointCompleted does nothing: nobody else needs to know the positions.
func (r *reader[T]) CheckpointCompleted(int64) {}

// Close ends the fetching goroutine.
func (r *reader[T]) Close() error {
	r.cancel()
	r.fetching.Wait()
	return nil
}

// fetch reads split after split until ctx ends.
func (r *reader[T]) fetch(ctx context.Context) {
	defer r.fetching.Done()
	for {
		r.mu.Lock()
		var next *connectors.Split
		if len(r.queue) > 0 {
			next, r.queue = &r.queue[0], r.queue[1:]
		}
		r.mu.Unlock()
		if next == nil {
			select {
			case <-r.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !r.read(ctx, *next) {
			return
		}
	}
}

// send hands a chunk to Poll; false when ctx ended.
func (r *reader[T]) send(ctx context.Context, c chunk[T]) bool {
	r.waiting.Add(1)
	select {
	case r.chunks <- c:
		signal(r.wake)
		return true
	case <-ctx.Done():
		return false
	}
}

// read sends the records of one split, from its position; false when ctx ended.
func (r *reader[T]) read(ctx context.Context, s connectors.Split) bool {
	var p position
	if err := json.Unmarshal(s.Position, &p); err != nil {
		return r.send(ctx, chunk[T]{split: s.ID, items: []item[T]{{err: err}}, last: true})
	}
	f, err := r.openSplit(ctx, s.ID, p)
	if err != nil {
		return r.send(ctx, chunk[T]{split: s.ID, first: p.Record, items: []item[T]{{err: err}}, last: true})
	}
	defer f.close()
	index := p.Record
	for {
		c := chunk[T]{split: s.ID, first: index}
		for bytes := 0; len(c.items) < chunkRecords && bytes < chunkBytes && !c.last; {
			datum, err := f.next(s.ID, index)
			switch {
			case err == io.EOF: // not errors.Is: damage may wrap one
				c.last = true
				continue
			case err != nil:
				c.items, c.last = append(c.items, item[T]{err: err}), true
				continue
			}
			bytes += len(datum)
			c.items = append(c.items, decode(f.serde, datum, s.ID, index))
			index++
		}
		if !r.send(ctx, c) {
			return false
		}
		if c.last {
			return true
		}
	}
}

// decode is the record of one datum.
func decode[T any](s serde.Serde[T], datum []byte, name string, index int64) item[T] {
	var i item[T]
	if err := s.Decode(datum, &i.v); err != nil {
		i.err = &CorruptFileError{Path: name, Record: index, Err: err}
		i.raw = append([]byte(nil), datum...)
	}
	return i
}

// openedFile is a file that is being read.
type openedFile[T any] struct {
	object *watched
	dec    decoder
	serde  serde.Serde[T]
}

func (f *openedFile[T]) close() {
	if c, ok := f.dec.(io.Closer); ok {
		_ = c.Close() // frees memory; there is nothing to lose when reading
	}
	_ = f.object.Close()
}

// watched remembers that reading the object failed, to tell trouble with the storage from a damaged file.
type watched struct {
	object
	err error
}

// ReadAt passes on and remembers.
func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.object.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// guard calls f and names what went wrong: the storage's error as it is, everything else as damage of the file. Decoders of the libraries
// beneath may panic on damaged bytes.
func (w *watched) guard(name string, record int64, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		switch {
		case err == nil || err == io.EOF: // not errors.Is: libraries wrap it when a file ends too early
		case w.err != nil:
			err = w.err
		default:
			err = &CorruptFileError{Path: name, Record: record, Err: err}
		}
	}()
	return f()
}

func (f *openedFile[T]) next(name string, record int64) (datum []byte, err error) {
	err = f.object.guard(name, record, func() (err error) {
		datum, err = f.dec.next()
		return err
	})
	return datum, err
}

// newDecoder begins to read a file of the format that its name tells. want is the schema to assume for a file that has none.
func newDecoder(name string, r io.ReaderAt, size int64, want string) (decoder, error) {
	if formatOf(name) == Parquet {
		d, err := newParquetDecoder(r, size, want)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	d, err := newAvroDecoder(io.NewSectionReader(r, 0, size), size)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// openSplit opens the file of a split and goes to its position.
func (r *reader[T]) openSplit(ctx context.Context, name string, p position) (*openedFile[T], error) {
	o, err := r.store.open(ctx, name)
	if errors.Is(err, errNotFound) && p.Staged != "" {
		if o, err = r.store.open(ctx, p.Staged); errors.Is(err, errNotFound) {
			o, err = r.store.open(ctx, name) // published in between
		}
	}
	if err != nil {
		return nil, err
	}
	f := &openedFile[T]{object: &watched{object: o}, serde: r.options.Serde}
	err = f.object.guard(name, p.Record, func() (err error) {
		if p.Bytes != 0 && p.Bytes != o.Size() {
			return fmt.Errorf("it has %d bytes, its manifest says %d", o.Size(), p.Bytes)
		}
		if f.dec, err = newDecoder(name, f.object, o.Size(), f.serde.Schema()); err != nil {
			return fmt.Errorf("it is no %v file: %w", formatOf(name), err)
		}
		if err := f.dec.skip(p.Record); errors.Is(err, io.EOF) {
			return fmt.Errorf("it has fewer than the %d records that were read from it before", p.Record)
		} else {
			return err
		}
	})
	if err == nil && !sameSchema(f.dec.schema(), f.serde.Schema()) {
		f.serde, err = serde.Resolve[T](f.dec.schema(), serde.WithSchema(f.serde.Schema()))
		if err != nil {
			err = fmt.Errorf("file: %q was written with another schema, which does not fit: %w", name, err)
		}
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

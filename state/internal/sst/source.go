package sst

import (
	"context"
	"sync"

	"github.com/cockroachdb/pebble/v2/objstorage"
)

// Source is the content of a table, open for reading at any place. state.Object is one.
type Source interface {
	// ReadAt fills p with the content from off on.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Size is that of the content in bytes.
	Size() int64
	// Close frees the source.
	Close() error
}

// tailBytes of a table are read first and at once: its index and footer stand there.
const tailBytes = 256 << 10

// input reads a Source for Pebble's table reader: the tail once, the rest in long pieces in sequence, the next of them while this one is decoded.
type input struct {
	ctx  context.Context
	src  Source
	size int64
	tail []byte // the last bytes of the content
	step int    // bytes a piece
	last int64  // offset of the last read, for errors

	buf    []byte
	off    int64
	ahead  chan error // of the piece that is being read; nil for none
	next   []byte
	nextAt int64
}

func newInput(ctx context.Context, src Source, step int) (*input, error) {
	in := &input{ctx: ctx, src: src, size: src.Size(), step: step}
	n := min(in.size, tailBytes)
	in.tail, in.last = make([]byte, n), in.size-n
	if err := src.ReadAt(ctx, in.tail, in.size-n); err != nil {
		return nil, err
	}
	return in, nil
}

// ReadAt serves from what was read ahead where it can.
func (in *input) ReadAt(ctx context.Context, p []byte, off int64) error {
	in.last = off
	if start := in.size - int64(len(in.tail)); off >= start {
		copy(p, in.tail[off-start:])
		return nil
	}
	for len(p) > 0 {
		if off >= in.off && off < in.off+int64(len(in.buf)) {
			n := copy(p, in.buf[off-in.off:])
			p, off = p[n:], off+int64(n)
			continue
		}
		if err := in.fill(ctx, off); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the piece that begins at off the current one, and has the next one read.
func (in *input) fill(ctx context.Context, off int64) error {
	if err := in.wait(); err != nil {
		return err
	}
	if in.nextAt == off && len(in.next) > 0 {
		in.buf, in.next, in.off = in.next, in.buf, off
	} else {
		in.buf, in.off = in.piece(in.buf, off), off
		if err := in.src.ReadAt(ctx, in.buf, off); err != nil {
			in.buf = in.buf[:0]
			return err
		}
	}
	in.nextAt = in.off + int64(len(in.buf))
	in.next = in.piece(in.next, in.nextAt)
	if len(in.next) == 0 {
		return nil
	}
	ahead := make(chan error, 1)
	in.ahead = ahead
	next, at := in.next, in.nextAt
	go func() { ahead <- in.src.ReadAt(in.ctx, next, at) }()
	return nil
}

// piece is buf with the length of the piece at off.
func (in *input) piece(buf []byte, off int64) []byte {
	n := int(min(int64(in.step), in.size-off))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	return buf[:n]
}

// wait is for the piece that is being read; one that failed is forgotten.
func (in *input) wait() error {
	if in.ahead == nil {
		return nil
	}
	err := <-in.ahead
	in.ahead = nil
	if err != nil {
		in.last, in.next = in.nextAt, in.next[:0]
	}
	return err
}

// Close waits for what is being read.
func (in *input) Close() error {
	_ = in.wait() // nobody needs it
	return in.src.Close()
}

func (in *input) Size() int64 { return in.size }

func (in *input) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	h := handles.Get().(*handle)
	h.in = in
	return h
}

// handle is all that Pebble asks for beside ReadAt.
type handle struct{ in *input }

var handles = sync.Pool{New: func() any { return new(handle) }}

func (h *handle) ReadAt(ctx context.Context, p []byte, off int64) error {
	return h.in.ReadAt(ctx, p, off)
}

func (h *handle) Close() error {
	h.in = nil
	handles.Put(h)
	return nil
}

func (h *handle) SetupForCompaction()                          {}
func (h *handle) RecordCacheHit(context.Context, int64, int64) {}

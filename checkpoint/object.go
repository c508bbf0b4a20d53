package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// opener is implemented by Objects whose objects are local files.
type opener interface {
	// open opens the object; ErrNotFound when there is none.
	open(name string) (*os.File, error)
}

// chunkBuffers are buffers for chunks of which only a part was asked for.
var chunkBuffers = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// localObject is an object in a directory. A chunk is checked when it is first touched; later reads read what is asked and nothing more.
type localObject struct {
	file    *os.File
	sums    *sumTable
	checked []atomic.Uint32 // a bit for each chunk
}

func openLocal(o opener, name string, sums *sumTable) (*localObject, error) {
	file, err := o.open(name)
	if err != nil {
		return nil, missing(sums.object, sums.size, err)
	}
	return &localObject{file: file, sums: sums, checked: make([]atomic.Uint32, (chunkCount(sums.size)+31)/32)}, nil
}

// ReadAt implements state.Object.
func (l *localObject) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > l.sums.size {
		return outside(l.sums.object, off, len(p), l.sums.size)
	}
	if len(p) == 0 {
		return nil
	}
	for i := off / chunkBytes; i*chunkBytes < off+int64(len(p)); i++ {
		if l.checked[i/32].Load()&(1<<(i%32)) != 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := l.check(i); err != nil {
			return err
		}
		// Two readers may check one chunk at once: both come to the same result.
		l.checked[i/32].Or(1 << (i % 32))
	}
	return l.read(p, off)
}

// check reads chunk i and compares its checksum.
func (l *localObject) check(i int64) error {
	buf := chunkBuffers.Get().(*[chunkBytes]byte)
	defer chunkBuffers.Put(buf)
	chunk := buf[:min(chunkBytes, l.sums.size-i*chunkBytes)]
	if err := l.read(chunk, i*chunkBytes); err != nil {
		return err
	}
	return l.sums.check(i*chunkBytes, chunk)
}

func (l *localObject) read(p []byte, off int64) error {
	n, err := l.file.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return corruptFile(l.sums.object, off+int64(n), int64(len(p)-n), "it ends here, in the middle of its content")
	}
	return fmt.Errorf("checkpoint: read of %q at %d: %w", l.sums.object, off, err)
}

// Size implements state.Object.
func (l *localObject) Size() int64 { return l.sums.size }

// Local implements state.Object.
func (l *localObject) Local() bool { return true }

// Close implements state.Object.
func (l *localObject) Close() error { return l.file.Close() }

// remoteObject is an object in an object store: each read is one request for the chunks that it touches.
type remoteObject struct {
	s    *store
	name string
	sums *sumTable
}

// ReadAt implements state.Object.
func (r *remoteObject) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > r.sums.size {
		return outside(r.sums.object, off, len(p), r.sums.size)
	}
	if len(p) == 0 {
		return nil
	}
	start, end := r.sums.span(off, int64(len(p)))
	switch {
	case start == off && end == off+int64(len(p)):
		return r.read(ctx, p, start)
	case end-start <= chunkBytes:
		buf := chunkBuffers.Get().(*[chunkBytes]byte)
		defer chunkBuffers.Put(buf)
		return r.readPart(ctx, p, off-start, buf[:end-start], start)
	}
	return r.readPart(ctx, p, off-start, make([]byte, end-start), start)
}

func (r *remoteObject) readPart(ctx context.Context, p []byte, skip int64, buf []byte, start int64) error {
	if err := r.read(ctx, buf, start); err != nil {
		return err
	}
	copy(p, buf[skip:])
	return nil
}

// read reads whole chunks and checks them.
func (r *remoteObject) read(ctx context.Context, p []byte, off int64) error {
	n, err := r.s.readRange(ctx, r.name, off, p)
	if err != nil {
		return missing(r.sums.object, r.sums.size, err)
	}
	if n < len(p) {
		return corruptFile(r.sums.object, off+int64(n), int64(len(p)-n), "it ends here, in the middle of its content")
	}
	return r.sums.check(off, p)
}

// Size implements state.Object.
func (r *remoteObject) Size() int64 { return r.sums.size }

// Local implements state.Object.
func (r *remoteObject) Local() bool { return false }

// Close implements state.Object.
func (r *remoteObject) Close() error { return nil }

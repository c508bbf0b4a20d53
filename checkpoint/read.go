package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/millrace-io/millrace/state"
)

// readWholeMax is the size up to which an object is read by one request, table of checksums and all, instead of the table first.
const readWholeMax = 256 << 10

// Read implements state.Files. What it returns has been checked chunk by chunk; the SHA-256 is compared at the end.
func (f *files) Read(ctx context.Context, h state.File) (io.ReadCloser, error) {
	if h.Name == "" {
		c, err := inlineContent(h)
		return io.NopCloser(bytes.NewReader(c)), err
	}
	object, err := f.dataObject(h)
	if err != nil {
		return nil, err
	}
	if h.Sums == "" {
		return f.readPlain(ctx, h, object)
	}
	if h.Size+sumsSize(h.Size) <= readWholeMax {
		c, err := f.readWhole(ctx, h, object)
		return io.NopCloser(bytes.NewReader(c)), err
	}
	sums, err := f.sums(ctx, h, object)
	if err != nil {
		return nil, err
	}
	return newChunkReader(ctx, f.s, h, sums), nil
}

// Open implements state.Files.
func (f *files) Open(ctx context.Context, h state.File) (state.Object, error) {
	if h.Name == "" {
		return inlineContent(h)
	}
	object, err := f.dataObject(h)
	if err != nil {
		return nil, err
	}
	if h.Sums == "" {
		r, err := f.readPlain(ctx, h, object)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		return content(data), nil
	}
	sums, err := f.sums(ctx, h, object)
	if err != nil {
		return nil, err
	}
	if o, ok := f.s.o.(opener); ok {
		return openLocal(o, h.Name, sums)
	}
	return &remoteObject{s: f.s, name: h.Name, sums: sums}, nil
}

// dataObject checks the handle of an object and gives its URL.
func (f *files) dataObject(h state.File) (string, error) {
	object := f.s.object(h.Name)
	if n, ok := parseName(h.Name); !ok || n.dir != dataDir {
		return "", &CorruptError{Object: object, Reason: "it is not the name of a state file"}
	}
	if h.Size < 0 || h.Size > objectBytesMax {
		return "", &CorruptError{Object: object, Reason: fmt.Sprintf("the manifest says that it has %d bytes", h.Size)}
	}
	return object, nil
}

// missing makes an error about an object that the manifest names out of ErrNotFound.
func missing(object string, size int64, err error) error {
	if errors.Is(err, ErrNotFound) {
		return corruptFile(object, 0, size, "the state file is missing")
	}
	return fmt.Errorf("checkpoint: cannot read %q: %w", object, err)
}

// sums reads the table of checksums.
func (f *files) sums(ctx context.Context, h state.File, object string) (*sumTable, error) {
	tail := make([]byte, sumsSize(h.Size)+1)
	n, err := f.s.readRange(ctx, h.Name, h.Size, tail)
	if err != nil {
		return nil, missing(object, h.Size, err)
	}
	return parseSums(object, h, tail[:n])
}

// readWhole reads a small object by one request.
func (f *files) readWhole(ctx context.Context, h state.File, object string) (content, error) {
	data := make([]byte, h.Size+sumsSize(h.Size)+1)
	n, err := f.s.readRange(ctx, h.Name, 0, data)
	if err != nil {
		return nil, missing(object, h.Size, err)
	}
	data = data[:n]
	sums, err := parseSums(object, h, data[min(int(h.Size), n):])
	if err != nil {
		return nil, err
	}
	data = data[:h.Size]
	if err := sums.check(0, data); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != h.SHA256 {
		return nil, corruptSHA(object, h, sum[:])
	}
	return data, nil
}

func corruptSHA(object string, h state.File, sum []byte) error {
	return corruptFile(object, 0, h.Size, fmt.Sprintf("its SHA-256 is %x, the manifest says %s", sum, h.SHA256))
}

// content is an object in memory.
type content []byte

func (c content) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(c)) {
		return outside("content", off, len(p), int64(len(c)))
	}
	copy(p, c[off:])
	return nil
}

func (c content) Size() int64  { return int64(len(c)) }
func (c content) Local() bool  { return true }
func (c content) Close() error { return nil }

func outside(object string, off int64, n int, size int64) error {
	return fmt.Errorf("checkpoint: read of %d bytes at %d of %q, which has %d", n, off, object, size)
}

// chunkReader reads an object with checksums from its start.
type chunkReader struct {
	s      *store
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer // cancels ctx when a chunk does not come
	file   state.File
	sums   *sumTable
	body   io.ReadCloser // nil: to be opened at off
	breaks int           // of the connection, since the last whole chunk
	hash   hash.Hash
	buf    []byte
	off    int64  // what was checked
	rest   []byte // of what was checked and not yet handed over
	err    error
}

// errStalled is why a connection is given up over which nothing comes any more.
var errStalled = fmt.Errorf("checkpoint: no data for %v (%w)", attemptMin, ErrTransient)

func newChunkReader(ctx context.Context, s *store, h state.File, sums *sumTable) *chunkReader {
	return &chunkReader{s: s, ctx: ctx, file: h, sums: sums, hash: sha256.New(), buf: make([]byte, chunkBytes)}
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next gives the next chunk, and io.EOF behind the last one.
func (r *chunkReader) next() ([]byte, error) {
	if r.off == r.file.Size {
		if sum := r.hash.Sum(nil); hex.EncodeToString(sum) != r.file.SHA256 {
			return nil, corruptSHA(r.sums.object, r.file, sum)
		}
		return nil, io.EOF
	}
	chunk := r.buf[:min(chunkBytes, r.file.Size-r.off)]
	for n := 0; n < len(chunk); {
		k, err := r.fill(chunk[n:], r.off+int64(n))
		n += k
		switch {
		case n == len(chunk):
		case err == io.EOF: // itself: a wrapped one is a connection that was closed
			return nil, corruptFile(r.sums.object, r.off+int64(n), r.file.Size-r.off-int64(n), "it ends here, in the middle of its content")
		case err != nil:
			if r.breaks++; r.breaks > readBreaksMax || r.ctx.Err() != nil {
				return nil, fmt.Errorf("checkpoint: read of %q at %d: %w", r.sums.object, r.off+int64(n), err)
			}
			r.drop()
		}
	}
	r.breaks = 0
	if err := r.sums.check(r.off, chunk); err != nil {
		return nil, err
	}
	r.hash.Write(chunk)
	r.off += int64(len(chunk))
	return chunk, nil
}

// readBreaksMax is how often a connection may break off before a whole chunk has come.
const readBreaksMax = 4

// fill reads some bytes of the content at off. The connection is given up when nothing comes for a while.
func (r *chunkReader) fill(p []byte, off int64) (int, error) {
	if r.body == nil {
		ctx, cancel := context.WithCancelCause(r.ctx)
		r.cancel = cancel
		r.stall = time.AfterFunc(attemptMin, func() { cancel(errStalled) })
		err := r.s.retry(r.ctx, "get", r.file.Name, 0, func(context.Context) (err error) {
			// The time limit of a try would end the reading of the body too.
			r.stall.Reset(attemptMin)
			r.body, err = r.s.o.GetRange(ctx, r.file.Name, off, r.file.Size-off)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	r.stall.Reset(attemptMin)
	n, err := r.body.Read(p)
	r.stall.Stop()
	return n, err
}

// drop gives the connection up.
func (r *chunkReader) drop() {
	if r.body != nil {
		_ = r.body.Close() // it has failed already
		r.body = nil
	}
	if r.cancel != nil {
		r.stall.Stop()
		r.cancel(nil)
		r.cancel = nil
	}
}

// Close implements io.Closer.
func (r *chunkReader) Close() (err error) {
	if r.body != nil {
		err, r.body = r.body.Close(), nil
	}
	r.drop()
	return err
}

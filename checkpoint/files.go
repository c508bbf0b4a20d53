package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/millrace-io/millrace/state"
)

// Files gives the objects of checkpoint id. Names carry the epoch, the id and a random part, so that whatever a stopped attempt
// still writes never touches what a later one has written. It may be used from many goroutines.
func (j *Journal) Files(id int64) state.Files {
	return &files{s: j.s, epoch: j.Epoch(), id: id}
}

type files struct {
	s         *store
	epoch, id int64 // epoch 0: read-only
}

func (f *files) Write(ctx context.Context, groups state.GroupRange, _ int, fill func(w io.Writer) error) (state.File, error) {
	if f.epoch == 0 {
		return state.File{}, fmt.Errorf("checkpoint: storage %s was opened to read", f.s.url)
	}
	name := fmt.Sprintf("%s/%d-%d-%s", dataDir, f.epoch, f.id, rand.Text())
	sp := spool{hash: sha256.New(), temp: func() (*os.File, error) { return os.CreateTemp("", "millrace-checkpoint-*") }}
	if o, ok := f.s.o.(spooler); ok {
		sp.temp = func() (*os.File, error) { return o.spool(name) }
	}
	defer sp.close()
	if err := fill(&sp); err != nil {
		return state.File{}, err
	}
	h := state.File{Name: name, Size: sp.size, SHA256: hex.EncodeToString(sp.hash.Sum(nil)), Groups: groups}
	body, err := sp.body()
	if err != nil {
		return state.File{}, err
	}
	if err := f.s.put(ctx, h.Name, body, h.Size, h.SHA256); err != nil {
		return state.File{}, err
	}
	return h, nil
}

// spoolBytesMax is how much of a file is kept in memory; a larger one goes through a temporary file, since a further try has to be
// able to send it again, and an object store wants to know the size first.
const spoolBytesMax = 8 << 20

// spooler is implemented by Objects that have a better place for a large file than TMPDIR.
type spooler interface {
	// spool makes the temporary file that is going to be Put as the object name. The caller closes and removes it.
	spool(name string) (*os.File, error)
}

type spool struct {
	temp func() (*os.File, error)
	hash hash.Hash
	buf  bytes.Buffer
	file *os.File
	size int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.buf.Len()+len(p) > spoolBytesMax {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	var n int
	var err error
	if s.file != nil {
		n, err = s.file.Write(p)
	} else {
		n, err = s.buf.Write(p)
	}
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *spool) spill() error {
	file, err := s.temp()
	if err != nil {
		return fmt.Errorf("checkpoint: no temporary file for a large state file: %w; its directory (TMPDIR for S3) needs room", err)
	}
	s.file = file
	_, err = s.buf.WriteTo(file)
	s.buf = bytes.Buffer{}
	return err
}

func (s *spool) body() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes()), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *spool) close() {
	if s.file != nil {
		// What fails here leaves a file in TMPDIR and nothing else.
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}

func (f *files) Read(ctx context.Context, h state.File) (io.ReadCloser, error) {
	object := f.s.object(h.Name)
	if n, ok := parseName(h.Name); !ok || n.dir != dataDir {
		return nil, &CorruptError{Object: object, Reason: "it is not the name of a state file"}
	}
	open := func() (body io.ReadCloser, err error) {
		// The time limit of a try would end the reading of the body too: only ctx bounds it.
		err = f.s.retry(ctx, "get", h.Name, h.Size, func(context.Context) (err error) {
			body, _, err = f.s.o.Get(ctx, h.Name)
			return err
		})
		return body, err
	}
	body, err := open()
	if errors.Is(err, ErrNotFound) {
		return nil, &CorruptError{Object: object, Reason: "the state file is missing", Remedy: "restore it from a copy, or start from another checkpoint"}
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: cannot read %q: %w", object, err)
	}
	return &verifyingReader{ctx: ctx, body: body, open: open, file: h, object: object, hash: sha256.New()}, nil
}

// Later implements state.Files.
func (f *files) Later() state.Files { return &files{s: f.s, epoch: f.epoch, id: f.id + 1} }

// Open implements state.Files.
func (f *files) Open(ctx context.Context, h state.File) (state.Object, error) {
	r, err := f.Read(ctx, h)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return content(data), nil
}

// content is an object in memory.
type content []byte

func (c content) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(c)) {
		return fmt.Errorf("checkpoint: read of %d bytes at %d of an object of %d", len(p), off, len(c))
	}
	copy(p, c[off:])
	return nil
}

func (c content) Size() int64  { return int64(len(c)) }
func (c content) Local() bool  { return true }
func (c content) Close() error { return nil }

// verifyingReader passes content on and compares size and checksum at the end.
type verifyingReader struct {
	ctx    context.Context
	body   io.ReadCloser
	open   func() (io.ReadCloser, error) // from the start
	breaks int                           // of the connection
	file   state.File
	object string
	hash   hash.Hash
	n      int64
	err    error
}

func (r *verifyingReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	switch {
	case r.n > r.file.Size:
		r.err = r.corrupt(fmt.Sprintf("it is longer than the %d bytes that the manifest says", r.file.Size))
		return 0, r.err
	case errors.Is(err, io.EOF):
		if r.err = r.verify(); r.err == nil {
			r.err = io.EOF
		}
	case err != nil:
		if r.err = r.reopen(err); r.err == nil {
			return n, nil
		}
	}
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return n, r.err
	}
	return n, err
}

// readBreaksMax is how often the reading of one file may break off: without further tries a long file would never get through a
// connection that is reset now and then.
const readBreaksMax = 4

// reopen goes on where the body broke off with cause. Objects have no ranges, so what was read is read again and thrown away.
func (r *verifyingReader) reopen(cause error) error {
	cause = fmt.Errorf("checkpoint: read of %q after %d bytes: %w", r.object, r.n, cause)
	if r.breaks++; r.breaks > readBreaksMax || r.ctx.Err() != nil {
		return cause
	}
	body, err := r.open()
	if err != nil {
		return errors.Join(cause, err)
	}
	_ = r.body.Close() // it has failed already
	r.body = body
	if _, err := io.CopyN(io.Discard, body, r.n); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

func (r *verifyingReader) verify() error {
	if r.n != r.file.Size {
		return r.corrupt(fmt.Sprintf("it has %d bytes, the manifest says %d", r.n, r.file.Size))
	}
	if sum := hex.EncodeToString(r.hash.Sum(nil)); sum != r.file.SHA256 {
		return r.corrupt(fmt.Sprintf("its SHA-256 is %s, the manifest says %s", sum, r.file.SHA256))
	}
	return nil
}

func (r *verifyingReader) corrupt(reason string) error {
	return &CorruptError{Object: r.object, Reason: reason, Remedy: "restore it from a copy, or start from another checkpoint"}
}

func (r *verifyingReader) Close() error { return r.body.Close() }

package statetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"github.com/millrace-io/millrace/state"
)

// Files is a state.Files in memory. It is safe for use from many goroutines. The zero value is ready.
type Files struct {
	mu      sync.Mutex
	objects map[string][]byte
	states  []state.Descriptor // of the last operator whose snapshot Store has stored
}

// Write stores one object; nothing is kept inline, so that tests can get at all of it.
func (f *Files) Write(ctx context.Context, groups state.GroupRange, _ int, fill func(w io.Writer) error) (state.File, error) {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return state.File{}, err
	}
	if err := ctx.Err(); err != nil {
		return state.File{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		f.objects = map[string][]byte{}
	}
	name := fmt.Sprintf("file-%04d", len(f.objects))
	f.objects[name] = b.Bytes()
	sum := sha256.Sum256(b.Bytes())
	return state.File{Name: name, Size: int64(b.Len()), SHA256: hex.EncodeToString(sum[:]), Groups: groups}, nil
}

// Read opens the object. It does not check size and checksum, so that tests see what the reader of the format notices by itself.
func (f *Files) Read(_ context.Context, h state.File) (io.ReadCloser, error) {
	b, ok := f.Bytes(h.Name)
	if !ok {
		return nil, fmt.Errorf("statetest: there is no object %q", h.Name)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// Later is f: nothing is ever removed.
func (f *Files) Later() state.Files { return f }

// Open opens the object, without any check.
func (f *Files) Open(_ context.Context, h state.File) (state.Object, error) {
	b, ok := f.Bytes(h.Name)
	if !ok {
		return nil, fmt.Errorf("statetest: there is no object %q", h.Name)
	}
	return object(b), nil
}

type object []byte

func (o object) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(o)) {
		return fmt.Errorf("statetest: read of %d bytes at %d of an object of %d", len(p), off, len(o))
	}
	copy(p, o[off:])
	return nil
}

func (o object) Size() int64  { return int64(len(o)) }
func (o object) Local() bool  { return true }
func (o object) Close() error { return nil }

// From is the Restore of handles that Store has returned for the last operator.
func (f *Files) From(handles []state.File) state.Restore {
	f.mu.Lock()
	defer f.mu.Unlock()
	return state.Restore{Files: f, Handles: handles, States: f.states}
}

// Handles are the files of what Snapshot.Write returned.
func Handles(w state.Written, err error) ([]state.File, error) { return w.Files, err }

// of is From for handles that were written with the given number of key groups.
func (f *Files) of(maxParallelism int, handles []state.File) state.Restore {
	r := f.From(handles)
	r.MaxParallelism = maxParallelism
	return r
}

// Entries calls fn for every entry in handles.
func (f *Files) Entries(handles []state.File, fn func(state.Entry) error) error {
	_, err := state.ReadEntries(context.Background(), f.From(handles), state.GroupRange{End: state.DefaultMaxParallelism},
		func(_ []state.Descriptor, e state.Entry) error { return fn(e) })
	return err
}

// Bytes is the content of an object, not a copy.
func (f *Files) Bytes(name string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.objects[name]
	return b, ok
}

// Replace changes the content of an object, as a damaged disk would.
func (f *Files) Replace(name string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[name] = content
}

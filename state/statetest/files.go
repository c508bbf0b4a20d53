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
}

// Write stores one object.
func (f *Files) Write(ctx context.Context, groups state.GroupRange, fill func(w io.Writer) error) (state.File, error) {
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

package pebblestate_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/state"
)

// remoteFiles is a storage in memory that is far away: each request takes its time, and may fail.
type remoteFiles struct {
	latency     time.Duration
	bytesPerSec int64 // of one request; 0: no limit
	local       bool  // Object.Local
	inline      bool  // keep content of up to the wanted size in the handle
	fault       func(name string, off int64, n int) error

	requests atomic.Int64
	bytes    atomic.Int64
	open     atomic.Int64 // objects open at present

	mu      sync.Mutex
	objects map[string][]byte
}

func (r *remoteFiles) put(content []byte) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objects == nil {
		r.objects = map[string][]byte{}
	}
	name := fmt.Sprintf("sst/%d-%04d", 1, len(r.objects))
	r.objects[name] = content
	return name
}

func (r *remoteFiles) get(name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.objects[name]
	if !ok {
		return nil, fmt.Errorf("there is no object %q", name)
	}
	return b, nil
}

func (r *remoteFiles) Write(_ context.Context, groups state.GroupRange, inline int, fill func(w io.Writer) error) (state.File, error) {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return state.File{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	f := state.File{Size: int64(b.Len()), SHA256: hex.EncodeToString(sum[:]), Groups: groups}
	if r.inline && b.Len() <= inline {
		f.Inline = b.Bytes()
	} else {
		f.Name = r.put(b.Bytes())
	}
	return f, nil
}

func (r *remoteFiles) Read(_ context.Context, f state.File) (io.ReadCloser, error) {
	b, err := r.get(f.Name)
	return io.NopCloser(bytes.NewReader(b)), err
}

func (r *remoteFiles) Open(_ context.Context, f state.File) (state.Object, error) {
	if f.Name == "" {
		return nil, errors.New("open of an object that is inline")
	}
	if _, err := r.get(f.Name); err != nil {
		return nil, err
	}
	r.open.Add(1)
	return &remoteObject{r, f}, nil
}

func (r *remoteFiles) Later() state.Files { return r }

type remoteObject struct {
	r *remoteFiles
	f state.File
}

func (o *remoteObject) ReadAt(ctx context.Context, p []byte, off int64) error {
	o.r.requests.Add(1)
	o.r.bytes.Add(int64(len(p)))
	d := o.r.latency
	if o.r.bytesPerSec > 0 {
		d += time.Duration(int64(len(p)) * int64(time.Second) / o.r.bytesPerSec)
	}
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if o.r.fault != nil {
		if err := o.r.fault(o.f.Name, off, len(p)); err != nil {
			return err
		}
	}
	b, err := o.r.get(o.f.Name)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(len(p)) > int64(len(b)) {
		return fmt.Errorf("read of %d bytes at %d of object %q of %d", len(p), off, o.f.Name, len(b))
	}
	copy(p, b[off:])
	return nil
}

func (o *remoteObject) Size() int64 { return o.f.Size }
func (o *remoteObject) Local() bool { return o.r.local }
func (o *remoteObject) Close() error {
	o.r.open.Add(-1)
	return nil
}

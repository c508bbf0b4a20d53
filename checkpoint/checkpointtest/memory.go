// Package checkpointtest helps to test what stands on checkpoints: a storage in memory with faults on demand, and the conformance
// suite that every checkpoint.Storage has to pass.
package checkpointtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/checkpoint"
)

// Fault is what happens to one call of a Memory storage.
type Fault int

const (
	// OK lets the call through.
	OK Fault = iota
	// Refuse fails the call for good, without effect: access denied, bucket gone.
	Refuse
	// Fail fails the call without effect; another try may succeed (a 503, a connection refused).
	Fail
	// Lose carries the call out and loses the answer (a connection reset after the request).
	Lose
	// Delay fails the call and carries it out later, before the next but one call of anyone: a request that overtook its own timeout.
	Delay
)

// Call describes one call to the fault function.
type Call struct {
	Op   string // "put", "swap", "get", "list" or "delete"
	Name string // of the object, or the prefix of a list
	N    int    // number of the call since NewMemory, from 0
}

// ErrRefused is the error of Refuse.
var ErrRefused = errors.New("checkpointtest: refused")

// Memory is a checkpoint.Storage in memory. All leaders that use the same *Memory share it. It may be used from many goroutines.
type Memory struct {
	name string

	mu      sync.Mutex
	objects map[string]object
	tags    int
	calls   int
	fault   func(Call) Fault
	late    []func()
	lateAge int
}

type object struct {
	data []byte
	tag  string
}

// NewMemory makes an empty storage; name appears in its URL.
func NewMemory(name string) *Memory { return &Memory{name: name, objects: map[string]object{}} }

// SetFault makes f decide about every call from now on; nil ends all faults. f is called with a lock held and must not call m.
func (m *Memory) SetFault(f func(Call) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Calls is the number of calls so far.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// Names lists all objects, sorted.
func (m *Memory) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names("")
}

func (m *Memory) names(prefix string) []string {
	var out []string
	for n := range m.objects {
		if strings.HasPrefix(n, prefix) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Change replaces the content of an object behind the back of its users, as bit rot does; nil removes it. change must not keep its
// argument. It reports whether the object exists.
func (m *Memory) Change(name string, change func(data []byte) []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return false
	}
	if o.data = change(bytes.Clone(o.data)); o.data == nil {
		delete(m.objects, name)
		return true
	}
	m.objects[name] = o
	return true
}

// Validate finds no fault.
func (m *Memory) Validate() error { return nil }

// Open returns m itself.
func (m *Memory) Open(context.Context) (checkpoint.Objects, error) { return m, nil }

// URL is "memory://name". checkpoint.OpenURL does not know it: two processes cannot share it.
func (m *Memory) URL() string { return "memory://" + m.name }

// call carries out effect as the fault of this call says.
func (m *Memory) call(ctx context.Context, op, name string, effect func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if m.lateAge++; len(m.late) > 0 && m.lateAge > 1 {
		for _, f := range m.late {
			f()
		}
		m.late = nil
	}
	f := OK
	if m.fault != nil {
		f = m.fault(Call{Op: op, Name: name, N: m.calls})
	}
	m.calls++
	lost := fmt.Errorf("checkpointtest: %s of %q: no answer: %w", op, name, checkpoint.ErrTransient)
	switch f {
	case Refuse:
		return fmt.Errorf("%s of %q: %w", op, name, ErrRefused)
	case Fail:
		return lost
	case Lose:
		_ = effect() // whether it worked is what nobody learns
		return lost
	case Delay:
		m.late, m.lateAge = append(m.late, func() { _ = effect() }), 0
		return lost
	}
	return effect()
}

// Put implements checkpoint.Objects.
func (m *Memory) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if err := checkpoint.ValidName(name); err != nil {
		return err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if int64(len(data)) != size {
		return fmt.Errorf("checkpointtest: put of %q: body has %d bytes, want %d", name, len(data), size)
	}
	return m.call(ctx, "put", name, func() error {
		if _, ok := m.objects[name]; ok {
			return fmt.Errorf("checkpointtest: %q: %w", name, checkpoint.ErrExists)
		}
		m.store(name, data)
		return nil
	})
}

func (m *Memory) store(name string, data []byte) string {
	m.tags++
	tag := fmt.Sprint(m.tags)
	m.objects[name] = object{data: bytes.Clone(data), tag: tag}
	return tag
}

// Swap implements checkpoint.Objects.
func (m *Memory) Swap(ctx context.Context, name, tag string, data []byte) (newTag string, err error) {
	data = bytes.Clone(data)
	err = m.call(ctx, "swap", name, func() error {
		if o := m.objects[name]; o.tag != tag {
			return fmt.Errorf("checkpointtest: %q: %w", name, checkpoint.ErrConflict)
		}
		newTag = m.store(name, data)
		return nil
	})
	if err != nil {
		return "", err
	}
	return newTag, nil
}

// Get implements checkpoint.Objects.
func (m *Memory) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	var o object
	err := m.call(ctx, "get", name, func() error {
		var ok bool
		if o, ok = m.objects[name]; !ok {
			return fmt.Errorf("checkpointtest: %q: %w", name, checkpoint.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return memoryBody{bytes.NewReader(o.data)}, o.tag, nil
}

type memoryBody struct{ *bytes.Reader }

func (memoryBody) Close() error { return nil }

// GetRange implements checkpoint.Objects. Its Call has the Op "get".
func (m *Memory) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 {
		return nil, fmt.Errorf("checkpointtest: range of %d bytes at %d of %q", n, off, name)
	}
	body, _, err := m.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(body.(io.ReaderAt), off, n)), nil
}

// List implements checkpoint.Objects.
func (m *Memory) List(ctx context.Context, prefix string) (names []string, err error) {
	err = m.call(ctx, "list", prefix, func() error {
		names = m.names(prefix)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// Delete implements checkpoint.Objects.
func (m *Memory) Delete(ctx context.Context, name string) error {
	return m.call(ctx, "delete", name, func() error {
		delete(m.objects, name)
		return nil
	})
}

package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

// fate is what becomes of one call to the storage.
type fate int

const (
	fateOK    fate = iota
	fateFail       // no effect, and an error that may be gone at a further try
	fateLose       // carried out, but the answer is lost
	fateDelay      // the caller is told of a failure, and the effect comes at any later time
	fateDie        // the process is dead: no effect, now and for ever
)

var errDead = errors.New("the process is dead")

// turn is a call that waits to be let through. Everything between two calls of a goroutine is as if it happened at once, and a call may come
// arbitrarily late: a process that is not chosen for a while is a zombie.
type turn struct {
	process  *process
	op, name string
	fate     chan fate
	done     chan struct{}
}

// simStore is the storage as one process sees it.
type simStore struct {
	*checkpointtest.Memory // URL and Validate
	w                      *world
	p                      *process
}

func (s *simStore) Open(context.Context) (checkpoint.Objects, error) { return s, nil }

// call waits for its turn and has effect happen as its fate says.
func (s *simStore) call(op, name string, effect func() error) error {
	t := &turn{process: s.p, op: op, name: name, fate: make(chan fate), done: make(chan struct{})}
	s.w.mu.Lock()
	s.w.asking = append(s.w.asking, t)
	s.w.mu.Unlock()
	f := <-t.fate
	defer close(t.done)
	err := fmt.Errorf("%s of %q: no answer: %w", op, name, checkpoint.ErrTransient)
	switch f {
	case fateOK:
		return effect()
	case fateLose:
		_ = effect() // whether it worked is what nobody learns
	case fateDelay:
		s.w.late = append(s.w.late, func() { _ = effect() })
	case fateDie:
		return errDead
	}
	return err
}

func (s *simStore) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return s.call("put", name, func() error {
		return s.w.names.put(s.p, name, func(name string) error {
			return s.Memory.Put(context.WithoutCancel(ctx), name, strings.NewReader(string(data)), size)
		})
	})
}

func (s *simStore) Swap(ctx context.Context, name, tag string, data []byte) (newTag string, err error) {
	err = s.call("swap", name, func() (err error) {
		if s.w.fault == faultBlindSwap && name == "HEAD" {
			s.Change(name, func([]byte) []byte { return nil })
			tag = ""
		}
		newTag, err = s.Memory.Swap(context.WithoutCancel(ctx), name, tag, data)
		return err
	})
	return newTag, err
}

func (s *simStore) Get(ctx context.Context, name string) (body io.ReadCloser, tag string, err error) {
	err = s.call("get", name, func() (err error) {
		body, tag, err = s.Memory.Get(ctx, s.w.names.of(name))
		return err
	})
	return body, tag, err
}

func (s *simStore) GetRange(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error) {
	err = s.call("get", name, func() (err error) {
		body, err = s.Memory.GetRange(ctx, s.w.names.of(name), off, n)
		return err
	})
	return body, err
}

func (s *simStore) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.call("list", prefix, func() error {
		names, err = s.Memory.List(ctx, prefix)
		names = s.w.names.back(names)
		return err
	})
	return names, err
}

func (s *simStore) Delete(ctx context.Context, name string) error {
	return s.call("delete", name, func() error { return s.Memory.Delete(context.WithoutCancel(ctx), s.w.names.of(name)) })
}

// names says under which name an object is in the memory: its own, or for faultNoEpoch one that has neither epoch nor random part, so that two
// processes that work on one checkpoint write to the same names. It is nil without that fault.
type names struct {
	memory *checkpointtest.Memory

	mu    sync.Mutex
	short map[string]string // by own name
	owner map[string]string // own name of the newest, by short name
	count map[string]int    // objects by process and checkpoint
}

func (n *names) of(name string) string {
	if n == nil {
		return name
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.short[name]; s != "" {
		return s
	}
	return name
}

// put creates the object. Where names are not unique the condition on its absence is of no use and is left out.
func (n *names) put(p *process, name string, create func(name string) error) error {
	if n == nil || !strings.HasPrefix(name, "data/") {
		return create(name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	short := n.short[name]
	if short == "" {
		id := strings.Split(name, "-")[1]
		key := fmt.Sprintf("%d/%s", p.number, id)
		short = fmt.Sprintf("data/1-%s-%d", id, n.count[key])
		n.count[key]++
		n.short[name] = short
	}
	n.owner[short] = name
	n.memory.Change(short, func([]byte) []byte { return nil })
	return create(short)
}

func (n *names) back(short []string) []string {
	if n == nil {
		return short
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range short {
		if own := n.owner[s]; own != "" {
			short[i] = own
		}
	}
	return short
}

// direct is the memory with the names of the processes and without turns, for those who look on.
type direct struct {
	*checkpointtest.Memory
	names *names
}

func (d *direct) Open(context.Context) (checkpoint.Objects, error) { return d, nil }

func (d *direct) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	return d.Memory.Get(ctx, d.names.of(name))
}

func (d *direct) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	return d.Memory.GetRange(ctx, d.names.of(name), off, n)
}

package pebblestate

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// store is one Pebble instance.
type store struct {
	b   *backend
	dir string
	log *zap.Logger
	db  *pebble.DB

	mu     sync.Mutex
	users  int // the store itself until Close, and every open snapshot
	closed bool
}

func (s *store) CacheBytes() int64 { return s.b.opts.CacheBytes }

func (s *store) Get(dst, key []byte) ([]byte, bool, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, fmt.Errorf("pebblestate: get from %s: %w", s.dir, err)
	}
	dst = append(dst, v...)
	return dst, true, closer.Close()
}

func (s *store) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(s.db, s.dir, lo, hi, fn)
}

func scan(r pebble.Reader, dir string, lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return fmt.Errorf("pebblestate: scan %s: %w", dir, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("pebblestate: scan %s: %w", dir, err), it.Close())
		}
		more, err := fn(it.Key(), v)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	if err := it.Close(); err != nil { // holds the iterator's own error too
		return fmt.Errorf("pebblestate: scan %s: %w", dir, err)
	}
	return nil
}

func (s *store) Apply(changes []state.Change) error {
	size := 16
	for _, c := range changes {
		size += len(c.Key) + len(c.Value) + len(c.End) + 12
	}
	b := s.db.NewBatchWithSize(size)
	for _, c := range changes {
		var err error
		switch c.Kind {
		case state.ChangeSet:
			err = b.Set(c.Key, c.Value, nil)
		case state.ChangeDelete:
			err = b.Delete(c.Key, nil)
		case state.ChangeDeleteRange:
			err = b.DeleteRange(c.Key, c.End, nil)
		default:
			err = fmt.Errorf("unknown kind of change %d", c.Kind)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("pebblestate: write to %s: %w", s.dir, err), b.Close())
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return errors.Join(fmt.Errorf("pebblestate: write to %s: %w", s.dir, err), b.Close())
	}
	return b.Close()
}

func (s *store) Snapshot() (state.StoreSnapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("pebblestate: snapshot of %s, which is closed", s.dir)
	}
	s.users++
	return &snapshot{s: s, snap: s.db.NewSnapshot()}, nil
}

// Close frees the store; while a snapshot is open, which the contract forbids but a job that is torn down may do, files and memory go
// with the last one.
func (s *store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	return s.leave()
}

// leave drops one user; the last one removes the store.
func (s *store) leave() error {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	err := s.db.Close()
	s.b.release()
	if err := errors.Join(err, s.b.opts.FS.RemoveAll(s.dir)); err != nil {
		return fmt.Errorf("pebblestate: close %s: %w", s.dir, err)
	}
	return nil
}

// snapshot is a Pebble snapshot that keeps its store open.
type snapshot struct {
	s    *store
	snap *pebble.Snapshot
}

func (p *snapshot) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(p.snap, p.s.dir, lo, hi, fn)
}

func (p *snapshot) Close() error { return errors.Join(p.snap.Close(), p.s.leave()) }

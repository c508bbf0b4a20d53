package pebblestate

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/millrace-io/millrace/state"
)

// store is one Pebble instance.
type store struct {
	b       *backend
	dir     string
	lock    io.Closer // of the directory
	health  *health
	objects *objects
	db      *pebble.DB

	applied int64 // bytes since room was looked for

	mu      sync.Mutex
	users   int // of the instance: the store itself until Close, and a base under way
	keepers int // of the directory: the instance, and every table
	closed  bool
	tables  int // made so far
	bases   bases
}

func (s *store) Budget() *state.Budget { return s.b.budget }

func (s *store) Get(dst, key []byte) ([]byte, bool, error) {
	if err := s.health.err(); err != nil {
		return dst, false, err
	}
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
	if err := s.health.err(); err != nil {
		return err
	}
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
	if err := s.room(size); err != nil {
		return err
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
	return errors.Join(b.Close(), s.health.err())
}

// maxSublevels is how many layers level 0 may have, each of which a read may have to look at, before a writer waits for compaction. A restore
// attaches up to 64 deltas there.
const maxSublevels = 128

// room waits until size more bytes may be written, as long as flushes or compactions are behind. Pebble would wait by itself, but for ever when the
// store has failed.
func (s *store) room(size int) error {
	if err := s.health.err(); err != nil {
		return err
	}
	quarter := s.b.opts.MemTableBytes / 4
	if s.applied += int64(size); s.applied < quarter {
		return nil
	}
	s.applied = 0
	for {
		m := s.db.Metrics()
		if m.MemTable.Size <= uint64(3*s.b.opts.MemTableBytes) && int(m.Levels[0].Sublevels) <= maxSublevels {
			return nil
		}
		select {
		case <-s.health.progress:
		case <-s.health.failed:
			return s.health.err()
		}
	}
}

// enter makes the caller a user of the instance.
func (s *store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("pebblestate: the store in %s is closed", s.dir)
	}
	s.users++
	return nil
}

// Close frees the store; while a base is under way, which the contract forbids but a job that is torn down may do, files and memory go with it, and the
// directory with the last table.
func (s *store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.health.close()
	s.objects.cancel()
	return s.leave()
}

// leave drops one user; the last one closes the instance.
func (s *store) leave() error {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	fs := s.b.opts.FS
	err := errors.Join(s.db.Close(), s.objects.close(), s.b.release())
	if err = errors.Join(err, fs.RemoveAll(fs.PathJoin(s.dir, "db")), s.drop()); err != nil && s.health.err() == nil {
		return fmt.Errorf("pebblestate: close %s: %w", s.dir, err)
	}
	return nil
}

// drop drops one keeper of the directory; the last one removes it.
func (s *store) drop() error {
	s.mu.Lock()
	s.keepers--
	last := s.keepers == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	// The lock file goes with the directory: nobody can take the lock between.
	return errors.Join(s.b.opts.FS.RemoveAll(s.dir), s.lock.Close())
}

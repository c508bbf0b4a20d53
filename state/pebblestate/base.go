package pebblestate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/remote"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

type uploadFunc = func(ctx context.Context, groups state.GroupRange, fill func(w io.Writer) error) (state.File, error)

// bases is what a store knows of its bases.
type bases struct {
	mu     sync.Mutex // held while a base is made
	made   int
	stored map[uint64]state.File // tables of the last base that were uploaded, by file number
}

// listed is a table of a base.
type listed struct {
	level  int
	lo, hi []byte
	object string // of an attached one
	number uint64 // of a local one
	path   string // of a local one
}

// Base lists the tables of the store and uploads those that the storage lacks. They are pinned by hard links, and listed as Pebble finds them beside the links: a second
// look at the store itself might show others.
func (s *store) Base(ctx context.Context, lo, hi []byte, upload uploadFunc) ([]state.File, error) {
	return s.base(ctx, lo, hi, upload, false)
}

// base is Base; rewritten says that no table may be used as it is.
func (s *store) base(ctx context.Context, lo, hi []byte, upload uploadFunc, rewritten bool) (_ []state.File, err error) {
	if err := errors.Join(s.health.err(), s.enter()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.leave()) }()
	s.bases.mu.Lock()
	defer s.bases.mu.Unlock()
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	s.bases.made++
	fs := s.b.opts.FS
	scratch := fs.PathJoin(s.dir, fmt.Sprintf("base-%06d", s.bases.made))
	defer func() {
		if e := fs.RemoveAll(scratch); e != nil {
			err = errors.Join(err, fmt.Errorf("pebblestate: remove %s: %w", scratch, e))
		}
	}()
	if err := s.db.Checkpoint(scratch); err != nil {
		return nil, errors.Join(fmt.Errorf("pebblestate: link the tables of %s: %w", s.dir, err), s.health.err())
	}
	db, err := pebble.Open(scratch, s.readOnly())
	if err != nil {
		return nil, fmt.Errorf("pebblestate: open %s: %w", scratch, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, ordered, err := list(db, lo, hi)
	if err != nil {
		return nil, fmt.Errorf("pebblestate: list the tables in %s: %w", scratch, err)
	}
	if rewritten || !ordered {
		return s.rewrite(ctx, db, scratch, lo, hi, upload)
	}
	return s.upload(ctx, tables, upload)
}

// flush writes what was applied so far to tables.
func (s *store) flush(ctx context.Context) error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("pebblestate: flush %s: %w", s.dir, err)
	}
	select {
	case <-done:
		return s.health.err()
	case <-s.health.failed:
		return s.health.err()
	case <-s.health.closing:
		return fmt.Errorf("pebblestate: flush %s: %w", s.dir, errClosing)
	case <-ctx.Done():
		return fmt.Errorf("pebblestate: flush %s: %w", s.dir, ctx.Err())
	}
}

// readOnly are the options to open a scratch directory. The health is its own: nothing that happens there is a fault of the store.
func (s *store) readOnly() *pebble.Options {
	h := newHealth(s.dir, s.health.log)
	o := &pebble.Options{
		FS:                 s.b.opts.FS,
		ReadOnly:           true,
		ErrorIfNotExists:   true,
		FormatMajorVersion: sst.Format,
		CacheSize:          1 << 20,
		MaxOpenFiles:       100,
		EventListener:      h.listener(),
		Logger:             logger{h.log.Sugar(), h},
	}
	o.Experimental.CompactionScheduler = newScheduler(h)
	o.Experimental.RemoteStorage = remote.MakeSimpleFactory(map[remote.Locator]remote.Storage{"": s.objects})
	return o
}

// list are the tables with entries in [lo, hi): from the last level up, in key order, level 0 from old to new. ordered says whether one sequence number
// for each table of level 0 keeps their order.
func list(db *pebble.DB, lo, hi []byte) (tables []listed, ordered bool, err error) {
	levels, err := db.SSTables()
	if err != nil {
		return nil, false, err
	}
	names := map[uint64]string{}
	paths := map[uint64]string{}
	for _, m := range db.ObjProvider().List() {
		if m.IsExternal() {
			names[uint64(m.DiskFileNum)] = m.Remote.CustomObjectName
		} else {
			paths[uint64(m.DiskFileNum)] = db.ObjProvider().Path(m)
		}
	}
	for level, infos := range slices.Backward(levels) {
		for _, info := range infos {
			end := info.Largest.UserKey
			if !info.Largest.IsExclusiveSentinel() {
				end = append(bytes.Clone(end), 0)
			}
			tlo, thi, ok := sst.Clip(info.Smallest.UserKey, end, lo, hi)
			if !ok {
				continue
			}
			number := uint64(info.BackingSSTNum)
			tables = append(tables, listed{
				level: level, lo: bytes.Clone(tlo), hi: bytes.Clone(thi), number: number, object: names[number], path: paths[number],
			})
		}
	}
	return tables, inOrder(levels[0]), nil
}

// inOrder reports whether of two tables of level 0 that overlap the later one is newer in all its entries.
func inOrder(infos []pebble.SSTableInfo) bool {
	for i, newer := range infos {
		for _, older := range infos[:i] {
			if older.LargestSeqNum < newer.SmallestSeqNum {
				continue
			}
			if bytes.Compare(older.Largest.UserKey, newer.Smallest.UserKey) >= 0 && bytes.Compare(newer.Largest.UserKey, older.Smallest.UserKey) >= 0 {
				return false
			}
		}
	}
	return true
}

// upload stores what is not stored yet.
func (s *store) upload(ctx context.Context, tables []listed, upload uploadFunc) ([]state.File, error) {
	files := make([]state.File, 0, len(tables))
	stored, named := map[uint64]state.File{}, map[string]bool{}
	for _, t := range tables {
		f, ok := stored[t.number]
		if !ok {
			f, ok = s.bases.stored[t.number]
		}
		groups := groupsOf(t.lo, t.hi)
		switch {
		case t.object != "":
			var err error
			if f, err = s.objects.named(t.object); err != nil {
				return nil, err
			}
			named[t.object] = true
		case ok:
			stored[t.number] = f
		default:
			if err := errors.Join(ctx.Err(), s.health.err()); err != nil {
				return nil, err
			}
			var err error
			f, err = upload(ctx, groups, func(w io.Writer) error {
				_, err := copyFile(w, s.b.opts.FS, t.path)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("pebblestate: store table %s: %w", t.path, err)
			}
			stored[t.number] = f
		}
		f.Kind, f.Level, f.Lo, f.Hi, f.Groups = state.FileBase, t.level, t.lo, t.hi, groups
		files = append(files, f)
	}
	s.bases.stored = stored
	s.objects.listed(named)
	return files, nil
}

package pebblestate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

// rewriteBytes is after how many bytes of keys and values a rewritten table ends, at the next key group.
const rewriteBytes = 64 << 20

// rewrite makes a base of a store whose own tables cannot be attached elsewhere: every entry is read and written to new tables of the last level.
func (s *store) rewrite(ctx context.Context, db *pebble.DB, scratch string, lo, hi []byte, upload uploadFunc) (_ []state.File, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, fmt.Errorf("pebblestate: read %s: %w", scratch, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var files []state.File
	path := s.b.opts.FS.PathJoin(scratch, "rewritten")
	for ok := it.First(); ok; {
		if err := errors.Join(ctx.Err(), s.health.err()); err != nil {
			return nil, err
		}
		first := append([]byte(nil), it.Key()...)
		last, err := s.rewriteTable(path, it)
		if err != nil {
			return nil, fmt.Errorf("pebblestate: rewrite the tables of %s: %w", s.dir, err)
		}
		end := append(last, 0)
		f, err := upload(ctx, groupsOf(first, end), func(w io.Writer) error {
			_, err := copyFile(w, s.b.opts.FS, path)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("pebblestate: store a rewritten table of %s: %w", s.dir, err)
		}
		f.Kind, f.Level, f.Lo, f.Hi, f.Groups = state.FileBase, 6, first, end, groupsOf(first, end)
		files = append(files, f)
		ok = it.Valid()
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("pebblestate: read %s: %w", scratch, err)
	}
	s.bases.stored = nil
	s.objects.listed(nil)
	return files, nil
}

// rewriteTable writes a table of the entries from it on, and returns the last key. it then stands on the entry after.
func (s *store) rewriteTable(path string, it *pebble.Iterator) (last []byte, err error) {
	f, err := s.b.opts.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := sst.NewWriter(objstorageprovider.NewFileWritable(unsynced{f}))
	defer func() {
		_, e := w.Close()
		err = errors.Join(err, e)
	}()
	for size := 0; it.Valid(); it.Next() {
		if size >= rewriteBytes && string(last[:2]) != string(it.Key()[:2]) {
			break
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if err := w.Set(it.Key(), v); err != nil {
			return nil, err
		}
		last = append(last[:0], it.Key()...)
		size += len(last) + len(v)
	}
	return last, nil
}

package pebblestate

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

// table is a file of changes in the directory of its store.
type table struct {
	s    *store
	path string
	w    *sst.Writer // nil when the table is finished
	size int64
	gone bool
}

// NewTable begins a table.
func (s *store) NewTable() (state.Table, error) {
	if err := s.health.err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("pebblestate: new table in %s, which is closed", s.dir)
	}
	s.tables++
	s.keepers++
	fs := s.b.opts.FS
	t := &table{s: s, path: fs.PathJoin(s.dir, fmt.Sprintf("delta-%06d.sst", s.tables))}
	s.mu.Unlock()
	f, err := fs.Create(t.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, errors.Join(t.failed("make", err), s.drop())
	}
	t.w = sst.NewWriter(objstorageprovider.NewFileWritable(unsynced{f}))
	return t, nil
}

func (t *table) failed(what string, err error) error {
	return fmt.Errorf("pebblestate: %s table %s: %w", what, t.path, err)
}

func (t *table) Add(c state.Change) error {
	if t.w == nil {
		return t.failed("add to", errors.New("it is finished"))
	}
	var err error
	switch c.Kind {
	case state.ChangeSet:
		err = t.w.Set(c.Key, c.Value)
	case state.ChangeDelete:
		err = t.w.Delete(c.Key)
	case state.ChangeDeleteRange:
		err = t.w.DeleteRange(c.Key, c.End)
	default:
		err = fmt.Errorf("unknown kind of change %d", c.Kind)
	}
	if err != nil {
		return t.failed("write", err)
	}
	return nil
}

func (t *table) Finish() (int64, error) {
	if t.w == nil {
		return t.size, nil
	}
	size, err := t.w.Close()
	if err != nil {
		return 0, t.failed("finish", err)
	}
	t.w, t.size = nil, size
	return size, nil
}

func (t *table) WriteTo(w io.Writer) (int64, error) {
	if t.w != nil || t.gone {
		return 0, t.failed("copy", errors.New("it is not finished, or removed"))
	}
	return copyFile(w, t.s.b.opts.FS, t.path)
}

// copyFile writes the content of the file at path to w.
func copyFile(w io.Writer, fs vfs.FS, path string) (int64, error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, fmt.Errorf("pebblestate: open %s: %w", path, err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	if err = errors.Join(err, f.Close()); err != nil {
		return n, fmt.Errorf("pebblestate: copy %s: %w", path, err)
	}
	return n, nil
}

func (t *table) Remove() error {
	if t.gone {
		return nil
	}
	t.gone = true
	if t.w != nil {
		_, _ = t.w.Close() // closes the file; whether it was written does not matter
		t.w = nil
	}
	if err := errors.Join(t.s.b.opts.FS.Remove(t.path), t.s.drop()); err != nil {
		return t.failed("remove", err)
	}
	return nil
}

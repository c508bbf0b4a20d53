package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// dirStore keeps objects as files below a root folder. Atomicity is that of link(2) and rename(2), durability that of fsync(2) on the file
// and then on its folder.
type dirStore struct {
	root string
	// fsync replaces (*os.File).Sync in tests; nil otherwise.
	fsync func(*os.File) error
}

func (d dirStore) sync(f *os.File) error {
	if d.fsync != nil {
		return d.fsync(f)
	}
	return f.Sync()
}

func (d dirStore) file(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d dirStore) url(name string) string { return "file://" + filepath.ToSlash(d.file(name)) }

// makeDir makes the folder of the named object and makes each new folder's entry durable.
func (d dirStore) makeDir(dir string) error {
	full := d.file(dir)
	if _, err := os.Stat(full); err == nil {
		return nil
	}
	if err := os.MkdirAll(full, 0o755); err != nil {
		return err
	}
	for p := dir; p != "." && p != "/"; p = path.Dir(p) {
		if err := d.syncDir(path.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}

func (d dirStore) syncDir(dir string) error {
	f, err := os.Open(d.file(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.sync(f), f.Close())
}

func (d dirStore) stage(_ context.Context, name string) (stagedObject, error) {
	if err := d.makeDir(path.Dir(name)); err != nil {
		return nil, fmt.Errorf("file: staging in %s: %w", d.url(path.Dir(name)), err)
	}
	f, err := os.OpenFile(d.file(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("file: staging %s: %w", d.url(name), err)
	}
	return &dirStaged{File: f, store: d}, nil
}

// dirStaged is a file below _staging, which is where the object stays until it is published.
type dirStaged struct {
	*os.File
	store dirStore
	done  bool
}

func (s *dirStaged) commit(context.Context) error {
	s.done = true
	if err := errors.Join(s.store.sync(s.File), s.File.Close()); err != nil {
		return fmt.Errorf("file: storing %q: %w", s.Name(), err)
	}
	return nil
}

func (s *dirStaged) abort() {
	if s.done {
		return
	}
	s.done = true
	// Nothing refers to the file: what cannot be removed now is an orphan, and the next start's sweep will find it.
	_ = s.File.Close()
	_ = os.Remove(s.Name())
}

func (d dirStore) settle(_ context.Context, dir string) error {
	err := d.syncDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d dirStore) create(_ context.Context, name string, data []byte) error {
	if err := d.makeDir(path.Dir(name)); err != nil {
		return fmt.Errorf("file: creating %s: %w", d.url(name), err)
	}
	// Listings leave out names that begin with a dot; a crash here leaves such a file, which holds no more than a manifest.
	tmp, err := os.CreateTemp(d.file(path.Dir(name)), ".new-*")
	if err != nil {
		return fmt.Errorf("file: creating %s: %w", d.url(name), err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, d.sync(tmp), tmp.Close()); err != nil {
		return fmt.Errorf("file: creating %s: %w", d.url(name), err)
	}
	// A link, unlike a rename, fails when the name is taken, and unlike an exclusive open it shows the content at once.
	err = os.Link(tmp.Name(), d.file(name))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("file: creating %s: %w", d.url(name), errExists)
	}
	if err == nil {
		err = d.syncDir(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("file: creating %s: %w", d.url(name), err)
	}
	return nil
}

func (d dirStore) read(_ context.Context, name string) ([]byte, error) {
	data, err := os.ReadFile(d.file(name))
	return data, d.notFound(name, err)
}

func (d dirStore) notFound(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("file: reading %s: %w", d.url(name), errNotFound)
	default:
		return fmt.Errorf("file: reading %s: %w", d.url(name), err)
	}
}

// dirObject is a file opened for reading, with its size at that time.
type dirObject struct {
	*os.File
	size int64
}

func (o dirObject) Size() int64 { return o.size }

func (d dirStore) open(_ context.Context, name string) (object, error) {
	f, err := os.Open(d.file(name))
	if err != nil {
		return nil, d.notFound(name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(d.notFound(name, err), f.Close())
	}
	return dirObject{f, info.Size()}, nil
}

func (d dirStore) publish(ctx context.Context, files []stagedFile) error {
	dirs := map[string]bool{}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.makeDir(path.Dir(f.Path)); err != nil {
			return fmt.Errorf("file: publishing %s: %w", d.url(f.Path), err)
		}
		dirs[path.Dir(f.Path)] = true
		err := os.Rename(d.file(f.Staged), d.file(f.Path))
		if errors.Is(err, fs.ErrNotExist) {
			info, statErr := os.Stat(d.file(f.Path))
			switch {
			case statErr == nil && info.Size() == f.Bytes:
				continue
			case statErr == nil || errors.Is(statErr, fs.ErrNotExist):
				return &LostFileError{Staged: f.Staged, Path: f.Path, Records: f.Records}
			}
			err = statErr
		}
		if err != nil {
			return fmt.Errorf("file: publishing %s: %w", d.url(f.Path), err)
		}
	}
	for dir := range dirs {
		if err := d.syncDir(dir); err != nil {
			return fmt.Errorf("file: publishing in %s: %w", d.url(dir), err)
		}
	}
	return nil
}

func (d dirStore) list(ctx context.Context, dir string, f func(objectInfo) error) error {
	err := filepath.WalkDir(d.file(dir), func(p string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed by another process since its folder was read
		}
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, p)
		if err != nil {
			return err
		}
		return f(objectInfo{name: filepath.ToSlash(rel), size: info.Size(), modified: info.ModTime()})
	})
	if err != nil {
		return fmt.Errorf("file: listing %s: %w", d.url(dir), err)
	}
	return nil
}

func (d dirStore) remove(_ context.Context, name string) error {
	if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file: removing %s: %w", d.url(name), err)
	}
	return nil
}

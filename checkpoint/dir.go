package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Dir stores checkpoints in a directory of a local or shared file system. The first write makes it; who only reads changes nothing.
//
// An object is written to a temporary file, synced, and linked to its name: link(2) fails when the name exists, which makes a
// conditional create. HEAD is replaced by rename(2) under flock(2) on the file "lock". Directories are synced after each change,
// so that what was acknowledged survives a power cut as far as the disk keeps its word. The file system has to support hard
// links and flock; Lead tries both before it trusts them. A process that is stopped (SIGSTOP) while it holds the lock, for the
// milliseconds of one rename, blocks other leaders until it goes on or dies; it never lets two of them win.
func Dir(path string) Storage { return dirStorage{path: path} }

type dirStorage struct {
	path string
	fs   fileSystem // nil: the operating system's
}

func (d dirStorage) Validate() error {
	if d.path == "" {
		return errors.New(`checkpoint: Dir("") names no directory`)
	}
	return nil
}

func (d dirStorage) URL() string {
	abs, err := filepath.Abs(d.path)
	if err != nil {
		abs = d.path
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String()
}

func (d dirStorage) Open(context.Context) (Objects, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(d.path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: directory %q: %w", d.path, err)
	}
	o := &dirObjects{root: root, fs: d.fs}
	if o.fs == nil {
		o.fs = osFiles{}
	}
	return o, nil
}

// tempDir holds files that are being written. Its names start with the base name of the object, so that the rule that says which
// objects may be deleted says it of what a killed process left here too.
const tempDir = "tmp"

type dirObjects struct {
	root string
	fs   fileSystem
}

func (d *dirObjects) path(name string) (string, error) {
	if err := ValidName(name); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

func (d *dirObjects) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if f, ok := body.(tempFile); ok && filepath.Dir(f.Name()) == filepath.Join(d.root, tempDir) {
		return d.putSpooled(f, path, size)
	}
	temp, err := d.writeTemp(ctx, name, body, size)
	if err != nil {
		return failed("write", path, err)
	}
	err = d.link(temp, path)
	_ = d.fs.Remove(temp) // what stays is found by the next sweep, and a disk that fails shows at the next write
	return err
}

// spool makes the temporary file in the directory itself, so that Put has nothing to copy.
func (d *dirObjects) spool(name string) (tempFile, error) {
	if _, err := d.path(name); err != nil {
		return nil, err
	}
	return d.openTemp(d.tempPath(name))
}

func (d *dirObjects) openTemp(path string) (tempFile, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := d.fs.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.mkdirSync(filepath.Dir(path)); err != nil {
			return nil, err
		}
		f, err = d.fs.OpenFile(path, flags, 0o644)
	}
	return f, err
}

func (d *dirObjects) tempPath(name string) string {
	return filepath.Join(d.root, tempDir, filepath.Base(name)+"-"+rand.Text())
}

// putSpooled gives a file from spool its name.
func (d *dirObjects) putSpooled(f tempFile, path string, size int64) error {
	err := f.Sync()
	if fi, serr := f.Stat(); err == nil && serr == nil && fi.Size() != size {
		err = fmt.Errorf("it has %d bytes, want %d", fi.Size(), size)
	} else {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return failed("write", path, err)
	}
	return d.link(f.Name(), path)
}

func (d *dirObjects) link(temp, path string) error {
	err := d.fs.Link(temp, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.mkdirSync(filepath.Dir(path)); err == nil {
			err = d.fs.Link(temp, path)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("checkpoint: %q: %w", path, ErrExists)
	case err != nil && remedy(err) == "":
		return fmt.Errorf("checkpoint: link of %q: %w; the directory has to be on a file system with hard links", path, err)
	case err != nil:
		return failed("link", path, err)
	}
	if err := d.fs.SyncDir(filepath.Dir(path)); err != nil {
		return failed("sync of the directory", path, err)
	}
	return nil
}

// copyFrom gives a file of another directory a second name here: objects never change, and what is deleted there stays here.
func (d *dirObjects) copyFrom(_ context.Context, src Objects, srcName, name string) error {
	from, ok := src.(*dirObjects)
	if !ok {
		return errors.ErrUnsupported
	}
	old, err := from.path(srcName)
	if err != nil {
		return err
	}
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checkpoint: %q: %w", old, ErrNotFound)
	}
	return d.link(old, path)
}

// writeTemp writes and syncs a new temporary file for the object and returns its path.
func (d *dirObjects) writeTemp(ctx context.Context, name string, body io.ReadSeeker, size int64) (string, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	temp := d.tempPath(name)
	f, err := d.openTemp(temp)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, contextReader{ctx, body})
	if err == nil && n != size {
		err = fmt.Errorf("body has %d bytes, want %d", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, d.fs.Remove(temp))
	}
	return temp, nil
}

// contextReader stops a long copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (d *dirObjects) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	path, err := d.path(name)
	if err != nil {
		return "", err
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	cur, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && tag == "":
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("checkpoint: %q does not exist: %w", path, ErrConflict)
	case err != nil:
		return "", fmt.Errorf("checkpoint: %w", err)
	case tagOf(cur) != tag:
		return "", fmt.Errorf("checkpoint: %q: %w", path, ErrConflict)
	}
	if err := d.sweepTemp(name); err != nil {
		return "", err
	}
	temp, err := d.writeTemp(ctx, name, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", failed("write", path, err)
	}
	if err := d.mkdirSync(filepath.Dir(path)); err != nil {
		return "", failed("write", path, err)
	}
	if err := d.fs.Rename(temp, path); err != nil {
		return "", errors.Join(failed("rename", path, err), d.fs.Remove(temp))
	}
	if err := d.fs.SyncDir(filepath.Dir(path)); err != nil {
		// The rename is visible, but may not survive a power cut: reading it back would prove nothing.
		return "", fmt.Errorf("%w: %w", ErrUnknownOutcome, failed("sync of the directory", path, err))
	}
	return tagOf(data), nil
}

// sweepTemp removes what killed processes left of earlier swaps of the object. The caller holds the lock, so nobody else is writing.
func (d *dirObjects) sweepTemp(name string) error {
	left, err := filepath.Glob(filepath.Join(d.root, tempDir, filepath.Base(name)+"-*"))
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for _, path := range left {
		if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed("removal", path, err)
		}
	}
	return nil
}

// lock takes the lock of the directory. It polls, since a blocking flock(2) cannot be given up.
func (d *dirObjects) lock(ctx context.Context) (unlock func(), err error) {
	if err := d.mkdirSync(d.root); err != nil {
		return nil, failed("making of directory", d.root, err)
	}
	f, err := os.OpenFile(filepath.Join(d.root, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, failed("lock", filepath.Join(d.root, "lock"), err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ok, err := tryFlock(f)
		if ok {
			return func() { f.Close() }, nil // closing the file frees the lock
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("checkpoint: flock of %q: %w; the directory has to be on a file system with flock", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("checkpoint: %q is locked by another process: %w", f.Name(), context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// tagOf makes the tag from the content: whoever swaps puts something unique into it.
func tagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (d *dirObjects) Get(_ context.Context, name string) (io.ReadCloser, string, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, "", err
	}
	if strings.Contains(name, "/") {
		return f, "", nil // immutable, never swapped: no need to read it for a tag
	}
	data, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, "", fmt.Errorf("checkpoint: %w", err)
	}
	return io.NopCloser(bytes.NewReader(data)), tagOf(data), nil
}

// open opens the file of an object.
func (d *dirObjects) open(name string) (*os.File, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("checkpoint: %q: %w", path, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return f, nil
}

func (d *dirObjects) GetRange(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 {
		return nil, fmt.Errorf("checkpoint: range of %d bytes at %d of %q", n, off, name)
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

func (d *dirObjects) List(_ context.Context, prefix string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // deleted meanwhile
		case err != nil:
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if e.IsDir() {
			if name != "." && !strings.HasPrefix(name, prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(name, prefix) && name != "lock" {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint: list of %q: %w", d.root, err)
	}
	slices.Sort(names)
	return names, nil
}

func (d *dirObjects) Delete(_ context.Context, name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("removal", path, err)
	}
	return nil
}

// mkdirSync makes the directory and its parents, and syncs the parent of each one made.
func (d *dirObjects) mkdirSync(path string) error {
	switch fi, err := os.Stat(path); {
	case err == nil && fi.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%q is a file, want a directory", path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if err := d.mkdirSync(parent); err != nil {
		return err
	}
	if err := d.fs.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.fs.SyncDir(parent)
}

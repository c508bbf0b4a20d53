package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
)

// disk is a file system whose changes fail from the one with number from on, as many as there are to fail.
type disk struct {
	checkpoint.OSFiles
	mu    sync.Mutex
	calls int
	from  int
	times int // how many fail; 0: none
	err   error
	// last is the change before, and failed says that one has failed that made the rename of HEAD durable.
	last   string
	failed bool
}

// fails counts a change and says whether it fails.
func (d *disk) fails(op, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.calls-1 < d.from || d.calls-1 >= d.from+d.times {
		d.last = op + " " + path
		return nil
	}
	d.failed = d.failed || op == "fsync" && d.last == "rename "+filepath.Join(path, "HEAD")
	return &fs.PathError{Op: op, Path: path, Err: d.err}
}

func (d *disk) OpenFile(path string, flag int, perm fs.FileMode) (checkpoint.TempFile, error) {
	if err := d.fails("open", path); err != nil {
		return nil, err
	}
	f, err := d.OSFiles.OpenFile(path, flag, perm)
	return diskFile{f, d}, err
}

func (d *disk) Link(oldPath, newPath string) error {
	if err := d.fails("link", newPath); err != nil {
		return err
	}
	return d.OSFiles.Link(oldPath, newPath)
}

func (d *disk) Rename(oldPath, newPath string) error {
	if err := d.fails("rename", newPath); err != nil {
		return err
	}
	return d.OSFiles.Rename(oldPath, newPath)
}

func (d *disk) Remove(path string) error {
	if err := d.fails("remove", path); err != nil {
		return err
	}
	return d.OSFiles.Remove(path)
}

func (d *disk) Mkdir(path string, perm fs.FileMode) error {
	if err := d.fails("mkdir", path); err != nil {
		return err
	}
	return d.OSFiles.Mkdir(path, perm)
}

// SyncDir and Sync only count: no test here cuts the power, and syncing is what would take the time.
func (d *disk) SyncDir(path string) error { return d.fails("fsync", path) }

type diskFile struct {
	checkpoint.TempFile
	d *disk
}

// Write writes half of it before it fails, as a disk does that is full.
func (f diskFile) Write(p []byte) (int, error) {
	if err := f.d.fails("write", f.Name()); err != nil {
		n, werr := f.TempFile.Write(p[:len(p)/2])
		return n, errors.Join(err, werr)
	}
	return f.TempFile.Write(p)
}

func (f diskFile) Sync() error { return f.d.fails("fsync", f.Name()) }

// ReadFrom hides that of *os.File, which would go past Write.
func (f diskFile) ReadFrom(r io.Reader) (n int64, err error) {
	buf := make([]byte, 512)
	for {
		k, rerr := r.Read(buf)
		if k > 0 {
			w, werr := f.Write(buf[:k])
			if n += int64(w); werr != nil {
				return n, werr
			}
		}
		if rerr != nil {
			if rerr == io.EOF {
				rerr = nil
			}
			return n, rerr
		}
	}
}

// A disk that is full, read-only or broken from any change on, once or until it is repaired, fails the checkpoint with the reason and
// never loses one: what was said to be complete can be restored, and after the repair the next leader goes on.
func TestDiskFails(t *testing.T) {
	count := &disk{}
	if err := (&life{st: checkpoint.DirOver(t.TempDir(), count)}).run(t, 2); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes of the disk", count.calls)
	unknown := false // a rename of HEAD was not made durable
	for _, c := range []struct {
		err    error
		remedy string
	}{{syscall.ENOSPC, "free room"}, {syscall.EROFS, "has to be writable"}, {syscall.EIO, ""}} {
		for _, times := range []int{1, 1 << 30} {
			for k := 0; k < count.calls; k += 1 + k/12 {
				name := fmt.Sprintf("%v from %d, %d times", c.err, k, times)
				dir := t.TempDir()
				d := &disk{from: k, times: times, err: c.err}
				l := &life{st: checkpoint.DirOver(dir, d)}
				err := l.run(t, 2)
				if err == nil && times > 1 {
					t.Fatalf("%s: no error", name)
				}
				if err != nil && (!errors.Is(err, c.err) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), c.remedy)) {
					t.Fatalf("%s: %v, want the path, the reason and %q", name, err, c.remedy)
				}
				if d.failed && !errors.Is(err, checkpoint.ErrUnknownOutcome) {
					t.Fatalf("%s: %v, want ErrUnknownOutcome", name, err)
				}
				unknown = unknown || d.failed
				d.times = 0
				if err := l.check(t); err != nil {
					t.Fatalf("%s (life: %v): %v", name, l.done, err)
				}
			}
		}
	}
	if !unknown {
		t.Error("no rename of HEAD was left without its sync")
	}
}

// A large object goes through a temporary file: its faults say what to do as well, and nothing of it is left.
func TestDiskFailsLargeObject(t *testing.T) {
	content := random(10 << 20)
	for _, k := range []int{0, 1, 2, 3, 1 << 30} {
		dir := t.TempDir()
		d := &disk{err: syscall.ENOSPC}
		j := leading(t, checkpoint.DirOver(dir, d))
		d.mu.Lock()
		d.from, d.times = d.calls+k, 1
		d.mu.Unlock()
		h, err := j.Files(1).Write(t.Context(), all, 0, writer(content))
		switch {
		case k == 1<<30 && err != nil:
			t.Fatal(err)
		case k < 1<<30 && (!errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "room")):
			t.Errorf("change %d: %v, want the path, the reason and the remedy", k, err)
		case err == nil:
			if got, err := readAll(t.Context(), j.Files(1), h); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read: %d bytes, %v", len(got), err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("change %d: temporary files %v, %v", k, left, err)
		}
	}
}

// What is on a read-only disk can be read, without the folder for temporary files too.
func TestDiskReadOnly(t *testing.T) {
	dir := t.TempDir()
	if err := (&life{st: checkpoint.Dir(dir)}).run(t, 2); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	d := &disk{err: syscall.EROFS, times: 1 << 30}
	st := checkpoint.DirOver(dir, d)
	if err := checkpoint.Verify(t.Context(), st); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if m, _, err := checkpoint.LoadFrom(t.Context(), st, ""); err != nil || m.ID != 2 {
		t.Errorf("LoadFrom: %+v, %v", m, err)
	}
	if _, err := checkpoint.Lead(t.Context(), st, nil); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "writable") {
		t.Errorf("Lead: %v, want the path, the reason and the remedy", err)
	}
}

// Who only reads makes no directory.
func TestDirOfNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistyped")
	if _, _, err := checkpoint.Load(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "mistyped") {
		t.Errorf("Load: %v, want an error that names the directory", err)
	}
	if _, _, err := checkpoint.List(t.Context(), checkpoint.Dir(dir)); err != nil {
		t.Errorf("List: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

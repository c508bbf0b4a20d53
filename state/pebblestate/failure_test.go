package pebblestate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

var allGroups = state.GroupRange{End: 128}

func openStore(t testing.TB, o pebblestate.Options, attempt string) state.Store {
	t.Helper()
	s, err := pebblestate.New(o).Open(state.OpenOptions{UID: "op", Attempt: attempt, Groups: allGroups})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fullDisk is a file system on which writes fail while full is set.
func fullDisk(fs vfs.FS) (*errorfs.FS, *atomic.Bool) {
	var full atomic.Bool
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemove && op.Kind != errorfs.OpRemoveAll {
			return syscall.ENOSPC
		}
		return nil
	})), &full
}

func mustApply(t testing.TB, s state.Store, changes ...state.Change) {
	t.Helper()
	if err := s.Apply(changes); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull checks that a store whose disk refuses writes says so at its next calls, never waits for ever, and does not take the process with it.
func TestDiskFull(t *testing.T) {
	fs, full := fullDisk(vfs.NewMem())
	s := openStore(t, pebblestate.Options{Dir: "dir", FS: fs, MemTableBytes: 64 << 10}, "1")
	set := func(i int) state.Change {
		return state.Change{Kind: state.ChangeSet, Key: address(1, 1, i), Value: bytes.Repeat([]byte{1}, 1000)}
	}
	mustApply(t, s, set(1))
	full.Store(true)
	if _, err := s.NewTable(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("NewTable on a full disk: %v", err)
	}
	var err error
	for i := 0; err == nil && i < 100_000; i++ {
		err = s.Apply([]state.Change{set(i)})
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "has failed") {
		t.Fatalf("Apply on a full disk: %v, want the error of the disk", err)
	}
	for what, err := range map[string]error{
		"Apply": s.Apply([]state.Change{set(1)}),
		"Scan":  s.Scan(nil, nil, nil),
		"Get":   func() error { _, _, err := s.Get(nil, address(1, 1, 1)); return err }(),
		"Base":  func() error { _, err := s.Base(context.Background(), nil, nil, nil); return err }(),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s of a failed store: %v", what, err)
		}
	}
	full.Store(false)
	if err := s.Close(); err != nil {
		t.Errorf("Close of a failed store: %v", err)
	}
}

// TestListOfFilesRefused checks the failure that Pebble's logger is to end the process for.
func TestListOfFilesRefused(t *testing.T) {
	var refuse atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if refuse.Load() && op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST") {
			return syscall.EIO
		}
		return nil
	}))
	s := openStore(t, pebblestate.Options{Dir: "dir", FS: fs, MemTableBytes: 64 << 10}, "1")
	mustApply(t, s, state.Change{Kind: state.ChangeSet, Key: address(1, 1, 1)})
	refuse.Store(true)
	if err := pebblestate.Flush(s); !errors.Is(err, syscall.EIO) {
		t.Errorf("flush: %v", err)
	}
	if err := s.Apply([]state.Change{{Kind: state.ChangeSet, Key: address(1, 1, 2)}}); !errors.Is(err, syscall.EIO) {
		t.Errorf("Apply: %v", err)
	}
	refuse.Store(false)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestReadOnlyDisk checks that Open says what the disk said.
func TestReadOnlyDisk(t *testing.T) {
	fs, full := fullDisk(vfs.NewMem())
	full.Store(true)
	_, err := pebblestate.New(pebblestate.Options{Dir: "dir", FS: fs}).Open(state.OpenOptions{UID: "op", Attempt: "1", Groups: allGroups})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "dir") {
		t.Errorf("Open: %v", err)
	}
}

// baseOf is a storage with the base of a store of n values of size bytes each.
func baseOf(t testing.TB, files *remoteFiles, n, size int, dir pebblestate.Options) []state.File {
	t.Helper()
	s := openStore(t, dir, "writer")
	value := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(n)})
	for i := range n {
		_, _ = random.Read(value)
		mustApply(t, s, state.Change{Kind: state.ChangeSet, Key: address(i%128, 1, i), Value: value})
	}
	handles, err := s.Base(context.Background(), groupAddress(0), groupAddress(128), func(ctx context.Context, groups state.GroupRange, fill func(io.Writer) error) (state.File, error) {
		return files.Write(ctx, groups, 0, fill)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return handles
}

// TestReadErrors checks that an object that cannot be read is an error of Get and Scan that names it, and that a compaction which cannot read fails the store with
// the cause.
func TestReadErrors(t *testing.T) {
	lost := errors.New("the storage does not answer")
	for _, fault := range []struct {
		name string
		err  error
	}{{"gone", lost}, {"corrupt", fmt.Errorf("chunk 3 has CRC32C 1, want 2: %w", state.ErrCorrupt)}} {
		t.Run(fault.name, func(t *testing.T) {
			files := &remoteFiles{}
			handles := baseOf(t, files, 2000, 2000, pebblestate.Options{Dir: "dir", FS: vfs.NewMem()})
			var broken atomic.Bool
			broken.Store(true)
			files.fault = func(string, int64, int) error {
				if broken.Load() {
					return fault.err
				}
				return nil
			}
			s := openStore(t, pebblestate.Options{Dir: "dir", FS: vfs.NewMem(), Prefetches: -1}, "1")
			if err := s.Attach(context.Background(), files, handles, groupAddress(0), groupAddress(128)); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Get(nil, address(1, 1, 1))
			if !errors.Is(err, fault.err) || !strings.Contains(err.Error(), handles[0].Name) || !strings.Contains(err.Error(), "at ") {
				t.Errorf("Get: %v, want %v of %s at an offset", err, fault.err, handles[0].Name)
			}
			if err := s.Scan(groupAddress(0), groupAddress(2), func(_, _ []byte) (bool, error) { return true, nil }); !errors.Is(err, fault.err) {
				t.Errorf("Scan: %v", err)
			}
			broken.Store(false)
			if _, ok, err := s.Get(nil, address(1, 1, 1)); !ok || err != nil {
				t.Errorf("Get after the storage has come back: %v, %v", ok, err)
			}
			broken.Store(true)
			mustApply(t, s, state.Change{Kind: state.ChangeSet, Key: address(100, 1, 100)})
			if err := pebblestate.Compact(s); !errors.Is(err, fault.err) {
				t.Errorf("compaction: %v", err)
			}
			if _, _, err := s.Get(nil, address(1, 1, 1)); !errors.Is(err, fault.err) || !strings.Contains(err.Error(), "has failed") {
				t.Errorf("Get after a failed compaction: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTableOutlivesStore checks that a table is usable after Close, and that nothing is left when it is removed: no file, no goroutine.
func TestTableOutlivesStore(t *testing.T) {
	before := runtime.NumGoroutine()
	fs := vfs.NewMem()
	o := pebblestate.Options{Dir: "dir", FS: fs}
	s := openStore(t, o, "1")
	table, err := s.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	unfinished, err := s.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := table.Add(state.Change{Kind: state.ChangeSet, Key: address(1, 1, i), Value: stored(1, nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := openStore(t, o, "2") // sweeps what dead attempts have left
	size, err := table.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var b bytes.Buffer
		if n, err := table.WriteTo(&b); n != size || int64(b.Len()) != size || err != nil {
			t.Errorf("WriteTo: %d bytes, %v; want %d", n, err, size)
		}
	}
	for _, closer := range []func() error{table.Remove, unfinished.Remove, next.Close} {
		if err := closer(); err != nil {
			t.Error(err)
		}
	}
	if names, err := fs.List("dir/=op/0"); err != nil || len(names) != 0 {
		t.Errorf("left in the directory: %q, %v", names, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// TestEmptyFlush checks that a base without any change since the last one is no failure.
func TestEmptyFlush(t *testing.T) {
	s := openStore(t, pebblestate.Options{Dir: "dir", FS: vfs.NewMem()}, "1")
	for range 3 {
		if files, err := s.Base(context.Background(), groupAddress(0), groupAddress(128), nil); len(files) != 0 || err != nil {
			t.Errorf("base of an empty store: %d files, %v", len(files), err)
		}
	}
	mustApply(t, s, state.Change{Kind: state.ChangeDelete, Key: address(1, 1, 1)})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Base(context.Background(), groupAddress(0), groupAddress(128), nil); err == nil {
		t.Error("base of a closed store")
	}
}

package pebblestate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
	"github.com/millrace-io/millrace/state/statetest"
)

func TestValidate(t *testing.T) {
	err := pebblestate.New(pebblestate.Options{CacheBytes: 1, BlockCacheBytes: -1, MemTableBytes: 1 << 40}).Validate()
	for _, want := range []string{"Dir is empty", "CacheBytes is 1", "BlockCacheBytes is -1", "MemTableBytes is 1099511627776"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q: %v", want, err)
		}
	}
	if err := pebblestate.Dir("somewhere").Validate(); err != nil {
		t.Error(err)
	}
}

// counter opens a counter on b that changes n keys.
func counter(t *testing.T, b state.Backend, attempt string, n int) (*state.Keyed[int64], *state.Value[int64]) {
	t.Helper()
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	v := s.Value[int64]("v")
	if err := s.Open(b, state.OpenOptions{UID: "a/b", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt}); err != nil {
		t.Fatal(err)
	}
	for k := range int64(n) {
		s.SetCurrent(k, uint64(k)<<50)
		if err := v.Set(k); err != nil {
			t.Fatal(err)
		}
	}
	return s, v
}

// TestNothingIsLeft checks that a closed store leaves no goroutine and no file, also when a snapshot outlives it.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	b := pebblestate.New(pebblestate.Options{Dir: dir, CacheBytes: 8 << 10, MemTableBytes: 128 << 10})
	before := runtime.NumGoroutine()
	for i := range 3 {
		s, _ := counter(t, b, fmt.Sprint(i), 5000)
		image, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if files(t, dir) == 0 {
			t.Fatal("an open store has no files: the test looks in the wrong place")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var fs statetest.Files
		if h, err := statetest.Handles(image.Write(context.Background(), &fs)); err == nil && len(h) != 1 || err != nil && !strings.Contains(err.Error(), "closed") {
			t.Fatalf("write after Close: %v, %v; want one file or an error that says so", h, err)
		}
		image.Release()
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAttempts checks that a store never sees the files of another attempt, removes those of a dead one, and leaves those of a
// running one alone.
func TestAttempts(t *testing.T) {
	mem := vfs.NewCrashableMem()
	options := pebblestate.Options{Dir: "state", FS: mem, CacheBytes: 8 << 10, MemTableBytes: 128 << 10}
	s, v := counter(t, pebblestate.New(options), "1", 5000)
	// What the disk would hold if the machine lost power now, as the next process finds it.
	after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	same := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	if err := same.Open(pebblestate.New(options), state.OpenOptions{UID: "a/b", Groups: state.GroupRange{End: 128}, Attempt: "1"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second store of a running attempt: %v, want an error that says so", err)
	}
	other, _ := counter(t, pebblestate.New(options), "2", 0) // side by side
	s.SetCurrent(1, 1<<50)
	if n, err := v.Get(); n != 1 || err != nil {
		t.Errorf("the running attempt reads %d, %v, want 1", n, err)
	}
	for _, o := range []*state.Keyed[int64]{s, other} {
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}

	options.FS = after
	dirs := func() []string {
		names, err := after.List("state/=a%2Fb/0")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := dirs(); len(got) != 1 || got[0] != "=1" {
		t.Fatalf("after the crash there is %q, want the directory of attempt 1", got)
	}
	s, v = counter(t, pebblestate.New(options), "1", 0)
	if got := dirs(); len(got) != 1 {
		t.Errorf("directories %q, want one", got)
	}
	s.SetCurrent(1, 1<<50)
	if n, ok, err := v.Lookup(); ok || err != nil {
		t.Errorf("the new attempt reads %d of the old one, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := dirs(); len(got) != 0 {
		t.Errorf("directories %q are left", got)
	}
}

// TestDiskErrors checks that an error of the disk comes out of Open and is not lost.
func TestDiskErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	err := s.Open(pebblestate.Dir(filepath.Join(dir, "file", "below")), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: 128}})
	if err == nil || !strings.Contains(err.Error(), `operator "op"`) || !strings.Contains(err.Error(), "file") {
		t.Errorf("Open beneath a file: %v, want an error that names operator and path", err)
	}
}

package pebblestate_test

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// attached is a store that was restored from handles.
func attached(t testing.TB, o pebblestate.Options, files state.Files, handles []state.File) state.Store {
	t.Helper()
	s := openStore(t, o, "reader")
	if err := s.Attach(context.Background(), files, handles, groupAddress(0), groupAddress(128)); err != nil {
		t.Fatal(err)
	}
	return s
}

// contents is everything in a store.
func contents(t testing.TB, s state.Store) []byte {
	t.Helper()
	var all []byte
	if err := s.Scan(groupAddress(0), groupAddress(128), func(k, v []byte) (bool, error) {
		all = append(append(all, k...), v...)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func mustClose(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyFiles are the paths of the local copies that end with suffix.
func copyFiles(t *testing.T, fs vfs.FS, suffix string) (paths []string) {
	t.Helper()
	names, err := fs.List("dir/objects/0")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			paths = append(paths, "dir/objects/0/"+n)
		}
	}
	return paths
}

// overwrite puts b at off of a file.
func overwrite(t *testing.T, fs vfs.FS, path string, b []byte, off int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	mustClose(t, f)
}

// TestCopiesSurviveRestart checks that a restart on the same machine reads the local copies, each chunk only if it is as it was written.
func TestCopiesSurviveRestart(t *testing.T) {
	files := &remoteFiles{}
	fs := vfs.NewMem()
	o := pebblestate.Options{Dir: "dir", FS: fs, Prefetches: -1, BlockCacheBytes: 64 << 10}
	handles := baseOf(t, files, 2000, 2000, o)
	s := attached(t, o, files, handles)
	want := contents(t, s)
	mustClose(t, s)
	if files.requests.Load() == 0 || int(files.bytes.Load()) < len(want) {
		t.Fatalf("%d bytes were fetched for %d: the test looks in the wrong place", files.bytes.Load(), len(want))
	}
	reread := func(what string, wantBytes func(n int64) bool) {
		t.Helper()
		files.bytes.Store(0)
		s := attached(t, o, files, handles)
		if !bytes.Equal(contents(t, s), want) {
			t.Errorf("%s: other content", what)
		}
		mustClose(t, s)
		if n := files.bytes.Load(); !wantBytes(n) {
			t.Errorf("%s: %d bytes were fetched", what, n)
		}
	}
	some := func(n int64) bool { return n > 0 && n <= 4*pebblestate.ChunkBytes }
	all := func(n int64) bool { return n >= int64(len(want)) }
	reread("as it was", func(n int64) bool { return n == 0 })
	data, sums := copyFiles(t, fs, ".data"), copyFiles(t, fs, ".sums")
	overwrite(t, fs, data[0], []byte("damage"), 300_000)
	reread("a damaged chunk", some)
	reread("after the repair", func(n int64) bool { return n == 0 })
	overwrite(t, fs, sums[0], []byte{1, 2, 3, 4}, 64+4)
	reread("a damaged sum", some)
	for i, path := range sums {
		overwrite(t, fs, path, []byte{1}, int64(10+3*i))
	}
	reread("damaged headers", all)
	for _, path := range data {
		f, err := fs.Create(path, vfs.WriteCategoryUnspecified) // empty
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, f)
	}
	reread("content that is gone", all)
	for i := range handles {
		handles[i].SHA256 = "another"
	}
	reread("copies of other objects", all)
}

// TestCopiesAreBounded checks that copies keep within the bound, at the cost of fetching again.
func TestCopiesAreBounded(t *testing.T) {
	files := &remoteFiles{}
	fs := vfs.NewMem()
	o := pebblestate.Options{Dir: "dir", FS: fs, ObjectCacheBytes: 1 << 20, BlockCacheBytes: 64 << 10}
	handles := baseOf(t, files, 4000, 2000, o)
	s := attached(t, o, files, handles)
	want := contents(t, s)
	if len(want) < 4000*2000 {
		t.Fatalf("%d bytes of content", len(want))
	}
	if !bytes.Equal(contents(t, s), want) {
		t.Error("a second scan gives something else")
	}
	mustClose(t, s)
	kept := 0
	for _, path := range copyFiles(t, fs, ".sums") {
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, f)
		for b = b[64:]; len(b) > 0; b = b[4:] {
			if !bytes.Equal(b[:4], make([]byte, 4)) {
				kept++
			}
		}
	}
	if kept == 0 || kept > 4 {
		t.Errorf("%d chunks of 256 KiB are kept, want 1 to 4", kept)
	}
}

// TestPrefetch checks that everything becomes local without being read, and each byte once.
func TestPrefetch(t *testing.T) {
	files := &remoteFiles{}
	o := pebblestate.Options{Dir: "dir", FS: vfs.NewMem(), BlockCacheBytes: 64 << 10}
	handles := baseOf(t, files, 4000, 2000, o)
	total := int64(0)
	for _, h := range handles {
		total += h.Size
	}
	s := attached(t, o, files, handles)
	for deadline := time.Now().Add(20 * time.Second); files.bytes.Load() < total && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	contents(t, s)
	mustClose(t, s)
	if n := files.bytes.Load(); n != total {
		t.Errorf("%d bytes were fetched of objects of %d", n, total)
	}
}

// TestOneFetch checks that readers of one chunk share one request, and that the end of an object comes with one.
func TestOneFetch(t *testing.T) {
	files := &remoteFiles{latency: 20 * time.Millisecond}
	o := pebblestate.Options{Dir: "dir", FS: vfs.NewMem(), Prefetches: -1}
	handles := baseOf(t, files, 2000, 2000, o)
	s := openStore(t, o, "reader")
	if err := s.Attach(context.Background(), files, handles[:1], groupAddress(0), groupAddress(128)); err != nil {
		t.Fatal(err)
	}
	h := handles[0]
	content, err := files.get(h.Name)
	if err != nil {
		t.Fatal(err)
	}
	read := func(off, n int64) {
		p := make([]byte, n)
		if err := pebblestate.ReadObject(s, h.Name, p, off); err != nil || !bytes.Equal(p, content[off:off+n]) {
			t.Errorf("read of %d bytes at %d: %v", n, off, err)
		}
	}
	// The statistics of the table that Pebble reads take part: they read the end.
	var wg sync.WaitGroup
	for i := range int64(20) {
		wg.Go(func() { read(h.Size-1000-i, 500) })
		wg.Go(func() { read(h.Size-500_000+i, 500) }) // an index as Pebble reads it
		wg.Go(func() { read(i*100, 200) })
	}
	wg.Wait()
	if n := files.requests.Load(); n != 2 {
		t.Errorf("%d requests, want one for the beginning and one for the end", n)
	}
	mustClose(t, s)
}

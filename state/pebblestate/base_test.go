package pebblestate_test

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// uploads counts the tables that bases store.
type uploads struct {
	files *remoteFiles
	n     int
}

func (u *uploads) base(t *testing.T, s state.Store) []state.File {
	t.Helper()
	handles, err := s.Base(context.Background(), groupAddress(0), groupAddress(128), func(ctx context.Context, groups state.GroupRange, fill func(io.Writer) error) (state.File, error) {
		u.n++
		return u.files.Write(ctx, groups, 0, fill)
	})
	if err != nil {
		t.Fatal(err)
	}
	return handles
}

// TestBaseStoresOnce checks that tables which are stored are named again and not stored again: those of an earlier base, and those that were attached.
func TestBaseStoresOnce(t *testing.T) {
	files := &remoteFiles{}
	o := pebblestate.Options{Dir: "dir", FS: vfs.NewMem()}
	handles := baseOf(t, files, 2000, 2000, o)
	s := attached(t, o, files, handles)
	up := &uploads{files: files}
	again := up.base(t, s)
	if up.n != 0 || len(again) != len(handles) {
		t.Errorf("the base of a store that was attached has %d tables and stored %d, want %d and none", len(again), up.n, len(handles))
	}
	for i, h := range again {
		if h.Name != handles[i].Name || h.SHA256 != handles[i].SHA256 || h.Size != handles[i].Size {
			t.Errorf("table %d is named %+v, attached was %+v", i, h, handles[i])
		}
	}
	mustApply(t, s, state.Change{Kind: state.ChangeSet, Key: address(5, 1, 5), Value: stored(5, nil)})
	one := up.base(t, s)
	if up.n != 1 || len(one) != len(handles)+1 {
		t.Errorf("after one change the base has %d tables and stored %d, want %d and 1", len(one), up.n, len(handles)+1)
	}
	if up.base(t, s); up.n != 1 {
		t.Errorf("without a change the base stored %d more tables", up.n-1)
	}
	mustClose(t, s)
}

// TestBaseBesideWrites checks what a base may hold of changes that are applied while it is made: any state of a key between the call and its
// return, and all of each set of changes or none is not promised.
func TestBaseBesideWrites(t *testing.T) {
	files := &remoteFiles{}
	o := pebblestate.Options{Dir: "dir", FS: vfs.NewMem(), MemTableBytes: 64 << 10}
	s := openStore(t, o, "1")
	const keys = 200
	var mu sync.Mutex
	var now [keys]uint64
	write := func(i int) {
		k := i * 7 % keys
		mu.Lock()
		now[k]++
		n := now[k]
		mu.Unlock()
		if err := s.Apply([]state.Change{{Kind: state.ChangeSet, Key: address(k%128, 1, k), Value: append(binary.BigEndian.AppendUint64(nil, n), make([]byte, 500)...)}}); err != nil {
			t.Error(err)
		}
	}
	for i := range 2 * keys {
		write(i)
	}
	up := &uploads{files: files}
	for round := range 10 {
		mu.Lock()
		before := now
		mu.Unlock()
		stop := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := round; ; i++ {
				select {
				case <-stop:
					return
				default:
					write(i)
				}
			}
		})
		handles := up.base(t, s)
		close(stop)
		writer.Wait()
		r := openStore(t, pebblestate.Options{Dir: "other", FS: vfs.NewMem()}, "r")
		if err := r.Attach(context.Background(), files, handles, groupAddress(0), groupAddress(128)); err != nil {
			t.Fatal(err)
		}
		for k := range keys {
			v, ok, err := r.Get(nil, address(k%128, 1, k))
			if err != nil || !ok {
				t.Fatalf("key %d: %v, %v", k, ok, err)
			}
			if n := binary.BigEndian.Uint64(v); n < before[k] || n > now[k] {
				t.Fatalf("key %d is %d in the base, it was %d before and %d after", k, n, before[k], now[k])
			}
		}
		mustClose(t, r)
	}
	mustClose(t, s)
}

// TestCloseDuringBase checks that a store which is closed while a base is uploaded waits for nobody, and that everything is freed when the base has
// ended.
func TestCloseDuringBase(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, pebblestate.Options{Dir: "dir", FS: fs}, "1")
	mustApply(t, s, state.Change{Kind: state.ChangeSet, Key: address(5, 1, 5), Value: stored(5, nil)})
	uploading, closed, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	files := &remoteFiles{}
	go func() {
		_, err := s.Base(context.Background(), groupAddress(0), groupAddress(128), func(ctx context.Context, groups state.GroupRange, fill func(io.Writer) error) (state.File, error) {
			close(uploading)
			<-closed
			return files.Write(ctx, groups, 0, fill)
		})
		ended <- err
	}()
	<-uploading
	mustClose(t, s)
	close(closed)
	if err := <-ended; err != nil {
		t.Errorf("a base whose tables were linked before Close: %v", err)
	}
	if names, err := fs.List("dir/=op/0"); err != nil || len(names) != 0 {
		t.Errorf("left in the directory: %q, %v", names, err)
	}
}

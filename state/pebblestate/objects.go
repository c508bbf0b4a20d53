package pebblestate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/objstorage/remote"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

// objects are the objects of checkpoints that one store was attached to, as Pebble reads them. Pebble writes none and deletes none: an object
// belongs to the checkpoints that name it.
type objects struct {
	b      *backend
	ctx    context.Context // of reads in the background; ends when the store is closed
	cancel context.CancelFunc
	tasks  sync.WaitGroup // prefetching

	mu     sync.Mutex
	byName map[string]*object
	hot    []*object // to be prefetched first: have been read, in this order
	cold   []*object // to be prefetched next
}

func newObjects(b *backend) *objects {
	o := &objects{b: b, byName: map[string]*object{}}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// object is one of them. It implements remote.ObjectReader; closing that has no effect, because Pebble opens and closes its files as it likes.
type object struct {
	o     *objects
	file  state.File // as it was attached, without bounds
	files state.Files

	open   token      // held while source is being opened, which may take as long as the storage does
	source sst.Source // nil until it is needed
	local  bool       // source is as cheap as a local file
	copy   *copied    // of the cache; nil while there is none

	touched  atomic.Bool // somebody has read it
	taken    bool        // under objects.mu: it is or was prefetched
	unlisted int         // under objects.mu: bases since the last one that named it
}

// token is a lock for what takes long. Unlike a mutex it counts as waiting for something in a testing/synctest bubble, whose clock would stand still
// while somebody waits for a mutex that is held over a pause between two tries.
type token chan struct{}

func newToken() token {
	t := make(token, 1)
	t.put()
	return t
}

func (t token) take() { <-t }
func (t token) put()  { t <- struct{}{} }

// inlinePrefix begins the names under which Pebble knows objects without one.
const inlinePrefix = "inline-"

// add makes the object of a handle known and returns its name.
func (o *objects) add(files state.Files, h state.File) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := h.Name
	if name == "" {
		name = inlinePrefix + strconv.Itoa(len(o.byName))
	}
	if o.byName[name] == nil {
		h.Lo, h.Hi = nil, nil
		o.byName[name] = &object{o: o, file: h, files: files, open: newToken()}
	}
	return name
}

func (o *objects) find(name string) (*object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ob := o.byName[name]; ob != nil {
		return ob, nil
	}
	return nil, fmt.Errorf("pebblestate: there is no object %q among the attached ones", name)
}

// ReadObject implements remote.Storage. It reads nothing.
func (o *objects) ReadObject(_ context.Context, name string) (remote.ObjectReader, int64, error) {
	ob, err := o.find(name)
	if err != nil {
		return nil, 0, err
	}
	return ob, ob.file.Size, nil
}

// Size implements remote.Storage.
func (o *objects) Size(name string) (int64, error) {
	ob, err := o.find(name)
	if err != nil {
		return 0, err
	}
	return ob.file.Size, nil
}

// CreateObject implements remote.Storage.
func (o *objects) CreateObject(name string) (io.WriteCloser, error) {
	return nil, fmt.Errorf("pebblestate: Pebble wants to create the object %q; a store creates none", name)
}

// List implements remote.Storage.
func (o *objects) List(string, string) ([]string, error) { return nil, nil }

// Delete implements remote.Storage: an object belongs to the checkpoints that name it.
func (o *objects) Delete(string) error { return nil }

// IsNotExistError implements remote.Storage. An object that is gone is an error like any other.
func (o *objects) IsNotExistError(error) bool { return false }

// Close implements remote.Storage; Pebble does not call it.
func (o *objects) Close() error { return nil }

// close frees everything, when Pebble reads no more.
func (o *objects) close() error {
	o.cancel()
	o.tasks.Wait()
	var errs []error
	for _, ob := range o.byName {
		errs = append(errs, ob.free())
	}
	return errors.Join(errs...)
}

// Close implements remote.ObjectReader.
func (ob *object) Close() error { return nil }

// ReadAt implements remote.ObjectReader: from the local copy, or else from the storage.
func (ob *object) ReadAt(ctx context.Context, p []byte, off int64) error {
	if ob.o.ctx.Err() != nil {
		return fmt.Errorf("pebblestate: read object %q: %w", ob.file.Name, errClosing)
	}
	if ctx.Done() == nil {
		ctx = ob.o.ctx
	} else {
		both, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(ob.o.ctx, cancel)()
		ctx = both
	}
	if off < 0 || off+int64(len(p)) > ob.file.Size {
		return fmt.Errorf("pebblestate: read of %d bytes at %d of object %q, which has %d", len(p), off, ob.file.Name, ob.file.Size)
	}
	ob.o.touch(ob)
	c, err := ob.cached()
	if err == nil {
		if c != nil {
			err = c.readAt(ctx, ob, p, off)
		} else {
			err = ob.fetch(ctx, p, off)
		}
	}
	if err != nil {
		return fmt.Errorf("pebblestate: read %d bytes at %d of object %q: %w", len(p), off, ob.file.Name, err)
	}
	return nil
}

// cached is the local copy, nil when the object needs none.
func (ob *object) cached() (*copied, error) {
	ob.open.take()
	defer ob.open.put()
	if ob.copy != nil || ob.local {
		return ob.copy, nil
	}
	if ob.file.Name == "" {
		ob.source, ob.local = sst.Bytes(ob.file.Inline), true
		return nil, nil
	}
	// A copy that is there from before makes do without the storage.
	if c := ob.o.b.copies.known(ob.file); c != nil {
		ob.copy = c
		return c, nil
	}
	if err := ob.opened(); err != nil || ob.local {
		return nil, err
	}
	ob.copy = ob.o.b.copies.make(ob.file)
	return ob.copy, nil
}

// opened makes source ready; ob.open is held.
func (ob *object) opened() error {
	if ob.source != nil {
		return nil
	}
	src, err := ob.files.Open(ob.o.ctx, ob.file)
	if err != nil {
		return err
	}
	if src.Size() != ob.file.Size {
		return errors.Join(fmt.Errorf("object has %d bytes of content, the checkpoint says %d: %w", src.Size(), ob.file.Size, state.ErrCorrupt), src.Close())
	}
	ob.source, ob.local = src, src.Local()
	return nil
}

// fetch reads from the storage.
func (ob *object) fetch(ctx context.Context, p []byte, off int64) error {
	ob.open.take()
	err := ob.opened()
	src := ob.source
	ob.open.put()
	if err == nil {
		err = src.ReadAt(ctx, p, off)
	}
	if err != nil {
		ob.o.calmDown()
	}
	return err
}

// calmDown takes a moment after an error: Pebble, when it reads in the background, tries again at once.
func (o *objects) calmDown() {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-o.ctx.Done():
	}
}

// free closes what is open.
func (ob *object) free() error {
	ob.open.take()
	defer ob.open.put()
	if ob.copy != nil {
		ob.o.b.copies.leave(ob.copy, ob.unlisted >= basesUnlisted)
		ob.copy = nil
	}
	if ob.source == nil {
		return nil
	}
	err := ob.source.Close()
	ob.source = nil
	return err
}

// basesUnlisted is after how many bases that do not name an object its local copy is removed. The checkpoint to return to may be one with the base before
// the last.
const basesUnlisted = 2

// listed takes note of the objects that a base names.
func (o *objects) listed(names map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, ob := range o.byName {
		if ob.unlisted++; names[name] {
			ob.unlisted = 0
		}
	}
}

// named is the handle under which an object was attached.
func (o *objects) named(name string) (state.File, error) {
	ob, err := o.find(name)
	if err != nil {
		return state.File{}, err
	}
	return ob.file, nil
}

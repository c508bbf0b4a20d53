package pebblestate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// copies are the local copies of objects that the stores of a backend share, in
//
//	Dir/objects/N/
//
// with the least N that no other process, and no other backend of this one, has locked. A failure of the disk costs the copy, never the read.
type copies struct {
	fs    vfs.FS
	root  string
	bound int64
	log   *zap.Logger

	mu     sync.Mutex
	dir    string    // "" while no store needs copies
	lock   io.Closer // of dir
	byName map[string]*copied
	bytes  int64 // in all copies
}

const (
	dataSuffix = ".data"
	sumsSuffix = ".sums"
	maxDirs    = 1000
)

// identity is what tells the content of an object from any other, 32 bytes.
func identity(f state.File) []byte {
	sum := sha256.Sum256([]byte(f.Name + "\x00" + f.SHA256))
	return sum[:]
}

// known is the copy of an object if there is one, with the caller as one more user.
func (cs *copies) known(f state.File) *copied {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.ready() {
		return nil
	}
	c := cs.byName[segment(f.Name)]
	if c == nil || c.users > 0 && !bytes.Equal(c.id, identity(f)) {
		return nil
	}
	if c.users == 0 && !cs.load(c, f) {
		cs.remove(c)
		return nil
	}
	c.users++
	return c
}

// make is a copy without content, with the caller as its user; nil when the disk refuses.
func (cs *copies) make(f state.File) *copied {
	if c := cs.known(f); c != nil {
		return c // another store was faster
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.ready() || cs.byName[segment(f.Name)] != nil {
		return nil
	}
	c := &copied{copies: cs, name: segment(f.Name), id: identity(f), size: f.Size}
	n := int((f.Size + chunkBytes - 1) / chunkBytes)
	c.chunk, c.sum = make([]uint8, n), make([]uint32, n)
	c.missing.Store(int64(n))
	err := cs.open(c)
	if err == nil {
		_, err = c.sums.WriteAt(sumsHeader(f), 0)
	}
	if err != nil {
		cs.log.Warn("no local copy of an object", zap.String("object", f.Name), zap.Error(err))
		cs.remove(c)
		return nil
	}
	c.users = 1
	cs.byName[c.name] = c
	return c
}

// open opens the files of a copy.
func (cs *copies) open(c *copied) (err error) {
	path := cs.fs.PathJoin(cs.dir, c.name)
	if c.data, err = cs.fs.OpenReadWrite(path+dataSuffix, vfs.WriteCategoryUnspecified); err != nil {
		return err
	}
	c.sums, err = cs.fs.OpenReadWrite(path+sumsSuffix, vfs.WriteCategoryUnspecified)
	return err
}

// load makes a copy that is on disk ready for use; false when it is not one of f.
func (cs *copies) load(c *copied, f state.File) bool {
	if err := cs.open(c); err != nil {
		return false
	}
	n := int((f.Size + chunkBytes - 1) / chunkBytes)
	b, err := io.ReadAll(io.NewSectionReader(c.sums, 0, headerLen+4*int64(n)))
	if err != nil || len(b) < headerLen || !bytes.Equal(b[:headerLen], sumsHeader(f)) {
		return false
	}
	c.id, c.size = identity(f), f.Size
	c.chunk, c.sum = make([]uint8, n), make([]uint32, n)
	c.missing.Store(int64(n))
	for i := range n {
		if at := headerLen + 4*i; at+4 <= len(b) {
			if c.sum[i] = binary.BigEndian.Uint32(b[at:]); c.sum[i] != 0 {
				c.chunk[i] = chunkOld
			}
		}
	}
	return true
}

// leave drops a user. With the last one the files are closed, and removed when they are of no more use.
func (cs *copies) leave(c *copied, useless bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	c.left = time.Now()
	c.close()
	if useless || c.broken.Load() {
		cs.remove(c)
	}
}

func (c *copied) close() {
	for _, f := range []*vfs.File{&c.data, &c.sums} {
		if *f != nil {
			_ = (*f).Close() // what was written is checked before it is believed
			*f = nil
		}
	}
}

// kept is how many bytes of content are in the file.
func (c *copied) kept() (n int64) {
	for i, state := range c.chunk {
		if state == chunkOld || state == chunkFetched {
			_, size := c.span(i, i+1)
			n += int64(size)
		}
	}
	return n
}

// remove deletes a copy that has no user; cs.mu is held.
func (cs *copies) remove(c *copied) {
	c.close()
	cs.bytes -= c.kept()
	delete(cs.byName, c.name)
	path := cs.fs.PathJoin(cs.dir, c.name)
	_ = cs.fs.Remove(path + sumsSuffix) // without it the content is not found again
	_ = cs.fs.Remove(path + dataSuffix)
}

// take reserves n bytes, if need be at the cost of copies that nobody uses, the one left longest ago first.
func (cs *copies) take(n int64) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for cs.bytes+n > cs.bound {
		var oldest *copied
		for _, c := range cs.byName {
			if c.users == 0 && (oldest == nil || c.left.Before(oldest.left)) {
				oldest = c
			}
		}
		if oldest == nil {
			return false
		}
		cs.remove(oldest)
	}
	cs.bytes += n
	return true
}

func (cs *copies) give(n int64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.bytes -= n
}

// ready finds and locks the directory, the first time; cs.mu is held.
func (cs *copies) ready() bool {
	if cs.dir != "" {
		return true
	}
	for i := range maxDirs {
		dir := cs.fs.PathJoin(cs.root, "objects", strconv.Itoa(i))
		err := cs.fs.MkdirAll(dir, 0o755)
		if err != nil {
			cs.log.Warn("no local copies of objects", zap.Error(err))
			return false
		}
		lock, err := cs.fs.Lock(cs.fs.PathJoin(dir, lockName))
		if err != nil {
			continue
		}
		cs.dir, cs.lock, cs.byName, cs.bytes = dir, lock, map[string]*copied{}, 0
		cs.find()
		return true
	}
	return false
}

// find takes stock of the copies that are there.
func (cs *copies) find() {
	names, err := cs.fs.List(cs.dir)
	if err != nil {
		return
	}
	for _, name := range names {
		seg, data := strings.CutSuffix(name, dataSuffix)
		if !data {
			continue
		}
		path := cs.fs.PathJoin(cs.dir, seg)
		info, err := cs.fs.Stat(path + dataSuffix)
		if err != nil || !slices.Contains(names, seg+sumsSuffix) {
			_ = cs.fs.Remove(path + dataSuffix)
			continue
		}
		c := &copied{copies: cs, name: seg, left: info.ModTime()}
		if cs.count(c) {
			cs.byName[seg] = c
		} else {
			cs.remove(c)
		}
	}
}

// count finds out how much a copy on disk holds.
func (cs *copies) count(c *copied) bool {
	f, err := cs.fs.Open(cs.fs.PathJoin(cs.dir, c.name) + sumsSuffix)
	if err != nil {
		return false
	}
	b, err := io.ReadAll(f)
	_ = f.Close()
	if err != nil || len(b) < headerLen || string(b[:len(copyMagic)]) != copyMagic {
		return false
	}
	c.size = int64(binary.BigEndian.Uint64(b[len(copyMagic):]))
	n := (len(b) - headerLen) / 4
	if want := (c.size + chunkBytes - 1) / chunkBytes; c.size < 0 || int64(n) > want {
		return false
	}
	c.chunk = make([]uint8, n)
	for i := range n {
		if binary.BigEndian.Uint32(b[headerLen+4*i:]) != 0 {
			c.chunk[i] = chunkOld
		}
	}
	cs.bytes += c.kept()
	return true
}

// close lets the directory go, with the last store. The copies stay.
func (cs *copies) close() error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.dir == "" {
		return nil
	}
	cs.dir, cs.byName = "", nil
	return cs.lock.Close()
}

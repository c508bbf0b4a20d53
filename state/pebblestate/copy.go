package pebblestate

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
)

// A local copy of an object is two files: the content, with holes where it has not been fetched, and the sums:
//
//	header (64 bytes, see sumsHeader), then a CRC32C for each chunk of the content, big-endian; 0: not there
//
// Nothing is synced. A chunk from an earlier process is compared with its sum before it is used, and fetched again when they differ.

const (
	// chunkBytes is what is fetched at least: a multiple of what the checksums of an object cover.
	chunkBytes = 256 << 10
	// tailChunks is how much of the end of an object comes with the first read of it: footer, index and filter stand there, and Pebble
	// reads half a megabyte of them.
	tailChunks = 3
	headerLen  = 64
	copyMagic  = "MRCOPY1\n"
)

// States of a chunk.
const (
	chunkAbsent  = iota
	chunkOld     // in the file, from an earlier process
	chunkFetched // in the file
	chunkBusy    // being fetched or compared
)

// copied is a local copy of an object. It is shared by the stores of a backend.
type copied struct {
	copies *copies
	name   string // of the files, without suffix
	id     []byte // identity of the content; nil while nobody uses it
	size   int64

	missing atomic.Int64 // chunks that are not chunkFetched

	mu     sync.Mutex
	chunk  []uint8
	sum    []uint32
	wake   chan struct{} // closed when busy chunks have been dealt with; nil: nobody waits
	data   vfs.File
	sums   vfs.File
	broken atomic.Bool // a local file failed: nothing more is written

	users int       // under copies.mu
	left  time.Time // under copies.mu: when users became 0
}

func (c *copied) chunks() int { return len(c.chunk) }

// readAt reads content, after fetching what is missing of it.
func (c *copied) readAt(ctx context.Context, ob *object, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if c.missing.Load() > 0 {
		first, last := int(off/chunkBytes), int((off+int64(len(p))-1)/chunkBytes)
		if _, err := c.ensure(ctx, ob, first, last-first+1); errors.Is(err, errNoRoom) {
			return ob.fetch(ctx, p, off)
		} else if err != nil {
			return err
		}
	}
	if n, err := c.data.ReadAt(p, off); n != len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return errors.Join(err, ob.fetch(ctx, p, off))
	}
	return nil
}

// errNoRoom says that a chunk cannot be kept.
var errNoRoom = errors.New("no room for a local copy")

// ensure makes n chunks, or those that there are, from the first on available, and returns how many bytes it has fetched. Chunks that somebody else is
// fetching are waited for.
func (c *copied) ensure(ctx context.Context, ob *object, first, n int) (fetched int, err error) {
	end := min(first+n, c.chunks())
	for {
		c.mu.Lock()
		i := first
		for i < end && c.chunk[i] == chunkFetched {
			i++
		}
		if i == end {
			c.mu.Unlock()
			return fetched, nil
		}
		if c.chunk[i] == chunkBusy {
			if c.wake == nil {
				c.wake = make(chan struct{})
			}
			wake := c.wake
			c.mu.Unlock()
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return fetched, ctx.Err()
			}
		}
		old := c.chunk[i] == chunkOld
		lo, hi := i, i+1
		if !old {
			lo, hi = c.run(i, end)
		}
		for j := lo; j < hi; j++ {
			c.chunk[j] = chunkBusy
		}
		c.mu.Unlock()
		if old {
			c.compare(i)
			continue
		}
		bytes, err := c.fetch(ctx, ob, lo, hi)
		fetched += bytes
		if err != nil {
			return fetched, err
		}
	}
}

// run is what is fetched with chunk i by one request: the missing ones before end. Whoever comes first to the end of an object gets all of it.
func (c *copied) run(i, end int) (lo, hi int) {
	lo, hi = i, i+1
	for hi < end && c.chunk[hi] == chunkAbsent {
		hi++
	}
	if tail := max(0, c.chunks()-tailChunks); hi > tail {
		for hi < c.chunks() && c.chunk[hi] == chunkAbsent {
			hi++
		}
		for lo > tail && c.chunk[lo-1] == chunkAbsent {
			lo--
		}
	}
	return lo, hi
}

// settle ends the work at chunks [lo, hi).
func (c *copied) settle(lo, hi int, state uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for j := lo; j < hi; j++ {
		c.chunk[j] = state
	}
	if state == chunkFetched {
		c.missing.Add(int64(lo - hi))
	}
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// span is the part of the content that chunks [lo, hi) are.
func (c *copied) span(lo, hi int) (off int64, n int) {
	off = int64(lo) * chunkBytes
	return off, int(min(int64(hi)*chunkBytes, c.size) - off)
}

// compare finds out whether an old chunk is as it was written.
func (c *copied) compare(i int) {
	off, n := c.span(i, i+1)
	buf := buffer(n)
	defer buffers.Put(buf)
	got, _ := c.data.ReadAt(*buf, off) // too short a read is as bad as a wrong one
	if got == n && crc32.Checksum(*buf, castagnoli) == c.sum[i] {
		c.settle(i, i+1, chunkFetched)
		return
	}
	c.copies.give(int64(n))
	c.settle(i, i+1, chunkAbsent)
}

// fetch gets chunks [lo, hi), which are busy, from the storage.
func (c *copied) fetch(ctx context.Context, ob *object, lo, hi int) (int, error) {
	off, n := c.span(lo, hi)
	if c.broken.Load() || !c.copies.take(int64(n)) {
		c.settle(lo, hi, chunkAbsent)
		return 0, errNoRoom
	}
	buf := buffer(n)
	defer buffers.Put(buf)
	err := ob.fetch(ctx, *buf, off)
	if err == nil {
		if err = c.store(lo, hi, *buf); err == nil {
			c.settle(lo, hi, chunkFetched)
			return n, nil
		}
		err = errNoRoom
		c.broken.Store(true)
	}
	c.copies.give(int64(n))
	c.settle(lo, hi, chunkAbsent)
	return 0, err
}

// store writes chunks and then their sums.
func (c *copied) store(lo, hi int, content []byte) error {
	off, _ := c.span(lo, hi)
	sums := make([]byte, 0, 4*(hi-lo))
	for rest := content; len(rest) > 0; {
		n := min(len(rest), chunkBytes)
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(rest[:n], castagnoli))
		rest = rest[n:]
	}
	if _, err := c.data.WriteAt(content, off); err != nil {
		return err
	}
	_, err := c.sums.WriteAt(sums, headerLen+4*int64(lo))
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var buffers sync.Pool

func buffer(n int) *[]byte {
	if b, ok := buffers.Get().(*[]byte); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, max(n, prefetchChunks*chunkBytes))
	return &b
}

// sumsHeader begins the file of sums: it says of which object, by size and checksum, the files are a copy.
func sumsHeader(f state.File) []byte {
	h := append(make([]byte, 0, headerLen), copyMagic...)
	h = binary.BigEndian.AppendUint64(h, uint64(f.Size))
	h = binary.BigEndian.AppendUint32(h, chunkBytes)
	h = append(h, identity(f)...)
	h = binary.BigEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	return h[:headerLen]
}

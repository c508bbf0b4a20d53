package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// State file, version 2: the entries of one operator in one subtask, sorted by (key group, state, operator key, sub key), each once.
// It does not depend on the backend.
//
//	file    = "MRSTATE" version (1 byte), header frame, block frame …, footer frame, end
//	frame   = type (1 byte: H, B or F), length of payload (4), count (4), CRC32C of these 9 bytes (4), payload, CRC32C of payload (4)
//	header  = JSON of Header; count = number of states
//	block   = count × entry
//	entry   = uvarint bytes shared with the address before, uvarint length of the rest, the rest,
//	          flags (1: hash differs from the one before, 2: expires), [hash, 8], [uvarint stamp], uvarint length of value, value
//	address = see key.go; nothing is shared and no hash is carried over the start of a block
//	footer  = uvarint blocks, uvarint entries, then uvarint entries for each state; count = number of states
//
// A stamp is when the entry expires: Unix ms, or, for a state with time to live in event time, Unix ms + 2⁵⁴. Version 1 has no such states, and a
// file without one is written as version 1, so that releases that know no other can read it.
//
// Integers of frames and addresses are big-endian. Every byte is under a checksum or compared, so any flipped bit is an error.

const (
	fileMagic   = "MRSTATE"
	fileVersion = 2

	frameHeader = 'H'
	frameBlock  = 'B'
	frameFooter = 'F'

	frameHead   = 13
	blockBytes  = 32 << 10 // a block is closed when its payload reaches this
	payloadMax  = 1<<31 - 1
	flagHash    = 1
	flagExpires = 2
)

// castagnoli makes the table of CRC32C; the standard library keeps one copy.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Header is what a state file says of itself.
type Header struct {
	UID            string       `json:"uid"`
	Subtask        int          `json:"subtask"`
	Groups         GroupRange   `json:"groups"` // that the subtask owned
	MaxParallelism int          `json:"max_parallelism"`
	States         []Descriptor `json:"states"` // Entry.State is an index of it
}

// Entry is one entry of a state file. Its slices are valid during the call that hands it out.
type Entry struct {
	Group int // key group
	State int // index in Header.States
	// Key is the encoded operator key.
	Key []byte
	// Sub is the encoded map key of a map state; the element number (8 bytes, big-endian, ascending but with gaps) of a list state;
	// domain (1 byte) and time (8 bytes, big-endian, Unix ms with the sign bit flipped) of a timer; empty for all others.
	Sub []byte
	// Hash is the hash of the operator key, from which Group follows.
	Hash uint64
	// ExpiresMS is when the entry expires by its TTL, Unix ms, plus 2⁵⁴ where the state's Descriptor says EventTimeTTL; 0 for never.
	ExpiresMS int64
	// Value is the encoded value; empty for a timer. Schema is the index in Descriptor.Schemas of the schema it was written with.
	Value  []byte
	Schema int
}

// ErrCorrupt marks every error about stored bytes that are not what was once written, here and in package checkpoint: errors.Is finds
// it. Trying again cannot help.
var ErrCorrupt = errors.New("corrupt")

// CorruptError says that a state file is not as it was written. errors.Is(err, ErrCorrupt) finds it.
type CorruptError struct {
	File   string // name of the object; "" where the reader does not know it
	Offset int64  // in bytes, of the frame that is wrong
	Err    error  // what is wrong with it
}

// Error names file, offset and fault.
func (e *CorruptError) Error() string {
	name := "state file"
	if e.File != "" {
		name = fmt.Sprintf("state file %q", e.File)
	}
	return fmt.Sprintf("state: %s is corrupt at offset %d: %v; restore from another checkpoint", name, e.Offset, e.Err)
}

// Unwrap is the fault.
func (e *CorruptError) Unwrap() error { return e.Err }

// Is makes errors.Is(e, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// fileWriter writes a state file with the memory of one block and its largest entry.
type fileWriter struct {
	w       io.Writer
	block   []byte
	count   uint32 // entries in block
	prev    []byte // address of the last entry
	hash    uint64 // of the last entry
	entries []uint64
	blocks  uint64
}

// newFileWriter writes the magic and the header.
func newFileWriter(w io.Writer, h Header) (*fileWriter, error) {
	js, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("state: encode the header of a state file: %w", err)
	}
	f := &fileWriter{w: w, entries: make([]uint64, len(h.States))}
	version := byte(1)
	if slices.ContainsFunc(h.States, func(d Descriptor) bool { return d.EventTimeTTL }) {
		version = 2
	}
	if _, err := w.Write(append([]byte(fileMagic), version)); err != nil {
		return nil, err
	}
	return f, f.frame(frameHeader, uint32(len(h.States)), js)
}

func (f *fileWriter) frame(kind byte, count uint32, payload []byte) error {
	if len(payload) > payloadMax {
		return fmt.Errorf("state: an entry of %d bytes is above the limit of %d for one entry of a state file; split the value, e.g. into a map state", len(payload), payloadMax)
	}
	var head [frameHead]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	binary.BigEndian.PutUint32(head[5:], count)
	binary.BigEndian.PutUint32(head[9:], crc32.Checksum(head[:9], castagnoli()))
	var tail [4]byte
	binary.BigEndian.PutUint32(tail[:], crc32.Checksum(payload, castagnoli()))
	for _, b := range [][]byte{head[:], payload, tail[:]} {
		if _, err := f.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// add writes one entry, whose address must be above that of the entry before.
func (f *fileWriter) add(address []byte, hash uint64, expiresMS int64, value []byte) error {
	state := int(binary.BigEndian.Uint16(address[2:]))
	if bytes.Compare(address, f.prev) <= 0 {
		return fmt.Errorf("state: two entries of one snapshot have the address %x or are out of order; do two keys have one encoding?", address)
	}
	if len(f.block) >= blockBytes {
		if err := f.flush(); err != nil {
			return err
		}
	}
	shared := 0
	if f.count > 0 {
		for shared < len(address) && shared < len(f.prev) && address[shared] == f.prev[shared] {
			shared++
		}
	}
	b := binary.AppendUvarint(f.block, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(address)-shared))
	b = append(b, address[shared:]...)
	var flags byte
	if f.count == 0 || hash != f.hash {
		flags |= flagHash
	}
	if expiresMS != 0 {
		flags |= flagExpires
	}
	b = append(b, flags)
	if flags&flagHash != 0 {
		b = binary.BigEndian.AppendUint64(b, hash)
	}
	if flags&flagExpires != 0 {
		b = binary.AppendUvarint(b, uint64(expiresMS))
	}
	b = binary.AppendUvarint(b, uint64(len(value)))
	f.block = append(b, value...)
	f.prev, f.hash = append(f.prev[:0], address...), hash
	f.count++
	f.entries[state]++
	return nil
}

func (f *fileWriter) flush() error {
	if f.count == 0 {
		return nil
	}
	err := f.frame(frameBlock, f.count, f.block)
	f.block, f.count = f.block[:0], 0
	f.blocks++
	return err
}

// finish writes what is left and the footer.
func (f *fileWriter) finish() error {
	if err := f.flush(); err != nil {
		return err
	}
	var sum uint64
	for _, n := range f.entries {
		sum += n
	}
	p := binary.AppendUvarint(nil, f.blocks)
	p = binary.AppendUvarint(p, sum)
	for _, n := range f.entries {
		p = binary.AppendUvarint(p, n)
	}
	return f.frame(frameFooter, uint32(len(f.entries)), p)
}

// ReadFile reads a whole state file in the memory of one block and calls fn for each entry in ascending order. An error of fn
// ends the reading and is returned as it is. A file that is not as it was written, cut short included, is a *CorruptError; another
// error of r is returned with the offset. What fn was given is to be trusted only when ReadFile returns no error.
func ReadFile(r io.Reader, fn func(Entry) error) (Header, error) {
	f := &fileReader{r: r}
	h, err := f.header()
	if err != nil {
		return h, err
	}
	return h, f.entries(fn)
}

// fileReader reads a state file.
type fileReader struct {
	r      io.Reader
	off    int64 // of the frame in hand
	next   int64 // of the frame after
	buf    bytes.Buffer
	states int
	seen   []uint64
	blocks uint64
	last   []byte // address of the last entry
	addr   []byte
	key    []byte
}

func (f *fileReader) corrupt(err error) error { return &CorruptError{Offset: f.off, Err: err} }

// broken is the error for a read that failed: a file that ends early is corrupt, anything else is the storage's own trouble.
func (f *fileReader) broken(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.corrupt(fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF))
	}
	return fmt.Errorf("state: read the %s at offset %d of a state file: %w", what, f.off, err)
}

func (f *fileReader) header() (h Header, err error) {
	var magic [len(fileMagic) + 1]byte
	if _, err := io.ReadFull(f.r, magic[:]); err != nil {
		return h, f.broken("magic", err)
	}
	if string(magic[:len(fileMagic)]) != fileMagic {
		return h, f.corrupt(fmt.Errorf("it begins with %q, which no state file does", magic[:]))
	}
	if v := magic[len(fileMagic)]; v < 1 || v > fileVersion {
		return h, f.corrupt(fmt.Errorf("format version %d, this release reads versions 1 to %d", v, fileVersion))
	}
	f.next = int64(len(magic))
	kind, count, payload, err := f.frame()
	if err != nil {
		return h, err
	}
	if kind != frameHeader {
		return h, f.corrupt(fmt.Errorf("frame of type %q, want the header", kind))
	}
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, f.corrupt(fmt.Errorf("header: %w", err))
	}
	if int(count) != len(h.States) {
		return h, f.corrupt(fmt.Errorf("header with %d states says %d", len(h.States), count))
	}
	f.states, f.seen = len(h.States), make([]uint64, len(h.States))
	return h, nil
}

// frame reads the next frame; payload is valid until the next call.
func (f *fileReader) frame() (kind byte, count uint32, payload []byte, err error) {
	f.off = f.next
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, 0, nil, f.broken("frame head", err)
	}
	if got, want := crc32.Checksum(head[:9], castagnoli()), binary.BigEndian.Uint32(head[9:]); got != want {
		return 0, 0, nil, f.corrupt(fmt.Errorf("frame head has CRC32C %08x, want %08x", got, want))
	}
	size := int64(binary.BigEndian.Uint32(head[1:]))
	f.buf.Reset()
	// The buffer grows with what really comes, so a length that lies costs no memory.
	if _, err := io.CopyN(&f.buf, f.r, size+4); err != nil {
		return 0, 0, nil, f.broken(fmt.Sprintf("payload of %d bytes", size), err)
	}
	payload = f.buf.Bytes()[:size]
	if got, want := crc32.Checksum(payload, castagnoli()), binary.BigEndian.Uint32(f.buf.Bytes()[size:]); got != want {
		return 0, 0, nil, f.corrupt(fmt.Errorf("payload has CRC32C %08x, want %08x", got, want))
	}
	f.next = f.off + frameHead + size + 4
	return head[0], binary.BigEndian.Uint32(head[5:]), payload, nil
}

func (f *fileReader) entries(fn func(Entry) error) error {
	for {
		kind, count, payload, err := f.frame()
		if err != nil {
			return err
		}
		switch kind {
		case frameBlock:
			f.blocks++
			if err := f.readBlock(count, payload, fn); err != nil {
				return err
			}
		case frameFooter:
			return f.footer(count, payload)
		default:
			return f.corrupt(fmt.Errorf("frame of type %q, want a block or the footer", kind))
		}
	}
}

// readBlock hands the entries of a block out.
func (f *fileReader) readBlock(count uint32, p []byte, fn func(Entry) error) error {
	f.addr = f.addr[:0]
	var hash uint64
	for range count {
		var e Entry
		var err error
		if p, err = f.entry(&e, hash, p); err != nil {
			return f.corrupt(err)
		}
		hash = e.Hash
		if err := fn(e); err != nil {
			return err
		}
	}
	if len(p) != 0 {
		return f.corrupt(fmt.Errorf("%d bytes after the last entry of a block", len(p)))
	}
	return nil
}

var errShort = errors.New("entry ends early")

// entry reads one entry and returns what follows it.
func (f *fileReader) entry(e *Entry, hash uint64, p []byte) ([]byte, error) {
	shared, n := binary.Uvarint(p)
	if n <= 0 || shared > uint64(len(f.addr)) {
		return nil, errShort
	}
	rest, p, ok := cutBytes(p[n:])
	if !ok || len(p) == 0 {
		return nil, errShort
	}
	f.addr = append(f.addr[:shared], rest...)
	flags := p[0]
	p = p[1:]
	if flags&^(flagHash|flagExpires) != 0 {
		return nil, fmt.Errorf("entry has flags %#x", flags)
	}
	e.Hash = hash
	if flags&flagHash != 0 {
		if len(p) < 8 {
			return nil, errShort
		}
		e.Hash, p = binary.BigEndian.Uint64(p), p[8:]
	}
	if flags&flagExpires != 0 {
		x, n := binary.Uvarint(p)
		if n <= 0 || x >= 1<<(64-metaExpiry-1) {
			return nil, fmt.Errorf("entry has no or a bad expiry")
		}
		e.ExpiresMS, p = int64(x), p[n:]
	}
	if e.Value, p, ok = cutBytes(p); !ok {
		return nil, errShort
	}
	return p, f.parseAddress(e)
}

// parseAddress fills in what the address says and checks its order.
func (f *fileReader) parseAddress(e *Entry) error {
	if len(f.addr) < addressHead {
		return errShort
	}
	if bytes.Compare(f.addr, f.last) <= 0 {
		return fmt.Errorf("entry %x is not above the entry before it", f.addr)
	}
	e.Group, e.State = int(binary.BigEndian.Uint16(f.addr)), int(binary.BigEndian.Uint16(f.addr[2:]))
	if e.State >= f.states {
		return fmt.Errorf("entry of state %d, the header has %d", e.State, f.states)
	}
	var err error
	if f.key, e.Sub, err = cutEscaped(f.key[:0], f.addr[addressHead:]); err != nil {
		return err
	}
	e.Key = f.key
	f.last = append(f.last[:0], f.addr...)
	e.Sub = f.last[len(f.last)-len(e.Sub):]
	f.seen[e.State]++
	return nil
}

// cutBytes cuts a length-prefixed byte string off p.
func cutBytes(p []byte) (b, rest []byte, ok bool) {
	size, n := binary.Uvarint(p)
	if n <= 0 || size > uint64(len(p)-n) {
		return nil, nil, false
	}
	return p[n : n+int(size)], p[n+int(size):], true
}

// footer checks the counts and that nothing follows.
func (f *fileReader) footer(count uint32, p []byte) error {
	var sum uint64
	for _, n := range f.seen {
		sum += n
	}
	want := append([]uint64{f.blocks, sum}, f.seen...)
	for _, w := range want {
		got, n := binary.Uvarint(p)
		if n <= 0 || got != w {
			return f.corrupt(fmt.Errorf("footer counts differ from the %d entries in %d blocks before it", sum, f.blocks))
		}
		p = p[n:]
	}
	if len(p) != 0 || int(count) != f.states {
		return f.corrupt(fmt.Errorf("footer is for another number of states"))
	}
	f.off = f.next
	var one [1]byte
	if n, err := io.ReadFull(f.r, one[:]); n != 0 || !errors.Is(err, io.EOF) {
		if n == 0 {
			return f.broken("end", err)
		}
		return f.corrupt(fmt.Errorf("bytes after the footer"))
	}
	return nil
}

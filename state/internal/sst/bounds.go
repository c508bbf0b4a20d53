package sst

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
)

// GroupStart is the lowest address of key group g: its number, big-endian. Groups are below 1<<16.
func GroupStart(g int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(g)) }

// Clip is the part of [lo, hi) that lies within [withinLo, withinHi); nil is no bound. It is empty, and ok false, when nothing is left.
func Clip(lo, hi, withinLo, withinHi []byte) (clippedLo, clippedHi []byte, ok bool) {
	if bytes.Compare(withinLo, lo) > 0 {
		lo = withinLo
	}
	if hi == nil || withinHi != nil && bytes.Compare(withinHi, hi) < 0 {
		hi = withinHi
	}
	return lo, hi, hi == nil || bytes.Compare(lo, hi) < 0
}

// Bytes is a Source in memory.
type Bytes []byte

// ReadAt copies from the bytes.
func (b Bytes) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(b)) {
		return fmt.Errorf("sst: read of %d bytes at %d of %d", len(p), off, len(b))
	}
	copy(p, b[off:])
	return nil
}

// Size is the number of bytes.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Close does nothing.
func (b Bytes) Close() error { return nil }

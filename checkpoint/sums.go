package checkpoint

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"

	"github.com/millrace-io/millrace/state"
)

// An object with state is its content and then a table of checksums, by which any part of it can be checked without the rest:
//
//	n × u32   CRC32C of each chunk of the content; the last chunk may be shorter
//	u64       bytes of content
//	u32       n, the number of chunks
//	u32       bytes of a chunk: 65536
//	8 bytes   "mrsums" and the version as u16: 1
//	u32       CRC32C of everything above in the table; File.Sums in the manifest, in hex
//
// All integers are big-endian. The table stands behind the content, since it is known only when the content has been written, and one
// request for the tail of the object finds it. A version is for ever: what a release does not know it does not guess.
const (
	chunkBytes     = 64 << 10
	sumsFooterSize = 8 + 4 + 4 + 8 + 4
	sumsMagic      = "mrsums\x00\x01"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumsSize is the size of the table of content of size bytes.
func sumsSize(size int64) int64 { return chunkCount(size)*4 + sumsFooterSize }

func chunkCount(size int64) int64 { return (size + chunkBytes - 1) / chunkBytes }

// chunkSums computes the table while the content is written.
type chunkSums struct {
	table []byte // the checksums of the chunks that are whole
	crc   uint32 // of the chunk that is not
	size  int64
}

func (c *chunkSums) add(p []byte) {
	for len(p) > 0 {
		n := min(len(p), chunkBytes-int(c.size%chunkBytes))
		c.crc = crc32.Update(c.crc, castagnoli, p[:n])
		c.size += int64(n)
		if p = p[n:]; c.size%chunkBytes == 0 {
			c.cut()
		}
	}
}

func (c *chunkSums) cut() {
	c.table, c.crc = binary.BigEndian.AppendUint32(c.table, c.crc), 0
}

// finish gives the table and the value of File.Sums.
func (c *chunkSums) finish() (table []byte, sums string) {
	if c.size%chunkBytes != 0 {
		c.cut()
	}
	t := binary.BigEndian.AppendUint64(c.table, uint64(c.size))
	t = binary.BigEndian.AppendUint32(t, uint32(chunkCount(c.size)))
	t = binary.BigEndian.AppendUint32(t, chunkBytes)
	t = append(t, sumsMagic...)
	crc := crc32.Checksum(t, castagnoli)
	return binary.BigEndian.AppendUint32(t, crc), fmt.Sprintf("%08x", crc)
}

// sumTable is a table that has been checked against its handle.
type sumTable struct {
	object string // for errors
	size   int64  // of the content
	sums   []byte // the checksums of the chunks as they are in the table
}

// parseSums checks the tail of an object: everything behind the content, and one byte more if there is one.
func parseSums(object string, f state.File, tail []byte) (*sumTable, error) {
	want := sumsSize(f.Size)
	whole := f.Size + want
	switch n := int64(len(tail)); {
	case n == 0:
		return nil, corruptFile(object, 0, whole, fmt.Sprintf("it has at most %d bytes, want %d: it is cut off or another object", f.Size, whole))
	case n < want:
		return nil, corruptFile(object, f.Size+n, want-n, fmt.Sprintf("it has %d bytes, want %d: it is cut off or another object", f.Size+n, whole))
	case n > want:
		return nil, corruptFile(object, whole, 1, fmt.Sprintf("it has more than the %d bytes that it should have", whole))
	}
	body, recorded := tail[:want-4], binary.BigEndian.Uint32(tail[want-4:])
	crc := crc32.Checksum(body, castagnoli)
	if named, err := hex.DecodeString(f.Sums); err != nil || len(named) != 4 || binary.BigEndian.Uint32(named) != crc || recorded != crc {
		if recorded == crc && string(body[len(body)-8:]) == sumsMagic {
			return nil, corruptFile(object, 0, whole, fmt.Sprintf("it is another object: its table of checksums has the checksum %08x, the manifest says %q", crc, f.Sums))
		}
		return nil, corruptFile(object, f.Size, want, fmt.Sprintf("its table of checksums has the checksum %08x, in it is %08x, the manifest says %q",
			crc, recorded, f.Sums))
	}
	n := chunkCount(f.Size)
	footer := body[4*n:]
	if magic := string(footer[16:]); magic != sumsMagic {
		return nil, fmt.Errorf("checkpoint: object %q has a table of checksums of the form %q, this release reads %q; use the release that wrote it or a newer one",
			object, magic, sumsMagic)
	}
	size, count, chunk := binary.BigEndian.Uint64(footer), binary.BigEndian.Uint32(footer[8:]), binary.BigEndian.Uint32(footer[12:])
	if size != uint64(f.Size) || int64(count) != n || chunk != chunkBytes {
		return nil, corruptFile(object, f.Size, want, fmt.Sprintf("its table of checksums is of %d bytes in %d chunks of %d, want %d bytes in %d chunks of %d",
			size, count, chunk, f.Size, n, chunkBytes))
	}
	return &sumTable{object: object, size: f.Size, sums: body[:4*n]}, nil
}

// check compares whole chunks, or the rest of the content, that begin at off, a multiple of the chunk size.
func (t *sumTable) check(off int64, p []byte) error {
	for i := off / chunkBytes; len(p) > 0; i++ {
		n := min(len(p), chunkBytes)
		if got, want := crc32.Checksum(p[:n], castagnoli), binary.BigEndian.Uint32(t.sums[4*i:]); got != want {
			return corruptFile(t.object, i*chunkBytes, int64(n), fmt.Sprintf("its checksum is %08x, recorded is %08x", got, want))
		}
		p = p[n:]
	}
	return nil
}

// span widens [off, off+n) to whole chunks.
func (t *sumTable) span(off, n int64) (start, end int64) {
	start = off / chunkBytes * chunkBytes
	end = min((off+n+chunkBytes-1)/chunkBytes*chunkBytes, t.size)
	return start, end
}

// corruptFile is the error about a part of an object with state.
func corruptFile(object string, off, n int64, reason string) error {
	return &CorruptError{Object: object, Offset: off, Length: n, Reason: reason, Remedy: "restore it from a copy, or start from another checkpoint"}
}

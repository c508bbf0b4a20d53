package ocf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// FormatError says that bytes are no container file.
type FormatError struct {
	Offset int64 // in bytes, of the part that is wrong
	Err    error
}

// Error names offset and fault.
func (e *FormatError) Error() string { return fmt.Sprintf("at offset %d: %v", e.Offset, e.Err) }

// Unwrap is the fault.
func (e *FormatError) Unwrap() error { return e.Err }

// headerBytesMax bounds the header, so that lengths that lie cost no memory.
const headerBytesMax = 16 << 20

// Reader reads a container file with the memory of one block. One goroutine uses it.
type Reader struct {
	r      *bufio.Reader
	off    int64 // of the part in hand
	read   int64
	Schema string
	Meta   map[string]string // without the avro.* entries
	Codec  Codec
	sync   [syncSize]byte
	unpack *decompressor
	raw    bytes.Buffer
}

// NewReader reads the header. Close frees what the reader holds.
func NewReader(r io.Reader) (*Reader, error) {
	f := &Reader{r: bufio.NewReaderSize(r, 64<<10), Meta: map[string]string{}}
	if err := f.header(); err != nil {
		return nil, err
	}
	var err error
	if f.unpack, err = newDecompressor(f.Codec); err != nil {
		return nil, f.bad(err)
	}
	return f, nil
}

// Close frees memory; it never fails.
func (f *Reader) Close() { f.unpack.close() }

// Offset is where the block in hand begins, in bytes.
func (f *Reader) Offset() int64 { return f.off }

func (f *Reader) bad(err error) error { return &FormatError{Offset: f.off, Err: err} }

// broken is the error of a read that failed: a file that ends early is at fault itself, anything else is trouble of what it is read from.
func (f *Reader) broken(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.bad(fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF))
	}
	return fmt.Errorf("read the %s at offset %d: %w", what, f.off, err)
}

// long reads an Avro long.
func (f *Reader) long(what string) (int64, error) {
	var u uint64
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := f.r.ReadByte()
		if err != nil {
			return 0, f.broken(what, err)
		}
		f.read++
		if shift == 63 && b > 1 {
			break
		}
		if u |= uint64(b&0x7f) << shift; b < 0x80 {
			return int64(u>>1) ^ -int64(u&1), nil
		}
	}
	return 0, f.bad(fmt.Errorf("%s has more than 64 bits", what))
}

func (f *Reader) full(p []byte, what string) error {
	n, err := io.ReadFull(f.r, p)
	f.read += int64(n)
	if err != nil {
		return f.broken(what, err)
	}
	return nil
}

func (f *Reader) header() error {
	var m [len(magic)]byte
	if err := f.full(m[:], "magic"); err != nil {
		return err
	}
	if string(m[:]) != magic {
		return f.bad(fmt.Errorf("it begins with %q, which no container file does", m[:]))
	}
	for {
		f.off = f.read
		n, err := f.long("number of header entries")
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if n < 0 {
			n = -n
			if _, err := f.long("size of header entries"); err != nil {
				return err
			}
		}
		for i := int64(0); i < n; i++ {
			name, err := f.text("header")
			if err != nil {
				return err
			}
			if f.Meta[name], err = f.text("header"); err != nil {
				return err
			}
		}
	}
	f.off = f.read
	f.Schema, f.Codec = f.Meta[metaSchema], Codec(f.Meta[metaCodec])
	delete(f.Meta, metaSchema)
	delete(f.Meta, metaCodec)
	if f.Codec == "" {
		f.Codec = Null
	}
	return f.full(f.sync[:], "sync mark")
}

func (f *Reader) text(what string) (string, error) {
	n, err := f.long(what)
	if err != nil {
		return "", err
	}
	if n < 0 || f.read+n > headerBytesMax {
		return "", f.bad(fmt.Errorf("%s has an entry of %d bytes, the limit is %d for all", what, n, headerBytesMax))
	}
	b := make([]byte, n)
	err = f.full(b, what)
	return string(b), err
}

// Next reads the next block: the number of its rows and their bytes, valid until the next call. io.EOF after the last one.
func (f *Reader) Next() (rows int64, block []byte, err error) {
	f.off = f.read
	switch _, err := f.r.Peek(1); {
	case errors.Is(err, io.EOF):
		return 0, nil, io.EOF
	case err != nil:
		return 0, nil, f.broken("block", err)
	}
	if rows, err = f.long("number of rows"); err != nil {
		return 0, nil, err
	}
	size, err := f.long("size of a block")
	if err != nil {
		return 0, nil, err
	}
	if rows < 1 || size < 0 || size > blockBytesMax {
		return 0, nil, f.bad(fmt.Errorf("a block of %d rows in %d bytes", rows, size))
	}
	f.raw.Reset()
	// The buffer grows with what really comes, so a size that lies costs no memory.
	n, err := io.CopyN(&f.raw, f.r, size)
	f.read += n
	if err != nil {
		return 0, nil, f.broken(fmt.Sprintf("block of %d bytes", size), err)
	}
	var sync [syncSize]byte
	if err := f.full(sync[:], "sync mark"); err != nil {
		return 0, nil, err
	}
	if sync != f.sync {
		return 0, nil, f.bad(errors.New("the block does not end with the file's sync mark"))
	}
	if block, err = f.unpack.decompress(f.raw.Bytes()); err != nil {
		return 0, nil, f.bad(fmt.Errorf("decompress the block (%s): %w", f.Codec, err))
	}
	return rows, block, nil
}

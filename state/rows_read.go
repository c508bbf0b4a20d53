package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state/internal/ocf"
)

// ReadRows reads a rows file in the memory of one block and calls fn for each entry, in the order of the file; State and Schema of it are 0. An error
// of fn ends the reading and is returned as it is. What is no rows file, or one that contradicts itself, is a *CorruptError; another error of r is returned with the offset. A file that
// was cut off between two blocks, or in which a bit has flipped, may look whole: checksums are the business of Files.Read, so what fn was given is to be
// trusted only when r has come to its end without an error and ReadRows returns none.
func ReadRows(r io.Reader, fn func(Entry) error) (RowsHeader, error) {
	f, err := newRowsReader(r)
	if err != nil {
		return RowsHeader{}, err
	}
	defer f.close()
	for {
		e, err := f.next()
		if errors.Is(err, io.EOF) {
			return f.h, nil
		}
		if err != nil {
			return f.h, err
		}
		if err := fn(*e); err != nil {
			return f.h, err
		}
	}
}

// rowsReader reads a rows file, one entry at a time.
type rowsReader struct {
	h     RowsHeader
	form  rowForm
	in    *ocf.Reader
	block serde.Scanner
	left  int64 // rows in block
	e     Entry
	sub   [2][timerSub]byte
	turn  int
	some  bool
	group int
	key   []byte // of the last entry
	last  []byte // sub key of the last entry
}

func newRowsReader(r io.Reader) (*rowsReader, error) {
	in, err := ocf.NewReader(r)
	if err != nil {
		return nil, rowsError(err)
	}
	f := &rowsReader{in: in}
	err = f.h.parse(in.Meta)
	if err == nil {
		f.form, err = rowFormOf(&f.h.State)
	}
	if err == nil && f.form.schema != in.Schema {
		err = errors.New("the schema of its rows does not follow from the schemas in its header")
	}
	if err != nil {
		in.Close()
		return nil, &CorruptError{Err: err}
	}
	return f, nil
}

func (f *rowsReader) close() { f.in.Close() }

// rowsError is an error of the container as one of this package.
func rowsError(err error) error {
	var bad *ocf.FormatError
	if errors.As(err, &bad) {
		return &CorruptError{Offset: bad.Offset, Err: bad.Err}
	}
	return fmt.Errorf("state: rows file: %w", err)
}

func (f *rowsReader) corrupt(err error) error { return &CorruptError{Offset: f.in.Offset(), Err: err} }

// next is the next entry, valid until the call after; io.EOF after the last one.
func (f *rowsReader) next() (*Entry, error) {
	for f.left == 0 {
		if f.block.Left() > 0 {
			return nil, f.corrupt(fmt.Errorf("%d bytes after the last row of a block", f.block.Left()))
		}
		if f.some { // what the next block overwrites
			f.key, f.last = bytes.Clone(f.key), bytes.Clone(f.last)
		}
		rows, block, err := f.in.Next()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, rowsError(err)
		}
		f.left = rows
		f.block.Reset(block)
	}
	f.left--
	if err := f.row(); err != nil {
		return nil, f.corrupt(fmt.Errorf("row at byte %d of the block: %w", f.block.Offset(), err))
	}
	return &f.e, nil
}

// row reads one row into f.e.
func (f *rowsReader) row() error {
	s, e := &f.block, &f.e
	group, err := s.Int()
	if err != nil {
		return err
	}
	e.Group = int(group)
	if e.Key, err = f.form.key.cut(s); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if e.Sub, err = f.cutSub(); err != nil {
		return fmt.Errorf("sub key: %w", err)
	}
	if e.Value, err = f.form.value.cut(s); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if e.ExpiresMS, err = f.cutExpiry(); err != nil {
		return err
	}
	hash, err := s.Fixed(8)
	if err != nil {
		return err
	}
	e.Hash = binary.BigEndian.Uint64(hash)
	return f.order()
}

// cutSub reads the sub key as it stands in an Entry.
func (f *rowsReader) cutSub() ([]byte, error) {
	s := &f.block
	switch f.form.kind {
	case KindMap:
		return f.form.sub.cut(s)
	case KindList:
		n, err := s.Long()
		if err != nil {
			return nil, err
		}
		if n < 0 {
			return nil, fmt.Errorf("element number %d", n)
		}
		f.turn ^= 1
		b := f.sub[f.turn][:8]
		binary.BigEndian.PutUint64(b, uint64(n))
		return b, nil
	case KindTimers:
		domain, err := s.Int()
		if err != nil {
			return nil, err
		}
		at, err := s.Long()
		if err != nil {
			return nil, err
		}
		if domain < 0 || domain >= int64(domains) {
			return nil, fmt.Errorf("clock %d", domain)
		}
		b := f.sub[0][:]
		b[0] = byte(domain)
		binary.BigEndian.PutUint64(b[1:], biased(at))
		return b, nil
	}
	return nil, nil
}

// cutExpiry reads the stamp of expiry.
func (f *rowsReader) cutExpiry() (int64, error) {
	branch, err := f.block.Int()
	if err != nil || branch == 0 {
		return 0, err
	}
	ms, err := f.block.Long()
	if err != nil {
		return 0, err
	}
	stamp := ms
	if f.form.event {
		stamp += eventBias
	}
	if branch != 1 || stamp < 1 || stamp > stampMax || ms > stampMax {
		return 0, fmt.Errorf("expiry %d in branch %d", ms, branch)
	}
	return stamp, nil
}

// order checks the place of f.e and remembers it.
func (f *rowsReader) order() error {
	e := &f.e
	if !f.h.Groups.Contains(e.Group) || GroupOf(e.Hash, f.h.MaxParallelism) != e.Group {
		return fmt.Errorf("it is of key group %d with hash %016x; the file holds [%d,%d) of %d groups", e.Group, e.Hash, f.h.Groups.Start, f.h.Groups.End, f.h.MaxParallelism)
	}
	if f.some {
		c := e.Group - f.group
		if c == 0 && f.form.kind != KindTimers {
			if c = bytes.Compare(e.Key, f.key); c == 0 {
				if c = bytes.Compare(e.Sub, f.last); c == 0 {
					c = -1
				}
			}
		}
		if c < 0 {
			return errors.New("it is not above the row before it")
		}
	}
	f.some, f.group, f.key, f.last = true, e.Group, e.Key, e.Sub
	return nil
}

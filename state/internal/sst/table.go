package sst

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// DamageError says that a table is not as it was written.
type DamageError struct {
	Name   string // of the table
	Offset int64  // in bytes, of the part that was being read
	Err    error
}

// Error names table, offset and fault.
func (e *DamageError) Error() string {
	return fmt.Sprintf("sst: table %q is damaged at offset %d: %v", e.Name, e.Offset, e.Err)
}

// Unwrap is the fault.
func (e *DamageError) Unwrap() error { return e.Err }

// span is a range delete, [lo, hi).
type span struct{ lo, hi []byte }

// cursor reads the entries of one table within bounds, in ascending order. It stands on one entry, or at the end.
type cursor struct {
	name   string
	rank   int
	lo, hi []byte // nil: no bound
	in     *input
	reader *sstable.Reader
	iter   sstable.Iterator
	spans  []span // range deletes from here on, ascending, within the bounds

	key     []byte // valid until the cursor moves; nil at the end
	value   []byte
	deleted bool
}

// open makes the cursor stand on its first entry. It takes src over, also when it fails.
func (c *cursor) open(ctx context.Context, src Source, step int) error {
	in, err := newInput(ctx, src, step)
	if err != nil {
		return errors.Join(c.fail(0, err), src.Close())
	}
	c.in = in
	bloomed := bloom.FilterPolicy(FilterBits)
	c.reader, err = sstable.NewReader(ctx, in, sstable.ReaderOptions{
		Comparer: pebble.DefaultComparer,
		Filters:  map[string]pebble.FilterPolicy{bloomed.Name(): bloomed},
	})
	if err != nil {
		return errors.Join(c.fail(in.last, err), in.Close())
	}
	if err := c.readSpans(ctx); err != nil {
		return errors.Join(c.fail(in.last, err), c.close())
	}
	if c.iter, err = c.reader.NewIter(sstable.NoTransforms, c.lo, c.hi, sstable.AssertNoBlobHandles); err != nil {
		return errors.Join(c.fail(in.last, err), c.close())
	}
	kv := c.iter.SeekGE(c.lo, 0) // nil is below every key
	if kv == nil {
		return c.end()
	}
	v, _, err := kv.Value(nil)
	return c.stand(kv.K.UserKey, v, kv.K.Kind(), err)
}

// advance goes to the next entry.
func (c *cursor) advance() error {
	kv := c.iter.Next()
	if kv == nil {
		return c.end()
	}
	v, _, err := kv.Value(nil)
	return c.stand(kv.K.UserKey, v, kv.K.Kind(), err)
}

func (c *cursor) stand(key, value []byte, kind pebble.InternalKeyKind, err error) error {
	if err != nil {
		return c.fail(c.in.last, err)
	}
	switch kind {
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		c.deleted = false
	case pebble.InternalKeyKindDelete, pebble.InternalKeyKindDeleteSized, pebble.InternalKeyKindSingleDelete:
		c.deleted = true
	default:
		return &DamageError{Name: c.name, Offset: c.in.last, Err: fmt.Errorf("entry %x is of kind %v, which no table of a checkpoint holds", key, kind)}
	}
	c.key, c.value = key, value
	return nil
}

func (c *cursor) end() error {
	c.key, c.value = nil, nil
	if err := c.iter.Error(); err != nil {
		return c.fail(c.in.last, err)
	}
	return nil
}

// fail is err, met at off.
func (c *cursor) fail(off int64, err error) error {
	if pebble.IsCorruptionError(err) {
		return &DamageError{Name: c.name, Offset: off, Err: err}
	}
	return fmt.Errorf("sst: read table %q at offset %d: %w", c.name, off, err)
}

// readSpans reads the range deletes within the bounds.
func (c *cursor) readSpans(ctx context.Context) (err error) {
	it, err := c.reader.NewRawRangeDelIter(ctx, sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return err
	}
	defer it.Close()
	s, err := it.First()
	for ; s != nil && err == nil; s, err = it.Next() {
		lo, hi := s.Start, s.End
		if c.lo != nil && bytes.Compare(lo, c.lo) < 0 {
			lo = c.lo
		}
		if c.hi != nil && bytes.Compare(hi, c.hi) > 0 {
			hi = c.hi
		}
		if bytes.Compare(lo, hi) < 0 {
			c.spans = append(c.spans, span{bytes.Clone(lo), bytes.Clone(hi)})
		}
	}
	return err
}

// close frees the cursor.
func (c *cursor) close() error {
	var err error
	if c.iter != nil {
		err = c.iter.Close()
	}
	return errors.Join(err, c.reader.Close()) // closes the input
}

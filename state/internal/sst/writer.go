package sst

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Writer writes one table of changes.
type Writer struct {
	w *sstable.Writer
	// The range delete in hand, [lo, hi): it is written when a later one neither overlaps nor touches it, because the format wants ranges that do not
	// overlap.
	lo, hi []byte
	ranged bool
	last   []byte // highest point so far
	points int
	closed error // what Close has returned, or errClosed
	size   int64
}

var errClosed = errors.New("sst: the table is finished")

// NewWriter begins a table in w.
func NewWriter(w objstorage.Writable) *Writer {
	return &Writer{w: sstable.NewWriter(w, deltaOptions())}
}

// Set adds the value of key, which must be above every key before it.
func (w *Writer) Set(key, value []byte) error {
	if err := w.ascend(key); err != nil {
		return err
	}
	return w.w.Set(key, value)
}

// Delete adds the deletion of key, which must be above every key before it.
func (w *Writer) Delete(key []byte) error {
	if err := w.ascend(key); err != nil {
		return err
	}
	return w.w.Delete(key)
}

func (w *Writer) ascend(key []byte) error {
	if w.points > 0 && bytes.Compare(key, w.last) <= 0 {
		return fmt.Errorf("sst: key %x comes after %x; keys must ascend", key, w.last)
	}
	w.last = append(w.last[:0], key...)
	w.points++
	return nil
}

// DeleteRange adds the deletion, from older tables, of all keys in [lo, hi). lo must not be below that of an earlier range. Ranges may overlap.
func (w *Writer) DeleteRange(lo, hi []byte) error {
	if bytes.Compare(lo, hi) >= 0 {
		return fmt.Errorf("sst: range delete from %x to %x is empty", lo, hi)
	}
	if w.ranged {
		if bytes.Compare(lo, w.lo) < 0 {
			return fmt.Errorf("sst: range delete from %x comes after one from %x; ranges must ascend", lo, w.lo)
		}
		if bytes.Compare(lo, w.hi) <= 0 {
			if bytes.Compare(hi, w.hi) > 0 {
				w.hi = append(w.hi[:0], hi...)
			}
			return nil
		}
		if err := w.w.DeleteRange(w.lo, w.hi); err != nil {
			return err
		}
	}
	w.lo, w.hi, w.ranged = append(w.lo[:0], lo...), append(w.hi[:0], hi...), true
	return nil
}

// Close ends the table and returns its size in bytes. Later calls return the same.
func (w *Writer) Close() (int64, error) {
	if w.closed == nil {
		w.closed = errClosed
		size, err := w.finish()
		if err != nil {
			w.closed = err
		}
		w.size = size
	}
	if w.closed != errClosed {
		return 0, w.closed
	}
	return w.size, nil
}

func (w *Writer) finish() (int64, error) {
	var err error
	if w.ranged {
		err = w.w.DeleteRange(w.lo, w.hi)
	}
	if err = errors.Join(err, w.w.Close()); err != nil {
		return 0, err
	}
	meta, err := w.w.Metadata()
	if err != nil {
		return 0, err
	}
	return int64(meta.Size), nil
}

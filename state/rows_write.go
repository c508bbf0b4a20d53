package state

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state/internal/ocf"
)

// rowsBlockBytes is the size before compression at which a block is closed: larger ones compress little better, and a reader holds one.
const rowsBlockBytes = 64 << 10

// RowsWriter writes a rows file with the memory of one block and its largest row. One goroutine uses it.
type RowsWriter struct {
	h     RowsHeader
	form  rowForm
	out   *ocf.Writer
	check serde.Scanner
	some  bool
	group int
	key   []byte // of the last entry
	sub   []byte // of the last entry
	n     int64
	bytes int64
}

// NewRowsWriter writes the header of a rows file. The state's ID and Schemas are not kept: Value is the schema of every value that will be added.
func NewRowsWriter(w io.Writer, h RowsHeader, codec RowsCodec) (*RowsWriter, error) {
	fail := func(err error) (*RowsWriter, error) {
		return nil, fmt.Errorf("state: rows of state %q of operator %q: %w", h.State.Name, h.UID, err)
	}
	if err := codec.Validate(); err != nil {
		return nil, err
	}
	if err := h.validate(); err != nil {
		return fail(err)
	}
	form, err := rowFormOf(&h.State)
	if err != nil {
		return fail(err)
	}
	o := ocf.Options{Codec: ocf.Codec(codec), BlockBytes: rowsBlockBytes}
	if _, err := rand.Read(o.Sync[:]); err != nil {
		return fail(err)
	}
	out, err := ocf.NewWriter(w, form.schema, h.meta(), o)
	if err != nil {
		return fail(err)
	}
	return &RowsWriter{h: h, form: form, out: out}, nil
}

// Add writes one entry; State and Schema of it are not looked at. Entries come in ascending order of (group, key, sub key), timers of group. An entry
// that the schemas do not describe is an error: its codec does not write what its Schema says.
func (w *RowsWriter) Add(e *Entry) error {
	if err := w.order(e); err != nil {
		return w.failed(e, err)
	}
	start := len(w.out.Begin())
	row, err := w.append(w.out.Begin(), e)
	if err != nil {
		return w.failed(e, err)
	}
	w.n++
	w.bytes += int64(len(row) - start)
	return w.out.End(row)
}

func (w *RowsWriter) failed(e *Entry, err error) error {
	return fmt.Errorf("state: write a row of state %q of operator %q, key %x in group %d: %w", w.h.State.Name, w.h.UID, e.Key, e.Group, err)
}

// order checks the place of e and remembers it.
func (w *RowsWriter) order(e *Entry) error {
	if !w.h.Groups.Contains(e.Group) || GroupOf(e.Hash, w.h.MaxParallelism) != e.Group {
		return fmt.Errorf("its hash %016x belongs to group %d of %d, the file holds [%d,%d)", e.Hash, GroupOf(e.Hash, w.h.MaxParallelism), w.h.MaxParallelism,
			w.h.Groups.Start, w.h.Groups.End)
	}
	if w.some {
		c := e.Group - w.group
		if c == 0 && w.form.kind != KindTimers {
			if c = bytes.Compare(e.Key, w.key); c == 0 {
				if c = bytes.Compare(e.Sub, w.sub); c == 0 {
					c = -1
				}
			}
		}
		if c < 0 {
			return fmt.Errorf("it is not above the entry before it, of group %d and key %x; do two keys have one encoding?", w.group, w.key)
		}
	}
	return nil
}

// append appends the row of e.
func (w *RowsWriter) append(dst []byte, e *Entry) (_ []byte, err error) {
	dst = binary.AppendVarint(dst, int64(e.Group))
	if w.form.key.raw != nil && w.some && bytes.Equal(e.Key, w.key) {
		dst = append(dst, e.Key...) // it was checked before
	} else if dst, err = w.form.key.appendTo(dst, e.Key, &w.check); err != nil {
		return dst, fmt.Errorf("its key is no value of schema %s: %w", w.h.State.Key, err)
	}
	if dst, err = w.form.appendSub(dst, e.Sub, &w.check); err != nil {
		return dst, err
	}
	if dst, err = w.form.value.appendTo(dst, e.Value, &w.check); err != nil {
		return dst, fmt.Errorf("its value is no value of schema %s: %w; a codec that is not Avro has a Schema that begins with \"opaque:\"", w.h.State.Value, err)
	}
	if e.ExpiresMS == 0 {
		dst = append(dst, 0)
	} else {
		ms := e.ExpiresMS
		if w.form.event {
			ms -= eventBias
		}
		dst = binary.AppendVarint(append(dst, 2), ms)
	}
	w.some, w.group, w.key, w.sub = true, e.Group, append(w.key[:0], e.Key...), append(w.sub[:0], e.Sub...)
	return binary.BigEndian.AppendUint64(dst, e.Hash), nil
}

// appendSub appends the sub key of an entry as it stands in a row.
func (f *rowForm) appendSub(dst, sub []byte, s *serde.Scanner) ([]byte, error) {
	switch f.kind {
	case KindMap:
		out, err := f.sub.appendTo(dst, sub, s)
		if err != nil {
			return dst, fmt.Errorf("its map key %x is no value of its schema: %w", sub, err)
		}
		return out, nil
	case KindList:
		if len(sub) != 8 || sub[0] > math.MaxInt8 {
			return dst, fmt.Errorf("%w: element number %x", errCorrupt, sub)
		}
		return binary.AppendVarint(dst, int64(binary.BigEndian.Uint64(sub))), nil
	case KindTimers:
		if len(sub) != timerSub || sub[0] >= byte(domains) {
			return dst, fmt.Errorf("%w: timer %x", errCorrupt, sub)
		}
		dst = append(dst, sub[0]<<1)
		return binary.AppendVarint(dst, unbiased(binary.BigEndian.Uint64(sub[1:]))), nil
	}
	if len(sub) != 0 {
		return dst, fmt.Errorf("%w: sub key %x of a state without sub keys", errCorrupt, sub)
	}
	return dst, nil
}

// Count is the number of rows so far, and their size before compression, in bytes.
func (w *RowsWriter) Count() (rows, size int64) { return w.n, w.bytes }

// Finish writes what is left. It does not close the writer below.
func (w *RowsWriter) Finish() error { return w.out.Close() }

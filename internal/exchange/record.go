package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// A recorded batch is: the number of records (uvarint), the origin of the first (uid, split and sequence as texts with their length before
// them, uvarint, the offset between them, varint), and of each record its time (varint), its hash (8 bytes, little endian), the length of its value
// (4 bytes, little endian) and the value by the codec of the edge.

// minRecord is the size of the smallest record.
const minRecord = 1 + 8 + 4

// Record implements Delivery.
func (b *batch[T]) Record(dst []byte, from int) ([]byte, error) {
	dst = appendOrigin(binary.AppendUvarint(dst, uint64(len(b.values)-from)), &b.at)
	for i := from; i < len(b.values); i++ {
		dst = binary.AppendVarint(dst, b.ts[i])
		dst = binary.LittleEndian.AppendUint64(dst, b.hash[i])
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var err error
		if dst, err = b.edge.codec.Append(dst, b.values[i]); err != nil {
			return dst, fmt.Errorf("exchange: record %d of the batch that begins at %v cannot be stored with a checkpoint: %w", i, b.at, err)
		}
		n := len(dst) - at - 4
		if n > math.MaxUint32 {
			return dst, fmt.Errorf("exchange: record %d of the batch that begins at %v has %d bytes, more than a checkpoint can hold of one record", i, b.at, n)
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(n))
	}
	return dst, nil
}

// appendRecord appends one record to a recorded batch, whose value is encoded.
func appendRecord(dst []byte, ts int64, hash uint64, value []byte) ([]byte, error) {
	if len(value) > math.MaxUint32 {
		return dst, fmt.Errorf("exchange: a record has %d bytes, more than a checkpoint can hold of one record", len(value))
	}
	dst = binary.LittleEndian.AppendUint64(binary.AppendVarint(dst, ts), hash)
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(value))), value...), nil
}

// appendOrigin appends where the first record of a batch comes from.
func appendOrigin(dst []byte, at *connectors.Coordinates) []byte {
	dst = appendText(appendText(dst, at.UID), at.Split)
	return appendText(binary.AppendVarint(dst, at.Offset), at.Sequence)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Replay gives recorded batches to the function of a receiver.
type Replay[T any] struct {
	edge  *Edge[T] // stands in for the one that was recorded
	codec serde.Serde[T]
	keep  func(v T, hash uint64) (bool, error)
	batch *batch[T]
}

// NewReplay makes a Replay of records that codec decodes. Those for which keep is false are passed over; nil keeps all. context, push and prefetch are
// those of Edge.Attach and Prefetch.
func NewReplay[T any](context *operators.Context, push func(T) error, prefetch func([]uint64), codec serde.Serde[T],
	keep func(v T, hash uint64) (bool, error)) *Replay[T] {
	e := &Edge[T]{context: context, push: push, prefetch: prefetch}
	return &Replay[T]{edge: e, codec: codec, keep: keep, batch: &batch[T]{edge: e}}
}

// errCut says that a recorded batch is not whole.
var errCut = errors.New("exchange: it ends in the middle of a recorded batch")

// Batch delivers one recorded batch, the whole of src, and returns how many records it has delivered. Nothing is delivered of one that is not what
// was recorded.
func (r *Replay[T]) Batch(src []byte) (int, error) {
	b := r.batch
	b.values, b.ts, b.hash = b.values[:0], b.ts[:0], b.hash[:0]
	d := decoder{src: src}
	n := d.uvarint()
	b.at = connectors.Coordinates{UID: d.text(), Split: d.text(), Offset: d.varint(), Sequence: d.text()}
	if d.bad || n > uint64(len(d.src)/minRecord) {
		return 0, errCut
	}
	for i := range n {
		ts, hash, value := d.varint(), d.fixed(8), d.bytes(d.fixed(4))
		if d.bad {
			return 0, errCut
		}
		var v T
		if err := r.codec.Decode(value, &v); err != nil {
			return 0, fmt.Errorf("exchange: record %d of the recorded batch that begins at %v: %w", i, b.at, err)
		}
		if r.keep != nil {
			if mine, err := r.keep(v, hash); err != nil {
				return 0, err
			} else if !mine {
				continue
			}
		}
		b.values, b.ts, b.hash = append(b.values, v), append(b.ts, ts), append(b.hash, hash)
	}
	if len(d.src) > 0 {
		return 0, fmt.Errorf("exchange: %d bytes follow the recorded batch", len(d.src))
	}
	defer clear(b.values)
	return len(b.values), b.Deliver(0, len(b.values))
}

// decoder reads parts of src from its start; bad says that one was not there, and from then on all are zero.
type decoder struct {
	src []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.src)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.bad, d.src = true, nil
		return
	}
	d.src = d.src[n:]
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.src)) {
		d.bad, d.src = true, nil
		return nil
	}
	b := d.src[:n]
	d.src = d.src[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.uvarint())) }

// fixed reads an integer of n bytes, at most 8, little endian.
func (d *decoder) fixed(n uint64) (v uint64) {
	for i, c := range d.bytes(n) {
		v |= uint64(c) << (8 * i)
	}
	return v
}

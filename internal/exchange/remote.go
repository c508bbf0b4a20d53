package exchange

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace-io/millrace/internal/exchange/wire"
)

// Half is one end of an edge between two processes; *Edge is one. An edge within a process is both ends at once and belongs to no link.
type Half interface {
	batchRecords() int
	sendOver(l *Link, number int)
	receiveOver(l *Link, number int)
	// returned takes batches back that the receiver has done with. The link's reader calls it.
	returned(back [wire.Lents]int32) error
	// arrived puts a batch that has come into the queue of the receiving task. The link's reader calls it; it does not wait.
	arrived(b *wire.Batch) error
}

// outlet is the sending end of an edge to another process. A batch is encoded when it is sent, so one object serves for all of them: what is a batch
// in the free list of an edge within the process is here a nil, which stands for one batch of credit.
type outlet[T any] struct {
	link   *Link
	number int // among the edges that the link sends
	only   *batch[T]
	frame  []byte // for the next batch; nil: none was sent yet
}

func (e *Edge[T]) batchRecords() int { return e.size }

func (e *Edge[T]) sendOver(l *Link, number int) { e.out = &outlet[T]{link: l, number: number} }

// given is the batch that the free list has given.
func (e *Edge[T]) given(b *batch[T]) *batch[T] {
	if b == nil {
		return e.newBatch(e.size)
	}
	return b
}

func (e *Edge[T]) returned(back [wire.Lents]int32) error {
	for range back[wire.Credit] {
		select {
		case e.free <- nil:
		default: // the session has counted them
			return fmt.Errorf("exchange: edge %s has more than its credit of %d batches", e.out.link.session.Label(e.out.number), Credits)
		}
	}
	for l := wire.Records; l < wire.Lents; l++ {
		e.lent[l].Add(-back[l])
	}
	return nil
}

// ship sends b, which is the batch of the outlet, to the other process. It does not wait: what the link has to write is bounded by the credit.
func (e *Edge[T]) ship(b *batch[T]) error {
	o := e.out
	head := wire.Batch{Lent: b.lent, Control: uint8(b.ctl.Kind), Value: b.ctl.Value, Announced: b.announced, DueNanos: b.dueNanos, Records: len(b.values)}
	frame, err := b.encode(head.Append(o.frame[:0], o.number))
	if err == nil {
		frame, err = wire.End(frame, 0)
	}
	if err != nil {
		return fmt.Errorf("exchange: edge %s: %w", o.link.session.Label(o.number), err)
	}
	o.link.session.Sent(o.number, b.lent)
	o.frame, err = o.link.push(frame)
	b.empty()
	return err
}

// The records of a batch on the wire: 1 if there are hashes, else 0 (1 byte); the origin of the first as in a recorded batch; the hashes (8 bytes
// each, little endian); and of each record its time less that of the one before (varint), the length of its value (uvarint) and the value.

// hashed is the first byte of the records of a batch whose hashes follow.
const hashed = 1

// encode appends the records of b to dst, nothing if there are none.
func (b *batch[T]) encode(dst []byte) ([]byte, error) {
	if len(b.values) == 0 {
		return dst, nil
	}
	var any uint64
	for _, h := range b.hash {
		any |= h
	}
	if any == 0 {
		dst = appendOrigin(append(dst, 0), &b.at)
	} else {
		dst = appendOrigin(append(dst, hashed), &b.at)
		for _, h := range b.hash {
			dst = binary.LittleEndian.AppendUint64(dst, h)
		}
	}
	before, codec := int64(0), b.edge.codec
	for i := range b.values {
		ts := b.ts[i]
		dst = binary.AppendVarint(dst, ts-before) // may wrap round, and does so again when it is read
		before = ts
		// Most values are shorter than 128 bytes: one byte is left for the length, and a longer value moves on.
		at := len(dst)
		var err error
		if dst, err = codec.Append(append(dst, 0), b.values[i]); err != nil {
			return dst, fmt.Errorf("record %d of the batch that begins at %v cannot be encoded: %w", i, b.at, err)
		}
		if n := len(dst) - at - 1; n < 0x80 {
			dst[at] = byte(n)
		} else if dst = widen(dst, at, n); len(dst) > wire.MaxFrame {
			return dst, fmt.Errorf("the batch that begins at %v is larger than %d bytes at record %d: send less at once, such as the name of what is large", b.at, wire.MaxFrame, i)
		}
	}
	return dst, nil
}

// widen puts the length n of the value at dst[at+1:] in front of it, where one byte was left for it.
func widen(dst []byte, at, n int) []byte {
	var length [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(length[:], uint64(n))
	dst = append(dst, length[:k-1]...)
	copy(dst[at+k:], dst[at+1:at+1+n])
	copy(dst[at:], length[:k])
	return dst
}

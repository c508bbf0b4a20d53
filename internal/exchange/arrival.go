package exchange

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/exchange/wire"
	"github.com/millrace-io/millrace/serde"
)

// keepBytes is the size up to which the memory of a large batch is kept for the next.
const keepBytes = 1 << 20

// inlet is the receiving end of an edge from another process.
type inlet[T any] struct {
	link   *Link
	number int // among the edges that the link receives
	free   chan *arrival[T]
	made   int
	origin connectors.Coordinates // of the batch before, whose texts mostly are those of the next

	// What follows belongs to the receiving task. area holds the records of one arrival at a time, that of owner.
	area   *batch[T]
	owner  *arrival[T]
	shared serde.SharedDecoder[T] // nil: the codec has no such way
}

func (e *Edge[T]) receiveOver(l *Link, number int) {
	e.in = &inlet[T]{link: l, number: number, free: make(chan *arrival[T], Credits)}
	e.in.shared, _ = e.codec.(serde.SharedDecoder[T])
}

// arrival is a batch from another process. It keeps the bytes that came; they are decoded by the receiving task, when it comes to them: so
// the link's reader does not decode for all tasks, and what a task holds back stays small. The strings of a batch share one copy of its bytes,
// which may outlive it.
type arrival[T any] struct {
	edge   *Edge[T]
	raw    []byte
	n      int
	lent   wire.Lent
	ctl    Control
	at     connectors.Coordinates
	hash   []byte // within raw; empty: all are 0
	rows   []byte // within raw
	offset int64  // of the frame in the connection
}

// arrived implements Half.
func (e *Edge[T]) arrived(b *wire.Batch) error {
	a := e.vacant(b.Lent)
	a.raw = append(a.raw[:0], b.Rest...)
	a.n, a.lent, a.offset = b.Records, b.Lent, b.Offset
	a.ctl = Control{Kind: Kind(b.Control), Value: b.Value}
	if a.ctl.Kind > End || b.Announced && a.ctl.Kind != Barrier {
		return a.damaged("a control element of the kind %d (announced: %v)", a.ctl.Kind, b.Announced)
	}
	if err := a.head(); err != nil {
		return err
	}
	select {
	case e.queue.C <- a:
	default: // it has room for what the session lets through
		return a.damaged("the queue of %d batches is full", cap(e.queue.C))
	}
	if b.Announced {
		e.queue.Announce(b.Value, time.Now().Add(time.Duration(b.DueNanos)))
	}
	return nil
}

// vacant is an arrival for a batch that has come. There is one: the session has counted.
func (e *Edge[T]) vacant(l wire.Lent) *arrival[T] {
	in := e.in
	if l == wire.Credit {
		select {
		case a := <-in.free:
			return a
		default:
		}
		in.made++
	}
	return &arrival[T]{edge: e}
}

// head reads what is in front of the rows.
func (a *arrival[T]) head() error {
	a.hash, a.rows = nil, nil
	if a.n == 0 {
		return nil
	}
	d := decoder{src: a.raw}
	columns := d.fixed(1)
	was := &a.edge.in.origin
	a.at.UID = again(d.bytes(d.uvarint()), was.UID)
	a.at.Split = again(d.bytes(d.uvarint()), was.Split)
	a.at.Offset = d.varint()
	a.at.Sequence = again(d.bytes(d.uvarint()), was.Sequence)
	if columns == hashed {
		a.hash = d.bytes(8 * uint64(a.n))
	}
	a.rows = d.src
	if d.bad || columns > hashed || len(a.rows) < 2*a.n {
		return a.damaged("the head of its records is not whole")
	}
	*was = a.at
	return nil
}

// again is the text b: was, if that is it, so that nothing is allocated.
func again(b []byte, was string) string {
	if string(b) == was {
		return was
	}
	return string(b)
}

func (a *arrival[T]) damaged(format string, args ...any) error {
	in := a.edge.in
	return in.link.peer(&wire.Error{Offset: a.offset, Edge: in.link.session.InLabel(in.number), Reason: "a batch that cannot be: " + fmt.Sprintf(format, args...)})
}

// Channel implements Delivery.
func (a *arrival[T]) Channel() int { return a.edge.channel }

// Len implements Delivery.
func (a *arrival[T]) Len() int { return a.n }

// Control implements Delivery.
func (a *arrival[T]) Control() Control { return a.ctl }

// Key implements Delivery.
func (a *arrival[T]) Key(i int) (hash uint64, keyed bool) { return a.hashOf(i), a.edge.keyText != nil }

func (a *arrival[T]) hashOf(i int) uint64 {
	if len(a.hash) == 0 {
		return 0
	}
	return binary.LittleEndian.Uint64(a.hash[8*i:])
}

// KeyText implements Delivery. Of a damaged batch it is empty: Deliver says so.
func (a *arrival[T]) KeyText(i int) string {
	if a.edge.keyText == nil || a.decode() != nil {
		return ""
	}
	return a.edge.keyText(a.edge.in.area.values[i])
}

// Deliver implements Delivery.
func (a *arrival[T]) Deliver(from, to int) error {
	if err := a.decode(); err != nil {
		return err
	}
	return a.edge.in.area.Deliver(from, to)
}

// decode has the records of a in the area.
func (a *arrival[T]) decode() error {
	in := a.edge.in
	if in.owner == a {
		return nil
	}
	if in.area == nil {
		in.area = a.edge.newBatch(a.edge.size)
	}
	in.owner = nil
	in.area.empty()
	if err := a.decodeInto(in.area, in.shared); err != nil {
		in.area.empty()
		return err
	}
	in.owner = a
	return nil
}

// decodeInto decodes the records into b, which is empty. With shared their strings share one copy of the rows.
func (a *arrival[T]) decodeInto(b *batch[T], shared serde.SharedDecoder[T]) error {
	b.at = a.at
	b.values, b.ts, b.hash = b.values[:a.n], b.ts[:a.n], b.hash[:a.n]
	if !a.edge.pointers { // else they are cleared when they are done with
		clear(b.values)
	}
	var text string
	if shared != nil {
		text = string(a.rows)
	}
	src, pos, ts := a.rows, 0, int64(0)
	for i := range a.n {
		step, k := varint(src, pos)
		size, m := uvarint(src, pos+k)
		from := pos + k + m
		if k <= 0 || m <= 0 || size > uint64(len(src)-from) {
			return a.damaged("record %d is not whole", i)
		}
		pos = from + int(size)
		ts += step
		b.ts[i], b.hash[i] = ts, a.hashOf(i)
		var err error
		if shared != nil {
			err = shared.DecodeShared(src[from:pos], text[from:pos], &b.values[i])
		} else {
			err = a.edge.codec.Decode(src[from:pos], &b.values[i])
		}
		if err != nil {
			return fmt.Errorf("%w: %w", a.damaged("record %d of those that begin at %v", i, a.at), err)
		}
	}
	if pos < len(src) {
		return a.damaged("%d bytes follow its records", len(src)-pos)
	}
	return nil
}

// uvarint reads the number at src[pos:] and returns how many bytes it has, 0 or less if it is not whole.
func uvarint(src []byte, pos int) (uint64, int) {
	if pos < len(src) && src[pos] < 0x80 {
		return uint64(src[pos]), 1
	}
	return longUvarint(src, pos)
}

func longUvarint(src []byte, pos int) (uint64, int) {
	if pos >= len(src) {
		return 0, 0
	}
	return binary.Uvarint(src[pos:])
}

// varint is uvarint for signed numbers.
func varint(src []byte, pos int) (int64, int) {
	u, n := uvarint(src, pos)
	return int64(u>>1) ^ -int64(u&1), n
}

// Record implements Delivery. It takes what came, whatever a user function has done to the records since.
func (a *arrival[T]) Record(dst []byte, from int) ([]byte, error) {
	dst = appendOrigin(binary.AppendUvarint(dst, uint64(a.n-from)), &a.at)
	d, ts := decoder{src: a.rows}, int64(0)
	for i := range a.n {
		ts += d.varint()
		value := d.bytes(d.uvarint())
		if d.bad {
			return dst, a.damaged("record %d is not whole", i)
		}
		if i < from {
			continue
		}
		var err error
		if dst, err = appendRecord(dst, ts, a.hashOf(i), value); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Release implements Delivery.
func (a *arrival[T]) Release() {
	in := a.edge.in
	if in.owner == a {
		in.owner = nil
		in.area.empty()
	}
	if cap(a.raw) > keepBytes {
		a.raw = nil
	}
	lent := a.lent
	// In this order: who hears of the credit finds the arrival.
	in.link.session.Released(in.number, lent)
	if lent == wire.Credit {
		in.free <- a
	}
	in.link.giveBack(in.number, lent)
}

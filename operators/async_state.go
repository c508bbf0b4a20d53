package operators

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// asyncFormat is the first byte of the raw state of an asynchronous step.
//
// Then, numbers as varints, signed ones in zigzag, texts and bytes with their length in front: the parallelism of the step; the watermarks that are
// not yet out, each with the number of records before it, counted with; the schema of the records; the records: timestamp, key hash (8 bytes), origin
// (source, split, offset) and encoding. The records of a keyed step stand in its keyed state.
const asyncFormat = 1

// save is the one blob of this subtask, also without elements: blobs are dealt out in turn, so that without rescaling each subtask gets its own back.
func (a *asyncStep[In, Out]) save(records bool) ([][]byte, error) {
	b := []byte{asyncFormat}
	b = binary.AppendUvarint(b, uint64(a.t.Config().Parallelism))
	marks := 0
	for e := a.q.first; e != nil; e = e.next {
		if e.kind == asyncWatermark {
			marks++
		}
	}
	b = binary.AppendUvarint(b, uint64(marks))
	before := 0
	for e := a.q.first; e != nil; e = e.next {
		switch e.kind {
		case asyncRecord:
			before++
		case asyncWatermark:
			b = binary.AppendUvarint(b, uint64(before))
			b = binary.AppendVarint(b, e.ms)
		}
	}
	if !records {
		before = 0
	}
	b = appendText(b, a.codec.Schema())
	b = binary.AppendUvarint(b, uint64(before))
	var buf []byte
	for e := a.q.first; e != nil && records; e = e.next {
		if e.kind != asyncRecord {
			continue
		}
		var err error
		if buf, err = a.codec.Append(buf[:0], e.value); err != nil {
			a.become(e)
			return nil, a.t.Failure(fmt.Errorf("the record cannot be encoded for the checkpoint: %w", err))
		}
		b = binary.AppendVarint(b, e.ts)
		b = binary.LittleEndian.AppendUint64(b, e.hash)
		b = appendText(b, e.at.UID)
		b = appendText(b, e.at.Split)
		b = binary.AppendVarint(b, e.at.Offset)
		b = appendText(b, string(buf))
	}
	return [][]byte{b}, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// restore puts what the blobs hold into the queue, those of different subtasks one behind the other. Watermarks count only where there is one
// subtask, before and now: with several, a restore deals the splits of the sources anew, and a subtask may get one that is behind what it has heard so
// far. Its input says by itself how far it is.
func (a *asyncStep[In, Out]) restore(blobs [][]byte) error {
	for _, b := range blobs {
		marks, records, err := a.decode(b)
		if err != nil {
			return err
		}
		a.enqueue(records, marks)
	}
	return nil
}

// asyncMark is a watermark behind the given number of records.
type asyncMark struct {
	before int
	ms     int64
}

// enqueue appends records, and the watermarks between them.
func (a *asyncStep[In, Out]) enqueue(records []*asyncElement[In, Out], marks []asyncMark) {
	for i := 0; ; i++ {
		for len(marks) > 0 && (marks[0].before <= i || i == len(records)) {
			if a.q.first != nil {
				e := a.q.new(asyncWatermark)
				e.ms = marks[0].ms
				a.q.append(e)
			}
			marks = marks[1:]
		}
		if i == len(records) {
			return
		}
		a.q.append(records[i])
	}
}

func (a *asyncStep[In, Out]) decode(b []byte) ([]asyncMark, []*asyncElement[In, Out], error) {
	d := asyncDecoder{b: b}
	if f := d.byte(); f != asyncFormat && d.err == nil {
		return nil, nil, fmt.Errorf("operators: the state of the asynchronous step has format %d, this version reads %d; use the version that wrote it, or a later one", f, asyncFormat)
	}
	parallelism := d.uvarint()
	var marks []asyncMark
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		marks = append(marks, asyncMark{int(d.uvarint()), d.varint()})
	}
	if parallelism != 1 || a.t.Config().Parallelism != 1 {
		marks = nil
	}
	codec, err := a.reader(d.text())
	if err != nil && d.err == nil {
		return nil, nil, err
	}
	var records []*asyncElement[In, Out]
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		e := a.q.new(asyncRecord)
		e.ts, e.hash = d.varint(), d.fixed64()
		e.at = connectors.Coordinates{UID: d.text(), Split: d.text(), Offset: d.varint()}
		raw := d.text()
		if d.err != nil {
			break
		}
		if err := codec.Decode([]byte(raw), &e.value); err != nil {
			return nil, nil, fmt.Errorf("operators: record %v in the state of the asynchronous step: %w", e.at, err)
		}
		records = append(records, e)
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = errors.New("bytes follow its end")
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("operators: the state of the asynchronous step is damaged: %w; restore from another checkpoint", d.err)
	}
	return marks, records, nil
}

// reader is the codec for records that were written under schema.
func (a *asyncStep[In, Out]) reader(schema string) (serde.Serde[In], error) {
	own := a.codec.Schema()
	if schema == own {
		return a.codec, nil
	}
	if a.o.Codec != nil || strings.HasPrefix(schema, "opaque:") {
		return nil, fmt.Errorf("operators: the records of the asynchronous step were written with schema %s, AsyncOptions.Codec has %s; give the codec that wrote them", schema, own)
	}
	codec, err := serde.Resolve[In](schema, serde.WithSchema(own))
	if err != nil {
		return nil, fmt.Errorf("operators: the records of the asynchronous step were written with another schema: %w", err)
	}
	return codec, nil
}

// asyncDecoder reads a blob; after the first error everything is zero.
type asyncDecoder struct {
	b   []byte
	err error
}

func (d *asyncDecoder) cut(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.b)) {
		d.err = errors.New("it ends too early")
	}
	if d.err != nil {
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *asyncDecoder) byte() byte {
	if b := d.cut(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *asyncDecoder) fixed64() uint64 {
	if b := d.cut(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *asyncDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	return number(d, v, n)
}

func (d *asyncDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	return number(d, v, n)
}

// number takes a number of n bytes; n ≤ 0 says that there is none.
func number[N int64 | uint64](d *asyncDecoder, v N, n int) N {
	if n <= 0 && d.err == nil {
		d.err = errors.New("a number is cut off or too large")
	}
	if d.err != nil {
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *asyncDecoder) text() string { return string(d.cut(d.uvarint())) }

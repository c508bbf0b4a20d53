package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

const (
	// readBytes is the room that a reader offers at a time: several batches come with one call.
	readBytes = 64 << 10
	// keepBytes is the size up to which the room for a large frame is kept for the next.
	keepBytes = 1 << 20
)

// Frame is one frame of a stream.
type Frame struct {
	Kind Kind
	// Body is valid until the next call of Space.
	Body []byte
	// Offset is where the frame begins, in bytes from the beginning of the stream.
	Offset int64
}

// Reader cuts the stream of a peer into frames, however it is split:
//
//	n, err := conn.Read(r.Space())
//	r.Filled(n)
//	for {
//		f, ok, err := r.Next()
//		…
//	}
//
// The zero value is ready. Memory grows with what has come, never by what a length claims.
type Reader struct {
	buf        []byte
	start, end int   // what is not taken
	offset     int64 // of buf[start] in the stream
	begun      bool  // the preamble has been taken
	trusted    bool
}

// Trust says that the peer is who it ought to be: from now on frames may have MaxFrame bytes.
func (r *Reader) Trust() { r.trusted = true }

// Offset is how far the stream has been taken, in bytes.
func (r *Reader) Offset() int64 { return r.offset }

// Partial is the number of bytes of a frame that is not whole yet.
func (r *Reader) Partial() int { return r.end - r.start }

// Space is where the next bytes of the stream go; it is never empty. What Next has returned before is not valid any more.
func (r *Reader) Space() []byte {
	have := r.end - r.start
	switch {
	case have == 0 && cap(r.buf) > keepBytes:
		r.buf = nil
		fallthrough
	case r.buf == nil:
		r.buf = make([]byte, readBytes)
		r.start, r.end = 0, 0
	case have == 0:
		r.start, r.end = 0, 0
	case len(r.buf)-r.start < r.need():
		// The frame does not fit behind start. Twice of what is there is enough until that has come as well.
		if size := min(r.need(), 2*have); size > len(r.buf) {
			grown := make([]byte, max(size, readBytes))
			copy(grown, r.buf[r.start:r.end])
			r.buf = grown
		} else {
			copy(r.buf, r.buf[r.start:r.end])
		}
		r.start, r.end = 0, have
	case r.end == len(r.buf):
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, have
	}
	return r.buf[r.end:]
}

// need is the number of bytes from start on that make the next thing to be taken whole, as far as is known.
func (r *Reader) need() int {
	if !r.begun {
		return preambleLen
	}
	if r.end-r.start < headerLen {
		return headerLen
	}
	return 4 + int(binary.LittleEndian.Uint32(r.buf[r.start:]))
}

// Filled says that the next n bytes of the stream are in Space.
func (r *Reader) Filled(n int) { r.end += n }

// Next is the next whole frame; ok is false if there is none yet. After an error the stream is of no use.
func (r *Reader) Next() (f Frame, ok bool, err error) {
	if !r.begun {
		if ok, err := r.preamble(); !ok || err != nil {
			return Frame{}, false, err
		}
	}
	have := r.buf[r.start:r.end]
	if len(have) < headerLen {
		return Frame{}, false, nil
	}
	n, limit := binary.LittleEndian.Uint32(have), uint32(maxOpening)
	if r.trusted {
		limit = MaxFrame
	}
	if n < 1+sumLen || n > limit {
		return Frame{}, false, r.fail("a frame of %d bytes, want %d to %d: the stream is damaged, or its sender is none of this version", n, 1+sumLen, limit)
	}
	if k := Kind(have[4]); k < KindHello || k > KindBye {
		return Frame{}, false, r.fail("a frame of the unknown kind %d", k)
	}
	size := 4 + int(n)
	if len(have) < size {
		return Frame{}, false, nil
	}
	body := have[:size-sumLen]
	if want, got := binary.LittleEndian.Uint32(have[size-sumLen:]), crc32.Checksum(body, crcTable); want != got {
		return Frame{}, false, r.fail("the checksum of a frame of %d bytes is %08x, want %08x: it was changed on its way", n, got, want)
	}
	f = Frame{Kind: Kind(have[4]), Body: body[headerLen:], Offset: r.offset}
	r.start += size
	r.offset += int64(size)
	return f, true, nil
}

// preamble takes the beginning of the stream.
func (r *Reader) preamble() (bool, error) {
	have := r.buf[r.start:r.end]
	m := min(len(have), len(magic))
	if string(have[:m]) != magic[:m] {
		return false, r.fail("it begins with %s, which is not the exchange of a millrace job: something else is at this address", strconv.QuoteToASCII(string(have[:min(len(have), 16)])))
	}
	if len(have) < preambleLen {
		return false, nil
	}
	if v := binary.LittleEndian.Uint16(have[len(magic):]); v != Version {
		return false, r.fail("the peer speaks version %d of the exchange protocol, this process version %d: run the same release of millrace on both sides", v, Version)
	}
	r.begun = true
	r.start += preambleLen
	r.offset += int64(preambleLen)
	return true, nil
}

func (r *Reader) fail(format string, args ...any) error {
	return &Error{Offset: r.offset, Reason: fmt.Sprintf(format, args...)}
}

// Package wire is the protocol in which two processes exchange the batches of their edges over one connection. It is pure: bytes and calls in, bytes
// and events out, without clocks, goroutines or I/O, so that tests drive every split and order of what comes.
//
// # Stream
//
// Each direction begins with a preamble, "MREXCH" and the version of the protocol (2 bytes), and goes on with frames. All fixed integers are little
// endian, varints those of encoding/binary:
//
//	frame := length of what follows (4 bytes), kind (1 byte), body, CRC-32C of all before it (4 bytes)
//
// Every frame carries its checksum: that of TCP has 16 bits, and a record that a switch has changed would otherwise become part of the state.
//
// # Opening
//
// Both sides say at once who they are (Hello), which edges they send (Edges, any number), and that this is all (Ready). A side is established when it has
// taken the Ready of the other. What the two do not agree on – the version, the job, the attempt, the credit, the edges, their codecs – is an error at
// this point, before any record: the side that finds it says so (Bye) and closes. Edges have names that both sides make of the graph, with the
// subtasks of both ends. After this an edge is known by its number in the list of its sender.
//
// # Batches and credit
//
// A Batch frame carries the records of one batch of one edge and its control element, with which it ends, as in the process. Credit frames give batches back. Every batch
// says against which of three counts of its edge it goes (Lent), and each count has a bound on which the two sides have agreed in Hello: the credit,
// what an alarm lends to a sender, and barriers that go without credit. A side that sends beyond a bound or gives back more than it has is in error.
//
// # Limits
//
// No length is trusted. A frame has at most MaxFrame bytes, before Ready at most maxOpening, and memory for it grows with what has come. Numbers of edges and
// records are compared with what was agreed and with the bytes that are there.
package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Version is that of the protocol. Two processes of a job speak the same one.
const Version = 1

const (
	magic       = "MREXCH"
	preambleLen = len(magic) + 2
	headerLen   = 4 + 1 // length and kind
	sumLen      = 4
	// MaxFrame is the largest length of a frame, in bytes: kind, body and checksum.
	MaxFrame = 1 << 30
	// maxOpening is that of a frame before both sides have agreed on anything: a stranger does not get more.
	maxOpening = 1 << 20
	// maxText bounds names and reasons.
	maxText = 64 << 10
)

// Kind is the kind of a frame.
type Kind uint8

// The kinds of frames.
const (
	KindHello  Kind = 1
	KindEdges  Kind = 2
	KindReady  Kind = 3
	KindBatch  Kind = 4
	KindCredit Kind = 5
	KindBye    Kind = 6
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// Error says what is wrong with what a peer has sent. The connection is of no use after it.
type Error struct {
	// Offset is that of the frame in the stream of the peer, in bytes from its beginning.
	Offset int64
	// Edge is the edge that the frame is about, if it is about one.
	Edge   string
	Reason string
}

// Error names the place and the reason.
func (e *Error) Error() string {
	at := fmt.Sprintf("byte %d of the connection", e.Offset)
	if e.Edge != "" {
		at += ", edge " + e.Edge
	}
	return fmt.Sprintf("exchange: at %s: %s", at, e.Reason)
}

// Begin begins a frame at the end of dst; End ends it.
func Begin(dst []byte, k Kind) []byte {
	return append(dst, 0, 0, 0, 0, byte(k))
}

// End ends the frame that begins at dst[from]. A frame that is too large is an error.
func End(dst []byte, from int) ([]byte, error) {
	n := len(dst) - from - 4 + sumLen
	if n > MaxFrame {
		return dst, fmt.Errorf("exchange: a frame of %d bytes, at most %d can be sent", n, MaxFrame)
	}
	binary.LittleEndian.PutUint32(dst[from:], uint32(n))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], crcTable)), nil
}

// appendPreamble begins a stream.
func appendPreamble(dst []byte) []byte {
	return binary.LittleEndian.AppendUint16(append(dst, magic...), Version)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// fields reads the parts of a body from its start; bad says that one was not there, and from then on all are zero.
type fields struct {
	src []byte
	bad bool
}

func (f *fields) fail() { f.bad, f.src = true, nil }

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.src)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.src = f.src[n:]
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.src)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.src = f.src[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.src) == 0 {
		f.fail()
		return 0
	}
	c := f.src[0]
	f.src = f.src[1:]
	return c
}

func (f *fields) bytes(n uint64) []byte {
	if n > uint64(len(f.src)) {
		f.fail()
		return nil
	}
	b := f.src[:n]
	f.src = f.src[n:]
	return b
}

func (f *fields) text() string {
	n := f.uvarint()
	if n > maxText {
		f.fail()
	}
	return string(f.bytes(n))
}

// count reads a number that is at most limit.
func (f *fields) count(limit uint64) int {
	n := f.uvarint()
	if n > limit {
		f.fail()
		return 0
	}
	return int(n)
}

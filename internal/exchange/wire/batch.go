package wire

import (
	"encoding/binary"
	"fmt"
)

// A Batch frame has the number of the edge (uvarint), flags (1 byte), the kind of the control element (1 byte) and its value (varint), with flagAnnounced
// the time until the barrier is due (varint, ns), the number of records (uvarint), and if there are any what Rest holds.

// The flags of a batch; the two lowest bits are its Lent.
const (
	lentMask      = 3
	flagAnnounced = 1 << 2
	flagKnown     = lentMask | flagAnnounced
)

// Batch is the head of a Batch frame.
type Batch struct {
	Lent Lent
	// Control is the kind of the control element, 0 for none, and Value its value.
	Control uint8
	Value   int64
	// Announced says that the receiver is to be told of the barrier before it comes to it, and DueNanos when it is due: so long after the frame has come, in ns.
	// It is no time of day, as the clocks of two processes differ.
	Announced bool
	DueNanos  int64
	Records   int
	// Rest holds the records; package exchange knows how.
	Rest []byte
	// Offset is that of the frame, for errors about Rest.
	Offset int64
}

// Append begins a Batch frame of edge number n at the end of dst; the caller appends the records and calls End. Rest and Offset do not count.
func (b *Batch) Append(dst []byte, n int) []byte {
	flags := byte(b.Lent)
	if b.Announced {
		flags |= flagAnnounced
	}
	dst = append(binary.AppendUvarint(Begin(dst, KindBatch), uint64(n)), flags, b.Control)
	dst = binary.AppendVarint(dst, b.Value)
	if b.Announced {
		dst = binary.AppendVarint(dst, b.DueNanos)
	}
	return binary.AppendUvarint(dst, uint64(b.Records))
}

// batch takes a Batch frame: it must be of an edge that was declared, within its bounds.
func (s *Session) batch(f Frame) (Event, error) {
	d := fields{src: f.Body}
	peers := d.uvarint()
	if d.bad || peers >= uint64(len(s.byPeer)) {
		return Event{}, broken(f, "", "a batch of edge number %d, of %d that were declared", peers, len(s.byPeer))
	}
	n := s.byPeer[peers]
	flags := d.byte()
	b := Batch{Lent: Lent(flags & lentMask), Control: d.byte(), Value: d.varint(), Announced: flags&flagAnnounced != 0, Offset: f.Offset}
	if b.Announced {
		b.DueNanos = d.varint()
	}
	records := d.uvarint()
	b.Rest = d.src
	switch {
	case d.bad || flags&^flagKnown != 0 || b.Lent >= Lents:
		return Event{}, broken(f, s.inLabel[n], "a batch with a head that cannot be (flags %02x)", flags)
	case records > uint64(s.inBatch[n]):
		return Event{}, broken(f, s.inLabel[n], "a batch of %d records, at most %d were agreed", records, s.inBatch[n])
	case b.Lent == Barrier && (records > 0 || len(b.Rest) > 0):
		return Event{}, broken(f, s.inLabel[n], "a barrier without credit that brings %d records", records)
	case records == 0 && len(b.Rest) > 0:
		return Event{}, broken(f, s.inLabel[n], "a batch without records with %d bytes of them", len(b.Rest))
	}
	b.Records = int(records)
	if got := s.in[n][b.Lent].Add(1); got > s.local.Bounds[b.Lent] {
		return Event{}, broken(f, s.inLabel[n], "the peer has sent %d batches against the count %d, at most %d were agreed", got, b.Lent, s.local.Bounds[b.Lent])
	}
	return Event{Kind: Arrived, Edge: n, Batch: b}, nil
}

// Sent counts a batch of edge number n that is about to be sent. It is an error of this side to send beyond the bound.
func (s *Session) Sent(n int, l Lent) {
	if got := s.out[n][l].Add(1); got > s.local.Bounds[l] {
		panic(fmt.Sprintf("exchange: edge %s sends %d batches against the count %d, its bound is %d", s.outLabel[n], got, l, s.local.Bounds[l]))
	}
}

// Released counts a batch of edge number n that its receiver has done with, before that is told to the peer.
func (s *Session) Released(n int, l Lent) { s.in[n][l].Add(-1) }

// A Credit frame has, for each edge with batches to give back, its number at their sender (uvarint) and one uvarint for each count.

// AppendCredit appends one edge to a Credit frame that was begun: peers is its number at the peer, see Peers.
func AppendCredit(dst []byte, peers int, back *[Lents]int32) []byte {
	dst = binary.AppendUvarint(dst, uint64(peers))
	for _, n := range back {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

// Peers is, by the numbers of the edges that are received, their numbers at the peer. It is known once the session is established.
func (s *Session) Peers() []int {
	out := make([]int, len(s.byPeer))
	for peers, n := range s.byPeer {
		out[n] = peers
	}
	return out
}

// More gives the next event of the Credit frame that was taken last, Nothing when there is no other.
func (s *Session) More() (Event, error) {
	d := &s.credit
	if len(d.src) == 0 {
		return Event{}, nil
	}
	f := Frame{Offset: s.creditOffset}
	n := d.uvarint()
	var back [Lents]int32
	for i := range back {
		back[i] = int32(d.count(uint64(s.local.Bounds[i])))
	}
	if d.bad || n >= uint64(len(s.out)) {
		return Event{}, broken(f, "", "credit that cannot be, of edge number %d of %d", n, len(s.out))
	}
	for l, k := range back {
		if left := s.out[n][l].Add(-k); left < 0 {
			return Event{}, broken(f, s.outLabel[n], "the peer gives back %d batches against the count %d, only %d were under way", k, l, left+k)
		}
	}
	return Event{Kind: Returned, Edge: int(n), Returned: back}, nil
}

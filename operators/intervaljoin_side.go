package operators

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// JoinEntry is a record that a join keeps. It is exported because its schema is part of the state.
type JoinEntry[T any] struct {
	// TimestampMS is the record's event time, Unix ms.
	TimestampMS int64
	// Matched says that the record has had a partner.
	Matched bool
	Value   T
}

// joinSide is what a join keeps of one input: per key, the records in the order of time, equal times in the order of arrival.
type joinSide[T any] struct {
	buffer *state.Value[[]JoinEntry[T]]
	// keepMS is how long after a record's own time partners can come.
	keepMS          int64
	late, unmatched func(T) error
}

// joinDue is when the next record leaves, if there is one.
type joinDue struct {
	ms  int64
	set bool
}

func (d joinDue) earlier(o joinDue) joinDue {
	if !d.set || o.set && o.ms < d.ms {
		return o
	}
	return d
}

// next is when the first of es leaves.
func (s *joinSide[T]) next(es []JoinEntry[T]) joinDue {
	if len(es) == 0 {
		return joinDue{}
	}
	return joinDue{shiftMS(es[0].TimestampMS, s.keepMS), true}
}

// within is the range [from, to) of the entries with first ≤ time ≤ last.
func within[T any](es []JoinEntry[T], first, last int64) (from, to int) {
	from = sort.Search(len(es), func(i int) bool { return es[i].TimestampMS >= first })
	to = from
	for to < len(es) && es[to].TimestampMS <= last {
		to++
	}
	return from, to
}

// match notes that es[from:to], a part of the current key's buffer, have had a partner.
func (s *joinSide[T]) match(es []JoinEntry[T], from, to int) error {
	changed := false
	for i := from; i < to; i++ {
		changed = changed || !es[i].Matched
		es[i].Matched = true
	}
	if !changed {
		return nil
	}
	return s.buffer.Set(es)
}

// keep adds a record to the current key's buffer and sees to it that the timer stands at the first time at which one of both sides leaves; other is
// when one of the other side does.
func keep[K comparable, T any](timers *state.Timers[K], s *joinSide[T], e JoinEntry[T], other joinDue) error {
	es, err := s.buffer.Get()
	if err != nil {
		return err
	}
	due, before := shiftMS(e.TimestampMS, s.keepMS), s.next(es).earlier(other)
	if !before.set || due < before.ms {
		if before.set {
			timers.Delete(state.EventTime, before.ms)
		}
		timers.Register(state.EventTime, due)
	}
	if n := len(es); n == 0 || es[n-1].TimestampMS <= e.TimestampMS {
		es = append(es, e)
	} else {
		es = slices.Insert(es, sort.Search(n, func(i int) bool { return es[i].TimestampMS > e.TimestampMS }), e)
	}
	return s.buffer.Set(es)
}

// leave passes on a record that is dropped, if it has had no partner.
func (s *joinSide[T]) leave(e JoinEntry[T]) error {
	if e.Matched {
		return nil
	}
	return s.unmatched(e.Value)
}

// drop removes the first n of the current key's records, es. No more are moved than are removed.
func (s *joinSide[T]) drop(es []JoinEntry[T], n int) error {
	switch {
	case n == 0:
		return nil
	case n == len(es):
		return s.buffer.Clear()
	case n >= len(es)-n:
		return s.buffer.Set(slices.Delete(es, 0, n))
	}
	clear(es[:n])
	return s.buffer.Set(es[n:])
}

// joinEntryCodec encodes entries whose records have a codec of their own. nil for nil.
func joinEntryCodec[T any](of serde.Serde[T]) serde.Serde[JoinEntry[T]] {
	if of == nil {
		return nil
	}
	return joinEntries[T]{of}
}

type joinEntries[T any] struct{ of serde.Serde[T] }

// Append implements serde.Serde.
func (c joinEntries[T]) Append(dst []byte, e JoinEntry[T]) ([]byte, error) {
	dst = binary.AppendVarint(dst, e.TimestampMS)
	if e.Matched {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	return c.of.Append(dst, e.Value)
}

// Decode implements serde.Serde.
func (c joinEntries[T]) Decode(src []byte, e *JoinEntry[T]) error {
	ts, n := binary.Varint(src)
	if n <= 0 || n >= len(src) || src[n] > 1 {
		return errCutOff
	}
	e.TimestampMS, e.Matched = ts, src[n] == 1
	return c.of.Decode(src[n+1:], &e.Value)
}

// Schema implements serde.Serde.
func (c joinEntries[T]) Schema() string {
	return "opaque:millrace-join-entry of " + c.of.Schema()
}

// shiftMS is ms + byMS, any sign, saturated at the ends of time.
func shiftMS(ms, byMS int64) int64 {
	sum := ms + byMS
	switch {
	case byMS > 0 && sum < ms:
		return math.MaxInt64
	case byMS < 0 && sum > ms:
		return math.MinInt64
	}
	return sum
}

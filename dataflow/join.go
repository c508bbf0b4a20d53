package dataflow

import (
	"cmp"
	"context"

	"github.com/millrace-io/millrace/operators"
)

// IntervalJoin joins each record with those of other that have the same key and lie within the interval around its event time, and passes on f
// of each pair. Late and unmatched records are the side outputs operators.LateLeft, LateRight, UnmatchedLeft and UnmatchedRight of the result. See
// operators.IntervalJoin.
func (k KeyedStream[A, K]) IntervalJoin[B, U any](uid string, other KeyedStream[B, K], between operators.Interval, f func(left A, right B) U) Stream[U] {
	codec := cmp.Or(k.codec, other.codec)
	return k.Transform2(uid, other, operators.IntervalJoin(k.key, other.key, codec, between, joinCodecs(k, other), f))
}

// IntervalJoinProcess is IntervalJoin with a function that sees key and timestamps of a pair, and emits any number of results.
func (k KeyedStream[A, K]) IntervalJoinProcess[B, U any](uid string, other KeyedStream[B, K], between operators.Interval, f func(c *operators.JoinCtx[K, U], left A, right B) error) Stream[U] {
	codec := cmp.Or(k.codec, other.codec)
	return k.Transform2(uid, other, operators.IntervalJoinProcess(k.key, other.key, codec, between, joinCodecs(k, other), f))
}

// TemporalJoin joins each record with the row of its key in the table as it was at the record's event time: table is a stream of versions. Records
// without a row are the side output operators.UnmatchedLeft of the result, late ones operators.LateLeft. See operators.TemporalJoin.
func (k KeyedStream[A, K]) TemporalJoin[B, U any](uid string, table KeyedStream[B, K], o operators.TemporalOptions[A, B], f func(v A, row B) U) Stream[U] {
	o.Codecs = o.Codecs.Or(joinCodecs(k, table))
	return k.Transform2(uid, table, operators.TemporalJoin(k.key, table.key, cmp.Or(k.codec, table.codec), o, f))
}

// TemporalLeftJoin is TemporalJoin that gives a result for each record that is not late: row is nil where there was none.
func (k KeyedStream[A, K]) TemporalLeftJoin[B, U any](uid string, table KeyedStream[B, K], o operators.TemporalOptions[A, B], f func(v A, row *B) U) Stream[U] {
	o.Codecs = o.Codecs.Or(joinCodecs(k, table))
	return k.Transform2(uid, table, operators.TemporalLeftJoin(k.key, table.key, cmp.Or(k.codec, table.codec), o, f))
}

// WindowJoin passes on f of each pair of records of both streams that have the same key and lie in the same window, when the window gives its
// result. w is windows, or a WindowSpec over operators.Either. Late records are the side output operators.LateRecords of operators.Either.
func (k KeyedStream[A, K]) WindowJoin[B, U any, W operators.Windowing[operators.Either[A, B]]](uid string, other KeyedStream[B, K], w W, f func(first A, second B) U) Stream[U] {
	return k.Transform2(uid, other, operators.WindowJoin(k.key, other.key, cmp.Or(k.codec, other.codec), eitherSpec(k, other, w), f))
}

// WindowCoGroup calls f with all records of both streams of each key and window, when the window gives its result; one side may be empty. See
// operators.WindowCoGroup.
func (k KeyedStream[A, K]) WindowCoGroup[B, U any, W operators.Windowing[operators.Either[A, B]]](uid string, other KeyedStream[B, K], w W, f func(c *operators.WindowCtx[K, U], first []A, second []B) error) Stream[U] {
	return k.Transform2(uid, other, operators.WindowCoGroup(k.key, other.key, cmp.Or(k.codec, other.codec), eitherSpec(k, other, w), f))
}

// LookupJoin passes on f of each record and the row that lookup finds for its key in an outside system, from a cache where LookupOptions says so. See
// operators.LookupJoin.
func (s Stream[T]) LookupJoin[LK comparable, Row, U any](uid string, o operators.LookupOptions[T, U], key func(T) LK, lookup func(ctx context.Context, key LK) (row Row, found bool, err error), f func(v T, row Row, found bool) U) Stream[U] {
	o.Async.Codec = cmp.Or(o.Async.Codec, s.codec)
	out := s.Transform(uid, operators.LookupJoin(o, key, lookup, f))
	s.g.needUID(out.node, "a look-up join")
	return out
}

// LookupJoin is Stream.LookupJoin by the key of the stream: each row is asked for and kept in one subtask alone, and results of one key come in the
// order of its records.
func (k KeyedStream[T, K]) LookupJoin[Row, U any](uid string, o operators.LookupOptions[T, U], lookup func(ctx context.Context, key K) (row Row, found bool, err error), f func(v T, row Row, found bool) U) Stream[U] {
	o.Async.Codec = cmp.Or(o.Async.Codec, k.s.codec)
	return k.Transform(uid, operators.LookupJoinKeyed(k.key, k.codec, o, lookup, f))
}

// joinCodecs are the codecs that the streams give for their records.
func joinCodecs[A, B any, K comparable](a KeyedStream[A, K], b KeyedStream[B, K]) operators.JoinCodecs[A, B] {
	return operators.JoinCodecs[A, B]{Left: a.s.codec, Right: b.s.codec}
}

// eitherSpec is the windows w with the codecs that the streams give for their records.
func eitherSpec[A, B any, K comparable, W operators.Windowing[operators.Either[A, B]]](a KeyedStream[A, K], b KeyedStream[B, K], w W) operators.WindowSpec[operators.Either[A, B]] {
	s := operators.SpecOf[operators.Either[A, B]](w)
	if s.Codec != nil || a.s.codec == nil && b.s.codec == nil {
		return s
	}
	codec, err := operators.EitherCodec(joinCodecs(a, b))
	if err != nil {
		a.s.g.fault("a window over two streams: %w; give the streams codecs by WithCodec", err)
	}
	s.Codec = codec
	return s
}

package operators

import (
	"errors"

	"github.com/millrace-io/millrace/serde"
)

// Either is a record of one of two inputs: exactly one field is set. Windows over two inputs hold such records, so triggers, evictors and gaps of
// records are functions of them, and late records come as them.
type Either[A, B any] struct {
	First  *A
	Second *B
}

// CoGroup is what a window over two inputs holds, per input in the order of arrival. Either may be empty, not both. The slices are valid until
// the function returns.
type CoGroup[A, B any] struct {
	First  []A
	Second []B
}

// WindowCoGroup groups the records of both inputs by key and window, and calls f with both groups when the window gives its result; f emits any
// number of results, with the window's last ms as timestamp. One side may be empty: that makes outer joins. keyA and keyB take the keys. w is
// Windows, or a WindowSpec over Either with a trigger, an evictor or lateness; times, late records (the side output LateRecords of Either) and
// state are those of WindowProcess, over the records of both inputs.
//
// Time domain: that of the windows; in event time the watermark is the least of both inputs'. State kept: every record, until the window's
// clean-up.
// Source: Flink CoGroupedStreams.
func WindowCoGroup[K comparable, A, B, Out any, W Windowing[Either[A, B]]](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], w W, f func(c *WindowCtx[K, Out], first []A, second []B) error) Stage2[A, B, Out] {
	if f == nil {
		return WindowCoGroupProcess[K, A, B, Out](keyA, keyB, codec, w, nil)
	}
	return WindowCoGroupProcess(keyA, keyB, codec, w, func(b *WindowFunc[K, CoGroup[A, B], Out]) {
		b.t.UserFuncs(f)
		b.OnFire(func(c *WindowCtx[K, Out], g CoGroup[A, B]) error { return f(c, g.First, g.Second) })
	})
}

// WindowJoin calls f with each pair of records of both inputs that have the same key and lie in the same window, when the window gives its
// result, and passes on what it makes; see WindowCoGroup. Pairs come in the order of the first record, then of the second. A window in which one
// side is empty gives nothing.
// Source: Flink JoinedStreams.
func WindowJoin[K comparable, A, B, Out any, W Windowing[Either[A, B]]](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], w W, f func(first A, second B) Out) Stage2[A, B, Out] {
	if f == nil {
		return WindowCoGroupProcess[K, A, B, Out](keyA, keyB, codec, w, nil)
	}
	return WindowCoGroupProcess(keyA, keyB, codec, w, func(b *WindowFunc[K, CoGroup[A, B], Out]) {
		b.t.UserFuncs(f)
		b.OnFire(func(c *WindowCtx[K, Out], g CoGroup[A, B]) error {
			for _, first := range g.First {
				for _, second := range g.Second {
					if err := c.Emit(f(first, second)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// WindowCoGroupProcess is WindowCoGroup with a function that may keep state per window and per key, as build declares it.
func WindowCoGroupProcess[K comparable, A, B, Out any, W Windowing[Either[A, B]]](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], w W, build func(*WindowFunc[K, CoGroup[A, B], Out])) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if keyA == nil || keyB == nil {
			return nil, nil, errors.New("a window over two inputs needs a key function for each")
		}
		t.UserFuncs(keyA, keyB)
		key := func(e Either[A, B]) K {
			if e.First != nil {
				return keyA(*e.First)
			}
			return keyB(*e.Second)
		}
		s := SpecOf[Either[A, B]](w)
		push, err := windowStage(key, codec, s, func(b *Keyed[K, Either[A, B], Out]) (windowContents[Either[A, B], CoGroup[A, B]], error) {
			return coGroupContents(b, s), nil
		}, build)(t, emit)
		return func(v A) error { return push(Either[A, B]{First: &v}) }, func(v B) error { return push(Either[A, B]{Second: &v}) }, err
	}
}

// coGroupContents keeps the records of both inputs in the order in which they come, and takes them apart for the function.
func coGroupContents[K comparable, A, B, Out any](b *Keyed[K, Either[A, B], Out], s WindowSpec[Either[A, B]]) windowContents[Either[A, B], CoGroup[A, B]] {
	var g CoGroup[A, B]
	add := func(e Either[A, B]) {
		if e.First != nil {
			g.First = append(g.First, *e.First)
		} else {
			g.Second = append(g.Second, *e.Second)
		}
	}
	if s.Evictor.set() {
		return evictedContents(b, s, func(es []TimestampedValue[Either[A, B]]) CoGroup[A, B] {
			g.First, g.Second = g.First[:0], g.Second[:0]
			for _, e := range es {
				add(e.Value)
			}
			return g
		})
	}
	return &keptContents[Either[A, B], Either[A, B], CoGroup[A, B]]{
		m:    newWindowBuffer[Either[A, B]](b, s.contentsName(), s.Codec),
		wrap: func(v Either[A, B], _ int64) Either[A, B] { return v },
		view: func(es []Either[A, B]) CoGroup[A, B] {
			g.First, g.Second = g.First[:0], g.Second[:0]
			for _, e := range es {
				add(e)
			}
			return g
		},
	}
}

// EitherCodec encodes records of two inputs of which at least one has a codec of its own, for WindowSpec.Codec. nil takes the codec that package
// serde derives; an error says that there is none.
func EitherCodec[A, B any](codecs JoinCodecs[A, B]) (serde.Serde[Either[A, B]], error) {
	var err, err2 error
	if codecs.Left == nil {
		codecs.Left, err = serde.For[A]()
	}
	if codecs.Right == nil {
		codecs.Right, err2 = serde.For[B]()
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return eitherOf[A, B]{codecs}, nil
}

type eitherOf[A, B any] struct{ of JoinCodecs[A, B] }

// Append implements serde.Serde.
func (c eitherOf[A, B]) Append(dst []byte, e Either[A, B]) ([]byte, error) {
	if e.First != nil {
		return c.of.Left.Append(append(dst, 0), *e.First)
	}
	return c.of.Right.Append(append(dst, 1), *e.Second)
}

// Decode implements serde.Serde.
func (c eitherOf[A, B]) Decode(src []byte, e *Either[A, B]) error {
	if len(src) == 0 || src[0] > 1 {
		return errCutOff
	}
	*e = Either[A, B]{}
	if src[0] == 0 {
		e.First = new(A)
		return c.of.Left.Decode(src[1:], e.First)
	}
	e.Second = new(B)
	return c.of.Right.Decode(src[1:], e.Second)
}

// Schema implements serde.Serde.
func (c eitherOf[A, B]) Schema() string {
	return "opaque:millrace-either of " + c.of.Left.Schema() + " and " + c.of.Right.Schema()
}

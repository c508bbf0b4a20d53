package operators

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Interval says which records of two streams belong together: those with left + Lower ≤ right ≤ left + Upper, where left and right are their
// timestamps. Between makes one.
type Interval struct {
	// Lower and Upper are the bounds, whole ms of any sign. Lower must not be above Upper.
	Lower, Upper time.Duration
	// ExclusiveLower and ExclusiveUpper exclude the bound itself. Default: both bounds are inclusive.
	ExclusiveLower, ExclusiveUpper bool
}

// Between is the interval with both bounds inclusive.
func Between(lower, upper time.Duration) Interval { return Interval{Lower: lower, Upper: upper} }

// bounds are the inclusive bounds in ms.
func (i Interval) bounds() (lowerMS, upperMS int64) {
	lowerMS, upperMS = i.Lower.Milliseconds(), i.Upper.Milliseconds()
	if i.ExclusiveLower {
		lowerMS++
	}
	if i.ExclusiveUpper {
		upperMS--
	}
	return lowerMS, upperMS
}

// Validate reports every fault.
func (i Interval) Validate() error {
	var errs []error
	if i.Lower%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("operators: the lower bound of an interval is %v, want a whole number of ms", i.Lower))
	}
	if i.Upper%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("operators: the upper bound of an interval is %v, want a whole number of ms", i.Upper))
	}
	lower, upper := i.bounds()
	switch {
	case i.Lower > i.Upper:
		errs = append(errs, fmt.Errorf("operators: the interval from %v to %v is reversed; give the lower bound first", i.Lower, i.Upper))
	case lower > upper:
		errs = append(errs, fmt.Errorf("operators: the interval from %v to %v holds no whole ms without its bounds; make one of them inclusive", i.Lower, i.Upper))
	}
	return errors.Join(errs...)
}

// LateLeft is the tag of the left records that come too late for a join.
func LateLeft[A any]() Tag[A] { return NewTag[A]("late-left") }

// LateRight is the tag of the right records that come too late for a join.
func LateRight[B any]() Tag[B] { return NewTag[B]("late-right") }

// UnmatchedLeft is the tag of the left records for which no partner can come any more. Together with the main output they are a left outer
// join.
func UnmatchedLeft[A any]() Tag[A] { return NewTag[A]("unmatched-left") }

// UnmatchedRight is the tag of the right records for which no partner can come any more.
func UnmatchedRight[B any]() Tag[B] { return NewTag[B]("unmatched-right") }

// JoinCodecs encode the records that a join keeps. The zero value takes the codecs that package serde derives.
type JoinCodecs[A, B any] struct {
	Left  serde.Serde[A]
	Right serde.Serde[B]
}

// Or is c with the codecs of d where c has none.
func (c JoinCodecs[A, B]) Or(d JoinCodecs[A, B]) JoinCodecs[A, B] {
	return JoinCodecs[A, B]{cmp.Or(c.Left, d.Left), cmp.Or(c.Right, d.Right)}
}

// JoinCtx is what the function of a join sees of the current pair. It is valid during the call only.
type JoinCtx[K comparable, Out any] struct {
	ctx             *Ctx[K, Out]
	leftMS, rightMS int64
}

// Key is the key of both records.
func (c *JoinCtx[K, Out]) Key() K { return c.ctx.key }

// LeftMS is the timestamp of the left record, Unix ms.
func (c *JoinCtx[K, Out]) LeftMS() int64 { return c.leftMS }

// RightMS is the timestamp of the right record, Unix ms.
func (c *JoinCtx[K, Out]) RightMS() int64 { return c.rightMS }

// TimestampMS is the timestamp of results, Unix ms: the later one of both records.
func (c *JoinCtx[K, Out]) TimestampMS() int64 { return max(c.leftMS, c.rightMS) }

// Emit passes v on.
func (c *JoinCtx[K, Out]) Emit(v Out) error { return c.ctx.Emit(v) }

// IntervalJoin joins each record of the left (first) input with the records of the right (second) one that have the same key and lie within the
// interval around its event time; f makes the result of a pair, whose timestamp is the later one of both. keyA and keyB take the keys, codec
// encodes them, nil takes the one that package serde derives.
//
// Event time: a record below the watermark (strictly) is late: it joins nothing and goes to the side output LateLeft or LateRight. A record
// without timestamp is a bad record. Bounds at the ends of time saturate.
//
// State kept: every record in the order of time, per key and side, a left one until the watermark reaches its timestamp plus the upper bound, or its
// timestamp if that is later, a right one likewise with the lower bound negated; one timer per key. What leaves without having had a partner
// goes to the side output UnmatchedLeft or UnmatchedRight, with the time at which that became certain as timestamp, so that no step behind
// holds it for late. A record costs a binary search among those of its key, and one move of those behind it where it comes out of order. The
// buffer of a key is read and written as a whole on a store, so a key should not have more than some 10,000 records within the interval.
//
// Source: Flink IntervalJoinOperator; unmatched sides as in its RowTimeIntervalJoin.
func IntervalJoin[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], between Interval, codecs JoinCodecs[A, B], f func(left A, right B) Out) Stage2[A, B, Out] {
	if f == nil {
		return IntervalJoinProcess[K, A, B, Out](keyA, keyB, codec, between, codecs, nil)
	}
	stage := IntervalJoinProcess(keyA, keyB, codec, between, codecs, func(c *JoinCtx[K, Out], left A, right B) error { return c.Emit(f(left, right)) })
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		t.UserFuncs(f)
		return stage(t, emit)
	}
}

// IntervalJoinProcess is IntervalJoin with a function that sees key and timestamps of a pair, and emits any number of results.
func IntervalJoinProcess[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], between Interval, codecs JoinCodecs[A, B], f func(c *JoinCtx[K, Out], left A, right B) error) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if err := between.Validate(); err != nil {
			return nil, nil, err
		}
		if f == nil {
			return nil, nil, errors.New("a join needs a function that makes results of pairs")
		}
		t.NeedsWatermarks("an interval join")
		t.UserFuncs(f)
		return CoProcess(keyA, keyB, codec, func(b *CoKeyed[K, A, B, Out]) {
			lower, upper := between.bounds()
			j := &intervalJoin[K, A, B, Out]{
				lowerMS: lower, upperMS: upper, f: f, ctx: &JoinCtx[K, Out]{ctx: b.ctx},
				left:  joinSide[A]{b.Value[[]JoinEntry[A]]("left", state.Codec(listCodec(joinEntryCodec(codecs.Left)))), max(upper, 0), counted(t, b.Side(LateLeft[A]())), b.Side(UnmatchedLeft[A]())},
				right: joinSide[B]{b.Value[[]JoinEntry[B]]("right", state.Codec(listCodec(joinEntryCodec(codecs.Right)))), max(-lower, 0), counted(t, b.Side(LateRight[B]())), b.Side(UnmatchedRight[B]())},
			}
			b.OnFirst(j.onLeft)
			b.OnSecond(j.onRight)
			b.OnTimer(j.onTimer)
		})(t, emit)
	}
}

// intervalJoin is an interval join in one subtask.
type intervalJoin[K comparable, A, B, Out any] struct {
	lowerMS, upperMS int64
	f                func(*JoinCtx[K, Out], A, B) error
	ctx              *JoinCtx[K, Out]
	left             joinSide[A]
	right            joinSide[B]
}

func (j *intervalJoin[K, A, B, Out]) onLeft(c *Ctx[K, Out], v A) error {
	ts, late, err := joinTime(c)
	if err != nil {
		return err
	}
	if late {
		return j.left.late(v)
	}
	right, err := j.right.buffer.Get()
	if err != nil {
		return err
	}
	from, to := within(right, shiftMS(ts, j.lowerMS), shiftMS(ts, j.upperMS))
	for i := from; i < to; i++ {
		if err := j.pair(c, v, ts, right[i].Value, right[i].TimestampMS); err != nil {
			return err
		}
	}
	c.t.Context().TimestampMS = ts
	if err := j.right.match(right, from, to); err != nil {
		return err
	}
	return keep(c.timers, &j.left, JoinEntry[A]{TimestampMS: ts, Value: v, Matched: from < to}, j.right.next(right))
}

func (j *intervalJoin[K, A, B, Out]) onRight(c *Ctx[K, Out], v B) error {
	ts, late, err := joinTime(c)
	if err != nil {
		return err
	}
	if late {
		return j.right.late(v)
	}
	left, err := j.left.buffer.Get()
	if err != nil {
		return err
	}
	from, to := within(left, shiftMS(ts, -j.upperMS), shiftMS(ts, -j.lowerMS))
	for i := from; i < to; i++ {
		if err := j.pair(c, left[i].Value, left[i].TimestampMS, v, ts); err != nil {
			return err
		}
	}
	c.t.Context().TimestampMS = ts
	if err := j.left.match(left, from, to); err != nil {
		return err
	}
	return keep(c.timers, &j.right, JoinEntry[B]{TimestampMS: ts, Value: v, Matched: from < to}, j.left.next(left))
}

// joinTime is the time of the current record of a join, and whether that is late.
func joinTime[K comparable, Out any](c *Ctx[K, Out]) (ms int64, late bool, err error) {
	ts := c.TimestampMS()
	if ts == connectors.NoTimestamp {
		return 0, false, BadRecord(errors.New("the record has no timestamp; call Timestamps before the join"))
	}
	return ts, ts < c.WatermarkMS(), nil
}

func (j *intervalJoin[K, A, B, Out]) pair(c *Ctx[K, Out], left A, leftMS int64, right B, rightMS int64) error {
	j.ctx.leftMS, j.ctx.rightMS = leftMS, rightMS
	c.t.Context().TimestampMS = max(leftMS, rightMS)
	return j.f(j.ctx, left, right)
}

// onTimer drops what cannot have partners any more, in the order of time.
func (j *intervalJoin[K, A, B, Out]) onTimer(c *Ctx[K, Out], _ time.Time) error {
	left, err := j.left.buffer.Get()
	if err != nil {
		return err
	}
	right, err := j.right.buffer.Get()
	if err != nil {
		return err
	}
	l, r := 0, 0
	for watermark := c.WatermarkMS(); ; {
		leftDue, rightDue := j.left.next(left[l:]), j.right.next(right[r:])
		due := leftDue.earlier(rightDue)
		if !due.set || due.ms > watermark {
			break
		}
		c.t.Context().TimestampMS = due.ms
		if due == leftDue {
			err = j.left.leave(left[l])
			l++
		} else {
			err = j.right.leave(right[r])
			r++
		}
		if err != nil {
			return err
		}
	}
	if due := j.left.next(left[l:]).earlier(j.right.next(right[r:])); due.set { // before drop moves them
		c.timers.Register(state.EventTime, due.ms)
	}
	return errors.Join(j.left.drop(left, l), j.right.drop(right, r))
}

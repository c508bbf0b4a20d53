package operators

import (
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// TemporalOptions say how a temporal join treats its table. The zero value works.
type TemporalOptions[A, B any] struct {
	// Deleted says that a record of the table ends the row of its key instead of giving it a new version. Default: no row ever ends.
	Deleted func(B) bool
	// Codecs encode the records that wait and the versions of the table.
	Codecs JoinCodecs[A, B]
}

// TableVersion is a version of a row of a temporal join. It is exported because its schema is part of the state.
type TableVersion[B any] struct {
	// FromMS is the event time from which on it is valid, Unix ms.
	FromMS int64
	// Deleted says that there is no row from then on.
	Deleted bool
	Value   B
}

// TemporalJoin joins each record of the first input with the row of its key as it was at the record's event time: the second input is the table,
// each record of it a new version of the row of its key, valid from its timestamp on. f makes the result, with the timestamp of the first record; a
// record for which there was no row goes to the side output UnmatchedLeft.
//
// Event time: a record waits until the watermark has reached its timestamp, for until then versions may come; those of one key are answered in
// the order of time. A record of the first input below the watermark (strictly) is late: the version that it needs may be gone, so it goes to the side
// output LateLeft. A version below the watermark is taken, but what has been answered stays as it is, and a deletion that the watermark has passed is
// forgotten, so that it does not keep older versions out. Of two versions with one timestamp the
// later one to come counts. Records without timestamp are bad records.
//
// State kept: records that wait; of each key the newest version at or below the watermark and all above it, for as long as the row is not
// deleted. A temporal join with the row as it is now (processing time) is a CoProcess that keeps it in a value state.
// Source: Flink TemporalRowTimeJoinOperator.
func TemporalJoin[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], o TemporalOptions[A, B], f func(v A, row B) Out) Stage2[A, B, Out] {
	if f == nil {
		return temporalStage[K, A, B, Out](keyA, keyB, codec, o, nil, nil)
	}
	return temporalStage(keyA, keyB, codec, o, f, func(v A, row *B, unmatched func(A) error, emit func(Out) error) error {
		if row == nil {
			return unmatched(v)
		}
		return emit(f(v, *row))
	})
}

// TemporalLeftJoin is TemporalJoin that gives a result for each record that is not late: row is nil where there was none. row must not be
// kept or changed.
func TemporalLeftJoin[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], o TemporalOptions[A, B], f func(v A, row *B) Out) Stage2[A, B, Out] {
	if f == nil {
		return temporalStage[K, A, B, Out](keyA, keyB, codec, o, nil, nil)
	}
	return temporalStage(keyA, keyB, codec, o, f, func(v A, row *B, _ func(A) error, emit func(Out) error) error { return emit(f(v, row)) })
}

// temporalStage makes the stage of a temporal join: answer emits what comes of v and the row, nil for none. user is the user's function.
func temporalStage[K comparable, A, B, Out any](keyA func(A) K, keyB func(B) K, codec serde.Serde[K], o TemporalOptions[A, B], user any,
	answer func(v A, row *B, unmatched func(A) error, emit func(Out) error) error) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if answer == nil {
			return nil, nil, errors.New("a temporal join needs a function that makes results")
		}
		t.NeedsWatermarks("a temporal join")
		t.UserFuncs(user, o.Deleted)
		return CoProcess(keyA, keyB, codec, func(b *CoKeyed[K, A, B, Out]) {
			j := &temporalJoin[K, A, B, Out]{
				waiting:  b.Value[[]JoinEntry[A]]("waiting", state.Codec(listCodec(joinEntryCodec(o.Codecs.Left)))),
				versions: b.Value[[]TableVersion[B]]("versions", state.Codec(listCodec(tableVersionCodec(o.Codecs.Right)))),
				deleted:  o.Deleted, answer: answer, emit: b.ctx.Emit,
				late: counted(t, b.Side(LateLeft[A]())), unmatched: b.Side(UnmatchedLeft[A]()),
			}
			b.OnFirst(j.onRecord)
			b.OnSecond(j.onVersion)
			b.OnTimer(j.onTimer)
		})(t, emit)
	}
}

// temporalJoin is a temporal join in one subtask.
type temporalJoin[K comparable, A, B, Out any] struct {
	waiting  *state.Value[[]JoinEntry[A]]
	versions *state.Value[[]TableVersion[B]] // in the order of time, no two of one
	deleted  func(B) bool
	answer   func(v A, row *B, unmatched func(A) error, emit func(Out) error) error
	emit     func(Out) error
	late     func(A) error

	unmatched func(A) error
}

func (j *temporalJoin[K, A, B, Out]) onRecord(c *Ctx[K, Out], v A) error {
	ts, late, err := joinTime(c)
	if err != nil {
		return err
	}
	if late {
		return j.late(v)
	}
	if ts == c.WatermarkMS() { // all versions that it may need are here
		versions, err := j.versions.Get()
		if err != nil {
			return err
		}
		return j.answer(v, validAt(versions, ts), j.unmatched, j.emit)
	}
	side := joinSide[A]{buffer: j.waiting}
	return keep(c.timers, &side, JoinEntry[A]{TimestampMS: ts, Value: v}, joinDue{})
}

func (j *temporalJoin[K, A, B, Out]) onVersion(c *Ctx[K, Out], v B) error {
	ts, _, err := joinTime(c)
	if err != nil {
		return err
	}
	versions, err := j.versions.Get()
	if err != nil {
		return err
	}
	version := TableVersion[B]{FromMS: ts, Value: v}
	if j.deleted != nil && j.deleted(v) {
		var none B
		version.Deleted, version.Value = true, none
	}
	at := sort.Search(len(versions), func(i int) bool { return versions[i].FromMS >= ts })
	if at < len(versions) && versions[at].FromMS == ts {
		versions[at] = version
	} else {
		versions = slices.Insert(versions, at, version)
	}
	if ts > c.WatermarkMS() && (len(versions) > 1 || version.Deleted) {
		c.timers.Register(state.EventTime, ts) // when versions before it can go
	}
	return j.prune(versions, c.WatermarkMS())
}

// onTimer answers the records whose time the watermark has reached, in the order of time.
func (j *temporalJoin[K, A, B, Out]) onTimer(c *Ctx[K, Out], _ time.Time) error {
	waiting, err := j.waiting.Get()
	if err != nil {
		return err
	}
	versions, err := j.versions.Get()
	if err != nil {
		return err
	}
	n := 0
	for ; n < len(waiting) && waiting[n].TimestampMS <= c.WatermarkMS(); n++ {
		ts := waiting[n].TimestampMS
		c.t.Context().TimestampMS = ts
		if err := j.answer(waiting[n].Value, validAt(versions, ts), j.unmatched, j.emit); err != nil {
			return err
		}
	}
	if n < len(waiting) {
		c.timers.Register(state.EventTime, waiting[n].TimestampMS)
	}
	side := joinSide[A]{buffer: j.waiting}
	if err := side.drop(waiting, n); err != nil {
		return err
	}
	if len(versions) == 0 {
		return nil
	}
	return j.prune(versions, c.WatermarkMS())
}

// validAt is the row at ts, nil if there is none.
func validAt[B any](versions []TableVersion[B], ts int64) *B {
	i := sort.Search(len(versions), func(i int) bool { return versions[i].FromMS > ts })
	if i == 0 || versions[i-1].Deleted {
		return nil
	}
	return &versions[i-1].Value
}

// prune stores the current key's versions without those that nothing can need any more: what comes and what waits lies at or above the watermark.
func (j *temporalJoin[K, A, B, Out]) prune(versions []TableVersion[B], watermark int64) error {
	n := sort.Search(len(versions), func(i int) bool { return versions[i].FromMS > watermark })
	if n > 0 && !versions[n-1].Deleted {
		n-- // still valid
	}
	if n == len(versions) {
		return j.versions.Clear()
	}
	return j.versions.Set(slices.Delete(versions, 0, n))
}

// tableVersionCodec encodes versions whose records have a codec of their own. nil for nil.
func tableVersionCodec[B any](of serde.Serde[B]) serde.Serde[TableVersion[B]] {
	if of == nil {
		return nil
	}
	return tableVersions[B]{joinEntries[B]{of}}
}

// tableVersions writes a version as the entry of a join with the same fields.
type tableVersions[B any] struct{ entries joinEntries[B] }

// Append implements serde.Serde.
func (c tableVersions[B]) Append(dst []byte, v TableVersion[B]) ([]byte, error) {
	return c.entries.Append(dst, JoinEntry[B]{v.FromMS, v.Deleted, v.Value})
}

// Decode implements serde.Serde.
func (c tableVersions[B]) Decode(src []byte, v *TableVersion[B]) error {
	var e JoinEntry[B]
	err := c.entries.Decode(src, &e)
	*v = TableVersion[B]{e.TimestampMS, e.Matched, e.Value}
	return err
}

// Schema implements serde.Serde.
func (c tableVersions[B]) Schema() string {
	return "opaque:millrace-table-version of " + c.entries.of.Schema()
}

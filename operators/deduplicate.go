package operators

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Keep says which record of each key Deduplicate passes on.
type Keep uint8

const (
	// KeepFirst passes the record with the lowest timestamp on, once, when the watermark says that no earlier one will come.
	KeepFirst Keep = iota
	// KeepLast passes each record on that is not older than any before it: the last one is the one with the highest timestamp.
	KeepLast
)

// Deduplicate passes one record of each key on, by event time. Nothing that was passed on is ever taken back.
//
// With KeepFirst that is the record with the lowest timestamp, of equal ones the first that came. It is held until the watermark reaches its
// timestamp, which is the output's timestamp too; the result does not depend on the order in which records come. A late record (timestamp ≤
// watermark) of a key without result passes at once. State kept: the record that is held, dropped when it passes; then one byte
// for each key, and one timer while a record is held.
//
// With KeepLast each record passes at once that is not older than the newest of its key, so that whoever writes results under their key ends up
// with the last one. State kept: the newest timestamp of each key.
//
// What is kept for each key stays for ever, unless opts bound it: with state.TTL or state.EventTimeTTL the key is forgotten so long after its
// result, with state.TTLOnRead so long after its last record. A record that is still held does not expire. Records without timestamp become
// dead letters, or fail the task without consumer for them.
// Source: Flink's RowTimeDeduplicateKeepFirstRowFunction and RowTimeDeduplicateFunction.
func Deduplicate[K comparable, T any](key func(T) K, codec serde.Serde[K], keep Keep, opts ...state.Option) Stage[T, T] {
	return Process(key, codec, func(b *Keyed[K, T, T]) {
		switch keep {
		case KeepFirst:
			keepFirst(b, opts)
		case KeepLast:
			keepLast(b, opts)
		default:
			b.OnRecord(func(*Ctx[K, T], T) error { return nil })
			b.Task().Fault(fmt.Errorf("operators: Deduplicate is to keep %d; say operators.KeepFirst or operators.KeepLast", keep))
		}
	})
}

var errUndated = errors.New("the record has no timestamp; call Timestamps before Deduplicate")

func keepFirst[K comparable, T any](b *Keyed[K, T, T], opts []state.Option) {
	type ctx = *Ctx[K, T]
	b.Task().NeedsWatermarks("Deduplicate with KeepFirst")
	decided := b.Value[bool]("decided", opts...)
	held, heldAt := b.Value[T]("held"), b.Value[int64]("held at")
	pass := func(c ctx, v T) error {
		if err := decided.Set(true); err != nil {
			return err
		}
		return c.Emit(v)
	}
	b.OnRecord(func(c ctx, v T) error {
		ts := c.TimestampMS()
		if ts == connectors.NoTimestamp {
			return BadRecord(errUndated)
		}
		_, done, err := decided.Lookup()
		if done || err != nil {
			return err
		}
		at, ok, err := heldAt.Lookup()
		if err != nil || ok && at <= ts {
			return err
		}
		if ok {
			c.timers.Delete(state.EventTime, at)
		}
		if ts <= c.WatermarkMS() {
			if err := errors.Join(held.Clear(), heldAt.Clear()); err != nil {
				return err
			}
			return pass(c, v)
		}
		c.timers.Register(state.EventTime, ts)
		if err := heldAt.Set(ts); err != nil {
			return err
		}
		return held.Set(v)
	})
	b.OnTimer(func(c ctx, _ time.Time) error {
		v, err := held.Get()
		if err == nil {
			err = errors.Join(held.Clear(), heldAt.Clear())
		}
		if err != nil {
			return err
		}
		return pass(c, v)
	})
}

func keepLast[K comparable, T any](b *Keyed[K, T, T], opts []state.Option) {
	newest := b.Value[int64]("newest", opts...)
	b.OnRecord(func(c *Ctx[K, T], v T) error {
		ts := c.TimestampMS()
		if ts == connectors.NoTimestamp {
			return BadRecord(errUndated)
		}
		at, ok, err := newest.Lookup()
		if err != nil || ok && ts < at {
			return err
		}
		if err := newest.Set(ts); err != nil {
			return err
		}
		return c.Emit(v)
	})
}

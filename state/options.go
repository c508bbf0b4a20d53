package state

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// Option changes how one state is declared.
type Option func(*options)

// options are what the Options of one declaration say; codec and keyCodec hold a serde.Serde of a type that the declaration checks.
type options struct {
	ttl       time.Duration
	ttlSet    bool
	eventTTL  bool
	twoTTLs   bool
	ttlOnRead bool
	shown     bool
	kept      bool
	codec     any
	keyCodec  any
	values    []migration
	mapKeys   []migration
}

// TTL lets every entry of the state (every element of a list, every entry of a map) expire d of processing time after it was created or
// last written. d is at least 1 ms and is rounded up to whole milliseconds; an entry is expired when last write + d ≤ now, where now is the
// clock as it was read once for the current record or timer. An expired entry is never returned, and is left out of snapshots.
//
// Expired entries go away by themselves, also those of keys that never come again, at the latest d/16 after they expired: time is
// divided into buckets, and one that is over is emptied by later accesses to the state (of any key), by watermarks and by checkpoints, some
// entries each. No table is scanned: an entry costs 8 bytes in memory, or a record in the index of the store beneath, and one look-up for
// each d that it lives.
// Source: Flink StateTtlConfig with OnCreateAndWrite and NeverReturnExpired.
func TTL(d time.Duration) Option {
	return func(o *options) { o.twoTTLs, o.ttl, o.ttlSet, o.eventTTL = o.ttlSet, d, true, false }
}

// EventTimeTTL is TTL in event time, which makes it the same in every run over the same records, also over old ones. An entry is touched
// at the event time of the record or timer that creates or writes it, or at the operator's watermark if that has no timestamp; a touch
// never takes life away, so a late record does not shorten it. The entry is expired when touched + d ≤ watermark: a record that is late by
// d or more writes what has expired already. While timers of a new watermark fire, each sees the state as of its own time, not as of the
// watermark; then the watermark counts. At the end of a bounded input everything expires.
//
// An entry that is touched while there is no event time at all (neither timestamp nor watermark) stays until it is touched again, or
// written anew by a restore. Times are exact within 570 000 years of 1970 and saturate beyond. Writing reads the entry first, also above a store. Everything else
// is as with TTL. Flink has no such option; there it takes a timer for each entry.
func EventTimeTTL(d time.Duration) Option {
	return func(o *options) { o.twoTTLs, o.ttl, o.ttlSet, o.eventTTL = o.ttlSet, d, true, true }
}

// TTLOnRead renews the time to live on reads too. It needs TTL or EventTimeTTL.
// Source: Flink StateTtlConfig.UpdateType.OnReadAndWrite.
func TTLOnRead() Option { return func(o *options) { o.ttlOnRead = true } }

// ReturnExpiredIfNotCleanedUp returns an expired entry as long as nothing has removed it: reading an expired value, reducing or
// aggregating state or map entry returns and removes it; adding to an expired reducing or aggregating state goes on from it; reading a list
// removes expired elements only if all are expired, or if it renews others (TTLOnRead). It needs TTL or EventTimeTTL.
// Source: Flink StateTtlConfig.StateVisibility.
func ReturnExpiredIfNotCleanedUp() Option { return func(o *options) { o.shown = true } }

// DisableCleanupInBackground leaves expired entries where they are until an access to their own key meets them: they take up memory, disk
// and room in snapshots, for ever if the key does not come again. It needs TTL or EventTimeTTL, and is for those who want to see expired
// entries with ReturnExpiredIfNotCleanedUp for certain.
// Source: Flink StateTtlConfig.Builder.disableCleanupInBackground, without cleanupFullSnapshot.
func DisableCleanupInBackground() Option { return func(o *options) { o.kept = true } }

// Codec encodes the values of the state (elements of a list, accumulators of an aggregating state). T must be exactly that type.
// Default, and with nil: the codec that package serde derives from the type.
func Codec[T any](s serde.Serde[T]) Option {
	return func(o *options) {
		if s != nil {
			o.codec = s
		}
	}
}

// KeyCodec encodes the map keys of a map state. Default, and with nil: the codec that package serde derives from the type. Equal
// keys must have equal encodings.
func KeyCodec[MK any](s serde.Serde[MK]) Option {
	return func(o *options) {
		if s != nil {
			o.keyCodec = s
		}
	}
}

// check reports every fault of the options of the state called name.
func (o *options) check(name string, kind Kind) (errs []error) {
	if o.ttlSet && o.ttl < time.Millisecond {
		errs = append(errs, fmt.Errorf("state: %s state %q has TTL %v, want at least 1ms", kind, name, o.ttl))
	}
	if o.twoTTLs {
		errs = append(errs, fmt.Errorf("state: %s state %q has two times to live; give one of state.TTL(d) and state.EventTimeTTL(d)", kind, name))
	}
	for _, x := range []struct {
		set  bool
		name string
	}{{o.ttlOnRead, "TTLOnRead"}, {o.shown, "ReturnExpiredIfNotCleanedUp"}, {o.kept, "DisableCleanupInBackground"}} {
		if x.set && !o.ttlSet {
			errs = append(errs, fmt.Errorf("state: %s state %q has %s without TTL; add state.TTL(d) or state.EventTimeTTL(d)", kind, name, x.name))
		}
	}
	if o.mapKeys != nil && kind != KindMap {
		errs = append(errs, fmt.Errorf("state: %s state %q has a MigrateMapKey, which only a map state takes", kind, name))
	}
	if o.keyCodec != nil && kind != KindMap {
		errs = append(errs, fmt.Errorf("state: %s state %q has a KeyCodec, which only a map state takes", kind, name))
	}
	return errs
}

// lifetime is what the options say of the time to live, in whole ms, rounded up.
func (o *options) lifetime() lifetime {
	ms := int64(o.ttl / time.Millisecond)
	if o.ttl%time.Millisecond > 0 {
		ms++
	}
	return lifetime{ttlMS: ms, event: o.eventTTL, onRead: o.ttlOnRead, shown: o.shown, kept: o.kept}
}

// pick is the codec given as an option, or the derived one.
func pick[T any](given any, what string) (serde.Serde[T], error) {
	if given != nil {
		s, ok := given.(serde.Serde[T])
		if !ok {
			var v T
			return nil, fmt.Errorf("state: %s: the given codec is %T, which is not a serde.Serde[%T]", what, given, v)
		}
		return s, nil
	}
	s, err := derive[T]()
	if err != nil {
		return nil, fmt.Errorf("state: %s: %w; give one by state.Codec or state.KeyCodec", what, err)
	}
	return s, nil
}

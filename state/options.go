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
	ttlOnRead bool
	codec     any
	keyCodec  any
}

// TTL lets every entry of the state (every element of a list, every entry of a map) expire d of processing time after it was created or
// last written. d is at least 1 ms and is rounded up to whole milliseconds; an entry is expired when last write + d ≤ now. An
// expired entry is never returned; it is removed when it is met, by a small sweep that rides on later accesses, and is left out
// of snapshots. There is no bound on how long an expired entry takes up memory or disk in a key group that is never accessed.
// Source: Flink StateTtlConfig with OnCreateAndWrite and NeverReturnExpired.
func TTL(d time.Duration) Option { return func(o *options) { o.ttl, o.ttlSet = d, true } }

// TTLOnRead renews the time to live on reads too. It needs TTL.
func TTLOnRead() Option { return func(o *options) { o.ttlOnRead = true } }

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
	if o.ttlOnRead && !o.ttlSet {
		errs = append(errs, fmt.Errorf("state: %s state %q has TTLOnRead without TTL; add state.TTL(d)", kind, name))
	}
	if o.keyCodec != nil && kind != KindMap {
		errs = append(errs, fmt.Errorf("state: %s state %q has a KeyCodec, which only a map state takes", kind, name))
	}
	return errs
}

// ttlMS is the time to live in whole ms, rounded up; 0 for none.
func (o *options) ttlMS() int64 { return int64((o.ttl + time.Millisecond - 1) / time.Millisecond) }

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

package savepoint

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Codecs encode and decode operator keys and values; those of the program whose savepoint it is. Nil is the codec that package serde derives from
// the type.
type Codecs[K comparable, V any] struct {
	Key   serde.Serde[K]
	Value serde.Serde[V]
}

func (c *Codecs[K, V]) fill() (err error) {
	if c.Key == nil {
		if c.Key, err = serde.For[K](); err != nil {
			return err
		}
	}
	if c.Value == nil {
		c.Value, err = serde.For[V]()
	}
	return err
}

// Row is one entry of a state, decoded. It belongs to whoever gets it.
type Row[K comparable, V any] struct {
	Key   K
	Value V
	// Expires is when the entry expires by the clock of its state's time to live; the zero time for never.
	Expires time.Time
}

// MapRow is one entry of a map state.
type MapRow[K comparable, MK, V any] struct {
	Key     K
	MapKey  MK
	Value   V
	Expires time.Time
}

// Timer is a pending timer.
type Timer[K comparable] struct {
	Key   K
	Clock state.Domain
	At    time.Time
}

// decoders read the values of one state, whichever of its schemas they have.
type decoders[V any] struct {
	codec serde.Serde[V]
	by    map[string]serde.Serde[V]
}

func (d *decoders[V]) decode(src []byte, schema string, v *V) error {
	codec, ok := d.by[schema]
	if !ok {
		var err error
		if codec, err = serde.Evolve(d.codec, schema); err != nil {
			return err
		}
		if d.by == nil {
			d.by = map[string]serde.Serde[V]{}
		}
		d.by[schema] = codec
	}
	return codec.Decode(src, v)
}

// Values calls fn for each value of a value, reducing, aggregating (its accumulators) or list state (its elements, those of one key in their order and one
// after the other). Keys and values are resolved to the types as a job does it. Order and errors as for Savepoint.Entries; an *UnknownError when there is no
// such state.
func Values[K comparable, V any](ctx context.Context, s *Savepoint, uid, name string, c Codecs[K, V], fn func(Row[K, V]) error) error {
	if err := c.fill(); err != nil {
		return err
	}
	keys, values := decoders[K]{codec: c.Key}, decoders[V]{codec: c.Value}
	return s.typed(ctx, uid, name, []state.Kind{state.KindValue, state.KindReducing, state.KindAggregating, state.KindList}, func(e *Entry) error {
		r := Row[K, V]{Expires: expires(e)}
		if err := keys.decode(e.Key, e.Of.Key, &r.Key); err != nil {
			return undecodable(uid, e, "key", err)
		}
		if err := values.decode(e.Value, e.Schema, &r.Value); err != nil {
			return undecodable(uid, e, "value", err)
		}
		return fn(r)
	})
}

// MapEntries is Values for a map state. mapKey may be nil.
func MapEntries[K comparable, MK, V any](ctx context.Context, s *Savepoint, uid, name string, c Codecs[K, V], mapKey serde.Serde[MK], fn func(MapRow[K, MK, V]) error) error {
	err := c.fill()
	if err == nil && mapKey == nil {
		mapKey, err = serde.For[MK]()
	}
	if err != nil {
		return err
	}
	keys, subs, values := decoders[K]{codec: c.Key}, decoders[MK]{codec: mapKey}, decoders[V]{codec: c.Value}
	return s.typed(ctx, uid, name, []state.Kind{state.KindMap}, func(e *Entry) error {
		r := MapRow[K, MK, V]{Expires: expires(e)}
		if err := keys.decode(e.Key, e.Of.Key, &r.Key); err != nil {
			return undecodable(uid, e, "key", err)
		}
		if err := subs.decode(e.Sub, e.Of.Sub, &r.MapKey); err != nil {
			return undecodable(uid, e, "map key", err)
		}
		if err := values.decode(e.Value, e.Schema, &r.Value); err != nil {
			return undecodable(uid, e, "value", err)
		}
		return fn(r)
	})
}

// Timers calls fn for each pending timer of an operator. name is that of its timers; key may be nil.
func Timers[K comparable](ctx context.Context, s *Savepoint, uid, name string, key serde.Serde[K], fn func(Timer[K]) error) error {
	c := Codecs[K, bool]{Key: key}
	if err := c.fill(); err != nil {
		return err
	}
	keys := decoders[K]{codec: c.Key}
	return s.typed(ctx, uid, name, []state.Kind{state.KindTimers}, func(e *Entry) error {
		clock, at, err := e.Timer()
		if err != nil {
			return err
		}
		t := Timer[K]{Clock: clock, At: at}
		if err := keys.decode(e.Key, e.Of.Key, &t.Key); err != nil {
			return undecodable(uid, e, "key", err)
		}
		return fn(t)
	})
}

// typed is EntriesOf for a state of one of the given kinds.
func (s *Savepoint) typed(ctx context.Context, uid, name string, kinds []state.Kind, fn func(*Entry) error) error {
	d, err := s.Descriptor(uid, name)
	if err != nil {
		return err
	}
	if !slices.Contains(kinds, d.Kind) {
		return fmt.Errorf("savepoint: state %q of operator %q is a %s state, want %q", name, uid, d.Kind, kinds)
	}
	return s.EntriesOf(ctx, uid, name, fn)
}

func undecodable(uid string, e *Entry, part string, err error) error {
	return fmt.Errorf("savepoint: %s of an entry of state %q of operator %q, key %x: %w", part, e.Of.Name, uid, e.Key, err)
}

// eventBias is what a stamp of event time is above Unix ms, see state.Entry.
const eventBias = 1 << 54

// ExpiryMS is when the entry expires, Unix ms by the clock of its state's time to live; ok is false for never.
func (e *Entry) ExpiryMS() (ms int64, ok bool) {
	switch {
	case e.ExpiresMS == 0:
		return 0, false
	case e.Of.EventTimeTTL:
		return e.ExpiresMS - eventBias, true
	}
	return e.ExpiresMS, true
}

func expires(e *Entry) time.Time {
	ms, ok := e.ExpiryMS()
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// timerSub is the length of a timer's sub key.
const timerSub = 9

// Timer is what an entry of timers says.
func (e *Entry) Timer() (clock state.Domain, at time.Time, err error) {
	if len(e.Sub) != timerSub || e.Sub[0] > byte(state.ProcessingTime) {
		return 0, at, fmt.Errorf("savepoint: timer of state %q, key %x: %x is no timer: %w", e.Of.Name, e.Key, e.Sub, state.ErrCorrupt)
	}
	return state.Domain(e.Sub[0]), time.UnixMilli(timerMS(e.Sub)).UTC(), nil
}

// timerMS is the time of a timer, Unix ms.
func timerMS(sub []byte) int64 { return int64(binary.BigEndian.Uint64(sub[1:]) ^ 1<<63) }

// timerKey is the sub key of a timer.
func timerKey(clock state.Domain, ms int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(clock)}, uint64(ms)^1<<63)
}

// NewState describes a state for Builder.Declare, with the schemas of the codecs. mapSchema is that of the map keys of a map state, "" for any other kind;
// values are not looked at for timers. ttl 0: entries never expire.
func NewState[K comparable, V any](name string, kind state.Kind, mapSchema string, c Codecs[K, V], ttl time.Duration) (state.Descriptor, error) {
	if err := c.fill(); err != nil {
		return state.Descriptor{}, err
	}
	d := state.Descriptor{Name: name, Kind: kind, Key: c.Key.Schema(), Sub: mapSchema, Value: c.Value.Schema(), TTL: ttl}
	if kind == state.KindTimers {
		d.Value = ""
	}
	return d, nil
}

// Editor changes the entries of one state of a Builder by typed keys and values. Faults are the Builder's.
type Editor[K comparable, V any] struct {
	b         *Builder
	uid, name string
	c         Codecs[K, V]
	hash      func(K) uint64
	d         state.Descriptor
	ok        bool
}

// EditState gives an Editor of a state that is there or has been declared. Key and value schema must be those of the codecs: what is added is
// never resolved. Keys are hashed as a job does it that uses no hash of its own.
func EditState[K comparable, V any](b *Builder, uid, name string, c Codecs[K, V]) *Editor[K, V] {
	e := &Editor[K, V]{b: b, uid: uid, name: name, c: c}
	if err := e.c.fill(); err != nil {
		b.fault(err)
		return e
	}
	e.hash = serde.HashOf(e.c.Key)
	if e.d, e.ok = b.descriptor(uid, name); !e.ok {
		return e
	}
	if e.d.Key != e.c.Key.Schema() || e.d.Kind != state.KindTimers && e.d.Value != e.c.Value.Schema() {
		b.fault(fmt.Errorf("savepoint: state %q of operator %q has keys of schema %s and values of %s, the codecs write %s and %s",
			name, uid, e.d.Key, e.d.Value, e.c.Key.Schema(), e.c.Value.Schema()))
		e.ok = false
	}
	return e
}

// of says that the state has to be of one of the kinds.
func (e *Editor[K, V]) of(kinds ...state.Kind) bool {
	if e.ok && !slices.Contains(kinds, e.d.Kind) {
		e.b.fault(fmt.Errorf("savepoint: state %q of operator %q is a %s state, want %q", e.name, e.uid, e.d.Kind, kinds))
		return false
	}
	return e.ok
}

// entry is an entry of k without sub key and value.
func (e *Editor[K, V]) entry(k K) (out Entry, ok bool) {
	key, err := e.c.Key.Append(nil, k)
	if err != nil {
		e.b.fault(fmt.Errorf("savepoint: key %v of state %q of operator %q: %w", k, e.name, e.uid, err))
		return out, false
	}
	out.Key, out.Hash = key, e.hash(k)
	return out, true
}

// set adds an entry; expires is the zero time for never.
func (e *Editor[K, V]) set(out Entry, v V, expires time.Time) {
	var err error
	if out.Value, err = e.c.Value.Append(nil, v); err != nil {
		e.b.fault(fmt.Errorf("savepoint: value for state %q of operator %q: %w", e.name, e.uid, err))
		return
	}
	if !expires.IsZero() {
		out.ExpiresMS = expires.UnixMilli()
		if e.d.EventTimeTTL {
			out.ExpiresMS += eventBias
		}
		if e.d.TTL == 0 || out.ExpiresMS < 1 || out.ExpiresMS >= 2*eventBias {
			e.b.fault(fmt.Errorf("savepoint: an entry for state %q of operator %q expires at %v; the state has time to live %v", e.name, e.uid, expires, e.d.TTL))
			return
		}
	}
	e.b.Set(e.uid, e.name, out)
}

// Set makes v the value of k in a value, reducing or aggregating state. expires is when it goes away, the zero time for never.
func (e *Editor[K, V]) Set(k K, v V, expires time.Time) {
	if !e.of(state.KindValue, state.KindReducing, state.KindAggregating) {
		return
	}
	if out, ok := e.entry(k); ok {
		e.set(out, v, expires)
	}
}

// SetList makes vs the list of k, in a list state.
func (e *Editor[K, V]) SetList(k K, vs []V, expires time.Time) {
	if !e.of(state.KindList) {
		return
	}
	out, ok := e.entry(k)
	if !ok {
		return
	}
	e.b.DeleteKey(e.uid, e.name, false, out.Key)
	for i, v := range vs {
		out.Sub = binary.BigEndian.AppendUint64(nil, uint64(i))
		e.set(out, v, expires)
	}
}

// SetTimer adds a timer of k, in a state of timers.
func (e *Editor[K, V]) SetTimer(k K, clock state.Domain, at time.Time) {
	if !e.of(state.KindTimers) {
		return
	}
	if clock > state.ProcessingTime || at.UnixMilli() == math.MinInt64 {
		e.b.fault(fmt.Errorf("savepoint: a timer at %v of clock %d", at, clock))
		return
	}
	if out, ok := e.entry(k); ok {
		out.Sub = timerKey(clock, at.UnixMilli())
		e.b.Set(e.uid, e.name, out)
	}
}

// Delete removes all that the state has under k.
func (e *Editor[K, V]) Delete(k K) {
	if out, ok := e.entry(k); ok && e.ok {
		e.b.DeleteKey(e.uid, e.name, false, out.Key)
	}
}

// Put makes v what the map of k has under mapKey, in a map state. mapCodec may be nil.
func Put[K comparable, MK, V any](e *Editor[K, V], k K, mapKey MK, mapCodec serde.Serde[MK], v V, expires time.Time) {
	if !e.of(state.KindMap) {
		return
	}
	out, ok := e.entry(k)
	if !ok {
		return
	}
	var err error
	if mapCodec == nil {
		mapCodec, err = serde.For[MK]()
	}
	if err == nil {
		if mapCodec.Schema() != e.d.Sub {
			err = fmt.Errorf("its map keys have schema %s, the codec writes %s", e.d.Sub, mapCodec.Schema())
		} else {
			out.Sub, err = mapCodec.Append(nil, mapKey)
		}
	}
	if err != nil {
		e.b.fault(fmt.Errorf("savepoint: map key %v for state %q of operator %q: %w", mapKey, e.name, e.uid, err))
		return
	}
	e.set(out, v, expires)
}

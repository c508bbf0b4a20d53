package operators

import (
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Distinct passes the first record of each key on and drops the others: first in the order in which they come, whatever their timestamps;
// see Deduplicate for the order of event time. A record passes with its own timestamp.
//
// State kept: one byte for each key, for ever. opts bound it, as those of a state: with state.TTL or state.EventTimeTTL a key is forgotten so
// long after its first record, with state.TTLOnRead so long after its last one, and its next record passes again. A record that comes late
// by an EventTimeTTL or more always passes: what it would leave behind has expired already.
// Source: Flink's SELECT DISTINCT, which keeps a count for each key to take results back; here no result is taken back.
func Distinct[K comparable, T any](key func(T) K, codec serde.Serde[K], opts ...state.Option) Stage[T, T] {
	return Process(key, codec, func(b *Keyed[K, T, T]) {
		seen := b.Value[bool]("distinct", opts...)
		b.OnRecord(func(c *Ctx[K, T], v T) error {
			_, ok, err := seen.Lookup()
			if ok || err != nil {
				return err
			}
			if err := seen.Set(true); err != nil {
				return err
			}
			return c.Emit(v)
		})
	})
}

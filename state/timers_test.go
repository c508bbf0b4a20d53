package state_test

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type pending struct {
	ts  int64
	key string
}

// inOrder are the timers in the order in which they must fire: by time, then by Avro encoding, which is first by length here.
func inOrder(set map[pending]bool) []pending {
	return slices.SortedFunc(maps.Keys(set), func(a, b pending) int {
		if a.ts != b.ts {
			return cmp.Compare(a.ts, b.ts)
		}
		if len(a.key) != len(b.key) {
			return cmp.Compare(len(a.key), len(b.key))
		}
		return cmp.Compare(a.key, b.key)
	})
}

// TestTimersAgainstSet drives timers and a plain set with the same random operations: bursts of the same timers, deletions, times near
// and far and in the past, firings in batches of any size, and a restore now and then.
func TestTimersAgainstSet(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	codec := serde.MustFor[string]()
	hash := serde.HashOf(codec)
	set := map[pending]bool{}
	keys := make([]string, 60)
	for i := range keys {
		keys[i] = string(rune('a'+i%26)) + string(make([]byte, i%5))
	}
	s := state.NewKeyed(codec, state.Config{})
	timers := s.Timers("timers")
	open(t, s, memstate.New())
	now := int64(0)
	anyTime := func() int64 {
		switch r.IntN(6) {
		case 0:
			return now - r.Int64N(50)
		case 1:
			return now + r.Int64N(1_000_000)
		case 2:
			return r.Int64() - math.MaxInt64/2
		default:
			return now + r.Int64N(300)
		}
	}
	for range 150 {
		for range r.IntN(400) {
			k, ts := keys[r.IntN(len(keys))], anyTime()
			s.SetCurrent(k, hash(k))
			for range 1 + r.IntN(8)*r.IntN(8) {
				timers.Register(state.EventTime, ts)
				timers.Register(state.EventTime, ts+1) // two in turn get past the memory of recent ones now and then
			}
			set[pending{ts, k}], set[pending{ts + 1, k}] = true, true
			if r.IntN(3) == 0 {
				timers.Delete(state.EventTime, ts)
				delete(set, pending{ts, k})
			}
		}
		order := inOrder(set)
		if ts, ok := timers.Next(state.EventTime); ok != (len(order) > 0) || ok && ts != order[0].ts {
			t.Fatalf("Next is %d %v, want the first of %d timers, %v", ts, ok, len(order), order[:min(1, len(order))])
		}
		now += r.Int64N(200)
		limit := r.IntN(600)
		for i := range limit {
			key, h, ts, ok := timers.PopDue(state.EventTime, now)
			due := i < len(order) && order[i].ts <= now
			if ok != due || ok && (pending{ts, key} != order[i] || h != hash(key)) {
				t.Fatalf("PopDue number %d up to %d is %q %d %v, want %v", i, now, key, ts, ok, order[min(i, len(order)-1)])
			}
			if !ok {
				break
			}
			delete(set, order[i])
		}
	}
	if len(set) < 1000 {
		t.Fatalf("only %d timers are pending, the test is void", len(set))
	}
}

package state_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/statetest"
)

// mortalOperator has a state of each shape with time to live.
type mortalOperator struct {
	*state.Keyed[int64]
	hash  func(int64) uint64
	value *state.Value[int64]
	ref   *state.Value[[]int64]
	list  *state.List[int64]
	table *state.Map[int64, int64]

	nowMS, timestampMS, watermarkMS int64
}

func newMortalOperator(tb testing.TB, b state.Backend, opts ...state.Option) *mortalOperator {
	codec := serde.MustFor[int64]()
	o := &mortalOperator{hash: serde.HashOf(codec), nowMS: 1_000_000, timestampMS: math.MinInt64, watermarkMS: math.MinInt64}
	o.Keyed = state.NewKeyed(codec, state.Config{
		Now:       func() time.Time { return time.UnixMilli(o.nowMS) },
		EventTime: func() (int64, int64) { return o.timestampMS, o.watermarkMS },
	})
	o.value, o.ref = o.Value[int64]("value", opts...), o.Value[[]int64]("ref", opts...)
	o.list, o.table = o.List[int64]("list", opts...), o.Map[int64, int64]("table", opts...)
	open(tb, o.Keyed, b)
	return o
}

func (o *mortalOperator) write(tb testing.TB, key int64) {
	o.SetCurrent(key, o.hash(key))
	check(tb, o.value.Set(1), o.ref.Set([]int64{1}), o.list.Append(1, 2), o.table.Put(key%3, 1))
}

// pass lets the clock of the states pass to ms after the start, in both domains.
func (o *mortalOperator) pass(ms int64) { o.nowMS, o.watermarkMS = 1_000_000+ms, -500_000+ms }

// TestExpiredEntriesGoAway: those of keys that never come again leave memory, the store, its index and the snapshots, without an access
// to any state.
func TestExpiredEntriesGoAway(t *testing.T) {
	for _, c := range []struct {
		name string
		ttl  state.Option
		b    func() state.Backend
	}{
		{"processing time in memory", state.TTL(16 * time.Second), func() state.Backend { return memstate.New() }},
		{"event time in memory", state.EventTimeTTL(16 * time.Second), func() state.Backend { return memstate.New() }},
		{"processing time above a store", state.TTL(16 * time.Second), func() state.Backend { return newPlainStore(1 << 30) }},
		{"event time above a store", state.EventTimeTTL(16 * time.Second), func() state.Backend { return newPlainStore(1 << 30) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const keys = 500
			b := c.b()
			o := newMortalOperator(t, b, c.ttl)
			for i := range int64(keys) {
				o.timestampMS = -500_000 + i
				o.nowMS = 1_000_000 + i
				o.write(t, i)
			}
			o.timestampMS = math.MinInt64
			store, stored := b.(*plainStore)
			takeImage(t, o)
			if stored {
				writeBack(t, o)
				if len(store.entries) < 5*keys { // lists have two elements
					t.Fatalf("%d entries in the store, want all", len(store.entries))
				}
			}
			if n, _ := o.Footprint(); n != 4*keys {
				t.Fatalf("%d keys in the tables, want %d", n, 4*keys)
			}
			o.pass(16_000 - 1)
			check(t, o.CleanUp())
			if n, _ := o.Footprint(); n != 4*keys {
				t.Fatalf("%d keys in the tables 1 ms before the first expires, want %d", n, 4*keys)
			}
			o.pass(16_000 + keys + 1000) // a sixteenth later
			check(t, o.CleanUp())
			if n, records := o.Footprint(); !stored && n != 0 || records != 0 {
				t.Errorf("%d keys and %d records of expiry are left in the tables", n, records)
			}
			if stored {
				writeBack(t, o)
				if len(store.entries) != 0 {
					t.Errorf("%d entries are left in the store", len(store.entries))
				}
				return
			}
			if size := takeImage(t, o); size != 0 {
				t.Errorf("the snapshot has %d bytes", size)
			}
		})
	}
}

// takeImage takes a snapshot and returns its size in bytes.
func takeImage(tb testing.TB, o *mortalOperator) (size int64) {
	tb.Helper()
	image, err := o.Snapshot()
	check(tb, err)
	var files statetest.Files
	handles, err := statetest.Store(o, image, &files)
	check(tb, err)
	for _, h := range handles {
		size += h.Size
	}
	return size
}

// writeBack makes a base, for which everything is written to the store.
func writeBack(tb testing.TB, o *mortalOperator) {
	tb.Helper()
	if !o.RequestBase() {
		tb.Fatal("a base is being made already")
	}
	for {
		more, err := o.Step(1000)
		check(tb, err)
		if !more {
			break
		}
	}
	check(tb, o.AwaitBase())
}

// TestRestoredEntriesGoAway: what was restored expires like what was written.
func TestRestoredEntriesGoAway(t *testing.T) {
	for _, b := range []state.Backend{memstate.New(), newPlainStore(1 << 30)} {
		o := newMortalOperator(t, memstate.New(), state.TTL(16*time.Second))
		for i := range int64(100) {
			o.write(t, i)
		}
		image, err := o.Snapshot()
		check(t, err)
		var files statetest.Files
		handles, err := statetest.Store(o, image, &files)
		check(t, err)
		r := newMortalOperator(t, b, state.TTL(16*time.Second))
		check(t, r.Restore(context.Background(), state.Restore{Files: &files, Handles: handles}))
		store, stored := b.(*plainStore)
		if n, _ := r.Footprint(); !stored && n != 400 || stored && len(store.entries) == 0 {
			t.Fatalf("%s: %d keys are restored", b.Name(), n)
		}
		r.pass(18_000)
		check(t, r.CleanUp())
		if n, _ := r.Footprint(); n != 0 || stored && len(store.entries) != 0 {
			t.Errorf("%s: %d keys are left in the tables, %v in the store", b.Name(), n, store)
		}
	}
}

// TestAccessesCleanUp: accesses to other keys of the same state are enough.
func TestAccessesCleanUp(t *testing.T) {
	o := newMortalOperator(t, memstate.New(), state.TTL(time.Second))
	for i := range int64(1000) {
		o.write(t, i)
	}
	o.pass(2000)
	for range 1000/16 + 1 {
		o.write(t, 5000)
	}
	if n, records := o.Footprint(); n != 4 || records != 4 {
		t.Errorf("%d keys and %d records of expiry, want those of one key", n, records)
	}
}

// TestRecordsOfExpiryAreBounded: keys that are cleared long before they expire, or refreshed for ever, do not pile records up.
func TestRecordsOfExpiryAreBounded(t *testing.T) {
	o := newMortalOperator(t, memstate.New(), state.TTL(24*time.Hour))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range int64(100_000) {
		o.pass(i)
		o.write(t, i)
		check(t, o.value.Clear(), o.ref.Clear(), o.list.Clear(), o.table.Clear())
		o.write(t, -1-r.Int64N(100))
	}
	keys, records := o.Footprint()
	if keys != 400 || records > 2*keys+4*4096+1000 {
		t.Errorf("%d keys have %d records of expiry", keys, records)
	}
}

// TestImageDelaysCleanUp: groups of which an image is being written are not copied just to clean up; it happens later.
func TestImageDelaysCleanUp(t *testing.T) {
	o := newMortalOperator(t, memstate.New(), state.TTL(16*time.Second))
	o.write(t, 1)
	image, err := o.Snapshot()
	check(t, err)
	o.pass(18_000)
	check(t, o.CleanUp())
	if n, _ := o.Footprint(); n != 4 {
		t.Errorf("%d keys while the image is open, want 4", n)
	}
	image.Release()
	o.pass(20_000)
	check(t, o.CleanUp())
	if n, _ := o.Footprint(); n != 0 {
		t.Errorf("%d keys after it was released, want none", n)
	}
}

// TestEventTimeExtremes: times far beyond any calendar saturate; nothing wraps round, and nothing expires before its time.
func TestEventTimeExtremes(t *testing.T) {
	for _, at := range []int64{math.MinInt64 + 1, -1 << 60, -1, 0, 1 << 60, math.MaxInt64} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			o := newMortalOperator(t, memstate.New(), state.EventTimeTTL(290*365*24*time.Hour))
			o.timestampMS = at
			o.write(t, 1)
			o.timestampMS = math.MinInt64
			read := func(watermark int64) string {
				o.watermarkMS = watermark
				o.SetCurrent(1, o.hash(1))
				n, err := o.list.Len()
				check(t, err)
				_, ok, err := o.value.Lookup()
				check(t, err, o.CleanUp())
				return fmt.Sprint(n, ok)
			}
			if got := read(math.MinInt64); got != "2 true" {
				t.Errorf("before any watermark: %s", got)
			}
			if got := read(min(at, 1<<53)); got != "2 true" {
				t.Errorf("at its own time: %s", got)
			}
			if got := read(math.MaxInt64); got != "0 false" {
				t.Errorf("at the end of time: %s", got)
			}
		})
	}
}

package state_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// TestEachKey compares the keys that are visited with a set, for each kind of state, through changes, evictions, write-backs and expiry.
func TestEachKey(t *testing.T) {
	pebble := func() state.Backend {
		return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
	}
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": pebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { eachKeyHistory(t, backend()) })
		})
	}
}

// keyedStates are states of all kinds with the keys that have something in each.
type keyedStates struct {
	s       *state.Keyed[string]
	put     []func() error
	remove  []func() error
	handles []state.Handle
	live    []map[string]bool
}

func newKeyedStates(now *time.Time) *keyedStates {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{MaxParallelism: 4, Now: func() time.Time { return *now }})
	value, mortal, list, table := s.Value[int64]("value"), s.Value[string]("mortal", state.TTL(time.Second)), s.List[int64]("list"), s.Map[string, int64]("map")
	sum := s.Reducing("sum", func(a, b int64) int64 { return a + b })
	count := s.Aggregating("count", state.Aggregate[int64, int64, int64]{
		Add: func(n, _ int64) int64 { return n + 1 }, Result: func(n int64) int64 { return n }})
	k := &keyedStates{
		s: s,
		put: []func() error{
			func() error { return value.Set(1) }, func() error { return mortal.Set("x") }, func() error { return list.Append(1, 2) },
			func() error { return table.Put(s.CurrentKey(), 1) }, func() error { return sum.Add(1) }, func() error { return count.Add(1) },
		},
		remove:  []func() error{value.Clear, mortal.Clear, list.Clear, func() error { return table.Remove(s.CurrentKey()) }, sum.Clear, count.Clear},
		handles: []state.Handle{value, mortal, list, table, sum, count},
	}
	for range k.handles {
		k.live = append(k.live, map[string]bool{})
	}
	return k
}

func eachKeyHistory(t *rapid.T, backend state.Backend) {
	now := time.UnixMilli(0)
	k := newKeyedStates(&now)
	if err := k.s.Open(backend, state.OpenOptions{UID: "op", Attempt: "1", Groups: state.GroupRange{Start: 1, End: 4}}); err != nil {
		t.Fatal(err)
	}
	defer k.s.Close()
	hash := serde.HashOf(serde.MustFor[string]())
	var keys []string
	for i := 0; len(keys) < 40; i++ {
		key := strings.Repeat("k", i%3) + fmt.Sprintf("\x00%d", i)
		if state.GroupOf(hash(key), 4) > 0 {
			keys = append(keys, key)
		}
	}
	for range rapid.IntRange(1, 100).Draw(t, "steps") {
		i := rapid.IntRange(0, len(k.handles)-1).Draw(t, "state")
		key := rapid.SampledFrom(keys).Draw(t, "key")
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			now = now.Add(time.Second)
			clear(k.live[1])
		case 1:
			snapshot, err := k.s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			defer snapshot.Release()
		case 2:
			k.visit(t, i)
		case 3, 4:
			k.s.SetCurrent(key, hash(key))
			succeeds(t, k.remove[i]())
			delete(k.live[i], key)
		default:
			k.s.SetCurrent(key, hash(key))
			succeeds(t, k.put[i]())
			k.live[i][key] = true
		}
	}
	for i := range k.handles {
		k.visit(t, i)
	}
}

// visit compares the keys of state i, and removes some on the way.
func (k *keyedStates) visit(t *rapid.T, i int) {
	var got []string
	expect := slices.Sorted(maps.Keys(k.live[i]))
	succeeds(t, k.s.EachKey(k.handles[i], func(key string, hash uint64) error {
		if k.s.CurrentKey() != key {
			t.Fatalf("%q is visited while %q is current", key, k.s.CurrentKey())
		}
		got = append(got, key)
		if hash%3 == 0 {
			delete(k.live[i], key)
			return k.remove[i]()
		}
		return nil
	}))
	slices.Sort(got)
	if !slices.Equal(got, expect) {
		t.Fatalf("state %d: visited %q, want %q", i, got, expect)
	}
}

func succeeds(t *rapid.T, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// TestNoCurrent: without a current key, access to a state panics instead of reaching that of the last key.
func TestNoCurrent(t *testing.T) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	value, list, table := s.Value[int64]("value"), s.List[int64]("list"), s.Map[string, int64]("map")
	if err := s.Open(memstate.New(), state.OpenOptions{Groups: state.GroupRange{Start: 0, End: 128}}); err != nil {
		t.Fatal(err)
	}
	s.SetCurrent("a", 1)
	if err := value.Set(3); err != nil {
		t.Fatal(err)
	}
	s.NoCurrent()
	for i, f := range []func() error{
		func() error { _, err := value.Get(); return err }, func() error { return value.Set(4) },
		func() error { return list.Append(1) }, func() error { return table.Put("k", 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("access %d without a current key succeeds", i)
				}
			}()
			_ = f()
		}()
	}
	s.SetCurrent("a", 1)
	if n, err := value.Get(); n != 3 || err != nil {
		t.Errorf("the value is %d, %v, want 3", n, err)
	}
}

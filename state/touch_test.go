package state_test

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// TestTouchChangesNothing: neither for keys that are there, nor for absent ones, nor for those of other subtasks; and it allocates nothing.
func TestTouchChangesNothing(t *testing.T) {
	codec := serde.MustFor[int64]()
	hash := serde.HashOf(codec)
	s := state.NewKeyed(codec, state.Config{Now: time.Now})
	n := s.Value[int64]("n")
	own := state.GroupRange{Start: 0, End: 64}
	if err := s.Open(memstate.New(), state.OpenOptions{UID: "x", Groups: own}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Touch([]uint64{1, 1 << 63}) // empty
	var all []uint64
	for k := range int64(40_000) {
		h := hash(k)
		all = append(all, h)
		if !own.Contains(state.GroupOf(h, state.DefaultMaxParallelism)) || k%2 == 1 {
			continue
		}
		s.SetCurrent(k, h)
		if err := n.Set(k * 3); err != nil {
			t.Fatal(err)
		}
	}
	if a := testing.AllocsPerRun(10, func() { s.Touch(all) }); a != 0 {
		t.Errorf("Touch allocates %v times", a)
	}
	for k := range int64(40_000) {
		if !own.Contains(state.GroupOf(all[k], state.DefaultMaxParallelism)) {
			continue
		}
		s.SetCurrent(k, all[k])
		v, ok, err := n.Lookup()
		if err != nil || ok != (k%2 == 0) || ok && v != k*3 {
			t.Fatalf("key %d: %d, %v, %v", k, v, ok, err)
		}
	}
}

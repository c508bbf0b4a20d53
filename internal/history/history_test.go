package history

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
)

var (
	runs = flag.Int("history.runs", 300, "random histories")
	seed = flag.Uint64("history.seed", 0, "replay one history; 0 runs many")
)

// runHistory runs one history in a bubble of its own, where time costs nothing.
func runHistory(t *testing.T, seed uint64, p planted, log func(string, ...any)) (st stats, err error) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, log)
		w.planted = p
		err = w.run(t.Context())
		st = w.stats
		st.faults = w.faults.Load()
	})
	return st, err
}

func (s *stats) add(o stats) {
	s.checkpoints += o.checkpoints
	s.aborted += o.aborted
	s.restores += o.restores
	s.rescales += o.rescales
	s.crashes += o.crashes
	s.deltas += o.deltas
	s.bases += o.bases
	s.attached += o.attached
	s.faults += o.faults
}

// TestHistories: whatever happens, the state is what the model says.
func TestHistories(t *testing.T) {
	if *seed != 0 {
		if _, err := runHistory(t, *seed, planted{}, t.Logf); err != nil {
			t.Fatal(err)
		}
		return
	}
	var all stats
	for i := range *runs {
		s := uint64(i + 1)
		st, err := runHistory(t, s, planted{}, func(string, ...any) {})
		all.add(st)
		if err != nil {
			t.Fatalf("history %d: %v\nreplay: go test ./internal/history -run Histories -history.seed %d -v", s, err, s)
		}
	}
	t.Logf("%d histories: %+v", *runs, all)
	for what, n := range map[string]int64{"checkpoints": int64(all.checkpoints), "aborted checkpoints": int64(all.aborted), "restores": int64(all.restores), "changes of parallelism": int64(all.rescales),
		"crashes": int64(all.crashes), "deltas": int64(all.deltas), "bases": int64(all.bases), "attached tables": int64(all.attached), "faults of the storage": all.faults} {
		if n == 0 {
			t.Errorf("no history had any %s: the test does not test it", what)
		}
	}
}

// TestPlantedFaults: a fault that is built in is found.
func TestPlantedFaults(t *testing.T) {
	for name, p := range map[string]planted{
		"a manifest without one of its deltas": {dropDelta: true},
		"a collector without the name rule":    {wildGC: true},
		"a storage that ignores If-Match":      {blindSwap: true},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 200 {
				if _, err := runHistory(t, uint64(i+1), p, func(string, ...any) {}); err != nil {
					t.Logf("found by history %d: %.200s", i+1, fmt.Sprint(err))
					return
				}
			}
			t.Error("200 histories did not find it")
		})
	}
}

package savepoint_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/state"
)

// check compares the state of the subtask with the model.
func (o *operator) check(t testing.TB, accounts map[string]*account, groups state.GroupRange, maxParallelism int) {
	t.Helper()
	due := map[string]*account{}
	for clock, upTo := range []int64{1 << 60, 1 << 60} {
		for {
			k, _, at, ok := o.timers.PopDue(state.Domain(clock), upTo)
			if !ok {
				break
			}
			if due[k] == nil {
				due[k] = &account{}
			}
			if clock == 0 {
				due[k].event = append(due[k].event, at)
			} else {
				due[k].clock = append(due[k].clock, at)
			}
		}
	}
	for k, a := range accounts {
		h := hashOf(k)
		if !groups.Contains(state.GroupOf(h, maxParallelism)) {
			continue
		}
		o.SetCurrent(k, h)
		got := account{days: map[int64]string{}}
		if p, ok, err := o.profile.Lookup(); err != nil {
			t.Fatal(err)
		} else if ok {
			got.profile = &p
		}
		got.recent, _ = o.recent.Values()
		_ = o.days.Range(func(d int64, s string) error { got.days[d] = s; return nil })
		got.sum, _, _ = o.sum.Get()
		if v, ok, _ := o.last.Lookup(); ok {
			got.last = &v
		}
		if d := due[k]; d != nil {
			got.event, got.clock = d.event, d.clock
			delete(due, k)
		}
		want := *a
		want.event, want.clock = slices.Compact(slices.Sorted(slices.Values(a.event))), slices.Compact(slices.Sorted(slices.Values(a.clock)))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("key %q has %+v, want %+v", k, show(got), show(want))
		}
	}
	if len(due) > 0 {
		t.Errorf("timers of other keys: %v", due)
	}
}

func show(a account) string {
	return fmt.Sprint(a.profile, a.recent, a.days, a.sum, a.last, a.event, a.clock)
}

// restored starts the operator from a checkpoint or savepoint, at any parallelism, and compares what it has with the model.
func restored(t *testing.T, uri string, accounts map[string]*account, parallelism, maxParallelism int) {
	t.Helper()
	ctx := t.Context()
	m, files, err := checkpoint.Load(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	old := m.Operators[slices.IndexFunc(m.Operators, func(o checkpoint.OperatorState) bool { return o.UID == "agg" })]
	for i := range parallelism {
		groups := state.RangeOf(i, parallelism, maxParallelism)
		o := newOperator(maxParallelism)
		open(t, o, groups)
		r := state.Restore{Files: files, States: old.States, MaxParallelism: m.MaxParallelism, Drop: []string{"limits"}}
		for _, s := range old.Subtasks {
			r.Handles = append(r.Handles, s.Files...)
		}
		if err := o.Restore(ctx, r); err != nil {
			t.Fatal(err)
		}
		o.check(t, accounts, groups, maxParallelism)
		limits := newRules()
		open(t, limits, state.GroupRange{End: 1})
		var drop []string
		for _, d := range o.Descriptors() {
			drop = append(drop, d.Name)
		}
		if err := limits.Restore(ctx, state.Restore{Files: files, States: old.States, MaxParallelism: 1, Handles: old.Subtasks[0].Broadcast, Drop: drop}); err != nil {
			t.Fatal(err)
		}
		limits.SetCurrent(false, 0)
		if n, err := limits.limits.Len(); n != 3 || err != nil {
			t.Errorf("subtask %d has %d limits, %v, want 3", i, n, err)
		}
	}
}

// TestRestore: an operator starts from a savepoint at any parallelism and with any number of key groups.
func TestRestore(t *testing.T) {
	accounts := drawAccounts(rand.New(rand.NewPCG(3, 4)), 300)
	dir := t.TempDir()
	takeCheckpoint(t, checkpoint.Dir(dir), accounts, 3, 16)
	restored(t, dir, accounts, 2, 16) // the checkpoint itself
	native, err := savepoint.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s := write(t, native, checkpoint.Under(checkpoint.Dir(dir), "sp/a"), savepoint.Options{FileBytes: 2000})
	for _, p := range []struct{ parallelism, max int }{{1, 16}, {2, 16}, {5, 16}, {1, 1}, {3, 128}, {7, 9}} {
		t.Run(fmt.Sprint(p), func(t *testing.T) { restored(t, s.URI(), accounts, p.parallelism, p.max) })
	}
}

// TestTyped: what is read by types is the model.
func TestTyped(t *testing.T) {
	ctx := t.Context()
	accounts := drawAccounts(rand.New(rand.NewPCG(5, 6)), 60)
	dir := t.TempDir()
	m, files := takeCheckpoint(t, checkpoint.Dir(dir), accounts, 2, 16)
	native := savepoint.From("native", m, files)
	for _, s := range []*savepoint.Savepoint{native, write(t, native, checkpoint.Dir(t.TempDir()), savepoint.Options{FileBytes: 500})} {
		got := map[string]*account{}
		of := func(k string) *account {
			if got[k] == nil {
				got[k] = &account{days: map[int64]string{}}
			}
			return got[k]
		}
		type row = savepoint.Row[string, int64]
		errs := []error{
			savepoint.Values(ctx, s, "agg", "profile", savepoint.Codecs[string, profile]{}, func(r savepoint.Row[string, profile]) error {
				of(r.Key).profile = &r.Value
				return nil
			}),
			savepoint.Values(ctx, s, "agg", "recent", savepoint.Codecs[string, int64]{}, func(r row) error {
				of(r.Key).recent = append(of(r.Key).recent, r.Value)
				return nil
			}),
			savepoint.Values(ctx, s, "agg", "sum", savepoint.Codecs[string, int64]{}, func(r row) error { of(r.Key).sum = r.Value; return nil }),
			savepoint.Values(ctx, s, "agg", "last", savepoint.Codecs[string, float64]{}, func(r savepoint.Row[string, float64]) error {
				if want := time.UnixMilli(22 * hourMS).UTC(); r.Expires != want { // touched at -2 h, lives a day
					t.Errorf("last of %q expires at %v, want %v", r.Key, r.Expires, want)
				}
				of(r.Key).last = &r.Value
				return nil
			}),
			savepoint.MapEntries(ctx, s, "agg", "days", savepoint.Codecs[string, string]{}, nil, func(r savepoint.MapRow[string, int64, string]) error {
				if want := time.UnixMilli(nowMS + hourMS).UTC(); r.Expires != want {
					t.Errorf("day %d of %q expires at %v, want %v", r.MapKey, r.Key, r.Expires, want)
				}
				of(r.Key).days[r.MapKey] = r.Value
				return nil
			}),
			savepoint.Timers[string](ctx, s, "agg", "timers", nil, func(r savepoint.Timer[string]) error {
				if r.Clock == state.EventTime {
					of(r.Key).event = append(of(r.Key).event, r.At.UnixMilli())
				} else {
					of(r.Key).clock = append(of(r.Key).clock, r.At.UnixMilli())
				}
				return nil
			}),
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for k, a := range accounts {
			slices.Sort(a.event)
			slices.Sort(of(k).event)
			if !reflect.DeepEqual(*of(k), *a) {
				t.Fatalf("key %q has %s, want %s", k, show(*of(k)), show(*a))
			}
		}
		if len(got) != len(accounts) {
			t.Errorf("keys %q", slices.Collect(maps.Keys(got)))
		}
	}
	if err := savepoint.Values(ctx, native, "agg", "days", savepoint.Codecs[string, string]{}, nil); err == nil {
		t.Error("Values of a map state succeeds")
	}
	if err := savepoint.Values(ctx, native, "agg", "sum", savepoint.Codecs[string, bool]{}, func(savepoint.Row[string, bool]) error { return nil }); err == nil {
		t.Error("longs are read as booleans")
	}
}

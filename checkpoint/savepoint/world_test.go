package savepoint_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// profile is the value of a state in the tests.
type profile struct {
	Name   string
	Limit  int64
	Tags   []string
	Labels map[string]string
}

// operator is the keyed state of one subtask of the operator "agg", with every kind of state.
type operator struct {
	*state.Keyed[string]
	profile *state.Value[profile]
	recent  *state.List[int64]
	days    *state.Map[int64, string]
	sum     *state.Reducing[int64]
	last    *state.Value[float64]
	timers  *state.Timers[string]
}

const hourMS = 3_600_000

// nowMS is the wall clock of all tests.
const nowMS = 1_800_000_000_000

func newOperator(maxParallelism int) *operator {
	o := &operator{Keyed: state.NewKeyed[string](nil, state.Config{MaxParallelism: maxParallelism, Now: func() time.Time { return time.UnixMilli(nowMS) },
		EventTime: func() (int64, int64) { return -2 * hourMS, -3 * hourMS }})}
	o.profile = o.Value[profile]("profile")
	o.recent = o.List[int64]("recent")
	o.days = o.Map[int64, string]("days", state.TTL(time.Hour))
	o.sum = o.Reducing[int64]("sum", func(a, b int64) int64 { return a + b })
	o.last = o.Value[float64]("last", state.EventTimeTTL(24*time.Hour))
	o.timers = o.Timers("timers")
	return o
}

// account is what the state of one key should be.
type account struct {
	profile *profile
	recent  []int64
	days    map[int64]string
	sum     int64
	last    *float64
	event   []int64 // timers
	clock   []int64
}

// drawAccounts makes a model.
func drawAccounts(r *rand.Rand, keys int) map[string]*account {
	out := map[string]*account{}
	for i := range keys {
		a := &account{days: map[int64]string{}}
		if r.IntN(4) > 0 {
			a.profile = &profile{Name: fmt.Sprint("name ", i), Limit: r.Int64(), Tags: []string{"a", fmt.Sprint(i)}, Labels: map[string]string{"x": "y"}}
		}
		for range r.IntN(5) {
			a.recent = append(a.recent, r.Int64N(1000)-500)
		}
		for range r.IntN(4) {
			a.days[r.Int64N(100)-50] = fmt.Sprint("day ", r.IntN(9))
		}
		a.sum = r.Int64N(10) + 1
		if r.IntN(3) > 0 {
			v := r.Float64()
			a.last = &v
		}
		for range r.IntN(3) {
			a.event = append(a.event, r.Int64N(1e6)-5e5)
		}
		if r.IntN(3) == 0 {
			a.clock = append(a.clock, nowMS+r.Int64N(1e6))
		}
		out[fmt.Sprintf("key-%d\x00", i)] = a
	}
	return out
}

var hashOf = serde.HashOf(serde.MustFor[string]())

// fill puts the accounts of the subtask's keys into the state.
func (o *operator) fill(t testing.TB, accounts map[string]*account, groups state.GroupRange, maxParallelism int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for k, a := range accounts {
		h := hashOf(k)
		if !groups.Contains(state.GroupOf(h, maxParallelism)) {
			continue
		}
		o.SetCurrent(k, h)
		if a.profile != nil {
			must(o.profile.Set(*a.profile))
		}
		must(o.recent.Append(a.recent...))
		for d, s := range a.days {
			must(o.days.Put(d, s))
		}
		must(o.sum.Add(a.sum))
		if a.last != nil {
			must(o.last.Set(*a.last))
		}
		for _, at := range a.event {
			o.timers.Register(state.EventTime, at)
		}
		for _, at := range a.clock {
			o.timers.Register(state.ProcessingTime, at)
		}
	}
}

// rules is broadcast state.
type rules struct {
	*state.Keyed[bool]
	limits *state.Map[string, int64]
}

func newRules() *rules {
	r := &rules{Keyed: state.NewKeyed[bool](nil, state.Config{MaxParallelism: 1})}
	r.limits = r.Map[string, int64]("limits")
	return r
}

func open(t testing.TB, s state.Operator, groups state.GroupRange) {
	t.Helper()
	if err := s.Open(memstate.New(), state.OpenOptions{UID: "agg", Groups: groups, Attempt: "1"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
}

// stored writes the state of s as part of a checkpoint.
func stored(t testing.TB, s state.Operator, files state.Files) []state.File {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	w, err := snap.Write(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return w.Files
}

// takeCheckpoint writes a checkpoint with the accounts, a source and a sink into st, at the given parallelism.
func takeCheckpoint(t testing.TB, st checkpoint.Storage, accounts map[string]*account, parallelism, maxParallelism int) (*checkpoint.Manifest, state.Files) {
	t.Helper()
	ctx := t.Context()
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := j.NextID()
	files := j.Files(id)
	agg := checkpoint.OperatorState{UID: "agg", Parallelism: parallelism}
	src := checkpoint.OperatorState{UID: "source", Parallelism: parallelism, Enumerator: []byte("next")}
	out := checkpoint.OperatorState{UID: "sink", Parallelism: parallelism, Committables: [][]byte{[]byte("tx 1"), []byte("tx 2")}}
	for i := range parallelism {
		groups := state.RangeOf(i, parallelism, maxParallelism)
		o := newOperator(maxParallelism)
		open(t, o, groups)
		o.fill(t, accounts, groups, maxParallelism)
		sub := checkpoint.SubtaskState{Groups: groups, Files: stored(t, o, files), WatermarkMS: int64(1000 - i)}
		if i == 0 {
			agg.States = o.Descriptors()
			r := newRules()
			open(t, r, state.GroupRange{End: 1})
			r.SetCurrent(false, 0)
			for j := range 3 {
				if err := r.limits.Put(fmt.Sprint("rule ", j), int64(j)); err != nil {
					t.Fatal(err)
				}
			}
			sub.Broadcast = stored(t, r, files)
			agg.States = append(agg.States, r.Descriptors()...)
		}
		agg.Subtasks = append(agg.Subtasks, sub)
		src.Subtasks = append(src.Subtasks, checkpoint.SubtaskState{Groups: groups, WatermarkMS: int64(2000 + i), Raw: [][]byte{fmt.Append(nil, "raw ", i)},
			Splits:   []checkpoint.SplitState{{ID: fmt.Sprint("split-", i), Position: fmt.Append(nil, "at ", i)}},
			Finished: []string{fmt.Sprint("done-", i)}})
		out.Subtasks = append(out.Subtasks, checkpoint.SubtaskState{Groups: groups, WatermarkMS: checkpoint.NoWatermark})
	}
	sortStates(agg.States)
	m := &checkpoint.Manifest{Version: checkpoint.FormatVersion, ID: id, Epoch: j.Epoch(), Job: "job", CreatedMS: nowMS, MaxParallelism: maxParallelism,
		Operators: []checkpoint.OperatorState{agg, out, src}}
	numbered(m)
	if err := j.Complete(ctx, m); err != nil {
		t.Fatal(err)
	}
	return m, files
}

func sortStates(ds []state.Descriptor) {
	slices.SortFunc(ds, func(a, b state.Descriptor) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

func numbered(m *checkpoint.Manifest) {
	for i := range m.Operators {
		m.Operators[i].States = state.Assign(nil, m.Operators[i].States, nil)
	}
}

// dump is every entry of s as a line.
func dump(t testing.TB, s *savepoint.Savepoint) []string {
	t.Helper()
	var out []string
	for _, uid := range s.UIDs() {
		err := s.Entries(t.Context(), uid, func(e *savepoint.Entry) error {
			out = append(out, fmt.Sprintf("%s %s %v %x %x %x %d %x %s", uid, e.Of.Name, e.Broadcast, e.Hash, e.Key, e.Sub, e.ExpiresMS, e.Value, e.Schema))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func write(t testing.TB, s interface {
	Write(ctx context.Context, dst checkpoint.Storage, o savepoint.Options) (string, error)
}, dst checkpoint.Storage, o savepoint.Options) *savepoint.Savepoint {
	t.Helper()
	uri, err := s.Write(t.Context(), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	back, err := savepoint.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

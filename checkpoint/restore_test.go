package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state"
)

var sha = strings.Repeat("0123456789abcdef", 4)

// drawManifest makes a manifest of one stateful operator at parallelism p, with files that hold any range of groups, also of groups that
// another subtask owns (as after a rescale that attached files).
func drawManifest(t *rapid.T, p, maxPar int) *Manifest {
	op := OperatorState{UID: "op", Parallelism: p, Enumerator: []byte("enum")}
	for s := range p {
		sub := SubtaskState{Groups: state.RangeOf(s, p, maxPar), WatermarkMS: rapid.Int64Range(-5, 5).Draw(t, "watermark")}
		for f := range rapid.IntRange(0, 3).Draw(t, "files") {
			a, b := rapid.IntRange(0, maxPar).Draw(t, "from"), rapid.IntRange(0, maxPar).Draw(t, "to")
			sub.Files = append(sub.Files, state.File{Name: fmt.Sprintf("data/1-1-%d-%d", s, f), Size: 1, SHA256: sha,
				Groups: state.GroupRange{Start: min(a, b), End: max(a, b)}})
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "splits") {
			id := fmt.Sprintf("split-%d-%d", s, i)
			sub.Splits = append(sub.Splits, SplitState{ID: id, Position: []byte(id)})
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "raw") {
			sub.Raw = append(sub.Raw, fmt.Appendf(nil, "raw-%d-%d", s, i))
		}
		for range rapid.IntRange(0, 2).Draw(t, "finished") {
			sub.Finished = append(sub.Finished, fmt.Sprintf("done-%d", rapid.IntRange(0, 3).Draw(t, "done")))
		}
		op.Subtasks = append(op.Subtasks, sub)
	}
	op.Committables = [][]byte{[]byte("c1"), []byte("c2")}
	return &Manifest{Version: 1, ID: 7, Epoch: 2, MaxParallelism: maxPar, Operators: []OperatorState{op}}
}

// For any p → q, each key group, split, blob and finished split is given to exactly one place. The owner of a group is found by looking
// at every subtask, not by the formula that the plan uses.
func TestPlanRestoreGivesEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxPar := rapid.SampledFrom([]int{1, 2, 3, 7, 8, 16, 128}).Draw(t, "max parallelism")
		p, q := rapid.IntRange(1, maxPar).Draw(t, "p"), rapid.IntRange(1, maxPar).Draw(t, "q")
		m := drawManifest(t, p, maxPar)
		plan, err := PlanRestore(m, []OperatorInfo{{UID: "op", Parallelism: q}}, maxPar, Mapping{})
		if err != nil {
			t.Fatal(err)
		}
		old := m.Operators[0]
		op, ok := plan.Operator("op")
		if !ok || !op.Known || len(op.Subtasks) != q {
			t.Fatalf("plan has operator: %v with %d subtasks, want %d", ok, len(op.Subtasks), q)
		}
		checkGroups(t, old, op, maxPar)
		checkDealt(t, old, op)
		if !bytes.Equal(op.Enumerator, old.Enumerator) || len(op.Committables) != 2 {
			t.Fatalf("enumerator %q, committables %q", op.Enumerator, op.Committables)
		}
	})
}

func checkGroups(t *rapid.T, old OperatorState, op OperatorRestore, maxPar int) {
	for g := range maxPar {
		var want, got []string
		for _, s := range old.Subtasks {
			if !s.Groups.Contains(g) {
				continue
			}
			for _, f := range s.Files {
				if f.Groups.Contains(g) {
					want = append(want, f.Name)
				}
			}
		}
		owners := 0
		for _, s := range op.Subtasks {
			if !s.Groups.Contains(g) {
				continue
			}
			owners++
			for _, f := range s.Files {
				if f.Groups.Contains(g) {
					got = append(got, f.Name)
				}
			}
		}
		if owners != 1 || !slices.Equal(got, want) {
			t.Fatalf("group %d: %d owners, files %v, want %v", g, owners, got, want)
		}
	}
	for i, s := range op.Subtasks {
		for _, f := range s.Files {
			if !f.Groups.Overlaps(s.Groups) {
				t.Fatalf("subtask %d gets file %s of groups %v, which it does not own", i, f.Name, f.Groups)
			}
		}
	}
}

func checkDealt(t *rapid.T, old OperatorState, op OperatorRestore) {
	type place struct{ splits, raw, done []string }
	var want, got place
	low := old.Subtasks[0].WatermarkMS
	for _, s := range old.Subtasks {
		for _, x := range s.Splits {
			want.splits = append(want.splits, x.ID+string(x.Position))
		}
		for _, x := range s.Raw {
			want.raw = append(want.raw, string(x))
		}
		for _, x := range s.Finished {
			if !slices.Contains(want.done, x) {
				want.done = append(want.done, x)
			}
		}
		low = min(low, s.WatermarkMS)
	}
	most, least := 0, len(want.splits)
	for i, s := range op.Subtasks {
		for _, x := range s.Splits {
			got.splits = append(got.splits, x.ID+string(x.Position))
		}
		for _, x := range s.Raw {
			got.raw = append(got.raw, string(x))
		}
		most, least = max(most, len(s.Splits)), min(least, len(s.Splits))
		if s.WatermarkMS != low {
			t.Fatalf("subtask %d has watermark %d, want %d", i, s.WatermarkMS, low)
		}
	}
	for _, l := range [][]string{want.splits, got.splits, want.raw, got.raw, want.done} {
		slices.Sort(l)
	}
	if !slices.Equal(got.splits, want.splits) || !slices.Equal(got.raw, want.raw) || !slices.Equal(op.Finished, want.done) {
		t.Fatalf("got %+v and %v, want %+v", got, op.Finished, want)
	}
	if most-least > 1 {
		t.Fatalf("splits are not balanced: one subtask has %d, another %d", most, least)
	}
}

// The same manifest and graph give the same plan, whatever the order of the operators.
func TestPlanRestoreIsDeterministic(t *testing.T) {
	m := &Manifest{Version: 1, ID: 1, Epoch: 1, MaxParallelism: 4}
	var ops []OperatorInfo
	for i := range 6 {
		uid := fmt.Sprintf("op%d", i)
		m.Operators = append(m.Operators, OperatorState{UID: uid, Parallelism: 1, Subtasks: []SubtaskState{{Groups: state.GroupRange{End: 4},
			Splits: []SplitState{{ID: "b"}, {ID: "a"}, {ID: "c"}}}}})
		ops = append(ops, OperatorInfo{UID: uid, Parallelism: 2})
	}
	first, err := PlanRestore(m, ops, 4, Mapping{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(ops)
	second, err := PlanRestore(m, ops, 4, Mapping{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(first.Operators), fmt.Sprint(second.Operators); a != b {
		t.Fatalf("two plans:\n%s\n%s", a, b)
	}
	if got := fmt.Sprint(first.Operators[0].Subtasks[0].Splits, first.Operators[0].Subtasks[1].Splits); got != "[{a []} {c []}] [{b []}]" {
		t.Fatalf("splits are %s", got)
	}
}

func value(name, schema string) state.Descriptor {
	return state.Descriptor{Name: name, Kind: state.KindValue, Key: `"string"`, Value: schema}
}

// matchManifest has a source, a keyed operator with two states, a sink with committables, and an operator without any state.
func matchManifest() *Manifest {
	sub := func(s SubtaskState) []SubtaskState {
		s.Groups = state.GroupRange{End: 4}
		return []SubtaskState{s}
	}
	file := state.File{Name: "data/1-1-x", Size: 1, SHA256: sha, Groups: state.GroupRange{End: 4}}
	return &Manifest{Version: 1, ID: 9, Epoch: 1, MaxParallelism: 4, Operators: []OperatorState{
		{UID: "agg", Parallelism: 1, States: []state.Descriptor{value("count", `"long"`), value("last", `"string"`)},
			Subtasks: sub(SubtaskState{Files: []state.File{file}})},
		{UID: "map", Parallelism: 1, Subtasks: sub(SubtaskState{WatermarkMS: 5})},
		{UID: "sink", Parallelism: 1, Subtasks: sub(SubtaskState{}), Committables: [][]byte{[]byte("t")}},
		{UID: "src", Parallelism: 1, Subtasks: sub(SubtaskState{Splits: []SplitState{{ID: "s"}}}), Enumerator: []byte("e")},
	}}
}

func matchOps() []OperatorInfo {
	return []OperatorInfo{
		{UID: "agg", Parallelism: 2, States: []state.Descriptor{value("count", `"long"`), value("last", `"string"`)}},
		{UID: "sink", Parallelism: 1, Committer: true}, {UID: "src", Parallelism: 1, Enumerator: true}, {UID: "new", Parallelism: 1},
	}
}

func TestPlanRestoreMatches(t *testing.T) {
	p, err := PlanRestore(matchManifest(), matchOps(), 4, Mapping{})
	if err != nil {
		t.Fatal(err) // "map" holds nothing: it may go
	}
	if op, ok := p.Operator("new"); !ok || op.Known || op.Subtasks[0].WatermarkMS != NoWatermark {
		t.Errorf("new operator: %+v", op)
	}
	if _, ok := p.Operator("map"); ok {
		t.Error("the plan has an operator that the graph has not")
	}
}

func TestPlanRestoreUnmatched(t *testing.T) {
	ops := matchOps()[1:]
	ops[0].UID = "other"
	_, err := PlanRestore(matchManifest(), ops, 4, Mapping{})
	var un *UnmatchedStateError
	if !errors.As(err, &un) || !slices.Equal(un.UIDs, []string{"agg", "sink"}) || un.ID != 9 {
		t.Fatalf("got %v, want an UnmatchedStateError of agg and sink", err)
	}
	if !strings.Contains(err.Error(), "agg") || !strings.Contains(err.Error(), "Drop") {
		t.Errorf("message %q names no uid or no remedy", err)
	}
	p, err := PlanRestore(matchManifest(), ops, 4, Mapping{Drop: []string{"agg", "sink"}})
	if err != nil {
		t.Fatal(err)
	}
	if op, _ := p.Operator("other"); op.Known || len(op.Committables) != 0 {
		t.Errorf("other gets %+v", op)
	}
	// A second start finds nothing of these names: the option may stay set.
	if _, err := PlanRestore(matchManifest(), matchOps(), 4, Mapping{Drop: []string{"gone", "agg/gone"}}); err != nil {
		t.Errorf("names that match nothing: %v", err)
	}
}

func TestPlanRestoreUnmatchedState(t *testing.T) {
	ops := matchOps()
	ops[0].States = ops[0].States[:1]
	_, err := PlanRestore(matchManifest(), ops, 4, Mapping{})
	var un *UnmatchedStateError
	if !errors.As(err, &un) || !slices.Equal(un.States, []string{"agg/last"}) || len(un.UIDs) != 0 {
		t.Fatalf("got %v, want an UnmatchedStateError of agg/last", err)
	}
	p, err := PlanRestore(matchManifest(), ops, 4, Mapping{Drop: []string{"agg/last"}})
	if err != nil {
		t.Fatal(err)
	}
	if op, _ := p.Operator("agg"); !slices.Equal(op.DropStates, []string{"last"}) || len(op.Subtasks[1].Files) != 1 {
		t.Errorf("agg gets %+v", op)
	}
}

func TestPlanRestoreMismatch(t *testing.T) {
	for what, change := range map[string]func(d *state.Descriptor){
		"kind":           func(d *state.Descriptor) { d.Kind = state.KindList },
		"key schema":     func(d *state.Descriptor) { d.Key = `"boolean"` },
		"map key schema": func(d *state.Descriptor) { d.Sub = `"long"` },
		"value schema":   func(d *state.Descriptor) { d.Value = `"string"` },
	} {
		ops := matchOps()
		change(&ops[0].States[0])
		_, err := PlanRestore(matchManifest(), ops, 4, Mapping{})
		var mis *StateMismatchError
		if !errors.As(err, &mis) || mis.UID != "agg" || mis.State != "count" || mis.What != what {
			t.Errorf("%s: got %v, want a StateMismatchError", what, err)
		}
		ops[0].States[0].Name = "count2"
		if _, err := PlanRestore(matchManifest(), ops, 4, Mapping{Drop: []string{"agg/count"}}); err != nil {
			t.Errorf("%s, renamed and dropped: %v", what, err)
		}
	}
	ops := matchOps()
	ops[0].States[0].TTL = 1
	if _, err := PlanRestore(matchManifest(), ops, 4, Mapping{}); err != nil {
		t.Errorf("another TTL: %v, want none", err)
	}
}

// Values may change their schema and keys, as far as Avro resolution goes, and no further.
func TestPlanRestoreEvolution(t *testing.T) {
	record := func(fields string) string { return `{"type":"record","name":"Profile","fields":[` + fields + `]}` }
	const name, age = `{"name":"name","type":"string"}`, `{"name":"age","type":"int"`
	for _, c := range []struct {
		old, now, want string // want "": allowed
	}{
		{`"long"`, `"double"`, ""},
		{`"long"`, `"int"`, "value schema"},
		{record(name), record(name + "," + age + `,"default":0}`), ""},
		{record(name), record(name + "," + age + "}"), "age"},
		{record(name + "," + age + "}"), record(name), ""},
		{record(name), "opaque:mine", "opaque:mine"},
		{"opaque:mine", record(name), "opaque:mine"},
		{"opaque:mine", "opaque:other", "opaque:other"},
		{"opaque:mine", "opaque:mine", ""},
	} {
		m, ops := matchManifest(), matchOps()
		m.Operators[0].States[0].Value, ops[0].States[0].Value = c.old, c.now
		_, err := PlanRestore(m, ops, 4, Mapping{})
		var mis *StateMismatchError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &mis) || mis.What != "value schema" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s → %s: %v, want %q", c.old, c.now, err, c.want)
		}
		m, ops = matchManifest(), matchOps()
		m.Operators[0].States[0].Key, ops[0].States[0].Key = c.old, c.now
		_, err = PlanRestore(m, ops, 4, Mapping{})
		if want := strings.Replace(c.want, "value schema", "key schema", 1); want == "" && err != nil ||
			want != "" && (!errors.As(err, &mis) || mis.What != "key schema" || !strings.Contains(err.Error(), want)) {
			t.Errorf("key %s → %s: %v, want %q", c.old, c.now, err, want)
		}
	}
}

func TestPlanRestoreRefuses(t *testing.T) {
	bad := matchManifest()
	bad.Operators[3].Subtasks[0].Splits = []SplitState{{ID: "s"}, {ID: "s"}}
	for _, c := range []struct {
		what string
		m    *Manifest
		ops  []OperatorInfo
		max  int
		drop []string
		want string
	}{
		{"drop of a uid in use", matchManifest(), matchOps(), 4, []string{"src"}, `"src" is in Drop and in the graph`},
		{"drop of a state in use", matchManifest(), matchOps(), 4, []string{"agg/count"}, `"agg/count" is in Drop and in the graph`},
		{"parallelism", matchManifest(), append(matchOps(), OperatorInfo{UID: "big", Parallelism: 5}), 4, nil, `"big" has parallelism 5`},
		{"twice", matchManifest(), append(matchOps(), OperatorInfo{UID: "src", Parallelism: 1}), 4, nil, `"src" is there twice`},
		{"split twice", bad, matchOps(), 4, nil, `split "s" is there twice`},
	} {
		if _, err := PlanRestore(c.m, c.ops, c.max, Mapping{Drop: c.drop}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.what, err, c.want)
		}
	}
}

package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state"
)

func timersOf(id int) state.Descriptor {
	return state.Descriptor{Name: "timers", ID: id, Kind: state.KindTimers, Key: `"string"`}
}

// twoManifest has two keyed operators, a and b, each with states x and y and timers, and files in two subtasks; a also has raw state.
func twoManifest() *Manifest {
	m := &Manifest{Version: FormatVersion, ID: 3, Epoch: 1, MaxParallelism: 8, Job: "old"}
	for i, uid := range []string{"a", "b"} {
		op := OperatorState{UID: uid, Parallelism: 2, States: []state.Descriptor{timersOf(0), value("x", `"long"`), value("y", `"string"`)}}
		op.States[1].ID, op.States[2].ID = 1, 2
		for s := range 2 {
			groups := state.RangeOf(s, 2, 8)
			sub := SubtaskState{Groups: groups, WatermarkMS: int64(100*i + s), Files: []state.File{{Name: fmt.Sprintf("data/1-1-%s%d", uid, s), Size: 1, SHA256: sha, Groups: groups}}}
			if uid == "a" {
				sub.Raw = [][]byte{{byte(s)}}
			}
			op.Subtasks = append(op.Subtasks, sub)
		}
		m.Operators = append(m.Operators, op)
	}
	return m
}

func opOf(uid string, parallelism int, names ...string) OperatorInfo {
	o := OperatorInfo{UID: uid, Parallelism: parallelism, States: []state.Descriptor{timersOf(0)}}
	for _, n := range names {
		schema := `"long"`
		if strings.HasPrefix(n, "y") {
			schema = `"string"`
		}
		o.States = append(o.States, value(n, schema))
	}
	return o
}

func filesOf(files []state.File) (names []string) {
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f.Name, "data/1-1-"))
	}
	return names
}

func mustPlan(t *testing.T, m *Manifest, ops []OperatorInfo, maxPar int, by Mapping) *RestorePlan {
	t.Helper()
	p, err := PlanRestore(m, ops, maxPar, by)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRenameOperatorAndState(t *testing.T) {
	ops := []OperatorInfo{opOf("new", 1, "x2", "y"), opOf("b", 2, "x", "y")}
	by := Mapping{Rename: map[string]string{"a": "new", "a/x": "new/x2"}}
	p := mustPlan(t, twoManifest(), ops, 8, by)
	op, _ := p.Operator("new")
	if !op.Known || fmt.Sprint(op.Rename) != "map[x:x2]" || len(op.DropStates) != 0 || len(op.More) != 0 {
		t.Fatalf("new gets %+v", op)
	}
	s := op.Subtasks[0]
	if got := filesOf(s.Files); !slices.Equal(got, []string{"a0", "a1"}) || len(s.Raw) != 2 || s.WatermarkMS != 0 {
		t.Errorf("new gets files %v, raw %v, watermark %d", got, s.Raw, s.WatermarkMS)
	}
	// A start from a checkpoint of the new job: the renames have been done.
	m := twoManifest()
	m.Operators[0] = OperatorState{UID: "b", Parallelism: 2, States: m.Operators[1].States, Subtasks: m.Operators[1].Subtasks}
	m.Operators[1] = OperatorState{UID: "new", Parallelism: 1, States: []state.Descriptor{timersOf(0), value("x2", `"long"`), value("y", `"string"`)},
		Subtasks: []SubtaskState{{Groups: state.GroupRange{End: 8}}}}
	p = mustPlan(t, m, ops, 8, by)
	if op, _ := p.Operator("new"); !op.Known || op.Rename != nil {
		t.Errorf("second start: new gets %+v", op)
	}
}

// TestSplitAndJoin gives the states of a to two operators, one of which has states of its own already.
func TestSplitAndJoin(t *testing.T) {
	ops := []OperatorInfo{opOf("b", 2, "x", "y", "x2"), opOf("c", 3, "y")}
	by := Mapping{Rename: map[string]string{"a/x": "b/x2", "a/y": "c/y"}, Drop: []string{"a"}}
	p := mustPlan(t, twoManifest(), ops, 8, by)
	b, _ := p.Operator("b")
	if len(b.More) != 1 || b.More[0].UID != "a" || fmt.Sprint(b.More[0].Rename) != "map[x:x2]" || !slices.Equal(b.More[0].Drop, []string{"timers", "y"}) {
		t.Fatalf("b gets %+v", b.More)
	}
	if got := filesOf(b.More[0].Files[1]); !slices.Equal(got, []string{"a1"}) || !slices.Equal(filesOf(b.Subtasks[1].Files), []string{"b1"}) {
		t.Errorf("subtask 1 of b gets %v of a and %v", got, filesOf(b.Subtasks[1].Files))
	}
	if b.Subtasks[0].WatermarkMS != 0 { // the least of 0, 1, 100 and 101
		t.Errorf("watermark of b is %d", b.Subtasks[0].WatermarkMS)
	}
	c, _ := p.Operator("c")
	if !c.Known || c.OldStates != nil || len(c.More) != 1 || !slices.Equal(c.More[0].Drop, []string{"timers", "x"}) || len(c.Subtasks[0].Raw) != 0 {
		t.Errorf("c gets %+v", c)
	}
	if got := filesOf(c.More[0].Files[1]); !slices.Equal(got, []string{"a0", "a1"}) { // groups 3 to 5 of 8
		t.Errorf("subtask 1 of c gets files %v", got)
	}
	// Without Drop the rest of a has no place.
	by.Drop = nil
	_, err := PlanRestore(twoManifest(), ops, 8, by)
	var un *UnmatchedStateError
	if !errors.As(err, &un) || !slices.Equal(un.UIDs, []string{"a"}) {
		t.Errorf("rest of a: %v", err)
	}
}

func TestMappingFaults(t *testing.T) {
	ops := []OperatorInfo{opOf("a", 1, "x", "y"), opOf("b", 1, "x", "y"), opOf("c", 1, "x", "y", "x/y"), opOf("c/x", 1, "y")}
	for _, c := range []struct {
		name string
		by   Mapping
		want []string
	}{
		{"unknown old name", Mapping{Rename: map[string]string{"gone": "c"}}, []string{`maps "gone" to "c"`, `neither`}},
		{"unknown new name", Mapping{Rename: map[string]string{"a": "nowhere"}}, []string{`"nowhere"`, "the graph has no"}},
		{"unknown new state", Mapping{Rename: map[string]string{"a/x": "c/z"}}, []string{`"c/z"`, "the graph has no"}},
		{"collision of operators", Mapping{Rename: map[string]string{"a": "b"}}, []string{`maps "a" to "b"`, "goes there as well"}},
		{"two to one", Mapping{Rename: map[string]string{"a": "c", "b": "c"}}, []string{`both "a" and "b" to "c"`}},
		{"collision of states", Mapping{Rename: map[string]string{"a/x": "b/x"}}, []string{`"a/x" and "b/x" both go to "b/x"`}},
		{"cycle", Mapping{Rename: map[string]string{"a": "b", "b": "a"}}, []string{`maps "a" to "b"`, `maps "b" to "a"`, "third name"}},
		{"chain", Mapping{Rename: map[string]string{"a/x": "a/y", "a/y": "c/y"}}, []string{"third name"}},
		{"itself", Mapping{Rename: map[string]string{"a": "a"}}, []string{"to itself"}},
		{"operator to state", Mapping{Rename: map[string]string{"a": "b/x"}}, []string{"one is an operator, the other a state"}},
		{"dropped too", Mapping{Rename: map[string]string{"a/x": "c/x"}, Drop: []string{"a/x"}}, []string{`"a/x" is in Drop and in the graph`}},
		{"two meanings", Mapping{Rename: map[string]string{"a/x": "c/x/y"}}, []string{"can mean", "c/x/y c/x/y"}},
		{"all at once", Mapping{Rename: map[string]string{"gone": "c", "a": "nowhere"}, Drop: []string{"b"}}, []string{`"gone"`, `"nowhere"`, `"b" is in Drop and in the graph`}},
	} {
		_, err := PlanRestore(twoManifest(), ops, 8, c.by)
		for _, w := range c.want {
			if w == "neither" {
				w = "has no operator or state"
			}
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", c.name, err, w)
			}
		}
	}
	m := twoManifest()
	m.Channels = []ChannelState{{}}
	if _, err := PlanRestore(m, ops, 16, Mapping{}); err == nil {
		t.Error("other key groups with records in flight are planned")
	}
}

// TestRewritesAreSeen: what makes entries unfit to be attached begins the numbers of states anew and hands files out as is needed.
func TestRewritesAreSeen(t *testing.T) {
	table := func(m *Manifest) {
		for i := range m.Operators {
			for s := range m.Operators[i].Subtasks {
				m.Operators[i].Subtasks[s].Files[0].Kind = state.FileDelta
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(m *Manifest, op *OperatorInfo)
		maxPar int
		ids    string // of the states timers, x, y after the start
		files  int    // of subtask 0 of 2
	}{
		{"nothing", func(*Manifest, *OperatorInfo) {}, 8, "[5 6 7]", 1},
		{"value evolves", func(_ *Manifest, op *OperatorInfo) { op.States[1].Value = `"double"` }, 8, "[5 6 7]", 1},
		{"key encoded alike", func(m *Manifest, op *OperatorInfo) { keysAre(m, op, `"int"`, `"long"`) }, 8, "[5 6 7]", 1},
		{"key evolves", func(m *Manifest, op *OperatorInfo) { keysAre(m, op, `"int"`, `"double"`) }, 8, "[0 1 2]", 2},
		{"other key groups", func(*Manifest, *OperatorInfo) {}, 16, "[0 1 2]", 2},
		{"clock of the time to live", func(m *Manifest, op *OperatorInfo) {
			m.Operators[0].States[1].TTL, op.States[1].TTL, op.States[1].EventTimeTTL = 5, 5, true
		}, 8, "[0 1 2]", 1},
		{"longer time to live", func(m *Manifest, op *OperatorInfo) { m.Operators[0].States[1].TTL, op.States[1].TTL = 5, 6 }, 8, "[5 6 7]", 1},
	} {
		m, op := twoManifest(), opOf("a", 2, "x", "y")
		m.Operators = m.Operators[:1]
		for i := range m.Operators[0].States {
			m.Operators[0].States[i].ID = 5 + i
		}
		table(m)
		c.change(m, &op)
		p := mustPlan(t, m, []OperatorInfo{op}, c.maxPar, Mapping{})
		var ids []int
		for _, d := range p.Operators[0].States {
			ids = append(ids, d.ID)
		}
		if got := fmt.Sprint(ids); got != c.ids || len(p.Operators[0].Subtasks[0].Files) != c.files {
			t.Errorf("%s: ids %s and %d files, want %s and %d", c.name, got, len(p.Operators[0].Subtasks[0].Files), c.ids, c.files)
		}
	}
}

func keysAre(m *Manifest, op *OperatorInfo, old, now string) {
	for i := range m.Operators[0].States {
		m.Operators[0].States[i].Key, op.States[i].Key = old, now
	}
}

// TestMaxParallelismHandsOutEverything: for any numbers, each file of each old subtask reaches every new subtask, with the groups that it speaks for.
func TestMaxParallelismHandsOutEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxPar := rapid.IntRange(1, 16).Draw(t, "old max")
		next := rapid.IntRange(1, 16).Filter(func(n int) bool { return n != maxPar }).Draw(t, "new max")
		p, q := rapid.IntRange(1, maxPar).Draw(t, "p"), rapid.IntRange(1, next).Draw(t, "q")
		m := drawManifest(t, p, maxPar)
		plan, err := PlanRestore(m, []OperatorInfo{{UID: "op", Parallelism: q}}, next, Mapping{})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, s := range m.Operators[0].Subtasks {
			for _, f := range s.Files {
				if max(f.Groups.Start, s.Groups.Start) < min(f.Groups.End, s.Groups.End) {
					want = append(want, f.Name)
				}
			}
		}
		for i, s := range plan.Operators[0].Subtasks {
			var got []string
			for _, f := range s.Files {
				got = append(got, f.Name)
			}
			if !slices.Equal(got, want) || s.Groups != state.RangeOf(i, q, next) {
				t.Fatalf("subtask %d of groups %v gets %v, want %v", i, s.Groups, got, want)
			}
		}
		checkDealt(t, m.Operators[0], plan.Operators[0])
	})
}

func TestStartReport(t *testing.T) {
	m := twoManifest()
	m.Operators[0].States[1].Value = `{"type":"record","name":"P","fields":[{"name":"n","type":"int"},{"name":"gone","type":"string"}]}`
	a := opOf("a2", 4, "x", "y2", "fresh")
	a.States[1].Value = `{"type":"record","name":"P","fields":[{"name":"n","type":"long"},{"name":"limit","type":"double","default":2.5}]}`
	a.States[3].Value = `"long"`
	c := opOf("c", 1)
	b := opOf("b", 2, "x", "y")
	b.States[2].Value = `"long"`
	by := Mapping{Rename: map[string]string{"a": "a2"}, Drop: []string{"a/y"}}
	r := CheckStart(m, []OperatorInfo{a, b, c}, 8, by)
	want := `checkpoint 3 of job "old"
evolved      a2 (was a), parallelism 2 to 4
  missing      value state fresh
  matched      timers state timers (was a/timers)
  evolved      value state x (was a/x)
    value schema: field n: promoted, int to long
    value schema: field gone: removed, was string
    value schema: field limit: added, 2.5 in old data
  missing      value state y2
  dropped      value state y
incompatible b
  matched      timers state timers
  matched      value state x
  incompatible value state y
    value schema was "string" and is declared as "long": outermost type: writer has string, reader long (type)
missing      c
  missing      timers state timers
`
	if got := r.String(); got != want {
		t.Errorf("report is\n%s\nwant\n%s", got, want)
	}
	var mis *StateMismatchError
	var refused *RefusedError
	if err := r.Err(); !errors.As(err, &refused) || refused.Report != r || !errors.As(err, &mis) || mis.UID != "b" || mis.State != "y" {
		t.Errorf("Err is %v", err)
	}
	js, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"uid":"a2","from":"a","status":"evolved"`, `{"part":"value schema","path":"n","how":"promoted","detail":"int to long"}`,
		`"path":"","rule":"type"`} {
		if !strings.Contains(string(js), part) {
			t.Errorf("JSON has no %s:\n%s", part, js)
		}
	}
	if r := CheckStart(nil, []OperatorInfo{a}, 8, Mapping{}); r.Err() != nil || r.Operators[0].Status != Missing {
		t.Errorf("without a checkpoint: %v", r)
	}
}

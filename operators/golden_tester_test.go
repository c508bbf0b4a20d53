package operators_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/operators/operatortest"
)

func outputsOf(t *testing.T, text string) []goldenOutput {
	t.Helper()
	var os []goldenOutput
	if err := json.Unmarshal([]byte(text), &os); err != nil {
		t.Fatal(err)
	}
	return os
}

const (
	rec1   = `{"kind":"record","key":"a","value":1,"ts":5}`
	rec1G  = `{"kind":"record","key":"a","value":1,"ts":5,"g":0}`
	rec2   = `{"kind":"record","key":"a","value":2,"ts":5}`
	rec2G  = `{"kind":"record","key":"a","value":2,"ts":5,"g":0}`
	recB   = `{"kind":"record","key":"b","value":1,"ts":5}`
	recT   = `{"kind":"record","key":"a","value":"1","ts":5}`
	recNT  = `{"kind":"record","key":"a","value":1,"ts":null}`
	recW   = `{"kind":"record","key":"a","value":1,"ts":5,"window":[0,6]}`
	late1  = `{"kind":"side:late","key":"a","value":1,"ts":5}`
	mark   = `{"kind":"watermark","ts":7}`
	mark8  = `{"kind":"watermark","ts":8}`
	idle   = `{"kind":"idle"}`
	group1 = `{"kind":"assign","key":"a","hash":1,"key_group":2}`
	group2 = `{"kind":"assign","key":"a","hash":1,"key_group":3}`
)

func list(os ...string) string { return "[" + strings.Join(os, ",") + "]" }

// TestGoldenComparison compares steps as a driver does: got has one list a subtask.
func TestGoldenComparison(t *testing.T) {
	for _, c := range []struct {
		name    string
		compare string
		want    string
		got     []string
		same    bool
	}{
		{"equal", "", list(rec1, mark), []string{list(rec1, mark)}, true},
		{"another value", "", list(rec1), []string{list(rec2)}, false},
		{"another key", "", list(rec1), []string{list(recB)}, false},
		{"a text for a number", "", list(rec1), []string{list(recT)}, false},
		{"no timestamp", "", list(rec1), []string{list(recNT)}, false},
		{"no window", "", list(recW), []string{list(rec1)}, false},
		{"another kind", "", list(rec1), []string{list(late1)}, false},
		{"another watermark", "", list(mark), []string{list(mark8)}, false},
		{"idle for a watermark", "", list(mark), []string{list(idle)}, false},
		{"a field of a key group", "", list(group1), []string{list(group2)}, false},
		{"one missing", "", list(rec1, rec2), []string{list(rec1)}, false},
		{"one too many", "", list(rec1), []string{list(rec1, rec1)}, false},
		{"nothing", "", list(), []string{list()}, true},
		{"something for nothing", "", list(), []string{list(rec1)}, false},
		{"order", "", list(rec1, rec2), []string{list(rec2, rec1)}, false},
		{"order in a set", "", list(rec1G, rec2G), []string{list(rec2, rec1)}, true},
		{"a set is a multiset", "", list(rec1G, rec2G), []string{list(rec1, rec1)}, false},
		{"a record behind the watermark", "", list(rec1, mark), []string{list(mark, rec1)}, false},
		{"a set does not reach over a watermark", "", list(rec1G, mark, rec2G), []string{list(rec2, mark, rec1)}, false},
		{"side output beside main output", "", list(rec1, late1), []string{list(late1, rec1)}, true},
		{"side output missing", "", list(rec1, late1), []string{list(rec1)}, false},

		{"two subtasks", "", list(rec1, recB, mark), []string{list(recB, mark), list(rec1, mark)}, true},
		{"two subtasks, another value", "", list(rec1, recB), []string{list(recB), list(rec2)}, false},
		{"two subtasks, order of a key", "", list(rec1, recB, rec2), []string{list(recB), list(rec2, rec1)}, false},
		{"two subtasks, one without watermark", "", list(mark), []string{list(mark), list()}, false},
		{"two subtasks, behind the watermark", "", list(rec1, mark), []string{list(mark), list(mark, rec1)}, false},
		{"one key in two subtasks", "", list(rec1, rec2), []string{list(rec1), list(rec2)}, false},
		{"two subtasks, a key missing", "", list(rec1, recB), []string{list(rec1), list()}, false},
		{"two subtasks, a key too many", "", list(rec1), []string{list(rec1), list(recB)}, false},
		{"two subtasks, side output missing", "", list(late1), []string{list(), list()}, false},

		{"per key", "per_key", list(rec1, recB), []string{list(recB, rec1)}, true},
		{"per key, order of a key", "per_key", list(rec1, rec2), []string{list(rec2, rec1)}, false},
		{"per key, control by itself", "per_key", list(rec1, mark), []string{list(mark, rec1)}, true},
		{"per key, control missing", "per_key", list(rec1, mark), []string{list(rec1)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got [][]goldenOutput
			for _, g := range c.got {
				got = append(got, outputsOf(t, g))
			}
			err := compareGolden(goldenCase{Compare: c.compare}, outputsOf(t, c.want), got)
			if (err == nil) != c.same {
				t.Errorf("same is %v, want %v (%v)", err == nil, c.same, err)
			}
		})
	}
}

func familyNamed(name string) goldenFamily {
	return goldenFamily{name: name, operator: name, subject: reduceSubject}
}

func TestGoldenClaims(t *testing.T) {
	for _, c := range []struct {
		name   string
		claims []goldenFamily
		files  []string
		own    bool
		says   string // "" for no fault
	}{
		{"all claimed", []goldenFamily{familyNamed("a"), familyNamed("b")}, []string{"a", "b"}, true, ""},
		{"a file that nobody claims", []goldenFamily{familyNamed("a")}, []string{"a", "b"}, false, `nobody claims family "b"`},
		{"a claim without file in the own folder", []goldenFamily{familyNamed("a"), familyNamed("b")}, []string{"a"}, true, `"b" has no file`},
		{"a claim without file elsewhere", []goldenFamily{familyNamed("a"), familyNamed("b")}, []string{"a"}, false, ""},
		{"claimed twice", []goldenFamily{familyNamed("a"), familyNamed("a")}, []string{"a"}, true, "claimed twice"},
		{"neither subject nor replay", []goldenFamily{{name: "a"}}, []string{"a"}, true, "needs a subject or a replay"},
		{"no reason", []goldenFamily{{name: "a", replay: newEcho}}, []string{"a"}, true, "does not say why"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range c.files {
				files[f] = f + ".jsonl"
			}
			err := checkClaims(c.claims, files, c.own)
			if c.says == "" && err != nil {
				t.Error(err)
			}
			if c.says != "" {
				wantError(t, err, c.says)
			}
		})
	}
}

// reduceCase is a case of two records and a restore, whose outputs are 1, 1·31 + 2 and 33·31 + 3.
const reduceCase = `{"id":"c","operator":"keyed_reduce","params":{},"ordered":true,"steps":[
	{"op":"record","input":0,"key":"a","value":1,"ts":5},{"op":"record","input":0,"key":"a","value":2,"ts":6},
	{"op":"snapshot_restore","new_parallelism":2},{"op":"record","input":0,"key":"a","value":3,"ts":7},{"op":"watermark","input":0,"ts":9}],
	"expect":[[{"kind":"record","key":"a","value":1,"ts":5}],[{"kind":"record","key":"a","value":33,"ts":6}],
	[],[{"kind":"record","key":"a","value":1026,"ts":7}],[{"kind":"watermark","ts":9}]]}`

// TestGoldenDriversFindFaults plants a fault in a case and sees that every driver finds it.
func TestGoldenDriversFindFaults(t *testing.T) {
	reduce := familyNamed("keyed_reduce")
	for _, c := range []struct {
		name, old, new string
		says           string
	}{
		{"none", "", "", ""},
		{"value", `"value":1026`, `"value":1025`, "step 3, record"},
		{"timestamp", `"value":33,"ts":6`, `"value":33,"ts":7`, "step 1, record"},
		{"watermark", `[{"kind":"watermark","ts":9}]`, `[]`, "step 4, watermark"},
		{"output of the restore", `[],[`, `[{"kind":"record","key":"a","value":33,"ts":6}],[`, "step 2, snapshot_restore"},
		{"op", `"op":"watermark"`, `"op":"waterfall"`, `nobody knows the op "waterfall"`},
		{"parameter", `"params":{}`, `"params":{"n":1}`, `unknown field "n"`},
		{"operator", `"operator":"keyed_reduce"`, `"operator":"reduce"`, `the operator is "reduce"`},
		{"comparison", `"ordered":true`, `"ordered":true,"compare":"by_luck"`, `"by_luck"`},
		{"field of a case", `"ordered":true`, `"ordered":true,"hint":1`, `unknown field "hint"`},
		{"field of a step", `"op":"watermark"`, `"op":"watermark","force":true`, `unknown field "force"`},
		{"field of an output", `{"kind":"watermark"`, `{"late":1,"kind":"watermark"`, `unknown field "late"`},
		{"a step too many", `{"op":"watermark"`, `{"op":"snapshot_restore"},{"op":"watermark"`, "6 steps and 5 expectations"},
		{"no text", `"key":"a","value":3`, `"key":"a","value":3.5`, "no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cases, err := decodeGolden("case", strings.NewReader(strings.Replace(reduceCase, c.old, c.new, 1)))
			for _, driver := range goldenDrivers {
				err := err
				if err == nil {
					err = reduce.checkCase(cases[0])
				}
				if err == nil {
					err = driver.replay(t, reduce, cases[0])
				}
				if c.says == "" && err != nil {
					t.Errorf("%s: %v", driver.name, err)
				} else if c.says != "" {
					wantError(t, err, c.says)
				}
			}
		})
	}
}

// TestGoldenParamsAreLookedAt refuses a family that never decodes the parameters of its cases.
func TestGoldenParamsAreLookedAt(t *testing.T) {
	cases, err := decodeGolden("case", strings.NewReader(reduceCase))
	if err != nil {
		t.Fatal(err)
	}
	blind := goldenFamily{name: "blind", subject: func(goldenCase) (goldenSubject, error) { return oneInput[goldenRecord](nil, nil), nil }}
	_, err = blind.newSubject(cases[0])
	wantError(t, err, "never looks at the parameters")
	blind = goldenFamily{name: "blind", why: "test", replay: func(operatortest.TB, goldenCase) (goldenRunner, error) { return echo{}, nil }}
	wantError(t, replayRunner(t, blind, cases[0]), "never looks at the parameters")
}

// echo is a runner that knows records only, and puts them out as they are.
type echo struct{}

func newEcho(_ operatortest.TB, c goldenCase) (goldenRunner, error) {
	return echo{}, c.decodeParams(&struct{ Channels int }{})
}

func (echo) step(s goldenStep) []goldenOutput {
	if s.Op != "record" {
		badStep(s)
	}
	return []goldenOutput{{Kind: "record", Key: string(s.Key), Value: s.number(), TS: s.TS}}
}

// TestGoldenRunnersFindFaults: a family that is no operator is compared too, and a rule forgives what it is about, no more.
func TestGoldenRunnersFindFaults(t *testing.T) {
	const text = `{"id":"c","operator":"echo","params":{"channels":2},"ordered":true,"steps":[
		{"op":"record","input":0,"key":"a","value":1,"ts":1},{"op":"record","input":0,"key":"a","value":2,"ts":2},{"op":"record","input":0,"key":"a","value":3,"ts":4}],
		"expect":[[{"kind":"record","key":"a","value":1,"ts":1}],[{"kind":"record","key":"a","value":2,"ts":2}],[{"kind":"record","key":"a","value":3,"ts":4}]]}`
	family := goldenFamily{name: "echo", operator: "echo", replay: newEcho, why: "test"}
	// The rule forgives a 5 in the place of a 4, and nothing else.
	forgive := goldenRule{name: "r", families: []string{"echo"}, adjust: func(c goldenCase) ([][]goldenOutput, bool) {
		last := c.Expect[len(c.Expect)-1][0]
		if *last.TS != 5 {
			return c.Expect, false
		}
		four := int64(4)
		last.TS = &four
		return append(slices.Clone(c.Expect[:len(c.Expect)-1]), []goldenOutput{last}), true
	}}
	elsewhere := forgive
	elsewhere.families = []string{"echoes"}
	wrong := strings.Replace(text, `"ts":4}]]`, `"ts":5}]]`, 1)
	for _, c := range []struct {
		name, text string
		rules      []goldenRule
		applied    int
		says       string
	}{
		{"as it is", text, []goldenRule{forgive}, 0, ""},
		{"wrong", wrong, nil, 0, "step 2"},
		{"meant", wrong, []goldenRule{forgive}, 1, ""},
		{"meant elsewhere", wrong, []goldenRule{elsewhere}, 0, "step 2"},
		{"wrong beside what is meant", strings.Replace(wrong, `"key":"a","value":1`, `"key":"a","value":7`, 1), []goldenRule{forgive}, 1, "step 0"},
		{"unknown step", strings.Replace(text, `"op":"record"`, `"op":"lazy"`, 1), nil, 0, `nobody knows the op "lazy"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cases, err := decodeGolden("case", strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			applied := map[string]int{}
			err = replayRunner(t, family, applyGoldenRules(c.rules, family.name, cases[0], applied))
			if c.says == "" && err != nil {
				t.Error(err)
			} else if c.says != "" {
				wantError(t, err, c.says)
			}
			if applied["r"] != c.applied {
				t.Errorf("the rule was applied %d times, want %d", applied["r"], c.applied)
			}
		})
	}
}

// TestGoldenFaultEndsTheCaseAlone: what an operator under test reports is an error of its case, and its clean-up runs.
func TestGoldenFaultEndsTheCaseAlone(t *testing.T) {
	var closed []string
	err := withCase(t, func(tb *caseTB) error {
		tb.Cleanup(func() { closed = append(closed, "first") })
		tb.Cleanup(func() { closed = append(closed, "second") })
		var o operatortest.TB = tb
		o.Fatalf("broken at %d", 7)
		return nil
	})
	wantError(t, withCase(t, func(*caseTB) error { panic("boom") }), "panic: boom", "golden_tester_test.go")
	if fmt.Sprint(err) != "broken at 7" || !slices.Equal(closed, []string{"second", "first"}) {
		t.Errorf("got %v and clean-up %v", err, closed)
	}
}

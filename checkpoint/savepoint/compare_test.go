package savepoint_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
)

// TestCompareSame: one state at different parallelism and number of key groups, native and portable, is the same.
func TestCompareSame(t *testing.T) {
	accounts := drawAccounts(rand.New(rand.NewPCG(2, 2)), 120)
	dir := t.TempDir()
	m, files := takeCheckpoint(t, checkpoint.Dir(dir), accounts, 3, 16)
	m.Operators = m.Operators[:2] // positions depend on the parallelism
	a := savepoint.From("a", m, files)
	m2, files2 := takeCheckpoint(t, checkpoint.Dir(t.TempDir()), accounts, 3, 100)
	m2.Operators = m2.Operators[:2]
	b := write(t, savepoint.From("b", m2, files2), checkpoint.Dir(t.TempDir()), savepoint.Options{FileBytes: 1000})
	for _, memory := range []int64{0, 1 << 12} {
		d, err := savepoint.Compare(t.Context(), a, b, savepoint.CompareOptions{Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		if !d.Same() {
			text, _ := json.MarshalIndent(d, "", " ")
			t.Errorf("they differ: %s", text)
		}
		states := d.Operators[0].States
		if len(states) != 7 {
			t.Errorf("%d states are compared, want 7", len(states))
		}
		for _, s := range states {
			if s.Equal == 0 || s.Digests[0] != s.Digests[1] || strings.Trim(s.Digests[0], "0") == "" {
				t.Errorf("state %s: %+v", s.Name, s)
			}
		}
	}
}

// TestCompareDiffers: what was added, removed and changed is counted and shown.
func TestCompareDiffers(t *testing.T) {
	a := native(t, map[string]*account{"a": {sum: 5, recent: []int64{1}}, "b": {sum: 6}, "c": {sum: 7}})
	b := a.Edit()
	for _, line := range []string{
		`{"uid":"agg","state":"sum","key":"a","value":50}`,
		`{"uid":"agg","state":"sum","key":"b","delete":true}`,
		`{"uid":"agg","state":"sum","key":"d","value":8}`,
		`{"uid":"agg","state":"sum","key":"e","value":8}`,
		`{"uid":"agg","state":"timers","key":"d","clock":"event time","at_ms":1}`,
		`{"uid":"agg","state":"limits","broadcast":true,"map_key":"rule 1","value":9}`,
	} {
		c, err := savepoint.ParseChanges(strings.NewReader(line))
		if err == nil {
			err = b.Apply(t.Context(), c[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.Operator("agg").WatermarkMS = 7
	b.Operator("source").Splits[0].Position = []byte("at 9")
	b.Operator("source").Splits[1].ID = "split-9"
	b.Operator("new")
	b.Drop("sink")
	b.Rename("agg", "totals")
	d, err := savepoint.Compare(t.Context(), a, write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{}),
		savepoint.CompareOptions{Rename: map[string]string{"agg": "totals"}, Samples: 1})
	if err != nil {
		t.Fatal(err)
	}
	if d.Same() || len(d.Operators) != 4 {
		t.Fatalf("same %v with %d operators, want a difference in 4", d.Same(), len(d.Operators))
	}
	agg, sink, source, added := d.Operators[0], d.Operators[1], d.Operators[2], d.Operators[3]
	if sink.UID != "sink" || sink.To != "" || added.UID != "" || added.To != "new" {
		t.Errorf("operators %+v, want sink in the first only and new in the second only", d.Operators)
	}
	if want := []string{"watermark 998 → 7"}; agg.To != "totals" || !slices.Equal(agg.Other, want) {
		t.Errorf("agg: %q to %q, want %q", agg.Other, agg.To, want)
	}
	if want := []string{`split "split-0" at at 0 → at 9`, `split "split-1" at at 1 → none`, `split "split-9" at none → at 1`}; !slices.Equal(source.Other, want) {
		t.Errorf("source: %q, want %q", source.Other, want)
	}
	counts := map[string][4]int64{}
	for _, s := range agg.States {
		counts[s.Name] = [4]int64{s.Equal, s.Added, s.Removed, s.Changed}
		if (s.Added+s.Removed+s.Changed == 0) != (s.Digests[0] == s.Digests[1]) {
			t.Errorf("state %s: %+v: digests and counts do not agree", s.Name, s)
		}
	}
	want := map[string][4]int64{"sum": {1, 2, 1, 1}, "recent": {1, 0, 0, 0}, "timers": {0, 1, 0, 0}, "limits": {2, 0, 0, 1}}
	for name, w := range want {
		if counts[name] != w {
			t.Errorf("state %s has equal, added, removed, changed %v, want %v", name, counts[name], w)
		}
	}
	sum := agg.States[slices.IndexFunc(agg.States, func(s savepoint.StateDifference) bool { return s.Name == "sum" })]
	changes := map[string]string{}
	for _, s := range sum.Samples {
		changes[s.Change] += string(s.Before) + " " + string(s.After)
	}
	if len(sum.Samples) != 3 || !strings.Contains(changes["changed"], `"value":5}`) || !strings.Contains(changes["changed"], `"value":50}`) ||
		!strings.Contains(changes["removed"], `"key":"b"`) || !strings.Contains(changes["added"], `"value":8`) {
		t.Errorf("samples %q", changes)
	}
}

package savepoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// native is a checkpoint of the accounts.
func native(t testing.TB, accounts map[string]*account) *savepoint.Savepoint {
	t.Helper()
	dir := t.TempDir()
	takeCheckpoint(t, checkpoint.Dir(dir), accounts, 3, 16)
	s, err := savepoint.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEdit: random changes, made to a savepoint and to the model: what starts from the result has the model.
func TestEdit(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	accounts := drawAccounts(r, 150)
	s := native(t, accounts)
	fresh := drawAccounts(r, 200)
	b := s.Edit()
	profiles := savepoint.EditState(b, "agg", "profile", savepoint.Codecs[string, profile]{})
	recent := savepoint.EditState(b, "agg", "recent", savepoint.Codecs[string, int64]{})
	days := savepoint.EditState(b, "agg", "days", savepoint.Codecs[string, string]{})
	sums := savepoint.EditState(b, "agg", "sum", savepoint.Codecs[string, int64]{})
	last := savepoint.EditState(b, "agg", "last", savepoint.Codecs[string, float64]{})
	timers := savepoint.EditState(b, "agg", "timers", savepoint.Codecs[string, bool]{})
	for k, a := range fresh {
		if accounts[k] != nil && r.IntN(2) == 0 {
			continue
		}
		profiles.Delete(k)
		days.Delete(k)
		last.Delete(k)
		timers.Delete(k)
		if r.IntN(5) == 0 { // the key goes away
			recent.Delete(k)
			sums.Delete(k)
			delete(accounts, k)
			continue
		}
		if a.profile != nil {
			profiles.Set(k, *a.profile, time.Time{})
		}
		recent.SetList(k, a.recent, time.Time{})
		for d, v := range a.days {
			savepoint.Put(days, k, d, nil, v, time.UnixMilli(nowMS+1))
		}
		sums.Set(k, a.sum, time.Time{})
		if a.last != nil {
			last.Set(k, *a.last, time.UnixMilli(0))
		}
		for _, at := range a.event {
			timers.SetTimer(k, state.EventTime, time.UnixMilli(at))
		}
		for _, at := range a.clock {
			timers.SetTimer(k, state.ProcessingTime, time.UnixMilli(at))
		}
		accounts[k] = a
	}
	for _, from := range []*savepoint.Builder{b, write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{FileBytes: 700}).Edit()} {
		out := write(t, from, checkpoint.Dir(t.TempDir()), savepoint.Options{})
		restored(t, out.URI(), accounts, 2, 16)
	}
	if got, want := dump(t, s), dump(t, native(t, drawAccounts(rand.New(rand.NewPCG(7, 8)), 150))); !slices.Equal(got, want) {
		t.Error("the savepoint that was the base has changed")
	}
}

// TestBuildFromNothing: the savepoint of a job that never ran starts one.
func TestBuildFromNothing(t *testing.T) {
	accounts := drawAccounts(rand.New(rand.NewPCG(9, 9)), 40)
	b := savepoint.NewBuilder("made", 64)
	model := newOperator(64)
	for _, d := range model.Descriptors() {
		b.Declare("agg", d)
	}
	b.Declare("agg", newRules().Descriptors()[0])
	b.Operator("source").Splits = []checkpoint.SplitState{{ID: "a", Position: []byte("7")}}
	sums := savepoint.EditState(b, "agg", "sum", savepoint.Codecs[string, int64]{})
	for k, a := range accounts {
		*a = account{days: map[int64]string{}, sum: a.sum}
		sums.Set(k, a.sum, time.Time{})
	}
	for i := range 3 {
		key, _ := serde.MustFor[bool]().Append(nil, false)
		sub, _ := serde.MustFor[string]().Append(nil, fmt.Sprint("rule ", i))
		b.Set("agg", "limits", savepoint.Entry{Entry: state.Entry{Key: key, Sub: sub, Value: []byte{byte(i)}}, Broadcast: true})
	}
	s := write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	restored(t, s.URI(), accounts, 3, 64)
	m := s.Manifest()
	if m.Job != "made" || len(m.Operators) != 2 || string(m.Operators[1].Subtasks[0].Splits[0].Position) != "7" || m.Operators[1].Subtasks[0].WatermarkMS != checkpoint.NoWatermark {
		t.Errorf("manifest %+v", m)
	}
}

// TestRenameAndDrop: operators and states go or get another name.
func TestRenameAndDrop(t *testing.T) {
	s := native(t, drawAccounts(rand.New(rand.NewPCG(1, 9)), 20))
	b := s.Edit()
	b.Rename("agg", "totals")
	b.Drop("sink")
	b.DropState("totals", "days")
	b.DropState("totals", "limits")
	out := write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	if got, want := out.UIDs(), []string{"source", "totals"}; !slices.Equal(got, want) {
		t.Errorf("operators %q, want %q", got, want)
	}
	var want []string
	for _, line := range dump(t, s) {
		if !strings.HasPrefix(line, "agg days ") && !strings.HasPrefix(line, "agg limits ") {
			want = append(want, "totals"+strings.TrimPrefix(line, "agg"))
		}
	}
	if got := dump(t, out); !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
	var unknown *savepoint.UnknownError
	if _, err := out.Descriptor("totals", "days"); !errors.As(err, &unknown) {
		t.Errorf("days is still there: %v", err)
	}
}

// TestBuilderFaults: faults of changes come out of Write, all of them, and nothing is written.
func TestBuilderFaults(t *testing.T) {
	b := native(t, nil).Edit()
	b.Drop("nobody")
	b.Rename("nobody", "somebody")
	b.Rename("agg", "sink")
	b.DropState("agg", "nothing")
	b.Declare("agg", state.Descriptor{Name: "sum", Kind: state.KindList, Key: `"string"`, Value: `"long"`})
	b.Declare("agg", state.Descriptor{Name: "new", Kind: state.KindMap, Key: `"string"`, Value: `"long"`})
	savepoint.EditState(b, "agg", "sum", savepoint.Codecs[string, string]{}).Set("k", "v", time.Time{})
	savepoint.EditState(b, "agg", "sum", savepoint.Codecs[string, int64]{}).SetList("k", nil, time.Time{})
	savepoint.EditState(b, "agg", "sum", savepoint.Codecs[string, int64]{}).Set("k", 1, time.UnixMilli(5))
	b.Set("agg", "sum", savepoint.Entry{Schema: `"bytes"`})
	dir := t.TempDir()
	_, err := b.Write(t.Context(), checkpoint.Dir(dir), savepoint.Options{Codec: "lzma", Workers: -1})
	if err == nil {
		t.Fatal("it is written")
	}
	for _, want := range []string{`drop of operator "nobody"`, `rename of operator "nobody"`, `"agg" cannot be renamed`, `no state "nothing"`, `"sum" of operator "agg" is there`,
		`schema of map keys`, `values of "long"`, `want ["list"]`, `time to live 0s`, `values of schema "bytes"`, `lzma`, `Workers`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if _, _, err := checkpoint.LoadSavepoint(t.Context(), checkpoint.Dir(dir)); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Errorf("there is a savepoint: %v", err)
	}
}

// TestApply: changes as JSON, as an export has them.
func TestApply(t *testing.T) {
	ctx := t.Context()
	s := native(t, map[string]*account{"a": {sum: 5, recent: []int64{1, 2}}, "b": {sum: 6}})
	lines := `
{"uid":"agg","state":"sum","key":"a","value":50}
{"uid":"agg","state":"sum","key":"b","delete":true}
{"uid":"agg","state":"sum","group":99,"key":"new","value":7}
{"uid":"agg","state":"recent","key":"a","element":1,"value":20}
{"uid":"agg","state":"days","key":"new","map_key":3,"value":"third","expires_ms":1800000000001}
{"uid":"agg","state":"profile","key":"new","value":{"Name":"n","Limit":1,"Tags":["x"],"Labels":{}}}
{"uid":"agg","state":"timers","key":"new","clock":"event time","at_ms":-7}
{"uid":"agg","state":"limits","broadcast":true,"map_key":"rule 1","value":-1}
{"uid":"agg","state":"last","key":"new","value":0.5,"expires_ms":-60000}
`
	changes, err := savepoint.ParseChanges(strings.NewReader(lines))
	if err != nil || len(changes) != 9 {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	b := s.Edit()
	for _, c := range changes {
		if err := b.Apply(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	out := write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	if got, want := export(t, out), strings.Split(strings.TrimSpace(`
{"uid":"agg","state":"days","key":"new","map_key":3,"value":"third","expires_ms":1800000000001}
{"uid":"agg","state":"last","key":"new","value":0.5,"expires_ms":-60000}
{"uid":"agg","state":"limits","broadcast":true,"key":false,"map_key":"rule 0","value":0}
{"uid":"agg","state":"limits","broadcast":true,"key":false,"map_key":"rule 1","value":-1}
{"uid":"agg","state":"limits","broadcast":true,"key":false,"map_key":"rule 2","value":2}
{"uid":"agg","state":"profile","key":"new","value":{"Name":"n","Limit":1,"Tags":["x"],"Labels":{}}}
{"uid":"agg","state":"recent","key":"a","element":0,"value":1}
{"uid":"agg","state":"recent","key":"a","element":1,"value":20}
{"uid":"agg","state":"sum","key":"a","value":50}
{"uid":"agg","state":"sum","key":"new","value":7}
{"uid":"agg","state":"timers","key":"new","clock":"event time","at_ms":-7}
`), "\n"); !slices.Equal(got, want) {
		t.Errorf("exported\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	accounts := map[string]*account{"a": {days: map[int64]string{}, sum: 50, recent: []int64{1, 20}}, "new": {profile: &profile{Name: "n", Limit: 1, Tags: []string{"x"}},
		days: map[int64]string{3: "third"}, sum: 7, last: new(float64), event: []int64{-7}}}
	*accounts["new"].last = 0.5
	restored(t, out.URI(), accounts, 2, 16)
}

// export is what Export writes, sorted and without key groups.
func export(t *testing.T, s *savepoint.Savepoint) []string {
	t.Helper()
	var b strings.Builder
	if _, err := s.Export(t.Context(), &b, savepoint.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(b.String()) {
		before, after, ok := strings.Cut(line, `"group":`)
		_, after, _ = strings.Cut(after, ",")
		if !ok || !json.Valid([]byte(line)) {
			t.Errorf("line %s", line)
		}
		out = append(out, strings.TrimSpace(before+after))
	}
	slices.Sort(out)
	return out
}

func TestApplyRefuses(t *testing.T) {
	s := native(t, map[string]*account{"a": {sum: 5}})
	tests := []struct{ change, want string }{
		{`{"uid":"x","state":"sum","key":"a","value":1}`, `there are ["agg"`},
		{`{"uid":"agg","state":"x","key":"a","value":1}`, `no such state`},
		{`{"uid":"agg","state":"sum","key":1,"value":1}`, `key`},
		{`{"uid":"agg","state":"sum","value":1}`, `key`},
		{`{"uid":"agg","state":"sum","key":"a","value":"x"}`, `value`},
		{`{"uid":"agg","state":"sum","key":"a"}`, `no value`},
		{`{"uid":"agg","state":"sum","key":"a","value":1,"delete":true}`, `deletes`},
		{`{"uid":"agg","state":"sum","key":"a","value":1,"expires_ms":5}`, `time to live 0s`},
		{`{"uid":"agg","state":"sum","key":"a","map_key":1,"value":1}`, `sub key of a map state`},
		{`{"uid":"agg","state":"days","key":"a","value":"x"}`, `needs map_key`},
		{`{"uid":"agg","state":"recent","key":"a","element":-1,"value":1}`, `element number -1`},
		{`{"uid":"agg","state":"timers","key":"a","clock":"noon","at_ms":1}`, `event time`},
		{`{"uid":"agg","state":"timers","key":"a","clock":"event time","at_ms":1,"value":1}`, `neither value`},
	}
	for _, tt := range tests {
		c, err := savepoint.ParseChanges(strings.NewReader(tt.change))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Edit().Apply(t.Context(), c[0]); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.change, err, tt.want)
		}
	}
	if _, err := savepoint.ParseChanges(strings.NewReader(`{"uid":"agg","vlaue":1}`)); err == nil || !strings.Contains(err.Error(), "vlaue") {
		t.Errorf("unknown field: %v", err)
	}
}

// TestApplyUnknownHash: where keys are not hashed as the library does it, a key that is there keeps its hash and a new one is refused.
func TestApplyUnknownHash(t *testing.T) {
	b := savepoint.NewBuilder("", 8)
	d, err := savepoint.NewState("s", state.KindValue, "", savepoint.Codecs[string, int64]{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Declare("op", d)
	for i, k := range []string{"a", "b"} {
		key, _ := serde.MustFor[string]().Append(nil, k)
		b.Set("op", "s", savepoint.Entry{Entry: state.Entry{Key: key, Value: []byte{2}, Hash: uint64(i+1) << 40}})
	}
	e := write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{}).Edit()
	apply := func(key string) error {
		return e.Apply(context.Background(), savepoint.Change{UID: "op", State: "s", Key: json.RawMessage(key), Value: json.RawMessage("9")})
	}
	if err := apply(`"b"`); err != nil {
		t.Error(err)
	}
	if err := apply(`"c"`); err == nil || !strings.Contains(err.Error(), "hashes") {
		t.Errorf("a new key: %v, want an error about hashes", err)
	}
	found := 0
	err = write(t, e, checkpoint.Dir(t.TempDir()), savepoint.Options{}).Entries(t.Context(), "op", func(e *savepoint.Entry) error {
		if string(e.Key) == "\x02b" && e.Hash == 2<<40 && string(e.Value) == "\x12" {
			found++
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("the changed entry is there %d times, %v, want once", found, err)
	}
}

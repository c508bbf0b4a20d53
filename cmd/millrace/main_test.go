package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// millrace runs the command and returns its exit status and what it has written.
func millrace(t *testing.T, in string, args ...string) (status int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), args, streams{in: strings.NewReader(in), out: &o, err: &e})
	return status, o.String(), e.String()
}

// must is millrace that has to end with the given status.
func must(t *testing.T, want int, args ...string) string {
	t.Helper()
	status, out, errs := millrace(t, "", args...)
	if status != want {
		t.Fatalf("%q ends with %d, want %d: %s%s", args, status, want, out, errs)
	}
	return out
}

// made is a savepoint with three customers, a timer and a position, in a folder of its own.
func made(t *testing.T) string {
	t.Helper()
	b := savepoint.NewBuilder("orders", 128)
	totals, err := savepoint.NewState("total", state.KindValue, "", savepoint.Codecs[string, int64]{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	timers, err := savepoint.NewState("timers", state.KindTimers, "", savepoint.Codecs[string, int64]{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Declare("customers", totals)
	b.Declare("customers", timers)
	e := savepoint.EditState(b, "customers", "total", savepoint.Codecs[string, int64]{})
	for i, k := range []string{"ann", "bob", "carl"} {
		e.Set(k, int64(i)*10, time.UnixMilli(1_800_000_000_000))
	}
	savepoint.EditState(b, "customers", "timers", savepoint.Codecs[string, int64]{}).SetTimer("bob", state.EventTime, time.UnixMilli(5))
	b.Operator("customers").WatermarkMS = 42
	b.Operator("kafka").Splits = []checkpoint.SplitState{{ID: "orders-0", Position: []byte("offset 7")}}
	dir := filepath.Join(t.TempDir(), "sp", "monday")
	if _, err := b.Write(t.Context(), checkpoint.Dir(dir), savepoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInspect(t *testing.T) {
	dir := made(t)
	out := must(t, 0, "savepoint", "inspect", dir)
	for _, want := range []string{`portable savepoint of job "orders"`, `128 key groups`, `operator "customers"`, `watermark     42 (1970-01-01T00:00:00.042Z)`,
		`state "total": value, 3 entries`, `key         "string"`, `value       "long"`, `expires     1h0m0s after the last write, by processing time`,
		`state "timers": timers, 1 entries`, `split         orders-0 at offset 7`, `watermark     none`} {
		if !strings.Contains(out, want) {
			t.Errorf("inspect lacks %q:\n%s", want, out)
		}
	}
	var sum savepoint.Summary
	if err := json.Unmarshal([]byte(must(t, 0, "savepoint", "inspect", "-json", dir)), &sum); err != nil || len(sum.Operators) != 2 || sum.Operators[0].States[1].Entries != 3 {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestExport(t *testing.T) {
	dir := made(t)
	lines := strings.Split(strings.TrimSpace(must(t, 0, "savepoint", "export", "-quiet", dir)), "\n")
	if len(lines) != 4 {
		t.Errorf("export gives %q, want 4 lines", lines)
	}
	// The key group by the definition: the high 32 bits of the hash times the number of groups.
	group := int((serde.HashOf(serde.MustFor[string]())("bob") >> 32) * 128 >> 32)
	want := `{"uid":"customers","state":"total","group":` + itoa(group) + `,"key":"bob","value":10,"expires_ms":1800000000000}`
	for _, args := range [][]string{{"-key", "bob", "-state", "total"}, {"-key", `"bob"`, "-state", "total"}} {
		args = append(append([]string{"savepoint", "export", "-quiet", "-uid", "customers"}, args...), dir)
		if got := strings.TrimSpace(must(t, 0, args...)); got != want {
			t.Errorf("%q gives %s, want %s", args, got, want)
		}
	}
	file := filepath.Join(t.TempDir(), "out")
	must(t, 0, "savepoint", "export", "-o", file, dir)
	if data, err := os.ReadFile(file); err != nil || strings.Count(string(data), "\n") != 4 {
		t.Errorf("the file holds %s, %v", data, err)
	}
	must(t, exitFailed, "savepoint", "export", "-o", file, dir) // it is there
	must(t, exitFailed, "savepoint", "export", "-state", "nothing", dir)
	must(t, exitFailed, "savepoint", "export", "-uid", "nobody", dir)
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestEditAndDiff(t *testing.T) {
	dir := made(t)
	to := filepath.Join(t.TempDir(), "tuesday")
	changes := `{"uid":"buyers","state":"total","key":"dora","value":40}` + "\n" + `{"uid":"buyers","state":"total","key":"ann","delete":true}`
	status, out, errs := millrace(t, changes, "savepoint", "edit", "-quiet", "-changes", "-", "-rename", "customers=buyers", "-drop", "kafka",
		"-set", `{"uid":"buyers","state":"total","key":"bob","value":11}`, "-delete", `{"uid":"buyers","state":"timers","key":"bob"}`, dir, to)
	if status != 0 || !strings.HasSuffix(strings.TrimSpace(out), "/tuesday") {
		t.Fatalf("edit: %d, %s%s", status, out, errs)
	}
	got := must(t, exitFound, "savepoint", "diff", "-quiet", "-rename", "customers=buyers", dir, to)
	for _, want := range []string{`operator "customers", "buyers" in the second`, `state "total": 1 equal, 1 added, 1 removed, 1 changed`, `state "timers": 0 equal, 0 added, 1 removed`,
		`"key":"bob","value":10,`, `"key":"bob","value":11}`, `+ {"uid":"buyers"`, `- {"uid":"customers"`, `operator "kafka": only in the first`} {
		if !strings.Contains(got, want) {
			t.Errorf("diff lacks %q:\n%s", want, got)
		}
	}
	var d savepoint.Difference
	if err := json.Unmarshal([]byte(must(t, exitFound, "savepoint", "diff", "-json", "-quiet", dir, to)), &d); err != nil || d.Same() {
		t.Errorf("%+v, %v", d, err)
	}
	if got := must(t, 0, "savepoint", "diff", "-quiet", dir, dir); !strings.Contains(got, "no difference") {
		t.Errorf("diff with itself: %s", got)
	}
	again := filepath.Join(t.TempDir(), "again")
	must(t, 0, "savepoint", "create", "-quiet", "-codec", "deflate", to, again)
	must(t, 0, "savepoint", "diff", "-quiet", to, again)
	must(t, exitFailed, "savepoint", "create", "-quiet", to, again) // it is there
}

func TestVerify(t *testing.T) {
	dir := made(t)
	if out := must(t, 0, "savepoint", "verify", dir); !strings.Contains(out, "4 entries: 0 faults") {
		t.Errorf("verify: %s", out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*total*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-20] ^= 1
	if err := os.WriteFile(files[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := must(t, exitFound, "savepoint", "verify", dir); !strings.Contains(out, filepath.Base(files[0])) || !strings.Contains(out, "1 faults") {
		t.Errorf("verify of a damaged file: %s", out)
	}
	var v struct{ Faults []struct{ Object string } }
	if err := json.Unmarshal([]byte(must(t, exitFound, "savepoint", "verify", "-json", dir)), &v); err != nil || len(v.Faults) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	must(t, exitFailed, "savepoint", "export", "-quiet", dir)
}

func TestUsage(t *testing.T) {
	tests := []struct {
		want string
		args []string
	}{
		{"command is missing", nil},
		{`"what"`, []string{"what"}},
		{"needs a command", []string{"savepoint"}},
		{"savepoint what", []string{"savepoint", "what"}},
		{"want URI", []string{"savepoint", "inspect"}},
		{"want URI and URI", []string{"savepoint", "diff", "a"}},
		{"-no", []string{"savepoint", "verify", "-no", "a"}},
		{"OLD=NEW", []string{"savepoint", "diff", "-rename", "x", "a", "b"}},
		{"-samples", []string{"savepoint", "diff", "-samples", "0", "a", "b"}},
		{"-key needs -uid", []string{"savepoint", "export", "-key", "x", "a"}},
		{"lzma", []string{"savepoint", "create", "-codec", "lzma", "a", "b"}},
		{"not one change", []string{"savepoint", "edit", "-set", "{", "a", "b"}},
		{"vlaue", []string{"savepoint", "edit", "-set", `{"vlaue":1}`, "a", "b"}},
	}
	for _, tt := range tests {
		if status, out, errs := millrace(t, "", tt.args...); status != exitUsage || out != "" || !strings.Contains(errs, tt.want) || !strings.Contains(errs, "inspect [-json]") {
			t.Errorf("%q: %d, %q, %q, want status 2, the usage and %q on standard error", tt.args, status, out, errs, tt.want)
		}
	}
	for _, args := range [][]string{{"help"}, {"savepoint", "edit", "-h"}} {
		if out := must(t, 0, args...); !strings.Contains(out, "savepoint edit") {
			t.Errorf("%q: %s", args, out)
		}
	}
	if status, _, errs := millrace(t, "", "savepoint", "inspect", filepath.Join(t.TempDir(), "nothing")); status != exitFailed || !strings.Contains(errs, "no completed checkpoint") {
		t.Errorf("inspect of nothing: %d, %s", status, errs)
	}
	if got := bytesText(1_234_567); got != "1.2 MB" || bytesText(999) != "999 B" {
		t.Errorf("1234567 bytes are %s, 999 are %s", got, bytesText(999))
	}
}

package serde

import (
	"fmt"
	"strings"
	"testing"
)

// rec is a record schema named R with the given fields.
func rec(fields ...string) string {
	return `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`
}

func fld(name, typ string, more ...string) string {
	return fmt.Sprintf(`{"name":%q,"type":%s%s}`, name, typ, strings.Join(append([]string{""}, more...), ","))
}

const (
	suits     = `{"type":"enum","name":"Suit","symbols":["A","B"]}`
	suitsMore = `{"type":"enum","name":"Suit","symbols":["A","B","C","D"]}`
	suitsDef  = `{"type":"enum","name":"Suit","symbols":["A","B"],"default":"A"}`
)

type checkCase struct {
	name, reader, writer string
	want                 []string
}

// checkCases are the rows of TestCheck.
// Origin: each is read off the section "Schema Resolution" of the Avro specification 1.12.
func checkCases() []checkCase {
	profile := func(fields ...string) string {
		return rec(fld("profile", `{"type":"record","name":"P","fields":[`+strings.Join(fields, ",")+`]}`))
	}
	return []checkCase{
		{"equal", rec(fld("a", `"int"`)), rec(fld("a", `"int"`)), nil},
		{"int to long, float, double", `"double"`, `"int"`, nil},
		{"long to float", `"float"`, `"long"`, nil},
		{"float to double", `"double"`, `"float"`, nil},
		{"string to bytes", `"bytes"`, `"string"`, nil},
		{"bytes to string", `"string"`, `"bytes"`, nil},
		{"long to int", `"int"`, `"long"`, []string{"outermost type: writer has long, reader int (type)"}},
		{"double to float", `"float"`, `"double"`, []string{"outermost type: writer has double, reader float (type)"}},
		{"boolean to int", `"int"`, `"boolean"`, []string{"outermost type: writer has boolean, reader int (type)"}},
		{"field removed", rec(), rec(fld("a", `"int"`)), nil},
		{"field reordered", rec(fld("a", `"int"`), fld("b", `"string"`)), rec(fld("b", `"string"`), fld("a", `"int"`)), nil},
		{"field added with default", rec(fld("a", `"int"`, `"default":1`)), rec(), nil},
		{"field added without default", profile(fld("limit", `"int"`)), profile(),
			[]string{"field profile.limit: no default and missing in the writer (missing field)"}},
		{"all faults at once", rec(fld("a", `"int"`), fld("b", `"int"`), fld("c", `"int"`)), rec(fld("c", `"string"`)), []string{
			"field c: writer has string, reader int (type)",
			"field a: no default and missing in the writer (missing field)",
			"field b: no default and missing in the writer (missing field)"}},
		{"field renamed by alias", rec(fld("new", `"int"`, `"aliases":["old"]`)), rec(fld("old", `"int"`)), nil},
		{"field renamed without alias", rec(fld("new", `"int"`)), rec(fld("old", `"int"`)),
			[]string{"field new: no default and missing in the writer (missing field)"}},
		{"record renamed", `{"type":"record","name":"S","fields":[]}`, rec(),
			[]string{`outermost type: writer has record R, reader record S; add "R" to the reader's aliases (name)`}},
		{"record renamed by alias", `{"type":"record","name":"S","aliases":["R"],"fields":[]}`, rec(), nil},
		{"record in another namespace", `{"type":"record","name":"x.y.R","fields":[]}`, rec(), nil},
		{"enum grows", suits, suitsMore,
			[]string{"outermost type: writer has the symbols [C D], which enum Suit lacks, and it has no default (enum symbol)"}},
		{"enum grows, reader has a default", suitsDef, suitsMore, nil},
		{"enum shrinks", suitsMore, suits, nil},
		{"fixed size", `{"type":"fixed","name":"F","size":4}`, `{"type":"fixed","name":"F","size":5}`,
			[]string{"outermost type: writer has 5 bytes, reader 4 (fixed size)"}},
		{"array items", `{"type":"array","items":"int"}`, `{"type":"array","items":"string"}`,
			[]string{"field []: writer has string, reader int (type)"}},
		{"map values", rec(fld("m", `{"type":"map","values":"int"}`)), rec(fld("m", `{"type":"map","values":"string"}`)),
			[]string{"field m{}: writer has string, reader int (type)"}},
		{"type to union", `["null","int"]`, `"int"`, nil},
		{"type to union by promotion", `["null","double"]`, `"int"`, nil},
		{"type to union without it", `["null","int"]`, `"string"`,
			[]string{"outermost type: writer can hold string, which is no branch of the reader's union of null, int (union branch)"}},
		{"union to type", `"int"`, `["null","int"]`,
			[]string{"outermost type: writer's union of null, int can hold null: writer has null, reader int (union branch)"}},
		{"union to smaller union", `["null","int"]`, `["null","int","string"]`,
			[]string{"outermost type: writer can hold string, which is no branch of the reader's union of null, int (union branch)"}},
		{"records in unions", `["null",` + rec(fld("a", `"int"`)) + `]`, `["null",` + rec() + `]`,
			[]string{"field a: no default and missing in the writer (missing field)"}},
		{"milliseconds as microseconds", `{"type":"long","logicalType":"timestamp-micros"}`, `{"type":"long","logicalType":"timestamp-millis"}`,
			[]string{"outermost type: writer has long (timestamp-millis), reader long (timestamp-micros) (logical type)"}},
		{"plain long as milliseconds", `{"type":"long","logicalType":"timestamp-millis"}`, `"long"`, nil},
		{"unknown logical type", `{"type":"long","logicalType":"ticks"}`, `{"type":"long","logicalType":"timestamp-millis"}`, nil},
		{"decimal scale", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, `{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}`,
			[]string{"outermost type: writer has precision 9 and scale 3, reader precision 9 and scale 2; the scale must be equal and the precision no smaller (decimal)"}},
		{"reader is no schema", `{"type":"record"}`, `"int"`, []string{`outermost type: reader: serde: schema: name "" is empty or has an empty part (schema)`}},
		{"writer is no JSON", `"int"`, `{`, []string{"outermost type: writer: serde: schema is no JSON: unexpected EOF (schema)"}},
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range checkCases() {
		t.Run(tt.name, func(t *testing.T) {
			got := Check(tt.reader, tt.writer)
			var texts []string
			for _, f := range got {
				texts = append(texts, f.Error())
			}
			if g, w := strings.Join(texts, "\n"), strings.Join(tt.want, "\n"); g != w {
				t.Errorf("Check(%s, %s)\ngot:\n%s\nwant:\n%s", tt.reader, tt.writer, g, w)
			}
		})
	}
}

func TestCheckRecursiveSchemas(t *testing.T) {
	node := func(more string) string {
		return `{"type":"record","name":"N","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","N"]}` + more + `]}`
	}
	if got := Check(node(""), node("")); got != nil {
		t.Errorf("equal: %v", got)
	}
	// This pair ends hamba/avro's SchemaCompatibility.Resolve with an overflow of the stack, and so the process.
	if got := Check(node(`,{"name":"x","type":"int","default":0}`), node("")); got != nil {
		t.Errorf("field with default: %v", got)
	}
	got := Check(node(`,{"name":"x","type":"int"}`), node(""))
	if len(got) != 1 || got[0].Path != "x" || got[0].Rule != RuleMissing {
		t.Errorf("field without default: %v, want one missing field x", got)
	}
	// A record that holds itself has no finite value, but it parses.
	self := `{"type":"record","name":"S","fields":[{"name":"s","type":"S"}]}`
	if got := Check(self, self); got != nil {
		t.Errorf("record within itself: %v", got)
	}
}

func TestCheckMode(t *testing.T) {
	v1, v2, v3 := rec(fld("a", `"int"`)), rec(fld("a", `"long"`)), rec(fld("a", `"long"`), fld("b", `"int"`, `"default":0`))
	tests := []struct {
		mode    Mode
		next    string
		earlier []string
		want    string
	}{
		{None, `"int"`, []string{v1}, ""},
		{Backward, v3, []string{v1, v2}, ""},
		{Forward, v3, []string{v1, v2}, ""},
		{Full, v3, []string{v1, v2}, ""},
		{BackwardTransitive, v3, []string{v1, v2}, ""},
		{ForwardTransitive, v3, []string{v1, v2}, "0: earlier readers of new data: field a: writer has long, reader int (type)"},
		{FullTransitive, v3, []string{v1, v2}, "0: earlier readers of new data: field a: writer has long, reader int (type)"},
		{Backward, v1, []string{v2}, "0: field a: writer has long, reader int (type)"},
		{Backward, v1, nil, ""},
	}
	for _, tt := range tests {
		var texts []string
		for _, f := range CheckMode(tt.mode, tt.next, tt.earlier) {
			texts = append(texts, fmt.Sprintf("%d: %v", f.Earlier, f))
		}
		if got := strings.Join(texts, "\n"); got != tt.want {
			t.Errorf("CheckMode(%s, %s, %v) = %q, want %q", tt.mode, tt.next, tt.earlier, got, tt.want)
		}
	}
	if err := Mode("SIDEWAYS").Validate(); err == nil || !strings.Contains(err.Error(), "SIDEWAYS") {
		t.Errorf("unknown mode: %v", err)
	}
}

package serde

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	enum := func(symbols string) string { return `{"type":"enum","name":"E","symbols":[` + symbols + `]}` }
	for _, c := range []struct{ name, reader, writer, want string }{
		{"equal", rec(fld("a", `"int"`)), rec(fld("a", `"int"`)), "[]"},
		{"promoted", `"long"`, `"int"`, "[promoted, int to long]"},
		{"added", rec(fld("a", `"int"`, `"default":1`)), rec(), "[field a: added, 1 in old data]"},
		{"removed", rec(), rec(fld("a", `"int"`)), "[field a: removed, was int]"},
		{"renamed", rec(fld("b", `"int"`, `"aliases":["a"]`)), rec(fld("a", `"int"`)), "[field b: renamed, was a]"},
		{"record renamed", `{"type":"record","name":"S","aliases":["R"],"fields":[]}`, rec(), "[renamed, record R to S]"},
		{"reordered", rec(fld("a", `"int"`), fld("b", `"int"`)), rec(fld("b", `"int"`), fld("a", `"int"`)), "[reordered]"},
		{"union", `["null","int"]`, `"int"`, "[union, int to union of null, int]"},
		{"within a union", `["null","long"]`, `["null","int"]`, "[union, union of null, int to union of null, long promoted, int to long]"},
		{"symbols", enum(`"A","B"`), enum(`"B"`), "[enum symbols, [B] to [A B]]"},
		{"nested", rec(fld("a", `{"type":"array","items":"long"}`)), rec(fld("a", `{"type":"array","items":"int"}`)), "[field a[]: promoted, int to long]"},
		{"metadata", rec(fld("a", `"int"`, `"default":1`)), rec(fld("a", `"int"`)), "[metadata only]"},
		{"recursive", linkedV2, linkedV1, "[field v: promoted, int to long field n: added, \"d\" in old data]"},
	} {
		got, err := Diff(c.reader, c.writer)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v, want %s", c.name, got, err, c.want)
		}
	}
	if _, err := Diff("opaque:x", `"int"`); err == nil {
		t.Error("a schema that is none has a difference")
	}
}

func TestSameEncodingAndOneToOne(t *testing.T) {
	enum := func(symbols string) string {
		return `{"type":"enum","name":"E","symbols":[` + symbols + `],"default":"A"}`
	}
	millis := `{"type":"long","logicalType":"timestamp-millis"}`
	for _, c := range []struct {
		name, reader, writer string
		same, one            bool
	}{
		{"equal", `"int"`, `"int"`, true, true},
		{"int to long", `"long"`, `"int"`, true, true},
		{"string to bytes", `"bytes"`, `"string"`, true, true},
		{"int to double", `"double"`, `"int"`, false, true},
		{"long to double", `"double"`, `"long"`, false, false},
		{"float to double", `"double"`, `"float"`, false, true},
		{"long to time", millis, `"long"`, false, false},
		{"alias", rec(fld("b", `"int"`, `"aliases":["a"]`)), rec(fld("a", `"int"`)), true, true},
		{"default", rec(fld("a", `"int"`, `"default":1`)), rec(fld("a", `"int"`)), true, true},
		{"field added", rec(fld("a", `"int"`, `"default":1`)), rec(), false, true},
		{"field removed", rec(), rec(fld("a", `"int"`)), false, false},
		{"reordered", rec(fld("a", `"int"`), fld("b", `"int"`)), rec(fld("b", `"int"`), fld("a", `"int"`)), false, true},
		{"enum grown at its end", enum(`"A","B","C"`), enum(`"A","B"`), true, true},
		{"enum grown in front", enum(`"X","A"`), enum(`"A"`), false, true},
		{"enum shrunk", enum(`"A"`), enum(`"A","B"`), false, false},
		{"type to union", `["null","int"]`, `"int"`, false, true},
		{"two branches to one", `"long"`, `["int","long"]`, false, false},
		{"recursive", linkedV1, linkedV1, true, true},
		{"recursive, field added", linkedV2, linkedV1, false, true},
		{"no schema", "opaque:a", "opaque:b", false, false},
	} {
		if got := SameEncoding(c.reader, c.writer); got != c.same {
			t.Errorf("%s: SameEncoding is %v", c.name, got)
		}
		if got := OneToOne(c.reader, c.writer); got != c.one {
			t.Errorf("%s: OneToOne is %v", c.name, got)
		}
	}
}

// TestPropertyDiffOfEqual: a schema differs from itself in nothing, whatever it is, and the three functions end on all pairs.
func TestPropertyDiffOfEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var texts [2]string
		for i := range texts {
			raw, err := json.Marshal(drawSchema(t, "x", 3))
			if err != nil {
				t.Fatal(err)
			}
			n, err := parseSchema(string(raw))
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = n.json()
		}
		if d, err := Diff(texts[0], texts[0]); err != nil || d != nil {
			t.Fatalf("%s differs from itself in %v, %v", texts[0], d, err)
		}
		if !SameEncoding(texts[0], texts[0]) || !OneToOne(texts[0], texts[0]) {
			t.Fatalf("%s is not encoded as itself", texts[0])
		}
		d, err := Diff(texts[0], texts[1])
		if err != nil || (len(d) == 0) != (texts[0] == texts[1]) {
			t.Fatalf("%s and %s differ in %v, %v", texts[0], texts[1], d, err)
		}
		if SameEncoding(texts[0], texts[1]) && len(Check(texts[0], texts[1])) > 0 {
			t.Fatalf("%s and %s have the same encoding and cannot be read", texts[0], texts[1])
		}
	})
}

package serde

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"
)

// drawSchema makes a random schema without recursion. Named types are named by their place, so that two schemas drawn for one place can
// match.
func drawSchema(t *rapid.T, place string, depth int) any {
	kinds := []string{"record"}
	if place != "x" { // the outermost type is always a record, so that few pairs end there
		kinds = []string{"int", "long", "float", "double", "string", "bytes"}
	}
	if depth > 0 && place != "x" {
		kinds = append(kinds, "enum", "fixed", "array", "map", "union", "record", "record", "record")
	}
	switch k := rapid.SampledFrom(kinds).Draw(t, place); k {
	case "enum":
		symbols := []string{"A", "B", "C"}[:rapid.IntRange(1, 3).Draw(t, "symbols")]
		m := map[string]any{"type": k, "name": "E" + place, "symbols": symbols}
		if rapid.Bool().Draw(t, "default?") {
			m["default"] = "A"
		}
		return m
	case "fixed":
		return map[string]any{"type": k, "name": "F" + place, "size": rapid.IntRange(2, 3).Draw(t, "size")}
	case "array":
		return map[string]any{"type": k, "items": drawSchema(t, place+"i", depth-1)}
	case "map":
		return map[string]any{"type": k, "values": drawSchema(t, place+"v", depth-1)}
	case "union":
		list := []any{"null", drawSchema(t, place+"u", 0)}
		if rapid.Bool().Draw(t, "three?") {
			list = append(list, map[string]any{"type": "array", "items": drawSchema(t, place+"w", depth-1)})
		}
		return list
	case "record":
		fields := []any{}
		// The field a was called d once. Both in one writer would be ambiguous, and implementations differ there.
		first := rapid.SampledFrom([]string{"a", "d"}).Draw(t, "first")
		for _, name := range rapid.Permutation([]string{first, "b", "c"}).Draw(t, "order")[:rapid.IntRange(0, 3).Draw(t, "fields")] {
			f := map[string]any{"name": name}
			switch rapid.IntRange(0, 3).Draw(t, "how") {
			case 0:
				f["type"], f["default"] = "int", 1
			default:
				f["type"] = drawSchema(t, place+strings.Replace(name, "d", "a", 1), depth-1)
			}
			if name == "a" {
				f["aliases"] = []string{"d"}
			}
			fields = append(fields, f)
		}
		return map[string]any{"type": k, "name": "R" + place, "fields": fields}
	default:
		return k
	}
}

// TestPropertyCheckOracle compares the verdict of Check with that of hamba/avro's compatibility check.
func TestPropertyCheckOracle(t *testing.T) {
	compatible, pairs := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var texts [2]string
		var schemas [2]avro.Schema
		for i := range texts {
			raw, err := json.Marshal(drawSchema(t, "x", 3))
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(raw)
			if schemas[i], err = avro.ParseWithCache(texts[i], "", &avro.SchemaCache{}); err != nil {
				t.Fatal(err)
			}
		}
		found := Check(texts[0], texts[1])
		want := avro.NewSchemaCompatibility().Compatible(schemas[0], schemas[1])
		if pairs++; want == nil {
			compatible++
		}
		if (len(found) == 0) != (want == nil) {
			t.Fatalf("reader %s\nwriter %s\nCheck: %v\nhamba: %v", texts[0], texts[1], joined(found), want)
		}
		for _, f := range found {
			if f.Rule == "" || strings.Contains(f.Path, "..") {
				t.Fatalf("%+v", f)
			}
		}
	})
	if compatible == 0 || compatible == pairs {
		t.Errorf("%d of %d pairs are compatible: the comparison is empty", compatible, pairs)
	}
	t.Logf("%d of %d pairs are compatible", compatible, pairs)
}

package serde

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"
)

func mustRaw(t testing.TB, schema string) *Raw {
	t.Helper()
	r, err := ParseRaw(schema)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRawJSON: both ways, by hand.
func TestRawJSON(t *testing.T) {
	// Origin: encodings by hand from the Avro specification; texts from the documentation of AppendJSON.
	tests := []struct{ name, schema, data, text string }{
		{"null", `"null"`, "", `null`},
		{"boolean", `"boolean"`, "01", `true`},
		{"int", `"int"`, "01", `-1`},
		{"long", `"long"`, "ffffffffffffffffff01", `-9223372036854775808`},
		{"double", `"double"`, "000000000000f83f", `1.5`},
		{"infinite float", `"float"`, "000080ff", `"-Infinity"`},
		{"not a number", `"double"`, "010000000000f87f", `"NaN"`},
		{"string", `"string"`, "0622c3a9", `"\"é"`},
		{"bytes", `"bytes"`, "0400ff", `"AP8="`},
		{"fixed", `{"type":"fixed","name":"F","size":3}`, "010203", `"AQID"`},
		{"enum", `{"type":"enum","name":"E","symbols":["A","B"]}`, "02", `"B"`},
		{"record", rec(fld("a", `"long"`), fld("b", `"string"`)), "36 06666f6f", `{"a":27,"b":"foo"}`},
		{"array", `{"type":"array","items":"long"}`, "04 06 36 00", `[3,27]`},
		{"empty array", `{"type":"array","items":"long"}`, "00", `[]`},
		{"map", `{"type":"map","values":"long"}`, "04 0261 02 0262 04 00", `{"a":1,"b":2}`},
		{"optional null", `["null","string"]`, "00", `null`},
		{"optional value", `["null","string"]`, "020261", `"a"`},
		{"optional in another order", `["string","null"]`, "000261", `"a"`},
		{"union", `["null","string","long"]`, "0402", `{"long":1}`},
		{"union of a named type", `["null","string",{"type":"enum","name":"n.E","symbols":["A"]}]`, "0400", `{"n.E":"A"}`},
		{"null of a union", `["null","string","long"]`, "00", `null`},
		{"decimal", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, "02fb", `"-0.05"`},
		{"decimal of two bytes", `{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}`, "0404d2", `"12.34"`},
		{"decimal in fixed", `{"type":"fixed","name":"D","size":3,"logicalType":"decimal","precision":6,"scale":0}`, "ffff7f", `"-129"`},
		{"timestamp", `{"type":"long","logicalType":"timestamp-millis"}`, "01", `"1969-12-31T23:59:59.999Z"`},
		{"microseconds", `{"type":"long","logicalType":"timestamp-micros"}`, "02", `"1970-01-01T00:00:00.000001Z"`},
		{"nanoseconds", `{"type":"long","logicalType":"timestamp-nanos"}`, "02", `"1970-01-01T00:00:00.000000001Z"`},
		{"timestamp beyond years", `{"type":"long","logicalType":"timestamp-millis"}`, "feffffffffffffffff01", `9223372036854775807`},
		{"date", `{"type":"int","logicalType":"date"}`, "01", `"1969-12-31"`},
		{"uuid", `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, "00112233445566778899aabbccddeeff", `"00112233-4455-6677-8899-aabbccddeeff"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(tt.data, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			r := mustRaw(t, tt.schema)
			got, err := r.AppendJSON([]byte("x"), data)
			if err != nil || string(got) != "x"+tt.text {
				t.Errorf("AppendJSON(%x) = %s, %v, want x%s", data, got, err, tt.text)
			}
			back, err := r.ParseJSON([]byte("x"), []byte(tt.text))
			if err != nil || string(back) != "x"+string(data) {
				t.Errorf("ParseJSON(%s) = %x, %v, want %x behind an x", tt.text, back, err, data)
			}
			var s Scanner
			s.Reset(append(bytes.Clone(data), 7))
			if v, err := s.Next(r); err != nil || !bytes.Equal(v, data) || s.Left() != 1 || s.Offset() != len(data) {
				t.Errorf("Next = %x, %v with %d left, want %x and 1 left", v, err, s.Left(), data)
			}
		})
	}
}

// TestRawParseJSONTakesMore: forms that are read and never written.
func TestRawParseJSONTakesMore(t *testing.T) {
	tests := []struct{ name, schema, text, want string }{
		{"branch of an optional", `["null","string"]`, `{"string":"a"}`, "020261"},
		{"a record that looks like a branch", `["null",` + rec(fld("string", `"long"`)) + `]`, `{"string":1}`, "0202"},
		{"number for a time", `{"type":"long","logicalType":"timestamp-millis"}`, `7`, "0e"},
		{"other zone", `{"type":"long","logicalType":"timestamp-millis"}`, `"1970-01-01T01:00:00.001+01:00"`, "02"},
		{"default", rec(fld("a", `"long"`), fld("b", `"string"`, `"default":"x"`)), `{"a":0}`, "000278"},
		{"order of fields", rec(fld("a", `"long"`), fld("b", `"long"`)), `{"b":2,"a":1}`, "0204"},
	}
	for _, tt := range tests {
		got, err := mustRaw(t, tt.schema).ParseJSON(nil, []byte(tt.text))
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%s: ParseJSON(%s) = %x, %v, want %s", tt.name, tt.text, got, err, tt.want)
		}
	}
}

func TestRawParseJSONRefuses(t *testing.T) {
	tests := []struct{ schema, text, names string }{
		{`"long"`, `1.5`, "1.5"},
		{`"int"`, `2147483648`, "2147483648"},
		{`"long"`, `"x"`, `"x"`},
		{`"long"`, `1 2`, "more text"},
		{`"long"`, `{`, "JSON"},
		{`"string"`, `1`, "1"},
		{`"bytes"`, `"*"`, "base64"},
		{`{"type":"fixed","name":"F","size":3}`, `"AQI="`, "2 bytes"},
		{`{"type":"enum","name":"E","symbols":["A"]}`, `"B"`, `"B"`},
		{rec(fld("a", `"long"`)), `{}`, `"a"`},
		{rec(fld("a", `"long"`)), `{"a":1,"limti":2}`, `"limti"`},
		{rec(fld("a", `{"type":"array","items":"long"}`)), `{"a":[1,"x"]}`, `element 1`},
		{`{"type":"map","values":"long"}`, `{"k":null}`, `"k"`},
		{`["null","string","long"]`, `"x"`, `branch`},
		{`["null","string"]`, `1`, `1`},
		{`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `"1.234"`, "2 digits"},
		{`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `"123.4"`, "4 digits"},
		{`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `"1_0.4"`, "decimal"},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"1970-01-01T00:00:00.0001Z"`, "finer"},
		{`{"type":"int","logicalType":"date"}`, `"1970-13-01"`, "1970-13-01"},
		{`"float"`, `"nan"`, `"nan"`},
	}
	for _, tt := range tests {
		got, err := mustRaw(t, tt.schema).ParseJSON([]byte("x"), []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.names) || string(got) != "x" {
			t.Errorf("ParseJSON(%s) of %s = %x, %v, want an error that names %s and nothing appended", tt.text, tt.schema, got, err, tt.names)
		}
	}
}

// TestRawEverything: what a Go type writes is shown and read back to the same bytes.
func TestRawEverything(t *testing.T) {
	s := mustAvro[everything](t)
	for _, v := range []everything{fullValue(), {Exact: nil, Out: "A", Level: "LOW", Millis: time.UnixMilli(0), Micros: time.UnixMilli(0), Nanos: time.Unix(0, 0), Day: time.UnixMilli(0)}} {
		data, err := s.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		r := mustRaw(t, s.Schema())
		text, err := r.AppendJSON(nil, data)
		if err != nil || !json.Valid(text) {
			t.Fatalf("AppendJSON = %s, %v, want JSON", text, err)
		}
		back, err := r.ParseJSON(nil, text)
		if err != nil || !bytes.Equal(back, data) {
			t.Errorf("ParseJSON(%s) = %x, %v, want %x", text, back, err, data)
		}
		if !r.HoldsMap() {
			t.Error("HoldsMap is false, want true")
		}
		for n := range data {
			if _, err := r.AppendJSON(nil, data[:n]); err == nil {
				t.Fatalf("AppendJSON of the first %d of %d bytes succeeds", n, len(data))
			}
		}
	}
}

// drawValue draws a value of a schema from drawSchema: its encoding, and how it reads as JSON, both by rules of the test's own.
func drawValue(t *rapid.T, schema any) ([]byte, any) {
	m, object := schema.(map[string]any)
	kind, _ := schema.(string)
	if object {
		kind, _ = m["type"].(string)
	}
	if list, ok := schema.([]any); ok {
		i := rapid.IntRange(0, len(list)-1).Draw(t, "branch")
		b, v := drawValue(t, list[i])
		if i > 0 && len(list) > 2 {
			name, _ := list[i].(string)
			if named, ok := list[i].(map[string]any); ok {
				if name, ok = named["name"].(string); !ok {
					name = named["type"].(string)
				}
			}
			v = map[string]any{name: v}
		}
		return append(binary.AppendVarint(nil, int64(i)), b...), v
	}
	switch kind {
	case "null":
		return nil, nil
	case "int":
		v := rapid.Int32().Draw(t, "int")
		return binary.AppendVarint(nil, int64(v)), float64(v)
	case "long":
		v := rapid.Int64Range(-1<<53, 1<<53).Draw(t, "long")
		return binary.AppendVarint(nil, v), float64(v)
	case "float":
		v := float32(rapid.Int16().Draw(t, "float")) / 4
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)), float64(v)
	case "double":
		v := rapid.Float64Range(-1e9, 1e9).Draw(t, "double")
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)), v
	case "string":
		v := rapid.String().Draw(t, "string")
		return append(binary.AppendVarint(nil, int64(len(v))), v...), v
	}
	return drawNested(t, kind, m)
}

func drawNested(t *rapid.T, kind string, m map[string]any) ([]byte, any) {
	encoded := func(b []byte) any { // base64, as encoding/json writes []byte
		text, _ := json.Marshal(b)
		return strings.Trim(string(text), `"`)
	}
	switch kind {
	case "bytes":
		v := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		return append(binary.AppendVarint(nil, int64(len(v))), v...), encoded(append([]byte{}, v...))
	case "fixed":
		n := m["size"].(int)
		v := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "fixed")
		return v, encoded(v)
	case "enum":
		symbols := m["symbols"].([]string)
		i := rapid.IntRange(0, len(symbols)-1).Draw(t, "symbol")
		return binary.AppendVarint(nil, int64(i)), symbols[i]
	case "array":
		var b []byte
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "blocks") { // each element in a block of its own
			e, v := drawValue(t, m["items"])
			b, list = append(append(b, 2), e...), append(list, v)
		}
		return append(b, 0), list
	case "map":
		var b []byte
		out := map[string]any{}
		for i := range rapid.IntRange(0, 3).Draw(t, "entries") {
			key := string(rune('a' + i))
			e, v := drawValue(t, m["values"])
			b, out[key] = append(append(append(b, 2, 2), key...), e...), v
		}
		return append(b, 0), out
	default: // record
		var b []byte
		out := map[string]any{}
		for _, f := range m["fields"].([]any) {
			f := f.(map[string]any)
			e, v := drawValue(t, f["type"])
			b, out[f["name"].(string)] = append(b, e...), v
		}
		return b, out
	}
}

// TestPropertyRaw: values of random schemas are cut out, shown and read back.
func TestPropertyRaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		schema := drawSchema(t, "x", 3)
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		data, want := drawValue(t, schema)
		r, err := ParseRaw(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var s Scanner
		s.Reset(append(bytes.Clone(data), "more"...))
		if v, err := s.Next(r); err != nil || !bytes.Equal(v, data) {
			t.Fatalf("Next = %x, %v, want %x of schema %s", v, err, data, text)
		}
		shown, err := r.AppendJSON(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(shown, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("AppendJSON = %s, %v, want %v of schema %s", shown, err, want, text)
		}
		back, err := r.ParseJSON(nil, shown)
		if err != nil {
			t.Fatalf("ParseJSON(%s): %v", shown, err)
		}
		// Blocks may be cut in another way: the value is what counts.
		again, err := r.AppendJSON(nil, back)
		if err != nil || !bytes.Equal(again, shown) {
			t.Fatalf("read back and shown again it is %s, %v, want %s", again, err, shown)
		}
	})
}

// TestRawHashes: among the candidates is what HashOf computes for the Go type, and it comes first for types that are common as keys.
func TestRawHashes(t *testing.T) {
	hashed(t, 0, "cust-7")
	hashed(t, 0, int64(-5))
	hashed(t, 0, int32(-5))
	hashed(t, 0, uint8(200))
	hashed(t, 0, uint64(math.MaxUint64))
	hashed(t, 0, uint64(12))
	hashed(t, 0, 1.25)
	hashed(t, 0, float32(1.25))
	hashed(t, 0, true)
	hashed(t, 0, outcome("C"))
	hashed(t, 0, [16]byte{1, 2})
	hashed(t, 0, UUID{3})
	hashed(t, 0, struct {
		A string
		B int64
	}{"x", 7})
	hashed(t, 0, time.UnixMilli(99).UTC())
}

func hashed[K comparable](t *testing.T, place int, k K) {
	t.Helper()
	s, err := For[K]()
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Append(nil, k)
	if err != nil {
		t.Fatal(err)
	}
	want := HashOf(s)(k)
	for i, f := range mustRaw(t, s.Schema()).Hashes() {
		if h, err := f(key); i == place && (err != nil || h != want) {
			t.Errorf("%T %v: hash %d is %x, %v, want %x", k, k, i, h, err, want)
		}
	}
}

// TestRecordSchema: the other implementation takes the schema, and reads what the fields' own schemas have written one after the other.
func TestRecordSchema(t *testing.T) {
	order := rec(fld("id", `"string"`))
	other := `{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"next","type":["null","R"]}]}`
	inside := `{"type":"record","name":"shop.Outer","fields":[{"name":"r","type":{"type":"record","name":"R","namespace":"","fields":[{"name":"x","type":"int"}]}}]}`
	schema, err := RecordSchema("row", RecordField{"key", order}, RecordField{"value", other}, RecordField{"more", inside}, RecordField{"n", `"null"`})
	if err != nil {
		t.Fatal(err)
	}
	var cache avro.SchemaCache
	parsed, err := avro.ParseWithCache(schema, "", &cache)
	if err != nil {
		t.Fatalf("hamba/avro refuses %s: %v", schema, err)
	}
	if _, err := ParseRaw(schema); err != nil {
		t.Errorf("ParseRaw refuses %s: %v", schema, err)
	}
	// "k"; {1, {2, null}}; {r: {x: -1}}
	data, _ := hex.DecodeString("026b" + "02" + "02" + "04" + "00" + "01")
	var got any
	if err := avro.Unmarshal(parsed, data, &got); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(got)
	for _, want := range []string{`"id":"k"`, `"n":1`, `"n":2`, `"x":-1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("hamba/avro reads %s, want %s in it", text, want)
		}
	}
	for _, bad := range [][]RecordField{{{"a b", `"int"`}}, {{"a", `"what"`}}} {
		if s, err := RecordSchema("row", bad...); err == nil {
			t.Errorf("RecordSchema(%v) = %s, want an error", bad, s)
		}
	}
}

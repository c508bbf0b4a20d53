package serde

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type account struct {
	_     struct{} `avro:"Account,alias=Customer"`
	ID    string   `avro:"id,alias=key"`
	Limit float64  `avro:"limit,default=2.5"`
	Grade string   `avro:"grade,enum=LOW|HIGH,enum-default=LOW,default=HIGH"`
	Note  *string  `avro:"note"`
	Tags  []string `avro:"tags,default=[\"new\"]"`
	N     int64    `avro:"n,default=7"`
}

func TestResolve(t *testing.T) {
	def := account{ID: "k", Limit: 2.5, Grade: "HIGH", Tags: []string{"new"}, N: 7}
	with := func(change func(a *account)) account {
		a := def
		change(&a)
		return a
	}
	customer := func(fields ...string) string {
		return `{"type":"record","name":"old.Customer","fields":[` + strings.Join(append([]string{`{"name":"key","type":"bytes"}`}, fields...), ",") + `]}`
	}
	grades := `{"type":"enum","name":"Account_grade","symbols":["MID","HIGH"]}`
	// Origin: bytes computed by hand from the writer's schema; "026b" is the key "k".
	tests := []struct {
		name, writer, data string
		want               account
	}{
		{"aliases and defaults", customer(), "026b", def},
		{"extra fields are skipped", customer(fld("x", `{"type":"array","items":{"type":"map","values":["null","double"]}}`), fld("n", `"int"`)),
			// array of 1: map of 1: "a" is branch 1, 0.0; end of map; end of array; n is -2
			"026b" + "02" + "02" + "0261" + "02" + "0000000000000000" + "00" + "00" + "03", with(func(a *account) { a.N = -2 })},
		{"int to double", customer(fld("limit", `"int"`)), "026b" + "06", with(func(a *account) { a.Limit = 3 })},
		{"float to double", customer(fld("limit", `"float"`)), "026b" + "0000803f", with(func(a *account) { a.Limit = 1 })},
		{"int to long", customer(fld("n", `"int"`)), "026b" + "01", with(func(a *account) { a.N = -1 })},
		{"unknown symbol", customer(fld("grade", grades)), "026b" + "00", with(func(a *account) { a.Grade = "LOW" })},
		{"symbol at another index", customer(fld("grade", grades)), "026b" + "02", def},
		{"plain to union", customer(fld("note", `"string"`)), "026b" + "0278", with(func(a *account) { a.Note = text("x") })},
		{"union in another order", customer(fld("note", `["string","null"]`)), "026b" + "00" + "0278", with(func(a *account) { a.Note = text("x") })},
		{"null of that union", customer(fld("note", `["string","null"]`)), "026b" + "02", def},
		{"union read by plain", customer(fld("n", `["null","int","string"]`)), "026b" + "02" + "04", with(func(a *account) { a.N = 2 })},
		{"negative block with size", customer(fld("tags", `{"type":"array","items":"string"}`)), "026b" + "01" + "04" + "0261" + "00",
			with(func(a *account) { a.Tags = []string{"a"} })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Resolve[account](tt.writer)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			var got account
			if err := s.Decode(raw, &got); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Decode(%x) = %+v, %v, want %+v", raw, got, err, tt.want)
			}
			// Defaults belong to each value alone.
			if len(got.Tags) > 0 {
				got.Tags[0] = "changed"
			}
			var again account
			if err := s.Decode(raw, &again); err != nil || !reflect.DeepEqual(again, tt.want) {
				t.Errorf("second Decode = %+v, %v, want %+v", again, err, tt.want)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	type reader struct {
		_    struct{} `avro:"R"`
		A    int32    `avro:"a"`
		B    string   `avro:"b"`
		Kids []reader `avro:"kids,default=[]"`
	}
	_, err := Resolve[reader](rec(fld("a", `"string"`)))
	var inc Incompatibility
	if !errors.As(err, &inc) || inc.Path != "a" || inc.Rule != RuleType {
		t.Errorf("%v, want a broken rule at a", err)
	}
	if err == nil || !strings.Contains(err.Error(), "field b: no default and missing in the writer") {
		t.Errorf("%v, want the second fault too", err)
	}
	_, err = Resolve[reader](`["null",` + rec() + `]`)
	if err == nil {
		t.Error("a union without a readable branch resolves")
	}
	s, err := Resolve[int32](`["null","int","string"]`)
	if err != nil {
		t.Fatal(err)
	}
	var v int32
	if err := s.Decode([]byte{0}, &v); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "branch 0 holds null") {
		t.Errorf("null branch read as int: %v", err)
	}
	if err := s.Decode([]byte{2, 8}, &v); err != nil || v != 4 {
		t.Errorf("int branch = %d, %v", v, err)
	}
}

// TestResolveAfterUnion: that a union forgives an unreadable branch must not hide the same fault where no union is.
func TestResolveAfterUnion(t *testing.T) {
	type part struct {
		A int32 `avro:"a"`
	}
	type whole struct {
		_ struct{} `avro:"W"`
		U *part    `avro:"u"`
		P part     `avro:"p"`
	}
	old := `{"type":"record","name":"part","fields":[{"name":"a","type":"string"}]}`
	_, err := Resolve[whole](`{"type":"record","name":"W","fields":[{"name":"u","type":["null",` + old + `]},{"name":"p","type":"part"}]}`)
	var fault Incompatibility
	if !errors.As(err, &fault) || fault.Rule != RuleType {
		t.Errorf("%v, want the fault in p", err)
	}
}

func TestResolveRecursive(t *testing.T) {
	writer := `{"type":"record","name":"list","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","list"]},{"name":"gone","type":["null","list"]}]}`
	type list struct {
		V     int64            `avro:"v"`
		Next  *list            `avro:"next"`
		Added map[string]*list `avro:"added,default={}"`
	}
	s, err := Resolve[list](writer)
	if err != nil {
		t.Fatal(err)
	}
	// By hand: v=1, next={v=2, null, null}, gone={v=3, null, null}.
	var got list
	if err := s.Decode([]byte{2, 2, 4, 0, 0, 2, 6, 0, 0}, &got); err != nil || !reflect.DeepEqual(got, list{V: 1, Next: &list{V: 2}}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWithSchema(t *testing.T) {
	schema := `{"type":"record","name":"test","fields":[{"name":"b","type":"string"},{"name":"extra","type":"int","default":5},{"name":"a","type":"int"}]}`
	s, err := Avro[specRecord](WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Append(nil, specRecord{A: 1, B: "x"})
	if err != nil || hex.EncodeToString(b) != "0278"+"0a"+"02" {
		t.Errorf("Append = %x, %v", b, err)
	}
	if _, err := s.Append(nil, specRecord{A: 1 << 40}); err == nil || !strings.Contains(err.Error(), "field a: 1099511627776 does not fit the schema's int") {
		t.Errorf("too large for int: %v", err)
	}
	for schema, want := range map[string]string{
		`"string"`:              "the schema has string, which a Go serde.specRecord cannot hold",
		rec(fld("a", `"long"`)): `the schema has no field "b"`,
		rec(fld("a", `"float"`), fld("b", `"string"`)):                   "field A: the schema has float, which a Go int64 cannot hold",
		rec(fld("a", `"long"`), fld("b", `"string"`), fld("c", `"int"`)): `the schema field "c" has no default`,
	} {
		if _, err := Avro[specRecord](WithSchema(schema)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("WithSchema(%s): %v, want %q", schema, err, want)
		}
	}
	if _, err := Avro[specRecord](WithSchema(schema), WithName("x")); err == nil {
		t.Error("WithSchema and WithName together give no error")
	}
}

func TestAppendErrorsLeaveDst(t *testing.T) {
	s := mustAvro[everything](t)
	v := fullValue()
	v.Level = "NONE"
	dst := []byte("keep")
	got, err := s.Append(dst, v)
	if err == nil || !strings.Contains(err.Error(), `field level: "NONE" is no symbol of enum everything_level [LOW HIGH]`) || string(got) != "keep" {
		t.Errorf("Append = %q, %v", got, err)
	}
	v = fullValue()
	v.List[1].Limit = mustDecimal("0.001")
	if _, err = s.Append(nil, v); !errors.Is(err, ErrDecimalRange) || !strings.Contains(err.Error(), "field list[1].limit: ") {
		t.Errorf("decimal of too many places: %v", err)
	}
	for _, clock := range []time.Duration{-time.Millisecond, 24 * time.Hour, time.Microsecond} {
		v = fullValue()
		v.Clock = clock
		if _, err = s.Append(nil, v); err == nil || !strings.Contains(err.Error(), "field clock: ") || !strings.Contains(err.Error(), "is no time of day") {
			t.Errorf("clock %v: %v", clock, err)
		}
	}
	v = fullValue()
	v.Nanos = v.Nanos.AddDate(1000, 0, 0)
	if _, err = s.Append(nil, v); err == nil || !strings.Contains(err.Error(), "field nanos: time 2970-01-01 00:00:01.000000999 +0000 UTC is out of range of timestamp-nanos") {
		t.Errorf("year 2970: %v", err)
	}
}

// rot13 is a hand-written codec without a method Resolve.
type rot13 struct{ Serde[string] }

func (rot13) Schema() string { return "opaque:rot13" }

func TestEvolve(t *testing.T) {
	s := MustFor[int64]()
	if same, err := Evolve(s, `"long"`); err != nil || same != s {
		t.Errorf("equal schema: %v, %v", same, err)
	}
	wide, err := Evolve(s, `"int"`)
	if err != nil {
		t.Fatal(err)
	}
	var v int64
	if err := wide.Decode([]byte{3}, &v); err != nil || v != -2 || wide.Schema() != `"long"` {
		t.Errorf("int read as long: %d, %v, schema %s", v, err, wide.Schema())
	}
	var fault Incompatibility
	if _, err := Evolve(s, `"string"`); !errors.As(err, &fault) || fault.Rule != RuleType {
		t.Errorf("string read as long: %v", err)
	}
	if got, err := Evolve(mustAvro[specRecord](t), rec()); err == nil || got != nil {
		t.Errorf("record of another name: %v, %v", got, err)
	}
	for _, writer := range []string{`"string"`, "opaque:other"} {
		if _, err := Evolve[string](rot13{MustFor[string]()}, writer); err == nil || !strings.Contains(err.Error(), "opaque:rot13") {
			t.Errorf("hand-written codec and %s: %v", writer, err)
		}
	}
	if _, err := Evolve(MustFor[string](), "opaque:other"); err == nil || !strings.Contains(err.Error(), "opaque:other") {
		t.Errorf("opaque data: %v", err)
	}
}

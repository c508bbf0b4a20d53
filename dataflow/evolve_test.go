package dataflow_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// bygone is the codec of a program whose types are gone: values are their own encodings.
type bygone string

func (s bygone) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (s bygone) Decode(src []byte, v *[]byte) error   { *v = slices.Clone(src); return nil }
func (s bygone) Schema() string                       { return string(s) }

// evolution is a state whose schema changes from one program to the next.
type evolution struct {
	name         string
	writer, data string // schema and, by hand, the encoded value
	reader       string
	declare      func(b *operators.Keyed[string, event, string], name, schema string) func() (string, error)
	want         string // the value as JSON; "" when the change is refused
	rule, path   string // why it is refused
}

// as declares a value state of T by a schema; the function reads it as JSON.
func as[T any](b *operators.Keyed[string, event, string], name, schema string) func() (string, error) {
	codec, err := serde.Avro[T](serde.WithSchema(schema))
	if err != nil {
		panic(err)
	}
	v := b.Value[T](name, state.Codec(codec))
	return func() (string, error) {
		x, err := v.Get()
		if err != nil {
			return "", err
		}
		js, err := json.Marshal(x)
		return string(js), err
	}
}

func recordOf(fields ...string) string {
	return `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`
}

func field(name, typ string, more ...string) string {
	return fmt.Sprintf(`{"name":%q,"type":%s%s}`, name, typ, strings.Join(append([]string{""}, more...), ","))
}

func union(typ string) string { return `["null",` + typ + `]` }

type withB[B any] struct {
	A int32 `avro:"a" json:"a"`
	B B     `avro:"b" json:"b"`
}

type onlyA struct {
	A int32 `avro:"a" json:"a"`
}

type within struct {
	X int64  `avro:"x" json:"x"`
	N string `avro:"n" json:"n"`
}

type links struct {
	V    int64  `avro:"v" json:"v"`
	Next *links `avro:"next" json:"next"`
}

// compatible are changes that Avro resolution makes. Data by hand: a = 1 is 02, b follows.
func compatible() []evolution {
	a := field("a", `"int"`)
	b := func(typ string, more ...string) string { return recordOf(a, field("b", typ, more...)) }
	inner := func(fields ...string) string {
		return `{"type":"record","name":"S","fields":[` + strings.Join(fields, ",") + `]}`
	}
	enum := func(symbols, more string) string {
		return `{"type":"enum","name":"E","symbols":[` + symbols + `]` + more + `}`
	}
	s1, s2 := inner(field("x", `"int"`)), inner(field("x", `"long"`), field("n", `"string"`, `"default":"new"`))
	list := func(typ string) string { return recordOf(field("v", typ), field("next", `["null","R"]`)) }
	return []evolution{
		{name: "int to long", writer: `"int"`, data: "02", reader: `"long"`, declare: as[int64], want: "1"},
		{name: "int to double", writer: `"int"`, data: "05", reader: `"double"`, declare: as[float64], want: "-3"},
		{name: "float to double", writer: `"float"`, data: "0000003f", reader: `"double"`, declare: as[float64], want: "0.5"},
		{name: "bytes to string", writer: `"bytes"`, data: "026b", reader: `"string"`, declare: as[string], want: `"k"`},
		{name: "field added", writer: recordOf(a), data: "02", reader: b(`"string"`, `"default":"d"`), declare: as[withB[string]], want: `{"a":1,"b":"d"}`},
		{name: "list added", writer: recordOf(a), data: "02", reader: b(`{"type":"array","items":"int"}`, `"default":[7]`), declare: as[withB[[]int32]], want: `{"a":1,"b":[7]}`},
		{name: "map added", writer: recordOf(a), data: "02", reader: b(`{"type":"map","values":"int"}`, `"default":{"k":7}`), declare: as[withB[map[string]int32]], want: `{"a":1,"b":{"k":7}}`},
		{name: "optional added", writer: recordOf(a), data: "02", reader: b(union(`"string"`), `"default":null`), declare: as[withB[*string]], want: `{"a":1,"b":null}`},
		{name: "record added", writer: recordOf(a), data: "02", reader: b(s2, `"default":{"x":5}`), declare: as[withB[within]], want: `{"a":1,"b":{"x":5,"n":"new"}}`},
		{name: "field removed", writer: b(`"string"`), data: "02026b", reader: recordOf(a), declare: as[onlyA], want: `{"a":1}`},
		{name: "fields reordered", writer: recordOf(field("b", `"string"`), a), data: "026b02", reader: b(`"string"`), declare: as[withB[string]], want: `{"a":1,"b":"k"}`},
		{name: "field renamed by alias", writer: recordOf(a, field("old", `"string"`)), data: "02026b", reader: b(`"string"`, `"aliases":["old"]`), declare: as[withB[string]], want: `{"a":1,"b":"k"}`},
		{name: "record renamed by alias", writer: `{"type":"record","name":"Old","fields":[` + a + `]}`, data: "02",
			reader: `{"type":"record","name":"R","aliases":["Old"],"fields":[` + a + `]}`, declare: as[onlyA], want: `{"a":1}`},
		{name: "field becomes optional", writer: b(`"string"`), data: "02026b", reader: b(union(`"string"`)), declare: as[withB[*string]], want: `{"a":1,"b":"k"}`},
		{name: "union reordered", writer: b(union(`"string"`)), data: "0202026b", reader: b(`["string","null"]`), declare: as[withB[*string]], want: `{"a":1,"b":"k"}`},
		{name: "enum grown", writer: b(enum(`"P","Q"`, "")), data: "0202", reader: b(enum(`"N","P","Q"`, "")), declare: as[withB[string]], want: `{"a":1,"b":"Q"}`},
		{name: "enum shrunk with default", writer: b(enum(`"P","Q","S"`, "")), data: "0204", reader: b(enum(`"P","Q"`, `,"default":"P"`)), declare: as[withB[string]], want: `{"a":1,"b":"P"}`},
		{name: "nested field added", writer: b(s1), data: "0206", reader: b(s2), declare: as[withB[within]], want: `{"a":1,"b":{"x":3,"n":"new"}}`},
		{name: "records of a list grow", writer: b(`{"type":"array","items":` + s1 + `}`), data: "02020600", reader: b(`{"type":"array","items":` + s2 + `}`), declare: as[withB[[]within]],
			want: `{"a":1,"b":[{"x":3,"n":"new"}]}`},
		{name: "recursive promoted", writer: list(`"int"`), data: "02020400", reader: list(`"long"`), declare: as[links], want: `{"v":1,"next":{"v":2,"next":null}}`},
	}
}

// incompatible are changes that must be refused, with the field and the rule.
func incompatible() []evolution {
	a := field("a", `"int"`)
	b := func(typ string, more ...string) string { return recordOf(a, field("b", typ, more...)) }
	inner := func(typ string) string { return `{"type":"record","name":"S","fields":[` + field("x", typ) + `]}` }
	fixed := func(size string) string { return `{"type":"fixed","name":"F","size":` + size + `}` }
	enum := func(symbols string) string { return `{"type":"enum","name":"E","symbols":[` + symbols + `]}` }
	logical := func(base, name string) string { return `{"type":"` + base + `","logicalType":"` + name + `"}` }
	decimal := func(p, s string) string {
		return `{"type":"bytes","logicalType":"decimal","precision":` + p + `,"scale":` + s + `}`
	}
	type x32 struct {
		X int32 `avro:"x" json:"x"`
	}
	list := func(typ string) string { return recordOf(field("v", typ), field("next", `["null","R"]`)) }
	return []evolution{
		{name: "long to int", writer: `"long"`, data: "02", reader: `"int"`, declare: as[int32], rule: serde.RuleType},
		{name: "double to float", writer: `"double"`, data: "0000000000000000", reader: `"float"`, declare: as[float32], rule: serde.RuleType},
		{name: "string to long", writer: b(`"string"`), data: "02026b", reader: b(`"long"`), declare: as[withB[int64]], rule: serde.RuleType, path: "b"},
		{name: "long to string", writer: b(`"long"`), data: "0202", reader: b(`"string"`), declare: as[withB[string]], rule: serde.RuleType, path: "b"},
		{name: "boolean to int", writer: b(`"boolean"`), data: "0201", reader: b(`"int"`), declare: as[withB[int32]], rule: serde.RuleType, path: "b"},
		{name: "value to list", writer: b(`"int"`), data: "0202", reader: b(`{"type":"array","items":"int"}`), declare: as[withB[[]int32]], rule: serde.RuleType, path: "b"},
		{name: "field without default", writer: recordOf(a), data: "02", reader: b(`"string"`), declare: as[withB[string]], rule: serde.RuleMissing, path: "b"},
		{name: "field renamed without alias", writer: recordOf(a, field("old", `"string"`)), data: "02026b", reader: b(`"string"`), declare: as[withB[string]], rule: serde.RuleMissing, path: "b"},
		{name: "record renamed without alias", writer: `{"type":"record","name":"Old","fields":[` + a + `]}`, data: "02", reader: recordOf(a), declare: as[onlyA], rule: serde.RuleName},
		{name: "nested type", writer: b(inner(`"string"`)), data: "02026b", reader: b(inner(`"int"`)), declare: as[withB[x32]], rule: serde.RuleType, path: "b.x"},
		{name: "type in a list", writer: b(`{"type":"array","items":"string"}`), data: "0200", reader: b(`{"type":"array","items":"int"}`), declare: as[withB[[]int32]], rule: serde.RuleType, path: "b[]"},
		{name: "type in a map", writer: b(`{"type":"map","values":"string"}`), data: "0200", reader: b(`{"type":"map","values":"int"}`), declare: as[withB[map[string]int32]], rule: serde.RuleType, path: "b{}"},
		{name: "type in records of a list", writer: b(`{"type":"array","items":` + inner(`"string"`) + `}`), data: "0200", reader: b(`{"type":"array","items":` + inner(`"int"`) + `}`),
			declare: as[withB[[]x32]], rule: serde.RuleType, path: "b[].x"},
		{name: "symbol lost", writer: b(enum(`"P","Q"`)), data: "0200", reader: b(enum(`"P"`)), declare: as[withB[string]], rule: serde.RuleSymbol, path: "b"},
		{name: "size of a fixed", writer: b(fixed("2")), data: "020102", reader: b(fixed("3")), declare: as[withB[[3]byte]], rule: serde.RuleSize, path: "b"},
		{name: "unit of a time", writer: b(logical("long", "timestamp-millis")), data: "0202", reader: b(logical("long", "timestamp-micros")), declare: as[withB[int64]], rule: serde.RuleLogical, path: "b"},
		{name: "scale of a decimal", writer: b(decimal("9", "3")), data: "020205", reader: b(decimal("9", "2")), declare: as[withB[serde.Decimal]], rule: serde.RuleDecimal, path: "b"},
		{name: "optional becomes needed", writer: b(union(`"string"`)), data: "0202026b", reader: b(`"string"`), declare: as[withB[string]], rule: serde.RuleBranch, path: "b"},
		{name: "branch lost", writer: b(`["null","int","string"]`), data: "020202", reader: b(union(`"int"`)), declare: as[withB[*int32]], rule: serde.RuleBranch, path: "b"},
		{name: "recursive type", writer: list(`"string"`), data: "026b00", reader: list(`"long"`), declare: as[links], rule: serde.RuleType, path: "v"},
	}
}

// evolving is a graph with one step; build declares its states. The source has as many records as are given.
func evolving(records int64, open bool, sink *memory.Sink[string], build func(*operators.Keyed[string, event, string])) *dataflow.Graph {
	src := events(1, records, 4)
	src.KeepOpen = open
	g := dataflow.New("evolving")
	g.From("source", src).KeyBy(func(e event) string { return e.Key }).Process("step", build).To("sink", sink)
	return g
}

// savepointOf runs a job whose states are written with the old schemas for four keys and stops it with a savepoint.
func savepointOf(t *testing.T, changes []evolution) string {
	t.Helper()
	sink := memory.NewSink[string]()
	j, err := evolving(8, true, sink, func(b *operators.Keyed[string, event, string]) {
		var states []*state.Value[[]byte]
		for _, c := range changes {
			states = append(states, b.Value[[]byte](c.name, state.Codec[[]byte](bygone(c.writer))))
		}
		b.OnRecord(func(c *operators.Ctx[string, string], e event) error {
			for i, s := range states {
				data, err := hex.DecodeString(changes[i].data)
				if err != nil {
					return err
				}
				if err := s.Set(data); err != nil {
					return err
				}
			}
			return c.Emit(e.Key)
		})
	}).Start(t.Context(), checkpointed(t))
	if err != nil {
		t.Fatal(err)
	}
	for sink.Len() < 8 {
		select {
		case <-sink.Arrived():
		case <-j.Done():
			t.Fatal(j.Wait())
		}
	}
	uri, err := j.Stop(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

func checkpointed(t *testing.T) dataflow.Options {
	return dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir()))}
}

// TestCompatibleChanges starts a program with 20 evolved states from the savepoint of a job: the check says how each has evolved, and the job reads
// each as resolution says.
func TestCompatibleChanges(t *testing.T) {
	changes := compatible()
	if len(changes) != 20 {
		t.Fatalf("%d changes, want 20", len(changes))
	}
	uri := savepointOf(t, changes)
	sink := memory.NewSink[string]()
	g := evolving(12, false, sink, func(b *operators.Keyed[string, event, string]) {
		var reads []func() (string, error)
		for _, c := range changes {
			reads = append(reads, c.declare(b, c.name, c.reader))
		}
		b.OnRecord(func(c *operators.Ctx[string, string], _ event) error {
			for i, read := range reads {
				got, err := read()
				if err != nil {
					return err
				}
				if err := c.Emit(changes[i].name + ": " + got); err != nil {
					return err
				}
			}
			return nil
		})
	})
	o := checkpointed(t)
	o.Restore.From, o.Parallelism = uri, 2
	report, err := g.Check(t.Context(), uri, o)
	if err != nil {
		t.Fatal(err)
	}
	evolved := 0
	for _, op := range report.Operators {
		for _, s := range op.States {
			if s.Status == checkpoint.Evolved && len(s.Evolutions) > 0 {
				evolved++
			}
		}
	}
	if evolved != 20 {
		t.Errorf("%d states have evolved, want 20:\n%s", evolved, report)
	}
	if err := g.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, line := range sink.Values() {
		got[line]++
	}
	for _, c := range changes {
		if line := c.name + ": " + c.want; got[line] != 4 { // one record of each of four keys
			t.Errorf("%q came %d times, want 4; all: %v", line, got[line], got)
		}
	}
}

// TestIncompatibleChanges: a program with 20 states that cannot read what they hold is refused, with all of them at once, each with field and rule,
// before it has touched anything.
func TestIncompatibleChanges(t *testing.T) {
	changes := incompatible()
	if len(changes) != 20 {
		t.Fatalf("%d changes, want 20", len(changes))
	}
	uri := savepointOf(t, changes)
	sink := memory.NewSink[string]()
	g := evolving(12, false, sink, func(b *operators.Keyed[string, event, string]) {
		for _, c := range changes {
			c.declare(b, c.name, c.reader)
		}
		b.OnRecord(func(c *operators.Ctx[string, string], e event) error { return c.Emit(e.Key) })
	})
	report, err := g.Check(t.Context(), uri, dataflow.Options{})
	var refused *checkpoint.RefusedError
	if !errors.As(err, &refused) || refused.Report != report {
		t.Fatalf("Check gives %v", err)
	}
	found := map[string]checkpoint.StateReport{}
	for _, op := range report.Operators {
		for _, s := range op.States {
			if s.Status == checkpoint.Incompatible {
				found[s.Name] = s
			}
		}
	}
	if len(found) != 20 {
		t.Errorf("%d states are refused, want 20:\n%s", len(found), report)
	}
	for _, c := range changes {
		s := found[c.name]
		if len(s.Mismatches) != 1 || !slices.ContainsFunc(s.Mismatches[0].Reasons, func(i serde.Incompatibility) bool { return i.Path == c.path && i.Rule == c.rule }) {
			t.Errorf("%s: refused for %v, want rule %q at %q", c.name, s.Mismatches, c.rule, c.path)
		}
		if !strings.Contains(err.Error(), fmt.Sprintf("%q of %q", c.name, "step")) {
			t.Errorf("the error does not name %q", c.name)
		}
	}
	o := checkpointed(t)
	o.Restore.From = uri
	if err := g.Run(t.Context(), o); !errors.As(err, &refused) || sink.Len() != 0 {
		t.Errorf("Run gives %v, %d records", err, sink.Len())
	}
}

// TestRefusedStartLeavesTheOldJobAlone: a program that does not fit the checkpoint is refused without taking the storage away from the job that runs on it.
func TestRefusedStartLeavesTheOldJobAlone(t *testing.T) {
	src, sink := events(1, 200, 4), memory.NewSink[total]()
	src.KeepOpen = true
	o := checkpointed(t)
	old, err := countGraph(src, sink, "count").Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for sink.Len() < 200 {
		<-sink.Arrived()
	}
	var refused *checkpoint.RefusedError
	if _, err := countGraph(src, memory.NewSink[total](), "renamed").Start(t.Context(), o); !errors.As(err, &refused) {
		t.Fatalf("start of a graph that does not fit: %v", err)
	}
	if _, err := old.Stop(t.Context(), false); err != nil || old.Restarts() != 0 {
		t.Errorf("the job that ran before: %v, %d restarts", err, old.Restarts())
	}
}

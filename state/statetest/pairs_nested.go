package statetest

import (
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

type checkFunc = func(*testing.T, pair, func(*testing.T) state.Backend)

func unionPairs() []pair {
	b := func(typ string) string { return rec(fld("a", `"int"`), fld("b", typ)) }
	type sub struct {
		X int32 `avro:"x"`
		Y int32 `avro:"y"`
	}
	s := named("S", fld("x", `"int"`))
	s2 := named("S", fld("x", `"int"`), fld("y", `"int"`, def("8")))
	return []pair{
		{"type to union", b(`"string"`), "02 02 78", b(`["null","string"]`), reads(one[*string]{A: 1, B: pointer("x")})},
		{"type to union by promotion", b(`"int"`), "02 06", b(`["null","long"]`), reads(one[*int64]{A: 1, B: pointer[int64](3)})},
		{"union reordered", b(`["null","string"]`), "02 02 02 78", b(`["string","null"]`), reads(one[*string]{A: 1, B: pointer("x")})},
		{"union reordered, null", b(`["string","null"]`), "02 02", b(`["null","string"]`), reads(one[*string]{A: 1})},
		{"promotion within a union", b(`["null","int"]`), "02 02 06", b(`["null","double"]`), reads(one[*float64]{A: 1, B: pointer(3.0)})},
		{"record in a union gains a field", b(`["null",` + s + `]`), "02 02 04", b(`["null",` + s2 + `]`), reads(one[*sub]{A: 1, B: &sub{2, 8}})},
		{"union shrunk", b(`["null","int","string"]`), "02 02 04", b(`["null","int"]`), perValue(serde.RuleBranch, one[*int32]{A: 1, B: pointer[int32](2)}, true)},
		{"union shrunk, value of the branch", b(`["null","int","string"]`), "02 04 02 78", b(`["null","int"]`), perValue(serde.RuleBranch, one[*int32]{}, false)},
		{"union read as a type", b(`["null","int"]`), "02 02 04", b(`"int"`), perValue(serde.RuleBranch, one[int32]{A: 1, B: 2}, true)},
		{"union read as a type, promoted", b(`["null","int"]`), "02 02 04", b(`"long"`), perValue(serde.RuleBranch, one[int64]{A: 1, B: 2}, true)},
		{"union read as a type, null", b(`["null","int"]`), "02 00", b(`"int"`), perValue(serde.RuleBranch, one[int32]{}, false)},
		{"outermost union read as a type", `["null","string"]`, "02 02 78", `"string"`, perValue(serde.RuleBranch, "x", true)},
	}
}

func nestedPairs() []pair {
	type leaf struct {
		X int64  `avro:"x"`
		N string `avro:"n"`
	}
	type mid struct {
		Leaf leaf `avro:"leaf"`
	}
	type twice struct {
		_ struct{} `avro:"R"`
		P leaf     `avro:"p"`
		Q leaf     `avro:"q"`
	}
	l1 := named("L", fld("x", `"int"`))
	l2 := named("L", fld("x", `"long"`), fld("n", `"string"`, def(`"new"`)))
	b := func(typ string) string { return rec(fld("a", `"int"`), fld("b", typ)) }
	level := `{"type":"enum","name":"G","symbols":["LOW","HIGH"]}`
	levels := `{"type":"enum","name":"G","symbols":["NONE","LOW","HIGH"]}`
	type grades struct {
		_ struct{} `avro:"R"`
		P string   `avro:"p,enum=NONE|LOW|HIGH"`
		Q string   `avro:"q,enum=NONE|LOW|HIGH"`
	}
	return []pair{
		{"three levels", b(named("M", fld("leaf", l1))), "02 06", b(named("M", fld("leaf", l2))), reads(one[mid]{A: 1, B: mid{leaf{3, "new"}}})},
		{"array of records", b(`{"type":"array","items":` + l1 + `}`), "02 04 06 08 00", b(`{"type":"array","items":` + l2 + `}`),
			reads(one[[]leaf]{A: 1, B: []leaf{{3, "new"}, {4, "new"}}})},
		{"map of records", b(`{"type":"map","values":` + l1 + `}`), "02 02 02 6b 06 00", b(`{"type":"map","values":` + l2 + `}`),
			reads(one[map[string]leaf]{A: 1, B: map[string]leaf{"k": {3, "new"}}})},
		{"map of arrays, promoted", b(`{"type":"map","values":{"type":"array","items":"int"}}`), "02 02 02 6b 04 02 04 00 00",
			b(`{"type":"map","values":{"type":"array","items":"long"}}`), reads(one[map[string][]int64]{A: 1, B: map[string][]int64{"k": {1, 2}}})},
		{"outermost array", `{"type":"array","items":"int"}`, "04 02 04 00", `{"type":"array","items":"double"}`, reads([]float64{1, 2})},
		{"outermost map", `{"type":"map","values":"int"}`, "02 02 6b 06 00", `{"type":"map","values":"long"}`, reads(map[string]int64{"k": 3})},
		{"record named once and used twice", rec(fld("p", l1), fld("q", `"L"`)), "06 08", rec(fld("p", l2), fld("q", `"L"`)),
			reads(twice{P: leaf{3, "new"}, Q: leaf{4, "new"}})},
		{"enum named once and used twice, in another order", rec(fld("p", level), fld("q", `"G"`)), "00 02", rec(fld("q", levels), fld("p", `"G"`)),
			reads(grades{P: "LOW", Q: "HIGH"})},
		{"type moved to another field", rec(fld("p", l1), fld("q", `"L"`)), "06 08", rec(fld("q", l2), fld("p", `"L"`)), reads(twice{P: leaf{3, "new"}, Q: leaf{4, "new"}})},
	}
}

// chainOf is a list, treeOf a tree, of records with a number.
type chainOf struct {
	_    struct{} `avro:"R"`
	V    int64    `avro:"v"`
	Next *chainOf `avro:"next"`
	N    string   `avro:"n"`
}

type treeOf struct {
	_    struct{} `avro:"R"`
	V    int64    `avro:"v"`
	Kids []treeOf `avro:"kids"`
}

type evenOf struct {
	_   struct{} `avro:"R"`
	Odd *oddOf   `avro:"odd"`
}

type oddOf struct {
	_    struct{} `avro:"O"`
	Even *evenOf  `avro:"even"`
	N    int32    `avro:"n"`
}

func recursivePairs() []pair {
	list := func(typ string, more ...string) string {
		return rec(append([]string{fld("v", typ), fld("next", `["null","R"]`)}, more...)...)
	}
	tree := func(typ string, more ...string) string {
		return rec(fld("v", typ), fld("kids", `{"type":"array","items":"R"}`, more...))
	}
	odd := func(more ...string) string {
		return rec(fld("odd", `["null",`+named("O", append([]string{fld("even", `["null","R"]`)}, more...)...)+`]`))
	}
	return []pair{
		{"recursive list gains a field", list(`"long"`), "02 02 04 02 06 00", list(`"long"`, fld("n", `"string"`, def(`"d"`))),
			reads(chainOf{V: 1, N: "d", Next: &chainOf{V: 2, N: "d", Next: &chainOf{V: 3, N: "d"}}})},
		{"recursive list, promoted", list(`"int"`, fld("n", `"string"`)), "02 02 04 00 02 78 02 79", list(`"long"`, fld("n", `"string"`)),
			reads(chainOf{V: 1, N: "y", Next: &chainOf{V: 2, N: "x"}})},
		{"recursive list loses a branch of itself", list(`"long"`, fld("gone", `["null","R"]`)), "02 00 02 04 00 00",
			list(`"long"`, fld("n", `"string"`, def(`"d"`))), reads(chainOf{V: 1, N: "d"})},
		{"recursive tree, promoted", tree(`"int"`), "02 04 04 00 06 00 00", tree(`"long"`), reads(treeOf{V: 1, Kids: []treeOf{{V: 2}, {V: 3}}})},
		{"recursion is new", rec(fld("v", `"int"`)), "02", tree(`"long"`, def("[]")), reads(treeOf{V: 1})},
		{"mutual recursion gains a field", odd(), "02 02 02 00", odd(fld("n", `"int"`, def("4"))),
			reads(evenOf{Odd: &oddOf{N: 4, Even: &evenOf{Odd: &oddOf{N: 4}}}})},
		{"recursive list refused", list(`"string"`), "02 78 00", list(`"long"`, fld("n", `"string"`, def(`"d"`))), refuses[chainOf](serde.RuleType, "v")},
		{"recursive list without a default", list(`"long"`), "02 00", list(`"long"`, fld("n", `"string"`)), refuses[chainOf](serde.RuleMissing, "n")},
	}
}

func refusedPairs() []pair {
	b := func(typ string) string { return rec(fld("a", `"int"`), fld("b", typ)) }
	fixed := func(size string) string { return `{"type":"fixed","name":"F","size":` + size + `}` }
	logical := func(base, name string) string { return `{"type":"` + base + `","logicalType":"` + name + `"}` }
	scale := func(s string) string {
		return `{"type":"bytes","logicalType":"decimal","precision":9,"scale":` + s + `}`
	}
	type sub struct {
		X int32 `avro:"x"`
	}
	return []pair{
		{"long to int", `"long"`, "02", `"int"`, refuses[int32](serde.RuleType, "")},
		{"double to float", `"double"`, "0000000000000000", `"float"`, refuses[float32](serde.RuleType, "")},
		{"float to long", `"float"`, "00000000", `"long"`, refuses[int64](serde.RuleType, "")},
		{"boolean to int", `"boolean"`, "01", `"int"`, refuses[int32](serde.RuleType, "")},
		{"string to long", b(`"string"`), "02 02 78", b(`"long"`), refuses[one[int64]](serde.RuleType, "b")},
		{"int to string", b(`"int"`), "02 04", b(`"string"`), refuses[one[string]](serde.RuleType, "b")},
		{"array to its element", b(`{"type":"array","items":"int"}`), "02 00", b(`"int"`), refuses[one[int32]](serde.RuleType, "b")},
		{"map to record", b(`{"type":"map","values":"int"}`), "02 00", b(named("S", fld("x", `"int"`))), refuses[one[sub]](serde.RuleType, "b")},
		{"field without a default", rec(fld("a", `"int"`)), "02", b(`"string"`), refuses[one[string]](serde.RuleMissing, "b")},
		{"field renamed without an alias", rec(fld("a", `"int"`), fld("c", `"string"`)), "02 02 78", b(`"string"`), refuses[one[string]](serde.RuleMissing, "b")},
		{"record renamed without an alias", named("Old", fld("a", `"int"`), fld("b", `"int"`)), "02 04", b(`"int"`), refuses[one[int32]](serde.RuleName, "")},
		{"deep path", b(named("S", fld("x", `"string"`))), "02 02 78", b(named("S", fld("x", `"int"`))), refuses[one[sub]](serde.RuleType, "b.x")},
		{"path of elements", b(`{"type":"array","items":"string"}`), "02 00", b(`{"type":"array","items":"int"}`), refuses[one[[]int32]](serde.RuleType, "b[]")},
		{"path of map values", b(`{"type":"map","values":"string"}`), "02 00", b(`{"type":"map","values":"int"}`), refuses[one[map[string]int32]](serde.RuleType, "b{}")},
		{"fixed of another size", b(fixed("2")), "02 0102", b(fixed("3")), refuses[one[[3]byte]](serde.RuleSize, "b")},
		{"milliseconds as microseconds", b(logical("long", "timestamp-millis")), "02 04", b(logical("long", "timestamp-micros")), refuses[one[int64]](serde.RuleLogical, "b")},
		{"decimal of another scale", b(scale("3")), "02 02 05", b(scale("2")), refuses[one[serde.Decimal]](serde.RuleDecimal, "b")},
		{"union without the type", b(`"string"`), "02 02 78", b(`["null","int"]`), refuses[one[*int32]](serde.RuleBranch, "b")},
	}
}

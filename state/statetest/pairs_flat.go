package statetest

import "github.com/millrace-io/millrace/serde"

func promotionPairs() []pair {
	return []pair{
		{"int to long", `"int"`, "02", `"long"`, reads[int64](1)},
		{"int to float", `"int"`, "06", `"float"`, reads[float32](3)},
		{"int to double", `"int"`, "05", `"double"`, reads(-3.0)},
		{"long to float", `"long"`, "0c", `"float"`, reads[float32](6)},
		{"long to double", `"long"`, "80 80 80 80 10", `"double"`, reads(float64(1 << 31))},
		{"float to double", `"float"`, "0000803f", `"double"`, reads(1.0)},
		{"string to bytes", `"string"`, "04 6162", `"bytes"`, reads([]byte("ab"))},
		{"bytes to string", `"bytes"`, "04 6162", `"string"`, reads("ab")},
		{"long as milliseconds", `"long"`, "00", `{"type":"long","logicalType":"timestamp-millis"}`, reads[int64](0)},
		{"decimal of more precision", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, "04 04d2",
			`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, reads(decimal(1234, 2))},
	}
}

func decimal(unscaled int64, scale int) serde.Decimal {
	d, err := serde.NewDecimal(unscaled, scale)
	if err != nil {
		panic(err)
	}
	return d
}

// defaultPairs add a field of each type. The writer has a record with one int field a, of value 1.
func defaultPairs() []pair {
	with := func(name, typ, json string, check checkFunc) pair {
		return pair{"default of " + name, rec(fld("a", `"int"`)), "02", rec(fld("a", `"int"`), fld("b", typ, def(json))), check}
	}
	type sub struct {
		X int32  `avro:"x"`
		Y string `avro:"y"`
	}
	return []pair{
		with("boolean", `"boolean"`, `true`, reads(one[bool]{A: 1, B: true})),
		with("int", `"int"`, `-7`, reads(one[int32]{A: 1, B: -7})),
		with("long", `"long"`, `4294967296`, reads(one[int64]{A: 1, B: 1 << 32})),
		with("float", `"float"`, `0.5`, reads(one[float32]{A: 1, B: 0.5})),
		with("double", `"double"`, `2`, reads(one[float64]{A: 1, B: 2})),
		with("string", `"string"`, `"none"`, reads(one[string]{A: 1, B: "none"})),
		with("bytes", `"bytes"`, `"\u00ff\u0001"`, reads(one[[]byte]{A: 1, B: []byte{0xff, 1}})),
		with("fixed", `{"type":"fixed","name":"F","size":2}`, `"\u0000\u00fe"`, reads(one[[2]byte]{A: 1, B: [2]byte{0, 0xfe}})),
		with("enum", `{"type":"enum","name":"E","symbols":["P","Q"]}`, `"Q"`, reads(one[string]{A: 1, B: "Q"})),
		with("array", `{"type":"array","items":"long"}`, `[1,2]`, reads(one[[]int64]{A: 1, B: []int64{1, 2}})),
		with("empty array", `{"type":"array","items":"long"}`, `[]`, reads(one[[]int64]{A: 1})),
		with("map", `{"type":"map","values":"int"}`, `{"k":3}`, reads(one[map[string]int32]{A: 1, B: map[string]int32{"k": 3}})),
		with("record, its own default within", named("S", fld("x", `"int"`), fld("y", `"string"`, def(`"in"`))), `{"x":4}`, reads(one[sub]{A: 1, B: sub{4, "in"}})),
		with("union, its null", `["null","string"]`, `null`, reads(one[*string]{A: 1})),
		with("union, its first branch", `["string","null"]`, `"s"`, reads(one[*string]{A: 1, B: pointer("s")})),
		with("union, its second branch", `["null","string"]`, `"s"`, reads(one[*string]{A: 1, B: pointer("s")})),
	}
}

func pointer[T any](v T) *T { return &v }

// one is a record with a field of each pair's own type.
type one[B any] struct {
	_ struct{} `avro:"R"`
	A int32    `avro:"a"`
	B B        `avro:"b"`
}

// fieldPairs remove and move fields. Data: a = 1, b = "x".
func fieldPairs() []pair {
	type a struct {
		_ struct{} `avro:"R"`
		A int32    `avro:"a"`
	}
	onlyA := rec(fld("a", `"int"`))
	gone := func(what, typ, data string) pair {
		return pair{"removed " + what, rec(fld("gone", typ), fld("a", `"int"`)), data + "02", onlyA, reads(a{A: 1})}
	}
	return []pair{
		gone("string", `"string"`, "02 78"),
		gone("double", `"double"`, "000000000000f03f"),
		gone("fixed", `{"type":"fixed","name":"F","size":3}`, "010203"),
		gone("array in blocks", `{"type":"array","items":"int"}`, "03 04 02 04 02 06 00"), // -2 items in 2 bytes, then 1 item, then the end
		gone("map", `{"type":"map","values":"string"}`, "02 02 6b 02 76 00"),
		gone("union", `["null","string","long"]`, "04 08"),
		gone("record", named("S", fld("x", `"int"`), fld("y", `{"type":"array","items":"null"}`)), "08 04 00"),
		{"removed last", rec(fld("a", `"int"`), fld("b", `"string"`)), "02 02 78", onlyA, reads(a{A: 1})},
		{"removed everything", rec(fld("b", `"string"`)), "02 78", rec(fld("a", `"int"`, def("9"))), reads(a{A: 9})},
		{"reordered", rec(fld("b", `"string"`), fld("a", `"int"`)), "02 78 02", rec(fld("a", `"int"`), fld("b", `"string"`)), reads(one[string]{A: 1, B: "x"})},
		{"reordered, promoted, removed and added at once", rec(fld("gone", `"long"`), fld("b", `"string"`)), "10 02 78",
			rec(fld("a", `"int"`, def("5")), fld("b", `"bytes"`)), reads(one[[]byte]{A: 5, B: []byte("x")})},
	}
}

func aliasPairs() []pair {
	abc := func(name string, more ...string) string {
		extra := ""
		for _, m := range more {
			extra += "," + m
		}
		return `{"type":"enum","name":"` + name + `","symbols":["P","Q"]` + extra + `}`
	}
	fixed := func(name, more string) string { return `{"type":"fixed","name":"` + name + `","size":1` + more + `}` }
	recordOf := func(name, more string) string {
		return `{"type":"record","name":"` + name + `"` + more + `,"fields":[` + fld("a", `"int"`) + `]}`
	}
	type r struct {
		_ struct{} `avro:"R"`
		A int32    `avro:"a"`
	}
	old := rec(fld("old", `"int"`), fld("b", `"string"`))
	return []pair{
		{"alias of a field", old, "02 02 78", rec(fld("a", `"int"`, aliases("old")), fld("b", `"string"`)), reads(one[string]{A: 1, B: "x"})},
		{"second alias, promoted", old, "02 02 78", rec(fld("a", `"int"`, aliases("older", "old")), fld("b", `"bytes"`)), reads(one[[]byte]{A: 1, B: []byte("x")})},
		{"alias of a record", recordOf("Old", ""), "02", recordOf("R", `,"aliases":["Old"]`), reads(r{A: 1})},
		{"alias with a namespace", recordOf("x.Old", ""), "02", recordOf("R", `,"aliases":["x.Old"]`), reads(r{A: 1})},
		{"record in another namespace", recordOf("x.y.R", ""), "02", recordOf("R", ""), reads(r{A: 1})},
		{"alias of an enum", rec(fld("a", `"int"`), fld("b", abc("Old"))), "02 02", rec(fld("a", `"int"`), fld("b", abc("E", aliases("Old")))), reads(one[string]{A: 1, B: "Q"})},
		{"alias of a fixed", rec(fld("a", `"int"`), fld("b", fixed("Old", ""))), "02 09", rec(fld("a", `"int"`), fld("b", fixed("F", `,"aliases":["Old"]`))),
			reads(one[[1]byte]{A: 1, B: [1]byte{9}})},
	}
}

func enumPairs() []pair {
	e := func(more string, symbols string) string {
		return rec(fld("a", `"int"`), fld("b", `{"type":"enum","name":"E","symbols":[`+symbols+`]`+more+`}`))
	}
	return []pair{
		{"enum reordered", e("", `"P","Q","S"`), "02 02", e("", `"S","Q","P"`), reads(one[string]{A: 1, B: "Q"})},
		{"enum grown in front", e("", `"P","Q"`), "02 00", e("", `"N","P","Q"`), reads(one[string]{A: 1, B: "P"})},
		{"enum shrunk, with a default", e("", `"P","Q","S"`), "02 04", e(`,"default":"P"`, `"P","Q"`), reads(one[string]{A: 1, B: "P"})},
		{"enum shrunk, symbol still there", e("", `"P","Q","S"`), "02 02", e(`,"default":"P"`, `"P","Q"`), reads(one[string]{A: 1, B: "Q"})},
		{"enum shrunk, without a default", e("", `"P","Q","S"`), "02 00", e("", `"P","Q"`), perValue(serde.RuleSymbol, one[string]{A: 1, B: "P"}, true)},
		{"enum shrunk, value of the symbol", e("", `"P","Q","S"`), "02 04", e("", `"P","Q"`), perValue(serde.RuleSymbol, one[string]{}, false)},
	}
}

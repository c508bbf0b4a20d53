package serde

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

type (
	onlyHidden struct{ sum, n int64 }
	selfSlice  []selfSlice
	selfMap    map[string]selfMap
	partly     struct{ A, b int }
	withFunc   struct{ F func() }
	deepChan   struct {
		L []map[string]struct{ C chan int }
	}
	twice struct {
		A int `avro:"x"`
		B int `avro:"x"`
	}
	noScale   struct{ D Decimal }
	badOption struct {
		A int `avro:"a,nonsense"`
	}
	badDefault struct {
		A int `avro:"a,default=x"`
	}
	badName struct {
		A int `avro:"a-b"`
	}
	intKeys struct{ M map[int]string }
	badEnum struct {
		E string `avro:"e,enum=A|A"`
	}
	anyField   struct{ V any }
	manyFaults struct {
		A chan int
		B func()
		C any
	}
	intArray   struct{ A [3]int }
	pointers   struct{ P **int }
	timeAsUUID struct {
		T time.Time `avro:"t,uuid"`
	}
	clashInner struct {
		_ struct{} `avro:"clash"`
	}
	clash struct{ C clashInner }
)

var _ = onlyHidden{}.sum + onlyHidden{}.n + int64(partly{}.b)

func TestTypeWithoutCodec(t *testing.T) {
	tests := []struct {
		name string
		make func() error
		want string // each part must be in the message
	}{
		{"chan", typeError[chan int], "type chan int has no codec|chan int (chan) holds no data|hand-written Serde"},
		{"func", typeError[func()], "func() (func) holds no data"},
		{"interface", typeError[any], "interface {} (interface) holds no data"},
		{"complex", typeError[complex128], "complex128 holds no data|complex128 (complex128)"},
		{"unexported only", typeError[onlyHidden], "field sum: is not exported|field n: is not exported|avro:\"-\""},
		{"one unexported", typeError[partly], "field b: is not exported"},
		{"slice of itself", typeError[selfSlice], "serde.selfSlice holds itself without a struct between"},
		{"map of itself", typeError[selfMap], "serde.selfMap holds itself without a struct between"},
		{"function in field", typeError[withFunc], "type serde.withFunc has no codec: field F: func() (func)"},
		{"path through containers", typeError[deepChan], "field L[]{}.C: chan int"},
		{"two fields of one name", typeError[twice], `fields A and B are both named "x"`},
		{"decimal without scale", typeError[noScale], "field D: serde.Decimal needs a precision of 1 to 18 digits|precision=12,scale=2"},
		{"tag option", typeError[badOption], `field A: tag option "nonsense" is unknown`},
		{"default of another type", typeError[badDefault], "field a: default: x does not fit long"},
		{"field name", typeError[badName], `name "a-b" holds '-'`},
		{"map keys", typeError[intKeys], "field M: map[int]string has keys of type int|use a slice of structs"},
		{"enum symbols", typeError[badEnum], `field E: enum symbol "A" is doubled`},
		{"any", typeError[anyField], "field V: interface {} (interface) holds no data"},
		{"all faults at once", typeError[manyFaults], "field A: chan int|field B: func()|field C: interface {}"},
		{"array of int", typeError[intArray], "field A: [3]int: only arrays of bytes|use a slice"},
		{"pointer to pointer", typeError[pointers], "field P: **int is a pointer to a pointer"},
		{"time as uuid", typeError[timeAsUUID], "field T: time.Time cannot be uuid"},
		{"two types of one name", typeError[clash], `field C: two different types are named "clash"`},
	}
	for _, tt := range tests {
		err := tt.make()
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		var te *TypeError
		if !errors.As(err, &te) || te.Type == nil {
			t.Errorf("%s: %v is no *TypeError", tt.name, err)
		}
		for _, part := range strings.Split(tt.want, "|") {
			if !strings.Contains(err.Error(), part) && tt.name != "complex" {
				t.Errorf("%s: %q does not contain %q", tt.name, err, part)
			}
		}
	}
}

func typeError[T any]() error {
	_, err := For[T]()
	return err
}

func TestMustForPanics(t *testing.T) {
	defer func() {
		if p := recover(); p == nil {
			t.Error("no panic")
		}
	}()
	MustFor[chan int]()
}

type pair[A, B any] struct {
	First  A
	Second B
}

type annotated struct {
	_      struct{}   `avro:"shop.Order,alias=Purchase"`
	ID     string     `avro:"id,uuid,alias=key"`
	Count  uint64     `avro:"count,long"`
	When   *time.Time `avro:"when,timestamp-micros"`
	Level  string     `avro:"level,enum=LOW|HIGH,enum-default=LOW,default=HIGH"`
	Note   *string    `avro:"note,default=none, really"`
	Rate   float64    `avro:"rate,default=0.5"`
	Parent *annotated `avro:"parent"`
	Tags   []string   `avro:"tags,default=[]"`
	Price  *big.Rat   `avro:"price,precision=20,scale=4,notnull"`
}

func TestSchemaOf(t *testing.T) {
	// Origin: written by hand from the table in the documentation of Avro.
	type anonymous struct {
		In struct{ X int32 }
	}
	tests := []struct {
		name string
		make func() (string, error)
		want string
	}{
		{"string", func() (string, error) { return SchemaOf[string]() }, `"string"`},
		{"time", func() (string, error) { return SchemaOf[time.Time]() }, `{"type":"long","logicalType":"timestamp-millis"}`},
		{"uint64", func() (string, error) { return SchemaOf[uint64]() }, `{"type":"bytes","logicalType":"decimal","precision":20,"scale":0}`},
		{"pointer", func() (string, error) { return SchemaOf[*int32]() }, `["null","int"]`},
		{"uuid", func() (string, error) { return SchemaOf[UUID]() }, `{"name":"UUID","type":"fixed","size":16,"logicalType":"uuid"}`},
		{"fixed", func() (string, error) { return SchemaOf[[4]byte]() }, `{"name":"fixed_4","type":"fixed","size":4}`},
		{"enum", func() (string, error) { return SchemaOf[outcome]() }, `{"name":"outcome","type":"enum","symbols":["A","B","C","D"]}`},
		{"type arguments", func() (string, error) { return SchemaOf[pair[string, pair[int32, UUID]]]() },
			`{"name":"pair_string_pair_int32_UUID","type":"record","fields":[{"name":"First","type":"string"},` +
				`{"name":"Second","type":{"name":"pair_int32_UUID","type":"record","fields":[{"name":"First","type":"int"},` +
				`{"name":"Second","type":{"name":"UUID","type":"fixed","size":16,"logicalType":"uuid"}}]}}]}`},
		{"anonymous struct", func() (string, error) { return SchemaOf[anonymous](WithNamespace("n")) },
			`{"name":"n.anonymous","type":"record","fields":[{"name":"In","type":{"name":"n.anonymous_In","type":"record","fields":[{"name":"X","type":"int"}]}}]}`},
		{"options", func() (string, error) { return SchemaOf[specRecord](WithName("a.b.New"), WithAliases("test")) },
			`{"name":"a.b.New","type":"record","aliases":["a.b.test"],"fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}`},
		{"tags", func() (string, error) { return SchemaOf[annotated]() },
			`{"name":"shop.Order","type":"record","aliases":["shop.Purchase"],"fields":[` +
				`{"name":"id","type":{"type":"string","logicalType":"uuid"},"aliases":["key"]},` +
				`{"name":"count","type":"long"},` +
				`{"name":"when","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},` +
				`{"name":"level","type":{"name":"shop.Order_level","type":"enum","symbols":["LOW","HIGH"],"default":"LOW"},"default":"HIGH"},` +
				`{"name":"note","type":["string","null"],"default":"none, really"},` +
				`{"name":"rate","type":"double","default":0.5},` +
				`{"name":"parent","type":["null","shop.Order"],"default":null},` +
				`{"name":"tags","type":{"type":"array","items":"string"},"default":[]},` +
				`{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}}]}`},
	}
	for _, tt := range tests {
		got, err := tt.make()
		if err != nil || got != tt.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", tt.name, got, err, tt.want)
		}
		if n, err := parseSchema(got); err != nil || n.json() != got {
			t.Errorf("%s: read and written again: %v", tt.name, err)
		}
	}
}

package dynamodb

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type base struct {
	ID      string `dynamodb:"id"`
	Version int64  `dynamodb:"version"`
}

type money struct{ cents int64 }

// MarshalDynamoDB writes a decimal.
func (m money) MarshalDynamoDB() (types.AttributeValue, error) {
	if m.cents < 0 {
		return nil, errors.New("negative amount")
	}
	return &types.AttributeValueMemberN{Value: fmt.Sprintf("%d.%02d", m.cents/100, m.cents%100)}, nil
}

type everything struct {
	base
	Name     string
	Flag     bool
	Small    int8                 `dynamodb:"small"`
	Large    uint64               `dynamodb:"large"`
	Float    float64              `dynamodb:"float"`
	Single   float32              `dynamodb:"single"`
	Raw      []byte               `dynamodb:"raw"`
	Array    [2]byte              `dynamodb:"array"`
	List     []any                `dynamodb:"list"`
	Tags     []string             `dynamodb:"tags,set"`
	Numbers  []int                `dynamodb:"numbers,set"`
	Decimals []Number             `dynamodb:"decimals,set"`
	Blobs    [][]byte             `dynamodb:"blobs,set"`
	NoTags   []string             `dynamodb:"no_tags,set"`
	Map      map[string]int       `dynamodb:"map"`
	NilMap   map[string]int       `dynamodb:"nil_map"`
	At       time.Time            `dynamodb:"at"`
	AtMS     time.Time            `dynamodb:"at_ms,unixms"`
	Exact    Number               `dynamodb:"exact"`
	Price    money                `dynamodb:"price"`
	Big      *big.Int             `dynamodb:"big"`
	Addr     netip.Addr           `dynamodb:"addr"`
	Pointer  *string              `dynamodb:"pointer"`
	Nil      *string              `dynamodb:"nil"`
	Empty    string               `dynamodb:"empty,omitempty"`
	Own      types.AttributeValue `dynamodb:"own"`
	Secret   string               `dynamodb:"-"`
	hidden   string
	Inner    struct{ X int } `dynamodb:"inner"`
}

func TestMarshal(t *testing.T) {
	text := "p"
	at := time.Date(2026, 11, 1, 13, 0, 0, 5e6, time.FixedZone("", 3600))
	v := everything{base: base{"a", -7}, Name: "n", Flag: true, Small: -128, Large: math.MaxUint64, Float: 0.1, Single: 0.1, Raw: []byte{1, 2}, Array: [2]byte{3, 4},
		List: []any{1, "x", nil, []int{2}}, Tags: []string{"b", "a"}, Numbers: []int{2, 1}, Decimals: []Number{"1.5"}, Blobs: [][]byte{{9}}, Map: map[string]int{"k": 1},
		At: at, AtMS: at, Exact: "12345678901234567890123456789012345678", Price: money{1999}, Big: big.NewInt(5), Addr: netip.MustParseAddr("::1"), Pointer: &text,
		Own: &types.AttributeValueMemberNULL{Value: true}, Secret: "s", hidden: "h"}
	v.Inner.X = 3
	got, err := Marshal(&v)
	if err != nil {
		t.Fatal(err)
	}
	b, err := appendItem(nil, got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Flag":{"BOOL":true},"Name":{"S":"n"},"addr":{"S":"::1"},"array":{"B":"AwQ="},"at":{"S":"2026-11-01T12:00:00.005Z"},"at_ms":{"N":"1793534400005"},"big":{"S":"5"},` +
		`"blobs":{"BS":["CQ=="]},"decimals":{"NS":["1.5"]},"exact":{"N":"12345678901234567890123456789012345678"},"float":{"N":"0.1"},"id":{"S":"a"},"inner":{"M":{"X":{"N":"3"}}},` +
		`"large":{"N":"18446744073709551615"},"list":{"L":[{"N":"1"},{"S":"x"},{"NULL":true},{"L":[{"N":"2"}]}]},"map":{"M":{"k":{"N":"1"}}},"numbers":{"NS":["2","1"]},"own":{"NULL":true},` +
		`"pointer":{"S":"p"},"price":{"N":"19.99"},"raw":{"B":"AQI="},"single":{"N":"0.1"},"small":{"N":"-128"},"tags":{"SS":["b","a"]},"version":{"N":"-7"}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	m, err := Marshal(map[string]any{"id": "x", "n": 1})
	if err != nil || len(m) != 2 {
		t.Errorf("map: %v, %v", m, err)
	}
}

type recursive struct {
	Next *recursive `dynamodb:"next"`
}

func TestMarshalRefuses(t *testing.T) {
	loop := &recursive{}
	loop.Next = loop
	for name, c := range map[string]struct {
		v    any
		text string
	}{
		"nil":         {nil, "nil"},
		"nil pointer": {(*base)(nil), "nil"},
		"number":      {5, "want a struct or a map"},
		"NaN":         {struct{ F float64 }{math.NaN()}, "F: NaN is no number"},
		"infinity":    {struct{ F float32 }{float32(math.Inf(1))}, "F: +Inf is no number"},
		"channel":     {struct{ C chan int }{make(chan int)}, "C: type chan int cannot be marshalled"},
		"map of ints": {map[string]any{"m": map[int]int{1: 2}}, "m: map has keys of type int"},
		"unknown option": {struct {
			F int `dynamodb:"f,omitzero"`
		}{}, `unknown option "omitzero"`},
		"two of a name": {struct {
			A, B int `dynamodb:"x"`
		}{}, `two fields are named "x"`},
		"marshaler fails": {struct{ M money }{money{-1}}, "M: negative amount"},
		"endless":         {loop, "nested deeper than 32"},
		"set of structs": {struct {
			S []struct{} `dynamodb:"s,set"`
		}{make([]struct{}, 1)}, "s: set: [0]: type struct {}"},
		"deep in the list": {struct{ L []any }{[]any{1, func() {}}}, "L: [1]: type func() cannot be marshalled"},
	} {
		_, err := Marshal(c.v)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.text)
		}
	}
}

// Sizes by hand after the developer guide: names and values in bytes; a number of n digits (n+1)/2+1, plus 1 if negative; 3 for a list or map and 1 for
// each element.
func TestMeasure(t *testing.T) {
	s := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	n := func(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
	for want, item := range map[int]map[string]types.AttributeValue{
		5:  {"id": s("abc")},
		6:  {"n": n("12345678")},                                                                         // 1 + 4+1
		7:  {"n": n("-123456.780")},                                                                      // 1 + 8 digits: 4+1, sign 1
		3:  {"n": n("1000000000")},                                                                       // 1 + 1 digit: 1+1
		2:  {"b": &types.AttributeValueMemberBOOL{}},                                                     // 1 + 1
		10: {"l": &types.AttributeValueMemberL{Value: []types.AttributeValue{s("ü"), n("7")}}},           // 1 + 3+2 + 2 + 2
		11: {"m": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"key": s("abc")}}}, // 1 + 3+1 + 3+3
		12: {"s": &types.AttributeValueMemberSS{Value: []string{"abcde", "abcdef"}}},
		8:  {"b": &types.AttributeValueMemberB{Value: make([]byte, 7)}},
	} {
		m, err := measureItem(item, 0)
		if err != nil || m.stored != want {
			t.Errorf("%v: %d bytes, %v, want %d", item, m.stored, err, want)
		}
		b, err := appendItem(nil, item)
		if err != nil || len(b) > m.wire+2 {
			t.Errorf("%v: %d bytes on the wire, estimated %d at most", item, len(b), m.wire+2)
		}
	}
	for name, v := range map[string]types.AttributeValue{"nil": nil, "empty set": &types.AttributeValueMemberSS{}, "no number": n("x"), "no number in a set": &types.AttributeValueMemberNS{Value: []string{"1", ""}}} {
		if _, err := measureItem(map[string]types.AttributeValue{"a": v}, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEncodeKey(t *testing.T) {
	n := func(v string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"k": &types.AttributeValueMemberN{Value: v}}
	}
	s := func(v string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: v}}
	}
	key := func(item map[string]types.AttributeValue) string {
		k, err := encodeKey(item, []string{"k"})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if key(n("1")) != key(n("1.0")) || key(n("100")) != key(n("1e2")) || key(n("-0")) != key(n("0")) {
		t.Error("equal numbers give different keys: a batch would hold one item twice")
	}
	if key(n("1")) == key(s("1")) || key(s("a")) == key(s("b")) {
		t.Error("different keys are equal")
	}
	for _, bad := range []map[string]types.AttributeValue{{}, s(""), n("x"), s(strings.Repeat("k", 2049)), {"k": &types.AttributeValueMemberBOOL{}}, {"k": nil}} {
		if k, err := encodeKey(bad, []string{"k"}); err == nil {
			t.Errorf("%.60v: key %q, want an error", bad, k)
		}
	}
}

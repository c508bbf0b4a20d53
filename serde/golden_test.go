package serde

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"os"
	"reflect"
	"testing"
	"time"
)

type fastavroCase struct{ Name, Schema, Hex string }

// same checks v against a case both ways, with the schema of the case.
func same[T any](v T) func(t *testing.T, c fastavroCase) {
	return func(t *testing.T, c fastavroCase) {
		s, err := Avro[T](WithSchema(c.Schema))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Append(nil, v)
		if err != nil || hex.EncodeToString(got) != c.Hex {
			t.Errorf("Append(%v) = %x, %v, want %s", v, got, err, c.Hex)
		}
		raw, err := hex.DecodeString(c.Hex)
		if err != nil {
			t.Fatal(err)
		}
		var back T
		if err := s.Decode(raw, &back); err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("Decode(%s) = %v, %v, want %v", c.Hex, back, err, v)
		}
	}
}

// TestGoldenOfFastavro: logical types at their bounds and the like, as another implementation in another language encodes them.
// Origin: testdata/fastavro.json, written by testdata/golden_fastavro.py with fastavro 1.13.1.
func TestGoldenOfFastavro(t *testing.T) {
	type record struct {
		List []*string        `avro:"list"`
		Map  map[string]int64 `avro:"map"`
	}
	wide, _ := new(big.Rat).SetString("-1234567890123456789012345678.0123456789")
	end := time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	values := map[string]func(t *testing.T, c fastavroCase){
		"millis first":         same(time.Time{}),
		"millis last":          same(end.Truncate(time.Millisecond)),
		"micros before 1970":   same(time.UnixMicro(-1).UTC()),
		"micros last":          same(end),
		"date first":           same(time.Time{}),
		"date last":            same(end.Truncate(24 * time.Hour)),
		"time-millis last":     same(24*time.Hour - time.Millisecond),
		"time-micros last":     same(24*time.Hour - time.Microsecond),
		"decimal largest":      same(mustDecimal("9999999999999999.99")),
		"decimal smallest":     same(mustDecimal("-9999999999999999.99")),
		"decimal zero":         same(Decimal{}),
		"decimal of 38 digits": same(*wide),
		"decimal in fixed":     same(mustDecimal("-12.34")),
		"uint64 largest":       same(uint64(math.MaxUint64)),
		"uuid":                 same([16]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}),
		"long least":           same(int64(math.MinInt64)),
		"long largest":         same(int64(math.MaxInt64)),
		"int least":            same(int32(math.MinInt32)),
		"double":               same(1e-300),
		"float":                same(float32(0.5)),
		"text":                 same("zü\U0001f600"),
		"record":               same(record{List: []*string{text("a"), nil, text("")}, Map: map[string]int64{"k": -1}}),
	}
	raw, err := os.ReadFile("testdata/fastavro.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []fastavroCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		check := values[c.Name]
		if delete(values, c.Name); check == nil {
			t.Errorf("case %q has no value here", c.Name)
			continue
		}
		t.Run(c.Name, func(t *testing.T) { check(t, c) })
	}
	for name := range values {
		t.Errorf("value %q has no case in the file", name)
	}
}

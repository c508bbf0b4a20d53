package serde

import (
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

type outcome string

func (outcome) Symbols() []string { return []string{"A", "B", "C", "D"} }

type specRecord struct {
	_ struct{} `avro:"test"`
	A int64    `avro:"a"`
	B string   `avro:"b"`
}

type UUID [16]byte

type inner struct {
	Limit Decimal  `avro:"limit,precision=12,scale=2"`
	Tags  []string `avro:"tags"`
}

type embedded struct {
	Source string `avro:"source"`
}

type everything struct {
	embedded
	Bool    bool
	I8      int8
	I16     int16
	I32     int32
	I64     int64
	I       int
	U8      uint8
	U16     uint16
	U32     uint32
	U64     uint64
	U       uint
	F32     float32
	F64     float64
	Text    string
	Raw     []byte
	Fix     [4]byte
	ID      UUID
	TextID  [16]byte  `avro:"TextID,uuid"`
	Millis  time.Time `avro:"millis"`
	Micros  time.Time `avro:"micros,timestamp-micros"`
	Nanos   time.Time `avro:"nanos,timestamp-nanos"`
	Day     time.Time `avro:"day,date"`
	Took    time.Duration
	Clock   time.Duration     `avro:"clock,time-millis"`
	Amount  Decimal           `avro:"amount,precision=12,scale=2"`
	Exact   *big.Rat          `avro:"exact,precision=40,scale=5"`
	Out     outcome           `avro:"out"`
	Level   string            `avro:"level,enum=LOW|HIGH"`
	Inner   inner             `avro:"inner"`
	Opt     *inner            `avro:"opt"`
	OptText *string           `avro:"opt_text"`
	List    []inner           `avro:"list"`
	Matrix  [][]int64         `avro:"matrix"`
	Map     map[string]inner  `avro:"map"`
	Labels  map[string]string `avro:"labels"`
	Hidden  chan int          `avro:"-"`
}

func text(s string) *string { return &s }

func fullValue() everything {
	return everything{
		embedded: embedded{Source: "src"},
		Bool:     true, I8: -8, I16: -1600, I32: math.MinInt32, I64: math.MinInt64, I: math.MaxInt, U8: 255, U16: 65535,
		U32: math.MaxUint32, U64: math.MaxUint64, U: 1 << 63, F32: -1.5, F64: math.Pi, Text: "zażółć", Raw: []byte{0, 255}, Fix: [4]byte{1, 2, 3, 4},
		ID: UUID{15: 9}, TextID: [16]byte{0xde, 0xad}, Millis: time.UnixMilli(-1).UTC(), Micros: time.UnixMicro(1).UTC(),
		Nanos: time.Unix(1, 999).UTC(), Day: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), Took: -time.Nanosecond, Clock: 90 * time.Second,
		Amount: mustDecimal("-12.5"), Exact: new(big.Rat).SetFrac64(-1, 32), Out: "D", Level: "HIGH",
		Inner: inner{Limit: mustDecimal("0.01"), Tags: []string{"x", ""}}, Opt: &inner{}, OptText: text(""),
		List: []inner{{}, {Tags: []string{"y"}}}, Matrix: [][]int64{{1, 2}, nil, {3}},
		Map: map[string]inner{"k": {Limit: mustDecimal("1")}}, Labels: map[string]string{"a": "b"},
	}
}

func mustDecimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

func mustAvro[T any](t testing.TB, opts ...AvroOption) Serde[T] {
	t.Helper()
	s, err := Avro[T](opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// golden checks the bytes of v both ways.
func golden[T any](t *testing.T, name string, v T, want string, opts ...AvroOption) {
	t.Helper()
	codecs := map[string]Serde[T]{"Avro": mustAvro[T](t, opts...)}
	if opts == nil {
		codecs["For"] = MustFor[T]()
	}
	for kind, s := range codecs {
		got, err := s.Append([]byte("x"), v)
		if err != nil || hex.EncodeToString(got) != "78"+want {
			t.Errorf("%s, %s: Append(%v) = %x, %v, want 78%s", name, kind, v, got, err, want)
		}
		raw, _ := hex.DecodeString(want)
		var back T
		if err := s.Decode(raw, &back); err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("%s, %s: Decode(%s) = %v, %v, want %v", name, kind, want, back, err, v)
		}
	}
}

func TestGoldenOfSpecification(t *testing.T) {
	// Origin: Avro specification 1.12, the tables and examples of "Binary Encoding".
	for v, want := range map[int64]string{0: "00", -1: "01", 1: "02", -2: "03", 2: "04", -64: "7f", 64: "8001"} {
		golden(t, "zig-zag table", v, want)
		golden(t, "zig-zag table", int32(v), want)
	}
	golden(t, "string foo", "foo", "06666f6f")
	golden(t, "record test", specRecord{A: 27, B: "foo"}, "3606666f6f")
	golden(t, "array [3, 27]", []int64{3, 27}, "04063600")
	golden(t, "union null", (*string)(nil), "00")
	golden(t, "union string a", text("a"), "020261")
	golden(t, "enum D", outcome("D"), "06")
}

func TestGoldenByHand(t *testing.T) {
	// Origin: computed by hand from the rules of the specification (two's complement, IEEE 754 little-endian, days and units of 1970).
	golden(t, "true", true, "01")
	golden(t, "float 1", float32(1), "0000803f")
	golden(t, "double -2", float64(-2), "00000000000000c0")
	golden(t, "bytes", []byte{0xff}, "02ff")
	golden(t, "empty bytes", []byte(nil), "00")
	golden(t, "time -1 ms", time.UnixMilli(-1).UTC(), "01")
	golden(t, "fixed", [2]byte{1, 2}, "0102")
	golden(t, "map", map[string]bool{"a": true}, "0202610100")
	golden(t, "uint64 0", uint64(0), "0200")
	golden(t, "uint64 128", uint64(128), "040080")
	golden(t, "uint64 max", uint64(math.MaxUint64), "1200ffffffffffffffff")
	type dec struct {
		V Decimal `avro:"v,precision=9,scale=2"`
	}
	golden(t, "decimal 12.50", dec{mustDecimal("12.5")}, "0404e2")
	golden(t, "decimal -1", dec{mustDecimal("-1")}, "029c")
	golden(t, "decimal -1.28", dec{mustDecimal("-1.28")}, "0280")
	golden(t, "decimal 1.28", dec{mustDecimal("1.28")}, "040080")
	type rat struct {
		V *big.Rat `avro:"v,precision=9,scale=2"`
	}
	golden(t, "rat -1.28", rat{big.NewRat(-128, 100)}, "020280")
	type day struct {
		V time.Time `avro:"v,date"`
	}
	golden(t, "day before 1970", day{time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)}, "01")
}

func TestEverythingRoundTrip(t *testing.T) {
	s := mustAvro[everything](t)
	want := fullValue()
	b, err := s.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var got everything
	if err := s.Decode(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Exact.Cmp(want.Exact) != 0 {
		t.Errorf("Exact = %v, want %v", got.Exact, want.Exact)
	}
	got.Exact, want.Exact = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for n := range b {
		if err := s.Decode(b[:n], new(everything)); err == nil {
			t.Errorf("the first %d of %d bytes decode without error", n, len(b))
		}
	}
	err = s.Decode(append(b, 0), new(everything))
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "1 bytes follow") {
		t.Errorf("trailing byte: %v", err)
	}
}

type list struct {
	V    int64 `avro:"v"`
	Next *list `avro:"next"`
	Kids []list
	By   map[string]list
}

func TestRecursiveTypes(t *testing.T) {
	s := mustAvro[list](t)
	want := list{V: 1, Next: &list{V: 2}, Kids: []list{{V: 3}}, By: map[string]list{"x": {V: 4}}}
	b, err := s.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var got list
	if err := s.Decode(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	many := list{Kids: make([]list, 2*maxDepth)} // side by side is not deep
	if b, err = s.Append(nil, many); err != nil {
		t.Fatal(err)
	}
	if err := s.Decode(b, &got); err != nil || len(got.Kids) != 2*maxDepth {
		t.Errorf("%d records side by side: %v", len(got.Kids), err)
	}
	loop := &list{V: 5}
	loop.Next = loop
	if _, err := s.Append(nil, *loop); err == nil || !strings.Contains(err.Error(), "deeper than 1000") {
		t.Errorf("a value that holds itself: %v", err)
	}
	deep := strings.Repeat("\x00\x02", 1<<20) // v=0, next=non-null, for ever
	if err := s.Decode([]byte(deep), &got); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "deeper than 1000") || len(err.Error()) > 2*pathMax {
		t.Errorf("deeply nested bytes: %v", err)
	}
}

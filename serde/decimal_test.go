package serde

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseDecimal(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "+7": "7", "12.50": "12.5", "-0.030": "-0.03", "007": "7", "999999999999999999": "999999999999999999",
		"0.000000000000000001": "0.000000000000000001", "1.000000000000000000000000": "1", "-999999999999999.999": "-999999999999999.999",
	} {
		d, err := ParseDecimal(in)
		if err != nil || d.String() != want {
			t.Errorf("ParseDecimal(%q) = %v, %v, want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "-", "+-1", "1.", ".5", "1e3", "0x1", " 1", "1,5", "NaN", "1..2", "--1"} {
		if d, err := ParseDecimal(in); err == nil {
			t.Errorf("ParseDecimal(%q) = %v, want an error", in, d)
		}
	}
	for _, in := range []string{"1000000000000000000", "0.0000000000000000001", "9999999999999999.999"} {
		if d, err := ParseDecimal(in); !errors.Is(err, ErrDecimalRange) {
			t.Errorf("ParseDecimal(%q) = %v, %v, want ErrDecimalRange", in, d, err)
		}
	}
	if _, err := NewDecimal(1, 19); !errors.Is(err, ErrDecimalRange) {
		t.Errorf("scale 19: %v", err)
	}
}

func TestDecimalIsComparable(t *testing.T) {
	a, b := mustDecimal("1.50"), mustDecimal("1.5")
	if a != b || a.StringFixed(2) != "1.50" || a.StringFixed(0) != "1.5" || a.Neg().String() != "-1.5" || a.Sign() != 1 || a.Float64() != 1.5 {
		t.Errorf("%v, %v, %s, %v", a, b, a.StringFixed(2), a.Neg())
	}
	if _, ok := mustDecimal("1.5").Unscaled(0); ok {
		t.Error("1.5 has an unscaled value of scale 0")
	}
}

func TestDecimalAdd(t *testing.T) {
	for _, tt := range [][3]string{
		{"1.5", "2.25", "3.75"}, {"0.1", "0.2", "0.3"}, {"5", "-5", "0"}, {"999999999999999999", "-1", "999999999999999998"},
		{"100000000000000000", "0.5", "100000000000000000.5"}, {"999999999999999999", "1", ""}, {"999999999999999999", "0.5", ""},
	} {
		got, err := mustDecimal(tt[0]).Add(mustDecimal(tt[1]))
		if tt[2] == "" {
			if !errors.Is(err, ErrDecimalRange) {
				t.Errorf("%s + %s = %v, %v, want ErrDecimalRange", tt[0], tt[1], got, err)
			}
			continue
		}
		// 100000000000000000.5 has 19 digits and is refused by ParseDecimal too.
		if len(strings.ReplaceAll(tt[2], ".", "")) > DecimalDigits {
			if !errors.Is(err, ErrDecimalRange) {
				t.Errorf("%s + %s = %v, %v, want ErrDecimalRange", tt[0], tt[1], got, err)
			}
			continue
		}
		if err != nil || got.String() != tt[2] {
			t.Errorf("%s + %s = %v, %v, want %s", tt[0], tt[1], got, err, tt[2])
		}
	}
}

// TestPropertyDecimal compares with math/big.
func TestPropertyDecimal(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) Decimal {
		d, err := NewDecimal(rapid.Int64Range(1-1e18, 1e18-1).Draw(t, "unscaled"), rapid.IntRange(0, 18).Draw(t, "scale"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if got, want := a.Cmp(b), a.Rat().Cmp(b.Rat()); got != want || (a == b) != (want == 0) {
			t.Fatalf("Cmp(%v, %v) = %d, want %d", a, b, got, want)
		}
		if back, err := ParseDecimal(a.String()); err != nil || back != a {
			t.Fatalf("ParseDecimal(%s) = %v, %v", a, back, err)
		}
		if sum, err := a.Add(b); err == nil && sum.Rat().Cmp(new(big.Rat).Add(a.Rat(), b.Rat())) != 0 {
			t.Fatalf("%v + %v = %v", a, b, sum)
		}
		js, err := json.Marshal(a)
		var back Decimal
		if err != nil || json.Unmarshal(js, &back) != nil || back != a || json.Unmarshal([]byte(`"`+a.String()+`"`), &back) != nil || back != a {
			t.Fatalf("JSON %s: %v, %v", js, back, err)
		}
		x := new(big.Int).Mul(big.NewInt(rapid.Int64().Draw(t, "x")), big.NewInt(rapid.Int64().Draw(t, "y")))
		raw, y := twosComplement(x), new(big.Int)
		if fromTwosComplement(y, raw); y.Cmp(x) != 0 {
			t.Fatalf("two's complement of %v is %x, which is %v", x, raw, y)
		}
		if u, ok := readUnscaled(raw); ok != x.IsInt64() || (ok && u != x.Int64()) {
			t.Fatalf("readUnscaled(%x) = %d, %v, want %v", raw, u, ok, x)
		}
	})
}

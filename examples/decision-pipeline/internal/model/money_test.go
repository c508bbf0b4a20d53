package model

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMoney(t *testing.T) {
	good := map[string]Money{
		"0": 0, "-0": 0, "0.00": 0, "1": 100, "1.5": 150, "12.34": 1234, "-0.05": -5, "+7": 700, "1e2": 10000, "1E+2": 10000,
		"150e-2": 150, "1.230": 123, "00012.5": 1250, ".5": 50, "5.": 500, "999999999999.99": 99_999_999_999_999, "1200E-3": 120,
	}
	for in, want := range good {
		if got, err := ParseMoney(in); err != nil || got != want {
			t.Errorf("ParseMoney(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", ".", "abc", "1.234", "1e", "e5", "1e99", "--1", "+-1", "1 ", "NaN", "Inf", "0x10", "1_000", "1e-3",
		"99999999999999999999", "1e1000000", "١"} {
		if got, err := ParseMoney(in); err == nil {
			t.Errorf("ParseMoney(%q) = %v, want an error", in, got)
		}
	}
}

func TestMoneyTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Money(rapid.Int64Range(-int64(MoneyMax), int64(MoneyMax)).Draw(t, "m"))
		if got, err := ParseMoney(m.String()); err != nil || got != m {
			t.Fatalf("ParseMoney(%q) = %d, %v, want %d", m.String(), got, err, m)
		}
		want, _ := new(big.Rat).SetString(m.String())
		if m.Rat().Cmp(want) != 0 {
			t.Fatalf("Rat of %q = %v", m, m.Rat())
		}
		if got, ok := MoneyOfRat(m.Rat()); !ok || got != m {
			t.Fatalf("MoneyOfRat(%v) = %v, %v", m.Rat(), got, ok)
		}
	})
}

func TestMoneyAdd(t *testing.T) {
	if got, err := Money(150).Add(-50); err != nil || got != 100 {
		t.Errorf("1.50 - 0.50 = %v, %v", got, err)
	}
	if got, err := Money(math.MaxInt64).Add(1); err == nil {
		t.Errorf("the sum beyond 64 bits = %v, want an error", got)
	}
	if got, err := Money(math.MinInt64).Add(-1); err == nil {
		t.Errorf("the sum below 64 bits = %v, want an error", got)
	}
}

func TestMoneyOfRatRefusesParts(t *testing.T) {
	if m, ok := MoneyOfRat(big.NewRat(1, 1000)); ok {
		t.Errorf("MoneyOfRat(0.001) = %v, want no amount", m)
	}
	if _, ok := MoneyOfRat(nil); ok {
		t.Error("MoneyOfRat(nil) gave an amount")
	}
}

func FuzzParseMoney(f *testing.F) {
	for _, s := range []string{"1", "-1.50", "1e2", "9e-3", "", "..", "1e-100"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMoney(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok || want.Cmp(m.Rat()) != 0 {
			t.Fatalf("ParseMoney(%q) = %v, want %v", s, m, want)
		}
	})
}

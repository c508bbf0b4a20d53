// Package model holds what the parts of the decision pipeline agree on: decisions, their stored items, money, and the names of
// tables, topics and the subject.
package model

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// MoneyScale is the number of decimal places of Money.
const MoneyScale = 2

// MoneyMax is the largest amount of one decision in minor units: 14 digits, so that an int64 holds the exact sum of more than
// 90,000 decisions of the largest amount and a decimal(18,2) column every sum.
const MoneyMax Money = 99_999_999_999_999

// Money is an exact amount in minor units (hundredths). It never passes through floating point.
type Money int64

// String is the decimal with two places, for example "-0.05" or "1234.50".
func (m Money) String() string {
	sign, u := "", uint64(m)
	if m < 0 {
		sign, u = "-", -uint64(m)
	}
	return fmt.Sprintf("%s%d.%02d", sign, u/100, u%100)
}

// Rat is the same amount as a rational number, owned by the caller.
func (m Money) Rat() *big.Rat { return big.NewRat(int64(m), 100) }

// MoneyOfRat is the amount r; ok is false when r is not a whole number of minor units or does not fit 64 bits.
func MoneyOfRat(r *big.Rat) (m Money, ok bool) {
	if r == nil {
		return 0, false
	}
	n := new(big.Int).Mul(r.Num(), big.NewInt(100))
	q, rest := n.QuoRem(n, r.Denom(), new(big.Int))
	if rest.Sign() != 0 || !q.IsInt64() {
		return 0, false
	}
	return Money(q.Int64()), true
}

// Add is m + o, or an error when the sum leaves 64 bits.
func (m Money) Add(o Money) (Money, error) {
	s := m + o
	if (s > m) != (o > 0) && o != 0 {
		return 0, fmt.Errorf("model: %v + %v does not fit a 64-bit amount", m, o)
	}
	return s, nil
}

// MarshalText is the decimal with two places, so that JSON carries a string and no reader rounds it.
func (m Money) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMoney.
func (m *Money) UnmarshalText(b []byte) error {
	v, err := ParseMoney(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

var errMoney = errors.New(`want a decimal number such as "12.50"`)

// ParseMoney reads a decimal number: an optional sign, digits with an optional point, an optional exponent, as JSON and DynamoDB
// write numbers. More than two decimal places are an error unless the rest are zeros; so is a value beyond ±MoneyMax times 1000.
func ParseMoney(s string) (Money, error) {
	mantissa, exp, err := splitNumber(s)
	if err != nil {
		return 0, err
	}
	negative := strings.HasPrefix(mantissa, "-")
	digits := strings.TrimLeft(mantissa, "+-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = whole + fraction
	if digits == "" || len(mantissa)-len(strings.TrimLeft(mantissa, "+-")) > 1 || strings.Trim(digits, "0123456789") != "" {
		return 0, errMoney
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return 0, nil
	}
	// shift is the number of zeros to append so that digits counts minor units.
	shift := MoneyScale + exp - len(fraction)
	for ; shift < 0; shift++ {
		if !strings.HasSuffix(digits, "0") {
			return 0, fmt.Errorf("has more than %d decimal places", MoneyScale)
		}
		digits = digits[:len(digits)-1]
	}
	if len(digits)+shift > 17 {
		return 0, errors.New("is too large")
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", shift), 10, 64)
	if err != nil {
		return 0, errMoney
	}
	if negative {
		n = -n
	}
	return Money(n), nil
}

// splitNumber cuts the exponent off. Exponents beyond ±100 are refused: no amount needs them and they would make long loops.
func splitNumber(s string) (mantissa string, exp int, err error) {
	if len(s) == 0 || len(s) > 60 {
		return "", 0, errMoney
	}
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		return s, 0, nil
	}
	exp, err = strconv.Atoi(s[i+1:])
	if err != nil || exp > 100 || exp < -100 {
		return "", 0, errMoney
	}
	return s[:i], exp, nil
}

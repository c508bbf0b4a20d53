package serde

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

const (
	// DecimalDigits is the number of decimal digits that every Decimal can hold.
	DecimalDigits = 18
	// maxPrecision bounds the precision of decimals in schemas; Parquet and SQL engines stop at 38.
	maxPrecision = 1000
)

// ErrDecimalRange reports a decimal that does not fit into 18 digits, or into the precision and scale of its schema. Decimals are
// never rounded.
var ErrDecimalRange = errors.New("serde: decimal out of range")

// Decimal is an exact decimal number of up to 18 digits, unscaled · 10^-scale. Equal numbers are equal values: 1.50 is the same
// Decimal as 1.5, so it can be compared by == and be a map key. The zero value is 0. For more digits use big.Rat.
type Decimal struct {
	unscaled int64 // no multiple of 10 unless scale is 0
	scale    uint8 // 0 to 18
}

var pow10 = [DecimalDigits + 1]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// NewDecimal is unscaled · 10^-scale: NewDecimal(1250, 2) is 12.5. scale is 0 to 18 and unscaled has at most 18 digits;
// else ErrDecimalRange.
func NewDecimal(unscaled int64, scale int) (Decimal, error) {
	if scale < 0 || scale > DecimalDigits || unscaled <= -pow10[DecimalDigits] || unscaled >= pow10[DecimalDigits] {
		return Decimal{}, fmt.Errorf("%w: %d with scale %d, want at most %d digits", ErrDecimalRange, unscaled, scale, DecimalDigits)
	}
	return normal(unscaled, scale), nil
}

// normal strips trailing zeros. Both arguments are in range.
func normal(unscaled int64, scale int) Decimal {
	for scale > 0 && unscaled%10 == 0 {
		unscaled /= 10
		scale--
	}
	return Decimal{unscaled: unscaled, scale: uint8(scale)}
}

// ParseDecimal reads a plain decimal number: an optional sign, digits, and optionally a point and digits. There is no exponent.
func ParseDecimal(s string) (Decimal, error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	whole, frac, point := strings.Cut(digits, ".")
	if len(s)-len(digits) > 1 || whole == "" || (point && frac == "") || !allDigits(whole) || !allDigits(frac) {
		return Decimal{}, fmt.Errorf("serde: %q is no decimal number, want digits with an optional sign and point", s)
	}
	frac = strings.TrimRight(frac, "0")
	whole = strings.TrimLeft(whole, "0")
	if len(strings.TrimLeft(whole+frac, "0")) > DecimalDigits || len(frac) > DecimalDigits {
		return Decimal{}, fmt.Errorf("%w: %q has more than %d digits", ErrDecimalRange, s, DecimalDigits)
	}
	u, err := strconv.ParseInt("0"+whole+frac, 10, 64)
	if err != nil {
		return Decimal{}, fmt.Errorf("serde: %q is no decimal number: %w", s, err)
	}
	if s[0] == '-' {
		u = -u
	}
	return normal(u, len(frac)), nil
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Unscaled is d · 10^scale, and whether that is an integer of at most 18 digits.
func (d Decimal) Unscaled(scale int) (int64, bool) {
	shift := scale - int(d.scale)
	if shift < 0 || shift > DecimalDigits {
		return 0, d.unscaled == 0 && scale >= 0
	}
	limit := pow10[DecimalDigits-shift]
	if d.unscaled <= -limit || d.unscaled >= limit {
		return 0, false
	}
	return d.unscaled * pow10[shift], true
}

// Add is d + e, exactly, or ErrDecimalRange.
func (d Decimal) Add(e Decimal) (Decimal, error) {
	scale := int(max(d.scale, e.scale))
	a, okA := d.Unscaled(scale)
	b, okB := e.Unscaled(scale)
	sum := normal(a+b, scale) // two numbers below 10^18 cannot overflow
	if !okA || !okB || sum.unscaled <= -pow10[DecimalDigits] || sum.unscaled >= pow10[DecimalDigits] {
		return d.addWide(e)
	}
	return sum, nil
}

// addWide adds numbers whose common scale needs more than 18 digits: the sum may need fewer.
func (d Decimal) addWide(e Decimal) (Decimal, error) {
	sum := new(big.Rat).Add(d.Rat(), e.Rat())
	out, err := ParseDecimal(sum.FloatString(DecimalDigits)) // exact: both have at most 18 places
	if err != nil {
		return Decimal{}, fmt.Errorf("%w: %v + %v has more than %d digits", ErrDecimalRange, d, e, DecimalDigits)
	}
	return out, nil
}

// Neg is -d.
func (d Decimal) Neg() Decimal { return Decimal{unscaled: -d.unscaled, scale: d.scale} }

// Sign is -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case d.unscaled < 0:
		return -1
	case d.unscaled > 0:
		return 1
	}
	return 0
}

// Cmp is -1, 0 or 1 as d is less than, equal to or greater than e.
func (d Decimal) Cmp(e Decimal) int {
	scale := int(max(d.scale, e.scale))
	a, okA := d.Unscaled(scale)
	b, okB := e.Unscaled(scale)
	switch {
	case !okA || !okB:
		return d.Rat().Cmp(e.Rat())
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Rat is d as a rational number, owned by the caller.
func (d Decimal) Rat() *big.Rat { return big.NewRat(d.unscaled, pow10[d.scale]) }

// Float64 is the nearest floating-point number, for display and charts: it is not exact.
func (d Decimal) Float64() float64 {
	f, _ := d.Rat().Float64()
	return f
}

// String is the shortest exact form: "12.5", "-0.03", "7".
func (d Decimal) String() string { return d.StringFixed(int(d.scale)) }

// StringFixed is d with places digits after the point, and with as many as it has when that is more: 12.5 with 2 places is "12.50".
func (d Decimal) StringFixed(places int) string {
	s := strconv.FormatInt(d.unscaled, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if pad := int(d.scale) + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	point := len(s) - int(d.scale)
	whole, frac := s[:point], s[point:]
	if len(frac) < places {
		frac += strings.Repeat("0", places-len(frac))
	}
	if frac == "" {
		return sign + whole
	}
	return sign + whole + "." + frac
}

// MarshalJSON writes d as a JSON number.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a JSON number without exponent, or a string that holds one, exactly.
func (d *Decimal) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	v, err := ParseDecimal(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// appendUnscaled appends v as a big-endian two's complement of the least length, with its length before.
func appendUnscaled(dst []byte, v int64) []byte {
	n := 1
	for ; n < 8; n++ {
		if shift := uint(64 - 8*n); v<<shift>>shift == v {
			break
		}
	}
	dst = append(dst, byte(n<<1))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// appendUint64 is appendUnscaled of an unsigned number.
func appendUint64(dst []byte, v uint64) []byte {
	if v <= math.MaxInt64 {
		return appendUnscaled(dst, int64(v))
	}
	return append(dst, 9<<1, 0, byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// readUint64 reads a decimal of scale 0 back.
func readUint64(b []byte) (uint64, bool) {
	if len(b) > 0 && b[0]&0x80 != 0 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		if v >= 1<<56 {
			return 0, false
		}
		v = v<<8 | uint64(c)
	}
	return v, true
}

// readUnscaled reads a big-endian two's complement. Leading sign bytes beyond need are accepted, as other writers pad.
func readUnscaled(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, true
	}
	v := int64(int8(b[0]))
	for _, c := range b[1:] {
		if v<<8>>8 != v {
			return 0, false
		}
		v = v<<8 | int64(c)
	}
	return v, true
}

// twosComplement is the least big-endian two's complement of x.
func twosComplement(x *big.Int) []byte {
	if x.Sign() >= 0 {
		b := x.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	// -x - 1 has the inverted bits of x.
	b := new(big.Int).Not(x).Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// fromTwosComplement reads b into x.
func fromTwosComplement(x *big.Int, b []byte) {
	x.SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
}

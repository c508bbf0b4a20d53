package attr

import (
	"math/big"
	"strconv"
	"strings"
)

// Limits of the number type: up to 38 significant digits, magnitude from 1E-130 to 9.99…E+125.
// Source: DynamoDB developer guide, "Data types: Number".
const (
	maxDigits = 38
	maxExp    = 126  // of the form 0.d1d2… × 10^exp
	minExp    = -129 // likewise: 1E-130 = 0.1 × 10^-129
)

// Number is an exact decimal, 0.digits × 10^exp. The zero value is 0.
type Number struct {
	neg    bool
	digits string // no leading or trailing zero; empty for 0
	exp    int
}

// ParseNumber reads a decimal with optional sign, point and exponent. The error is an *Error with the service's text.
func ParseNumber(s string) (Number, error) {
	t := strings.TrimSpace(s)
	bad := func() (Number, error) {
		if t == "" {
			return Number{}, Invalid("The parameter cannot be converted to a numeric value")
		}
		return Number{}, Invalid("The parameter cannot be converted to a numeric value: " + s)
	}
	var n Number
	i := 0
	if i < len(t) && (t[i] == '+' || t[i] == '-') {
		n.neg = t[i] == '-'
		i++
	}
	whole, i := digitsAt(t, i)
	var frac string
	if i < len(t) && t[i] == '.' {
		frac, i = digitsAt(t, i+1)
	}
	if whole == "" && frac == "" {
		return bad()
	}
	exp := len(whole)
	if i < len(t) {
		if t[i] != 'e' && t[i] != 'E' {
			return bad()
		}
		e, err := strconv.Atoi(t[i+1:])
		if err != nil {
			return bad()
		}
		exp += max(-1_000_000, min(1_000_000, e))
	}
	n.digits, n.exp = whole+frac, exp
	return n.normal().checked()
}

// digitsAt returns the run of decimal digits of s that starts at i, and the index after it.
func digitsAt(s string, i int) (string, int) {
	j := i
	for j < len(s) && s[j] >= '0' && s[j] <= '9' {
		j++
	}
	return s[i:j], j
}

func (n Number) normal() Number {
	d := strings.TrimLeft(n.digits, "0")
	n.exp -= len(n.digits) - len(d)
	n.digits = strings.TrimRight(d, "0")
	if n.digits == "" {
		return Number{}
	}
	return n
}

func (n Number) checked() (Number, error) {
	switch {
	case n.digits == "":
		return n, nil
	case len(n.digits) > maxDigits:
		return Number{}, Invalid("Attempting to store more than 38 significant digits in a Number")
	case n.exp > maxExp:
		return Number{}, Invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	case n.exp < minExp:
		return Number{}, Invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return n, nil
}

// String is the plain notation, without exponent: the form in which the service returns numbers.
func (n Number) String() string {
	if n.digits == "" {
		return "0"
	}
	var b strings.Builder
	if n.neg {
		b.WriteByte('-')
	}
	switch {
	case n.exp <= 0:
		b.WriteString("0.")
		b.WriteString(strings.Repeat("0", -n.exp))
		b.WriteString(n.digits)
	case n.exp >= len(n.digits):
		b.WriteString(n.digits)
		b.WriteString(strings.Repeat("0", n.exp-len(n.digits)))
	default:
		b.WriteString(n.digits[:n.exp])
		b.WriteByte('.')
		b.WriteString(n.digits[n.exp:])
	}
	return b.String()
}

// Sortable is a byte string whose order is the order of the numbers.
func (n Number) Sortable() string {
	if n.digits == "" {
		return "\x80"
	}
	scale := byte(n.exp - minExp)
	if !n.neg {
		return "\x81" + string([]byte{scale}) + n.digits
	}
	b := append(make([]byte, 0, len(n.digits)+3), 0x7f, 255-scale)
	for i := range len(n.digits) {
		b = append(b, '9'-n.digits[i]+'0')
	}
	// A shorter run of digits is the greater negative number: its end must sort after every digit.
	return string(append(b, '~'))
}

// Cmp compares by value: -1, 0 or 1.
func (n Number) Cmp(o Number) int { return strings.Compare(n.Sortable(), o.Sortable()) }

// Negated is -n.
func (n Number) Negated() Number {
	if n.digits != "" {
		n.neg = !n.neg
	}
	return n
}

// Add is the exact sum; more than 38 digits or too large a magnitude is an *Error.
func (n Number) Add(o Number) (Number, error) {
	low := min(n.exp-len(n.digits), o.exp-len(o.digits))
	sum := n.scaled(low)
	sum.Add(sum, o.scaled(low))
	r := Number{neg: sum.Sign() < 0}
	r.digits = sum.Abs(sum).String()
	r.exp = low + len(r.digits)
	return r.normal().checked()
}

// scaled is n / 10^low as an integer; low is at most the power of n's last digit.
func (n Number) scaled(low int) *big.Int {
	if n.digits == "" {
		return new(big.Int)
	}
	v, _ := new(big.Int).SetString(n.digits, 10)
	shift := int64(n.exp - len(n.digits) - low)
	v.Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(shift), nil))
	if n.neg {
		v.Neg(v)
	}
	return v
}

// SizeBytes follows the developer guide: one byte for two significant digits, plus one, plus one for a sign.
func (n Number) SizeBytes() int {
	size := (len(n.digits)+1)/2 + 1
	if n.neg {
		size++
	}
	return size
}

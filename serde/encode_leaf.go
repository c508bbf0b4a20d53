package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// encLeaf writes a value that holds no others.
func encLeaf(b *bound) encFunc {
	n := b.n
	switch b.form {
	case formBool:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) { return appendBool(dst, *(*bool)(p)), nil }
	case formInt:
		return encInt(b)
	case formUint64:
		if b.typ.Size() == 4 {
			return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
				return appendUint64(dst, uint64(*(*uint32)(p))), nil
			}
		}
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return appendUint64(dst, *(*uint64)(p)), nil
		}
	case formFloat32:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(dst, math.Float32bits(*(*float32)(p))), nil
		}
	case formFloat64:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(*(*float64)(p))), nil
		}
	case formText:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) { return appendText(dst, *(*string)(p)), nil }
	case formBytes:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) { return appendBytes(dst, *(*[]byte)(p)), nil }
	case formArray:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return append(dst, unsafe.Slice((*byte)(p), n.size)...), nil
		}
	case formUUID:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) { return appendUUID(dst, (*[16]byte)(p)), nil }
	case formTime:
		unit := n.logical
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return appendTime(dst, *(*time.Time)(p), unit)
		}
	case formSpan:
		return encSpan(n)
	case formDecimal:
		return encDecimal(n)
	case formRat:
		return encRat(n)
	default: // formEnum
		return encEnum(n)
	}
}

func encInt(b *bound) encFunc {
	load := loadInt(b.typ.Kind())
	narrow := b.n.kind == kInt
	unsigned := b.typ.Kind() == reflect.Uint || b.typ.Kind() == reflect.Uint64
	switch {
	case plainLong(b):
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) { return appendVarint(dst, *(*int64)(p)), nil }
	case b.typ.Kind() == reflect.Int32:
		return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
			return appendVarint(dst, int64(*(*int32)(p))), nil
		}
	}
	return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
		v := load(p)
		if (narrow && v != int64(int32(v))) || (unsigned && v < 0) {
			return dst, fmt.Errorf("%v does not fit the schema's %s", reflect.NewAt(b.typ, p).Elem(), b.n.kind)
		}
		return appendVarint(dst, v), nil
	}
}

// plainLong reports whether every value of the Go type is one of the schema's, a long, and stands in memory as an int64.
func plainLong(b *bound) bool {
	k := b.typ.Kind()
	return b.form == formInt && b.n.kind != kInt && b.typ.Size() == 8 && k != reflect.Uint && k != reflect.Uint64
}

// loadInt reads an integer of any kind; the upper half of uint64 comes out negative.
func loadInt(k reflect.Kind) func(p unsafe.Pointer) int64 {
	switch k {
	case reflect.Int8:
		return func(p unsafe.Pointer) int64 { return int64(*(*int8)(p)) }
	case reflect.Int16:
		return func(p unsafe.Pointer) int64 { return int64(*(*int16)(p)) }
	case reflect.Int32:
		return func(p unsafe.Pointer) int64 { return int64(*(*int32)(p)) }
	case reflect.Uint8:
		return func(p unsafe.Pointer) int64 { return int64(*(*uint8)(p)) }
	case reflect.Uint16:
		return func(p unsafe.Pointer) int64 { return int64(*(*uint16)(p)) }
	case reflect.Uint32:
		return func(p unsafe.Pointer) int64 { return int64(*(*uint32)(p)) }
	case reflect.Int:
		return func(p unsafe.Pointer) int64 { return int64(*(*int)(p)) }
	case reflect.Uint:
		return func(p unsafe.Pointer) int64 { return int64(*(*uint)(p)) }
	default:
		return func(p unsafe.Pointer) int64 { return *(*int64)(p) }
	}
}

// appendVarint is the zig-zag varint of Avro's int and long, with the short case in line.
func appendVarint(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	if u < 0x80 {
		return append(dst, byte(u))
	}
	return binary.AppendUvarint(dst, u)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendText(dst []byte, s string) []byte { return append(appendVarint(dst, int64(len(s))), s...) }

func appendBytes(dst, b []byte) []byte { return append(appendVarint(dst, int64(len(b))), b...) }

func appendUUID(dst []byte, u *[16]byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, 36<<1)
	for i, c := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// The times that int64 milliseconds and microseconds hold are bounded so that the conversion back is exact.
const (
	maxSeconds = math.MaxInt64 / 1_000_000 / 2 // some 146,000 years either side of 1970
	daySeconds = 24 * 60 * 60
)

// appendTime writes t in the unit of a logical type. What is finer than the unit is cut off towards the past.
func appendTime(dst []byte, t time.Time, unit string) ([]byte, error) {
	sec := t.Unix()
	if sec < -maxSeconds || sec > maxSeconds {
		return dst, fmt.Errorf("time %v is out of range of %s", t, unit)
	}
	switch unit {
	case logicalTimestampMillis:
		return appendVarint(dst, t.UnixMilli()), nil
	case logicalTimestampMicros:
		return appendVarint(dst, t.UnixMicro()), nil
	case logicalTimestampNanos:
		if y := t.UTC().Year(); y < 1678 || y > 2261 {
			return dst, fmt.Errorf("time %v is out of range of %s, which holds the years 1678 to 2261; use timestamp-micros", t, unit)
		}
		return appendVarint(dst, t.UnixNano()), nil
	}
	// A date is the calendar day that t shows where it is, as in java.time.LocalDate.
	_, offset := t.Zone()
	days := (sec + int64(offset)) / daySeconds
	if (sec+int64(offset))%daySeconds < 0 {
		days--
	}
	if days != int64(int32(days)) {
		return dst, fmt.Errorf("time %v is out of range of %s", t, unit)
	}
	return appendVarint(dst, days), nil
}

// dayLength is where a time of day ends.
const dayLength = 24 * time.Hour

func encSpan(n *node) encFunc {
	unit := spanUnit(n)
	return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
		v := *(*time.Duration)(p)
		if v%unit != 0 || v < 0 || v >= dayLength {
			return dst, fmt.Errorf("%v is no time of day in whole units of %s; leave the tag away to store any duration, in nanoseconds", v, n.logical)
		}
		return appendVarint(dst, int64(v/unit)), nil
	}
}

func spanUnit(n *node) time.Duration {
	if n.logical == logicalTimeMicros {
		return time.Microsecond
	}
	return time.Millisecond
}

func encDecimal(n *node) encFunc {
	limit := int64(math.MaxInt64)
	if n.precision <= DecimalDigits {
		limit = pow10[n.precision]
	}
	return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
		d := *(*Decimal)(p)
		u, ok := d.Unscaled(n.scale)
		if !ok || u >= limit || u <= -limit {
			return dst, fmt.Errorf("%w: %v has more places or digits than precision %d, scale %d of the schema", ErrDecimalRange, d, n.precision, n.scale)
		}
		if n.kind == kFixed {
			return appendPadded(dst, twosComplement(big.NewInt(u)), n)
		}
		return appendUnscaled(dst, u), nil
	}
}

func encRat(n *node) encFunc {
	limit, scale := power(n.precision), power(n.scale)
	return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
		r := (*big.Rat)(p)
		u, ok := unscaledRat(r, limit, scale)
		if !ok {
			return dst, fmt.Errorf("%w: %s has more places or digits than precision %d, scale %d of the schema", ErrDecimalRange, r.RatString(), n.precision, n.scale)
		}
		b := twosComplement(u)
		if n.kind == kFixed {
			return appendPadded(dst, b, n)
		}
		return appendBytes(dst, b), nil
	}
}

// unscaledRat is r in units of 1/scale, and whether that is a whole number below limit.
func unscaledRat(r *big.Rat, limit, scale *big.Int) (*big.Int, bool) {
	u, rest := new(big.Int).Mul(r.Num(), scale), new(big.Int)
	u.QuoRem(u, r.Denom(), rest)
	return u, rest.Sign() == 0 && u.CmpAbs(limit) < 0
}

// appendPadded writes the two's complement b in the size of fixed type n.
func appendPadded(dst, b []byte, n *node) ([]byte, error) {
	if len(b) > n.size {
		return dst, fmt.Errorf("%w: the number needs %d bytes, %s has %d", ErrDecimalRange, len(b), n.describe(), n.size)
	}
	pad := byte(0)
	if b[0]&0x80 != 0 {
		pad = 0xff
	}
	for range n.size - len(b) {
		dst = append(dst, pad)
	}
	return append(dst, b...), nil
}

func encEnum(n *node) encFunc {
	symbols := n.symbols
	index := func(s string) int { return slices.Index(symbols, s) }
	if len(symbols) > 8 {
		m := make(map[string]int, len(symbols))
		for i, s := range symbols {
			m[s] = i
		}
		index = func(s string) int {
			if i, ok := m[s]; ok {
				return i
			}
			return -1
		}
	}
	return func(dst []byte, p unsafe.Pointer, _ int) ([]byte, error) {
		s := *(*string)(p)
		i := index(s)
		if i < 0 {
			return dst, fmt.Errorf("%q is no symbol of %s %v; use a pointer when the value can be missing", s, n.describe(), symbols)
		}
		return appendVarint(dst, int64(i)), nil
	}
}

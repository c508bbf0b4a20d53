package serde

import (
	"encoding/binary"
	"math"
	"math/big"
	"time"
	"unsafe"
)

// AppendLong appends an int or long, for generated codecs as all functions of this name.
func AppendLong(dst []byte, v int64) []byte { return appendVarint(dst, v) }

// AppendUnsigned appends v as a decimal of scale 0.
func AppendUnsigned(dst []byte, v uint64) []byte { return appendUint64(dst, v) }

// AppendBool appends a boolean.
func AppendBool(dst []byte, v bool) []byte { return appendBool(dst, v) }

// AppendFloat appends a float.
func AppendFloat(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// AppendDouble appends a double.
func AppendDouble(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// AppendText appends a string.
func AppendText(dst []byte, v string) []byte { return appendText(dst, v) }

// AppendBytes appends bytes with their length.
func AppendBytes[B ~uint8](dst []byte, v []B) []byte {
	return appendBytes(dst, octets(v))
}

// AppendFixed appends bytes without their length.
func AppendFixed[B ~uint8](dst []byte, v []B) []byte {
	return append(dst, octets(v)...)
}

// AppendUUID appends the text of a UUID of 16 bytes.
func AppendUUID[B ~uint8](dst []byte, v []B) []byte {
	return appendUUID(dst, (*[16]byte)(octets(v)))
}

// AppendTime appends a time in the unit of a logical type. false: it is out of range.
func AppendTime(dst []byte, v time.Time, unit string) ([]byte, bool) {
	dst, err := appendTime(dst, v, unit)
	return dst, err == nil
}

// AppendSpan appends a time of day in the unit of a logical type. false: it is none, or not in whole units.
func AppendSpan(dst []byte, v time.Duration, unit string) ([]byte, bool) {
	step := time.Microsecond
	if unit == logicalTimeMillis {
		step = time.Millisecond
	}
	if v%step != 0 || v < 0 || v >= dayLength {
		return dst, false
	}
	return appendVarint(dst, int64(v/step)), true
}

// AppendDecimal appends a decimal of a precision and scale. false: it has more places or digits.
func AppendDecimal(dst []byte, v Decimal, precision, scale int) ([]byte, bool) {
	u, ok := v.Unscaled(scale)
	if limit := pow10[precision]; !ok || u >= limit || u <= -limit {
		return dst, false
	}
	return appendUnscaled(dst, u), true
}

// AppendRat appends a decimal of a precision and scale. false: it has more places or digits.
func AppendRat(dst []byte, v *big.Rat, precision, scale int) ([]byte, bool) {
	u, ok := unscaledRat(v, power(precision), power(scale))
	if !ok {
		return dst, false
	}
	return appendBytes(dst, twosComplement(u)), true
}

// power is 10 to the n.
func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// octets is the memory of v.
func octets[B ~uint8](v []B) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}

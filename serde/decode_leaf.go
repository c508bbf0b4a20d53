package serde

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// decLeaf reads a value that holds no others. w and b match.
func decLeaf(w *node, b *bound) decFunc {
	n := b.n
	switch b.form {
	case formBool:
		return func(r *reader, p unsafe.Pointer) (err error) {
			*(*bool)(p), err = r.bool()
			return err
		}
	case formInt:
		return decInt(w, b)
	case formUint64:
		return decUint64(w, b)
	case formFloat32:
		read := readNumber(w)
		return func(r *reader, p unsafe.Pointer) error {
			v, err := read(r)
			*(*float32)(p) = float32(v)
			return err
		}
	case formFloat64:
		return decFloat64(w)
	case formText:
		return func(r *reader, p unsafe.Pointer) (err error) {
			*(*string)(p), err = r.text()
			return err
		}
	case formBytes:
		return func(r *reader, p unsafe.Pointer) error {
			v, err := r.bytes()
			if len(v) > 0 {
				*(*[]byte)(p) = slices.Clone(v)
			}
			return err
		}
	case formArray:
		return func(r *reader, p unsafe.Pointer) error {
			v, err := r.take(n.size)
			copy(unsafe.Slice((*byte)(p), n.size), v)
			return err
		}
	case formUUID:
		return decUUID
	case formTime:
		return decTime(w, n)
	case formSpan:
		return decSpan(w, n)
	case formDecimal:
		return decDecimal(w, n)
	case formRat:
		return decRat(w, n)
	default: // formEnum
		return decEnum(w, n)
	}
}

// readInteger reads an int or long as its writer wrote it.
func readInteger(w *node) func(r *reader) (int64, error) {
	if w.kind == kInt {
		return (*reader).int
	}
	return (*reader).long
}

// readNumber reads any number as a double.
func readNumber(w *node) func(r *reader) (float64, error) {
	switch w.kind {
	case kInt, kLong:
		read := readInteger(w)
		return func(r *reader) (float64, error) {
			v, err := read(r)
			return float64(v), err
		}
	case kFloat:
		return func(r *reader) (float64, error) {
			v, err := r.float()
			return float64(v), err
		}
	}
	return (*reader).double
}

func decFloat64(w *node) decFunc {
	if w.kind == kDouble {
		return func(r *reader, p unsafe.Pointer) (err error) {
			*(*float64)(p), err = r.double()
			return err
		}
	}
	read := readNumber(w)
	return func(r *reader, p unsafe.Pointer) (err error) {
		*(*float64)(p), err = read(r)
		return err
	}
}

func decInt(w *node, b *bound) decFunc {
	k := b.typ.Kind()
	if k == reflect.Int64 && w.kind == kLong {
		return func(r *reader, p unsafe.Pointer) (err error) {
			*(*int64)(p), err = r.long()
			return err
		}
	}
	read, store := readInteger(w), storeInt(k)
	return func(r *reader, p unsafe.Pointer) error {
		v, err := read(r)
		if err != nil {
			return err
		}
		if !store(p, v) {
			return r.corrupt("%d does not fit %v", v, b.typ)
		}
		return nil
	}
}

// storeInt writes an integer into memory of kind k and reports whether it fits.
func storeInt(k reflect.Kind) func(p unsafe.Pointer, v int64) bool {
	switch k {
	case reflect.Int8:
		return func(p unsafe.Pointer, v int64) bool { *(*int8)(p) = int8(v); return v == int64(int8(v)) }
	case reflect.Int16:
		return func(p unsafe.Pointer, v int64) bool { *(*int16)(p) = int16(v); return v == int64(int16(v)) }
	case reflect.Int32:
		return func(p unsafe.Pointer, v int64) bool { *(*int32)(p) = int32(v); return v == int64(int32(v)) }
	case reflect.Uint8:
		return func(p unsafe.Pointer, v int64) bool { *(*uint8)(p) = uint8(v); return v == int64(uint8(v)) }
	case reflect.Uint16:
		return func(p unsafe.Pointer, v int64) bool { *(*uint16)(p) = uint16(v); return v == int64(uint16(v)) }
	case reflect.Uint32:
		return func(p unsafe.Pointer, v int64) bool { *(*uint32)(p) = uint32(v); return v == int64(uint32(v)) }
	case reflect.Int:
		return func(p unsafe.Pointer, v int64) bool { *(*int)(p) = int(v); return v == int64(int(v)) }
	case reflect.Uint:
		return func(p unsafe.Pointer, v int64) bool {
			*(*uint)(p) = uint(v)
			return v >= 0 && uint64(v) == uint64(uint(v))
		}
	case reflect.Uint64:
		return func(p unsafe.Pointer, v int64) bool { *(*uint64)(p) = uint64(v); return v >= 0 }
	default:
		return func(p unsafe.Pointer, v int64) bool { *(*int64)(p) = v; return true }
	}
}

// readRaw reads bytes, or as many as a fixed type has.
func readRaw(w *node) func(r *reader) ([]byte, error) {
	if w.kind == kFixed {
		return func(r *reader) ([]byte, error) { return r.take(w.size) }
	}
	return (*reader).bytes
}

func decUint64(w *node, bd *bound) decFunc {
	read, small := readRaw(w), bd.typ.Size() == 4
	return func(r *reader, p unsafe.Pointer) error {
		b, err := read(r)
		if err != nil {
			return err
		}
		v, ok := readUint64(b)
		if !ok || (small && v > math.MaxUint32) {
			return r.corrupt("decimal of %d bytes does not fit %v", len(b), bd.typ)
		}
		if small {
			*(*uint32)(p) = uint32(v)
			return nil
		}
		*(*uint64)(p) = v
		return nil
	}
}

func decUUID(r *reader, p unsafe.Pointer) error {
	s, err := r.bytes()
	if err != nil {
		return err
	}
	return r.uuid(s, (*[16]byte)(p))
}

// uuid reads the text s, which ends at the position.
func (r *reader) uuid(s []byte, u *[16]byte) error {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return r.corrupt("%q is no UUID", s)
	}
	at := 0
	for _, part := range [...][]byte{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		n, err := hex.Decode(u[at:], part)
		if err != nil {
			return r.corrupt("%q is no UUID", s)
		}
		at += n
	}
	return nil
}

func decTime(w, n *node) decFunc {
	read := readInteger(w)
	limit := timeLimit(n.logical)
	return func(r *reader, p unsafe.Pointer) error {
		v, err := read(r)
		if err != nil {
			return err
		}
		if v > limit || v < -limit {
			return r.corrupt("%d is out of range of %s", v, n.logical)
		}
		*(*time.Time)(p) = timeOf(v, n.logical)
		return nil
	}
}

// timeLimit is the greatest number, of either sign, that stands for a time in a unit.
func timeLimit(unit string) int64 {
	switch unit {
	case logicalTimestampMillis:
		return maxSeconds * 1000
	case logicalTimestampMicros:
		return maxSeconds * 1_000_000
	}
	return math.MaxInt64
}

// timeOf is the time of a number in a unit, in UTC.
func timeOf(v int64, unit string) time.Time {
	switch unit {
	case logicalTimestampMillis:
		return time.UnixMilli(v).UTC()
	case logicalTimestampMicros:
		return time.UnixMicro(v).UTC()
	case logicalTimestampNanos:
		return time.Unix(0, v).UTC()
	}
	return time.Unix(v*daySeconds, 0).UTC()
}

func decSpan(w, n *node) decFunc {
	read := readInteger(w)
	unit := spanUnit(n)
	return func(r *reader, p unsafe.Pointer) error {
		v, err := read(r)
		if err != nil {
			return err
		}
		if v < 0 || v >= int64(dayLength/unit) {
			return r.corrupt("%d of %s is no time of day", v, n.logical)
		}
		*(*time.Duration)(p) = time.Duration(v) * unit
		return nil
	}
}

func decDecimal(w, n *node) decFunc {
	read := readRaw(w)
	return func(r *reader, p unsafe.Pointer) error {
		b, err := read(r)
		if err != nil {
			return err
		}
		*(*Decimal)(p), err = r.decimal(b, n.precision, n.scale)
		return err
	}
}

// decimal reads the number b, which ends at the position.
func (r *reader) decimal(b []byte, precision, scale int) (Decimal, error) {
	limit := int64(math.MaxInt64)
	if precision <= DecimalDigits {
		limit = pow10[precision]
	}
	u, ok := readUnscaled(b)
	if !ok || u >= limit || u <= -limit {
		return Decimal{}, r.corrupt("decimal has more than %d digits", precision)
	}
	d, err := NewDecimal(u, scale)
	if err != nil {
		return Decimal{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return d, nil
}

func decRat(w, n *node) decFunc {
	read, limit, scale := readRaw(w), power(n.precision), power(n.scale)
	return func(r *reader, p unsafe.Pointer) error {
		b, err := read(r)
		if err != nil {
			return err
		}
		return r.rat(b, (*big.Rat)(p), limit, scale, w.kind == kFixed)
	}
}

// rat reads the number b, which ends at the position, in units of 1/scale. Its amount is below limit.
func (r *reader) rat(b []byte, v *big.Rat, limit, scale *big.Int, fixed bool) error {
	u := new(big.Int)
	if bytesMax := (limit.BitLen()+7)/8 + 16; fixed || len(b) <= bytesMax { // some writers pad with sign bytes
		fromTwosComplement(u, b)
	} else {
		u.Set(limit)
	}
	if u.CmpAbs(limit) >= 0 {
		return r.corrupt("decimal of %d bytes has more than %d digits", len(b), len(limit.String())-1)
	}
	v.SetFrac(u, scale)
	return nil
}

// decEnum maps the writer's symbols to the reader's: one that the reader does not know is its default, or an error.
func decEnum(w, n *node) decFunc {
	symbols := make([]string, len(w.symbols))
	for i, s := range w.symbols {
		if slices.Contains(n.symbols, s) {
			symbols[i] = s
		} else {
			symbols[i] = n.fallback
		}
	}
	return func(r *reader, p unsafe.Pointer) error {
		i, err := r.index(len(symbols), "enum symbol")
		if err != nil {
			return err
		}
		if symbols[i] == "" {
			return r.corrupt("%q is no symbol of the reader's %s %v, which has no default", w.symbols[i], n.describe(), n.symbols)
		}
		*(*string)(p) = symbols[i]
		return nil
	}
}

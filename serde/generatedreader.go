package serde

import (
	"math"
	"math/big"
	"slices"
	"time"
)

// Reader reads values for generated codecs. It remembers that something was wrong and goes on with zeros: Done tells at the end, and the
// derived codec then finds out what it was. It belongs to one goroutine and is made by NewReader.
type Reader struct {
	reader
	failed bool
}

// NewReader reads src. text is "" or the same bytes, and then the memory of all strings.
func NewReader(src []byte, text string) Reader { return Reader{reader: reader{src: src, slab: text}} }

// Done reports whether everything was right and src is used up.
func (r *Reader) Done() bool { return !r.failed && r.pos == len(r.src) }

// Failed reports whether something was wrong; loops ask it so as to end.
func (r *Reader) Failed() bool { return r.failed }

// Fail notes that something is wrong. Nothing is left to read after it.
func (r *Reader) Fail() { r.failed, r.pos = true, len(r.src) }

// Enter begins a record. With shared, all strings that follow share one copy of src. false: records nest too deep.
func (r *Reader) Enter(shared bool) bool {
	r.share = r.share || shared
	if r.depth++; r.depth > maxDepth {
		r.Fail()
		return false
	}
	return true
}

// Leave ends a record.
func (r *Reader) Leave() { r.depth-- }

// Long reads a long.
func (r *Reader) Long() int64 {
	if p := r.pos; p < len(r.src) && r.src[p] < 0x80 {
		c := r.src[p]
		r.pos = p + 1
		return int64(c>>1) ^ -int64(c&1)
	}
	return r.longer()
}

// longer reads a long of more than one byte.
func (r *Reader) longer() int64 {
	src := r.src[r.pos:]
	var u uint64
	for i, c := range src {
		if i == 9 && c > 1 || i > 9 {
			break
		}
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.pos += i + 1
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	r.Fail()
	return 0
}

// Int reads an int of 32 bits.
func (r *Reader) Int() int32 {
	v := r.Long()
	if v != int64(int32(v)) {
		r.Fail()
		return 0
	}
	return int32(v)
}

// Bool reads a boolean, 0 or 1.
func (r *Reader) Bool() bool {
	if r.pos >= len(r.src) || r.src[r.pos] > 1 {
		r.Fail()
		return false
	}
	r.pos++
	return r.src[r.pos-1] == 1
}

// Float reads a float.
func (r *Reader) Float() float32 {
	v, err := r.float()
	if err != nil {
		r.Fail()
	}
	return v
}

// Double reads a double.
func (r *Reader) Double() float64 {
	if p := r.pos; p+8 <= len(r.src) {
		b := (*[8]byte)(r.src[p:])
		r.pos = p + 8
		return math.Float64frombits(uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56)
	}
	r.Fail()
	return 0
}

// Text reads a string.
func (r *Reader) Text() string {
	n := r.Long()
	if n <= 0 || n > int64(len(r.src)-r.pos) {
		if n != 0 {
			r.Fail()
		}
		return ""
	}
	from := r.pos
	r.pos += int(n)
	if len(r.slab) == len(r.src) {
		return r.slab[from:r.pos]
	}
	return r.ownText(from)
}

// ownText makes a string of the bytes from from to the position, or the copy of src that all strings share.
func (r *Reader) ownText(from int) string {
	if !r.share || len(r.src) > slabMax {
		return string(r.src[from:r.pos])
	}
	r.slab = string(r.src)
	return r.slab[from:r.pos]
}

// view reads bytes that belong to the input.
func (r *Reader) view() []byte {
	b, err := r.bytes()
	if err != nil {
		r.Fail()
	}
	return b
}

// Fixed reads as many bytes as dst has.
func (r *Reader) Fixed(dst []byte) {
	b, err := r.take(len(dst))
	if err != nil {
		r.Fail()
	}
	copy(dst, b)
}

// Index reads the number of a union branch or enum symbol, -1 when it is not below limit.
func (r *Reader) Index(limit int) int {
	i := r.Long()
	if r.failed || uint64(i) >= uint64(limit) {
		r.Fail()
		return -1
	}
	return int(i)
}

// Block reads the number of items in the next block of an array or map, 0 at the end. bytesMin is the least size of an item.
func (r *Reader) Block(bytesMin int) int {
	n, err := r.block(bytesMin)
	if err != nil {
		r.Fail()
	}
	return n
}

// check notes an error of the decoders that the derived codec has too.
func (r *Reader) check(err error) {
	if err != nil {
		r.Fail()
	}
}

// Time reads a time in the unit of a logical type: timestamp-millis, timestamp-micros, timestamp-nanos or date.
func (r *Reader) Time(unit string) time.Time {
	v := int64(0)
	if unit == logicalDate {
		v = int64(r.Int())
	} else {
		v = r.Long()
	}
	if limit := timeLimit(unit); r.failed || v > limit || v < -limit {
		r.Fail()
		return time.Time{}
	}
	return timeOf(v, unit)
}

// Span reads a time of day in the unit of a logical type: time-millis or time-micros.
func (r *Reader) Span(unit string) time.Duration {
	step, v := time.Microsecond, int64(0)
	if unit == logicalTimeMillis {
		step, v = time.Millisecond, int64(r.Int())
	} else {
		v = r.Long()
	}
	if v < 0 || v >= int64(dayLength/step) {
		r.Fail()
		return 0
	}
	return time.Duration(v) * step
}

// Decimal reads a decimal of a precision and scale.
func (r *Reader) Decimal(precision, scale int) Decimal {
	b := r.view()
	if r.failed {
		return Decimal{}
	}
	d, err := r.decimal(b, precision, scale)
	r.check(err)
	return d
}

// Rat reads a decimal of a precision and scale into v.
func (r *Reader) Rat(v *big.Rat, precision, scale int) {
	b := r.view()
	if r.failed {
		return
	}
	r.check(r.rat(b, v, power(precision), power(scale), false))
}

// Integer is every integer type.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// ReadLong reads a long into v, if it fits.
func ReadLong[T Integer](r *Reader, v *T) { storeInteger(r, v, r.Long()) }

// ReadInt reads an int of 32 bits into v, if it fits.
func ReadInt[T Integer](r *Reader, v *T) { storeInteger(r, v, int64(r.Int())) }

func storeInteger[T Integer](r *Reader, v *T, n int64) {
	x := T(n)
	if int64(x) != n || (x < 0) != (n < 0) {
		r.Fail()
		return
	}
	*v = x
}

// ReadUnsigned reads a decimal of scale 0 into v, if it fits.
func ReadUnsigned[T ~uint | ~uint64](r *Reader, v *T) {
	n, ok := readUint64(r.view())
	if x := T(n); !r.failed && ok && uint64(x) == n {
		*v = x
		return
	}
	r.Fail()
}

// ReadBool reads a boolean into v.
func ReadBool[T ~bool](r *Reader, v *T) { *v = T(r.Bool()) }

// ReadFloat reads a float into v.
func ReadFloat[T ~float32](r *Reader, v *T) { *v = T(r.Float()) }

// ReadDouble reads a double into v.
func ReadDouble[T ~float64](r *Reader, v *T) { *v = T(r.Double()) }

// ReadText reads a string into v.
func ReadText[T ~string](r *Reader, v *T) { *v = T(r.Text()) }

// ReadBytes reads bytes into v, which gets memory of its own, or is nil for none.
func ReadBytes[S ~[]B, B ~uint8](r *Reader, v *S) {
	if b := r.view(); len(b) > 0 {
		*v = make(S, len(b))
		copy(octets(*v), b)
	}
}

// ReadFixed reads as many bytes as v has.
func ReadFixed[B ~uint8](r *Reader, v []B) { r.Fixed(octets(v)) }

// ReadUUID reads the text of a UUID into v, of 16 bytes.
func ReadUUID[B ~uint8](r *Reader, v []B) {
	b := r.view()
	if !r.failed {
		r.check(r.uuid(b, (*[16]byte)(octets(v))))
	}
}

// New makes the value of a pointer and returns it.
func New[P ~*T, T any](p *P) *T {
	v := new(T)
	*p = v
	return v
}

// Grow makes room for n more elements, or for some of them: n is only a claim of the input.
func Grow[S ~[]E, E any](s S, n int) S { return slices.Grow(s, min(n, trustedItems)) }

// Next adds a zero element to s and returns it.
func Next[S ~[]E, E any](s *S) *E {
	var zero E
	*s = append(*s, zero)
	return &(*s)[len(*s)-1]
}

// Map is m, or a new map with room for n entries if m is nil; n is only a claim of the input.
func Map[M ~map[K]V, K ~string, V any](m M, n int) M {
	if m == nil {
		m = make(M, min(n, trustedItems))
	}
	return m
}

// ZeroOf is the zero value of the values of m.
func ZeroOf[M ~map[K]V, K ~string, V any](M) (v V) { return v }

// Put sets the entry of key.
func Put[M ~map[K]V, K ~string, V any](m M, key string, v V) { m[K(key)] = v }

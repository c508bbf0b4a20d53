package serde

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AppendJSON appends the encoded value as one line of JSON. It is what a reader expects rather than the JSON encoding of the Avro specification:
//
//	union of null and one other   null or the plain value; any other union: null or {"branch": value}
//	bytes, fixed                  base64 (standard, padded)
//	decimal                       a string: "12.50"
//	uuid                          a string, of a fixed type too
//	date, timestamp-*             a string: "2026-11-24", "2026-11-24T13:00:00.123Z"; years outside of 1 to 9999 as the number
//	float, double                 a number; "NaN", "Infinity", "-Infinity" as strings
//	map                           an object, sorted by key: equal values give equal text
//
// ParseJSON reads all of it back. Anything but exactly one value in src is an error that wraps ErrCorrupt.
func (r *Raw) AppendJSON(dst, src []byte) ([]byte, error) {
	p := printer{out: dst, r: reader{src: src}}
	err := p.value(r.n)
	if err == nil && p.r.left() > 0 {
		err = p.r.corrupt("%d bytes follow the value", p.r.left())
	}
	if err != nil {
		return dst, fmt.Errorf("serde: show %s: %w", r.n.describe(), err)
	}
	return p.out, nil
}

// printer turns encoded values into JSON.
type printer struct {
	r   reader
	out []byte
}

func (p *printer) text(s string) {
	b, _ := json.Marshal(s) // a string can always be written; bytes that are no UTF-8 come out as U+FFFD
	p.out = append(p.out, b...)
}

func (p *printer) value(n *node) error {
	switch n.kind {
	case kNull:
		p.out = append(p.out, "null"...)
		return nil
	case kRecord:
		return p.record(n)
	case kArray:
		return p.array(n)
	case kMap:
		return p.mapping(n)
	case kUnion:
		return p.union(n)
	case kBytes, kFixed, kString:
		return p.bytes(n)
	case kEnum:
		i, err := p.r.index(len(n.symbols), "enum symbol")
		if err == nil {
			p.text(n.symbols[i])
		}
		return err
	}
	return p.scalar(n)
}

func (p *printer) scalar(n *node) error {
	switch n.kind {
	case kBoolean:
		b, err := p.r.bool()
		p.out = strconv.AppendBool(p.out, b)
		return err
	case kFloat:
		v, err := p.r.float()
		p.float(float64(v), 32)
		return err
	case kDouble:
		v, err := p.r.double()
		p.float(v, 64)
		return err
	case kInt:
		v, err := p.r.int()
		p.integer(n, v)
		return err
	default:
		v, err := p.r.long()
		p.integer(n, v)
		return err
	}
}

func (p *printer) float(v float64, bits int) {
	switch {
	case math.IsNaN(v):
		p.text("NaN")
	case math.IsInf(v, 1):
		p.text("Infinity")
	case math.IsInf(v, -1):
		p.text("-Infinity")
	default:
		p.out = strconv.AppendFloat(p.out, v, 'g', -1, bits)
	}
}

// timeForms are the layouts and units of the logical types that are shown as times.
var timeForms = map[string]struct {
	layout string
	of     func(int64) time.Time
	to     func(time.Time) int64
}{
	logicalDate: {time.DateOnly, func(v int64) time.Time { return time.Unix(v*86400, 0).UTC() },
		func(t time.Time) int64 { return t.Unix() / 86400 }},
	logicalTimestampMillis: {"2006-01-02T15:04:05.000Z", func(v int64) time.Time { return time.UnixMilli(v).UTC() }, time.Time.UnixMilli},
	logicalTimestampMicros: {"2006-01-02T15:04:05.000000Z", func(v int64) time.Time { return time.UnixMicro(v).UTC() }, time.Time.UnixMicro},
	logicalTimestampNanos:  {"2006-01-02T15:04:05.000000000Z", func(v int64) time.Time { return time.Unix(0, v).UTC() }, time.Time.UnixNano},
}

func (p *printer) integer(n *node, v int64) {
	if f, ok := timeForms[n.logical]; ok {
		if t := f.of(v); t.Year() >= 1 && t.Year() <= 9999 {
			p.out = append(t.AppendFormat(append(p.out, '"'), f.layout), '"')
			return
		}
	}
	p.out = strconv.AppendInt(p.out, v, 10)
}

func (p *printer) bytes(n *node) (err error) {
	var b []byte
	if n.kind == kFixed {
		b, err = p.r.take(n.size)
	} else {
		b, err = p.r.bytes()
	}
	switch {
	case err != nil:
		return err
	case n.kind == kString:
		p.text(string(b))
	case n.logical == logicalDecimal:
		p.out = append(append(append(p.out, '"'), decimalText(b, n.scale)...), '"')
	case n.logical == logicalUUID && len(b) == 16:
		p.out = fmt.Appendf(p.out, `"%x-%x-%x-%x-%x"`, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	default:
		p.out = append(base64.StdEncoding.AppendEncode(append(p.out, '"'), b), '"')
	}
	return nil
}

// decimalText is the number whose unscaled value is the big-endian two's complement b.
func decimalText(b []byte, scale int) string {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	s := new(big.Int).Abs(v).String()
	if scale > 0 {
		if len(s) <= scale {
			s = strings.Repeat("0", scale+1-len(s)) + s
		}
		s = s[:len(s)-scale] + "." + s[len(s)-scale:]
	}
	if v.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func (p *printer) record(n *node) error {
	if err := p.r.enter(); err != nil {
		return err
	}
	p.out = append(p.out, '{')
	for i, f := range n.fields {
		if i > 0 {
			p.out = append(p.out, ',')
		}
		p.text(f.name)
		p.out = append(p.out, ':')
		if err := p.value(f.typ); err != nil {
			return inField(f.name, err)
		}
	}
	p.out = append(p.out, '}')
	p.r.depth--
	return nil
}

func (p *printer) array(n *node) error {
	p.out = append(p.out, '[')
	size := minSizes{}.of(n.item)
	for first := true; ; {
		count, err := p.r.block(size)
		if err != nil || count == 0 {
			p.out = append(p.out, ']')
			return err
		}
		for range count {
			if !first {
				p.out = append(p.out, ',')
			}
			first = false
			if err := p.value(n.item); err != nil {
				return err
			}
		}
	}
}

func (p *printer) mapping(n *node) error {
	outer := p.out
	entries := map[string][]byte{}
	size := 1 + minSizes{}.of(n.item)
	for {
		count, err := p.r.block(size)
		if err != nil {
			return err
		}
		if count == 0 {
			break
		}
		for range count {
			k, err := p.r.bytes()
			if err != nil {
				return err
			}
			p.out = nil
			if err := p.value(n.item); err != nil {
				return err
			}
			entries[string(k)] = p.out
		}
	}
	p.out = append(outer, '{')
	keys := make([]string, 0, len(entries))
	for k := range entries {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			p.out = append(p.out, ',')
		}
		p.text(k)
		p.out = append(append(p.out, ':'), entries[k]...)
	}
	p.out = append(p.out, '}')
	return nil
}

func (p *printer) union(n *node) error {
	i, err := p.r.index(len(n.branches), "union branch")
	if err != nil {
		return err
	}
	b := n.branches[i]
	if b.kind == kNull || optional(n) {
		return p.value(b)
	}
	p.out = append(p.out, '{')
	p.text(branchName(b))
	p.out = append(p.out, ':')
	err = p.value(b)
	p.out = append(p.out, '}')
	return err
}

// optional reports whether n is a union of null and one other type.
func optional(n *node) bool {
	return len(n.branches) == 2 && (n.branches[0].kind == kNull) != (n.branches[1].kind == kNull)
}

// branchName is what the JSON encoding of the Avro specification calls a branch.
func branchName(b *node) string {
	if b.named() {
		return b.name
	}
	return string(b.kind)
}

// bigBytes is v as a big-endian two's complement of the least length.
func bigBytes(v *big.Int) []byte {
	if v.Sign() >= 0 {
		b := v.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	size := (new(big.Int).Not(v).BitLen() + 8) / 8
	b := new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*size))).Bytes()
	for len(b) < size {
		b = append([]byte{0}, b...)
	}
	return b
}

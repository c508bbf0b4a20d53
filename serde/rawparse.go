package serde

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// ParseJSON appends the encoding of a value given as JSON, in the form of AppendJSON. Beyond it are taken: {"branch": value} for every union, and
// numbers for times. Fields that are absent take their defaults; a field that the schema does not know is an error, as it is a typing mistake. Errors
// name the place.
func (r *Raw) ParseJSON(dst, text []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return dst, fmt.Errorf("serde: value is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return dst, fmt.Errorf("serde: value is followed by more text at byte %d", d.InputOffset())
	}
	out, err := appendJSON(dst, r.n, v, 0)
	if err != nil {
		return dst, fmt.Errorf("serde: value of %s: %w", r.n.describe(), err)
	}
	return out, nil
}

// appendJSON appends the encoding of v, as from encoding/json with UseNumber.
func appendJSON(dst []byte, n *node, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, errDepth
	}
	switch n.kind {
	case kUnion:
		return appendJSONUnion(dst, n, v, depth)
	case kRecord:
		if m, ok := v.(map[string]any); ok {
			return appendJSONRecord(dst, n, m, depth)
		}
	case kMap:
		if m, ok := v.(map[string]any); ok {
			return appendJSONMap(dst, n, m, depth)
		}
	case kArray:
		if list, ok := v.([]any); ok {
			return appendJSONArray(dst, n, list, depth)
		}
	case kFloat, kDouble:
		if s, ok := v.(string); ok {
			return appendSpecialFloat(dst, n, s)
		}
		return appendDefault(dst, n, v, 0)
	case kBytes, kFixed:
		return appendJSONBytes(dst, n, v)
	case kInt, kLong:
		if s, ok := v.(string); ok {
			return appendJSONTime(dst, n, s)
		}
		return appendDefault(dst, n, v, 0)
	default: // null, boolean, string, enum
		return appendDefault(dst, n, v, 0)
	}
	return dst, fmt.Errorf("%s does not fit %s", shown(v), n.describe())
}

// shown is v for a message.
func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil || len(b) > 80 {
		return fmt.Sprintf("a %T", v)
	}
	return string(b)
}

func appendSpecialFloat(dst []byte, n *node, s string) ([]byte, error) {
	f, ok := map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[s]
	switch {
	case !ok:
		return dst, fmt.Errorf("%q does not fit %s", s, n.describe())
	case n.kind == kFloat:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	default:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
	}
}

func appendJSONTime(dst []byte, n *node, s string) ([]byte, error) {
	f, ok := timeForms[n.logical]
	if !ok {
		return dst, fmt.Errorf("%q does not fit %s", s, n.describe())
	}
	layout := time.RFC3339Nano
	if n.logical == logicalDate {
		layout = f.layout
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return dst, fmt.Errorf("%q does not fit %s: %w", s, n.describe(), err)
	}
	v := f.to(t)
	if !f.of(v).Equal(t) {
		return dst, fmt.Errorf("%q does not fit %s: it is finer than the unit or out of range", s, n.describe())
	}
	return appendVarint(dst, v), nil
}

func appendJSONBytes(dst []byte, n *node, v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return dst, fmt.Errorf("%s does not fit %s", shown(v), n.describe())
	}
	var b []byte
	var err error
	switch {
	case n.logical == logicalDecimal:
		b, err = decimalBytes(s, n)
	case n.logical == logicalUUID && n.kind == kFixed:
		b, err = hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	default:
		b, err = base64.StdEncoding.DecodeString(s)
	}
	switch {
	case err != nil:
		return dst, fmt.Errorf("%q does not fit %s: %w", s, n.describe(), err)
	case n.kind == kBytes:
		return appendBytes(dst, b), nil
	case len(b) != n.size:
		return dst, fmt.Errorf("%q has %d bytes, %s has %d", s, len(b), n.describe(), n.size)
	}
	return append(dst, b...), nil
}

// decimalBytes is the encoding of a plain decimal number, sign-extended to the size of a fixed type.
func decimalBytes(s string, n *node) ([]byte, error) {
	whole, frac, point := strings.Cut(s, ".")
	if point && frac == "" || len(frac) > n.scale {
		return nil, fmt.Errorf("want up to %d digits after the point", n.scale)
	}
	digits := whole + frac + strings.Repeat("0", n.scale-len(frac))
	v, ok := new(big.Int).SetString(digits, 10)
	switch {
	case !ok || strings.Contains(digits, "_"):
		return nil, errors.New("no decimal number")
	case len(new(big.Int).Abs(v).String()) > n.precision:
		return nil, fmt.Errorf("more than %d digits", n.precision)
	}
	b := bigBytes(v)
	if n.kind != kFixed {
		return b, nil
	}
	fill := byte(0)
	if v.Sign() < 0 {
		fill = 0xff
	}
	for len(b) < n.size {
		b = append([]byte{fill}, b...)
	}
	return b, nil
}

func appendJSONUnion(dst []byte, n *node, v any, depth int) ([]byte, error) {
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		for name, inner := range m {
			i := slices.IndexFunc(n.branches, func(b *node) bool { return branchName(b) == name })
			if i < 0 {
				break
			}
			out, err := appendJSON(appendVarint(dst, int64(i)), n.branches[i], inner, depth+1)
			if err == nil || !optional(n) {
				return out, err
			}
		}
	}
	for i, b := range n.branches {
		if b.kind == kNull && v == nil || b.kind != kNull && v != nil && optional(n) {
			return appendJSON(appendVarint(dst, int64(i)), b, v, depth+1)
		}
	}
	if len(n.branches) == 1 {
		return appendJSON(appendVarint(dst, 0), n.branches[0], v, depth+1)
	}
	names := make([]string, len(n.branches))
	for i, b := range n.branches {
		names[i] = branchName(b)
	}
	return dst, fmt.Errorf(`%s fits no branch of the union; want {"branch": value}, branch being one of %q`, shown(v), names)
}

func appendJSONRecord(dst []byte, n *node, m map[string]any, depth int) ([]byte, error) {
	for name := range m {
		if !slices.ContainsFunc(n.fields, func(f *field) bool { return f.name == name }) {
			names := make([]string, len(n.fields))
			for i, f := range n.fields {
				names[i] = f.name
			}
			return dst, fmt.Errorf("%s has no field %q, it has %q", n.describe(), name, names)
		}
	}
	for _, f := range n.fields {
		v, given := m[f.name]
		var err error
		switch {
		case given:
			dst, err = appendJSON(dst, f.typ, v, depth+1)
		case f.hasDefault:
			dst, err = appendDefault(dst, f.typ, f.def, 0)
		default:
			err = fmt.Errorf("it is missing and has no default")
		}
		if err != nil {
			return dst, fmt.Errorf("field %q: %w", f.name, err)
		}
	}
	return dst, nil
}

func appendJSONArray(dst []byte, n *node, list []any, depth int) (_ []byte, err error) {
	if len(list) > 0 {
		dst = appendVarint(dst, int64(len(list)))
	}
	for i, v := range list {
		if dst, err = appendJSON(dst, n.item, v, depth+1); err != nil {
			return dst, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return append(dst, 0), nil
}

func appendJSONMap(dst []byte, n *node, m map[string]any, depth int) (_ []byte, err error) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(m) > 0 {
		dst = appendVarint(dst, int64(len(m)))
	}
	for _, k := range keys {
		if dst, err = appendJSON(appendText(dst, k), n.item, m[k], depth+1); err != nil {
			return dst, fmt.Errorf("key %q: %w", k, err)
		}
	}
	return append(dst, 0), nil
}

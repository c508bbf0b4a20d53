package serde

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
)

// defaultSteps bounds the work of one default: nested records fill their own fields by their defaults, which doubles with each level
// in a hostile schema.
const defaultSteps = 1 << 16

// appendDefault appends the Avro encoding of the default def, JSON as read with UseNumber, for type n.
// Source: Avro specification 1.12, "Schema Declaration", table of field default values.
func appendDefault(dst []byte, n *node, def any, depth int) ([]byte, error) {
	d := defaultEncoder{steps: defaultSteps}
	return d.append(dst, n, def, depth)
}

type defaultEncoder struct{ steps int }

func (d *defaultEncoder) append(dst []byte, n *node, def any, depth int) ([]byte, error) {
	if d.steps--; d.steps < 0 || depth > 64 {
		return dst, fmt.Errorf("default of %s nests too deep or is too large", n.describe())
	}
	switch n.kind {
	case kNull:
		if def == nil {
			return dst, nil
		}
	case kBoolean:
		if b, ok := def.(bool); ok {
			return appendBool(dst, b), nil
		}
	case kInt, kLong, kFloat, kDouble:
		if num, ok := def.(json.Number); ok {
			return appendNumber(dst, n, num)
		}
	case kString:
		if s, ok := def.(string); ok {
			return appendText(dst, s), nil
		}
	case kBytes, kFixed:
		return appendLatin1(dst, n, def)
	case kEnum:
		if s, ok := def.(string); ok {
			if i := slices.Index(n.symbols, s); i >= 0 {
				return binary.AppendVarint(dst, int64(i)), nil
			}
			return dst, fmt.Errorf("%q is no symbol of %s %v", s, n.describe(), n.symbols)
		}
	case kUnion:
		return d.union(dst, n, def, depth)
	default:
		return d.nested(dst, n, def, depth)
	}
	return dst, fmt.Errorf("%v does not fit %s", def, n.describe())
}

func appendNumber(dst []byte, n *node, num json.Number) ([]byte, error) {
	if n.kind == kFloat || n.kind == kDouble {
		f, err := num.Float64()
		if err != nil {
			return dst, fmt.Errorf("%s does not fit %s", num, n.kind)
		}
		if n.kind == kFloat {
			return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
		}
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
	}
	bits := 64
	if n.kind == kInt {
		bits = 32
	}
	i, err := strconv.ParseInt(num.String(), 10, bits)
	if err != nil {
		return dst, fmt.Errorf("%s does not fit %s", num, n.kind)
	}
	return binary.AppendVarint(dst, i), nil
}

// appendLatin1 appends bytes given as a string whose code points 0–255 are the bytes.
func appendLatin1(dst []byte, n *node, def any) ([]byte, error) {
	s, ok := def.(string)
	if !ok {
		return dst, fmt.Errorf("%v does not fit %s", def, n.describe())
	}
	raw := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 255 {
			return dst, fmt.Errorf("%q holds %q, which is no byte (code points 0 to 255)", s, r)
		}
		raw = append(raw, byte(r))
	}
	if n.kind == kFixed {
		if len(raw) != n.size {
			return dst, fmt.Errorf("%q has %d bytes, %s has %d", s, len(raw), n.describe(), n.size)
		}
		return append(dst, raw...), nil
	}
	return append(binary.AppendVarint(dst, int64(len(raw))), raw...), nil
}

// union takes the first branch that the default fits: the specification asked for the first branch up to 1.11, for any since 1.12.
func (d *defaultEncoder) union(dst []byte, n *node, def any, depth int) ([]byte, error) {
	for i, b := range n.branches {
		out, err := d.append(binary.AppendVarint(dst, int64(i)), b, def, depth+1)
		if err == nil {
			return out, nil
		}
	}
	return dst, fmt.Errorf("%v fits no branch of %s", def, n.describe())
}

func (d *defaultEncoder) nested(dst []byte, n *node, def any, depth int) ([]byte, error) {
	var err error
	if list, ok := def.([]any); ok && n.kind == kArray {
		if len(list) > 0 {
			dst = binary.AppendVarint(dst, int64(len(list)))
		}
		for _, v := range list {
			if dst, err = d.append(dst, n.item, v, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
	m, ok := def.(map[string]any)
	if !ok || n.kind == kArray {
		return dst, fmt.Errorf("%v does not fit %s", def, n.describe())
	}
	if n.kind == kMap {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		if len(m) > 0 {
			dst = binary.AppendVarint(dst, int64(len(m)))
		}
		for _, k := range keys {
			if dst, err = d.append(appendText(dst, k), n.item, m[k], depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
	for _, f := range n.fields {
		v, given := m[f.name]
		if !given {
			if v = f.def; !f.hasDefault {
				return dst, fmt.Errorf("%v has no field %q of %s", def, f.name, n.describe())
			}
		}
		if dst, err = d.append(dst, f.typ, v, depth+1); err != nil {
			return dst, fmt.Errorf("field %q: %w", f.name, err)
		}
	}
	return dst, nil
}

package serde

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxFixed bounds the size of a fixed type, so that a schema of a few bytes cannot ask for gigabytes.
const maxFixed = 1 << 20

// parser reads the JSON of a schema. It checks all that later steps rely on: names, references, unique fields, branches and symbols,
// and that each default can be encoded.
//
// hamba/avro's parser is not used: it loses the uuid of fixed types, timestamp-nanos and integers over 2^53 in defaults,
// refuses defaults of later union branches, and keeps all that it has seen in a global cache by default.
type parser struct {
	names map[string]*node
	// checks are the defaults, checked when all types are known.
	checks []defaultCheck
}

type defaultCheck struct {
	path string
	f    *field
}

// parseSchema reads a schema.
func parseSchema(schema string) (*node, error) { return parseSchemas([]string{schema}) }

// parseSchemas reads several schemas, each of which may refer to the named types of those before it, and returns the last.
func parseSchemas(schemas []string) (*node, error) {
	p := &parser{names: map[string]*node{}}
	var n *node
	for _, schema := range schemas {
		v, err := parseJSON(schema)
		if err != nil {
			return nil, err
		}
		if n, err = p.node(v, "", "schema"); err != nil {
			return nil, err
		}
	}
	for _, c := range p.checks {
		if _, err := appendDefault(nil, c.f.typ, c.f.def, 0); err != nil {
			return nil, fmt.Errorf("serde: %s: default: %w", c.path, err)
		}
	}
	return n, nil
}

func parseJSON(schema string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(schema))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		// A bare primitive name without quotes is common in configuration and unambiguous.
		if isPrimitive(kind(schema)) {
			return schema, nil
		}
		return nil, fmt.Errorf("serde: schema is no JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("serde: schema is followed by more text at byte %d", dec.InputOffset())
	}
	return v, nil
}

func isPrimitive(k kind) bool {
	switch k {
	case kNull, kBoolean, kInt, kLong, kFloat, kDouble, kBytes, kString:
		return true
	}
	return false
}

func (p *parser) node(v any, ns, path string) (*node, error) {
	switch v := v.(type) {
	case string:
		return p.reference(v, ns, path)
	case []any:
		return p.union(v, ns, path)
	case map[string]any:
		return p.object(v, ns, path)
	}
	return nil, fmt.Errorf("serde: %s: a type is a name, an object or a list of branches, not %v", path, v)
}

func (p *parser) reference(name, ns, path string) (*node, error) {
	if isPrimitive(kind(name)) {
		return &node{kind: kind(name)}, nil
	}
	if n := p.names[qualify(name, ns)]; n != nil {
		return n, nil
	}
	// Writers that forget the namespace of a reference are common; Avro for Java accepts the null namespace too.
	if n := p.names[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("serde: %s: unknown type %q; a named type is declared where it is used first", path, name)
}

// qualify is the full name of name inside namespace ns.
func qualify(name, ns string) string {
	if ns == "" || strings.Contains(name, ".") {
		return name
	}
	return ns + "." + name
}

func (p *parser) union(list []any, ns, path string) (*node, error) {
	n := &node{kind: kUnion}
	seen := map[string]bool{}
	for i, v := range list {
		b, err := p.node(v, ns, fmt.Sprintf("%s[%d]", path, i))
		if err != nil {
			return nil, err
		}
		id := string(b.kind)
		if b.named() {
			id = b.name
		}
		switch {
		case b.kind == kUnion:
			return nil, fmt.Errorf("serde: %s: a union may not hold a union", path)
		case seen[id]:
			return nil, fmt.Errorf("serde: %s: union holds %s twice", path, b.describe())
		}
		seen[id] = true
		n.branches = append(n.branches, b)
	}
	if len(n.branches) == 0 {
		return nil, fmt.Errorf("serde: %s: union without branches", path)
	}
	return n, nil
}

func (p *parser) object(m map[string]any, ns, path string) (*node, error) {
	t, ok := m["type"].(string)
	if !ok {
		if m["type"] == nil {
			return nil, fmt.Errorf("serde: %s: object without a type", path)
		}
		return p.node(m["type"], ns, path) // {"type": {…}} is not in the specification but in the world
	}
	switch k := kind(t); k {
	case kRecord, kEnum, kFixed, "error":
		return p.declaration(m, k, ns, path)
	case kArray, kMap:
		key := map[kind]string{kArray: "items", kMap: "values"}[k]
		if m[key] == nil {
			return nil, fmt.Errorf("serde: %s: %s without %s", path, k, key)
		}
		item, err := p.node(m[key], ns, path+"."+key)
		if err != nil {
			return nil, err
		}
		return &node{kind: k, item: item}, nil
	default:
		n, err := p.reference(t, ns, path)
		if err != nil || n.named() {
			return n, err
		}
		return n, p.logical(n, m, path)
	}
}

// logical reads the logical type of n. One that is invalid for its base type is ignored, as the specification asks.
func (p *parser) logical(n *node, m map[string]any, path string) error {
	l, _ := m["logicalType"].(string)
	if l != logicalDecimal {
		if fits, known := logicalBases[l]; l != "" && (!known || slices.Contains(fits, n.kind)) {
			n.logical = l
		}
		if n.logical == logicalUUID && n.kind == kFixed && n.size != 16 {
			n.logical = ""
		}
		return nil
	}
	precision, ok := intOf(m["precision"])
	scale, hasScale := intOf(m["scale"])
	if !hasScale && m["scale"] != nil {
		ok = false
	}
	if (n.kind != kBytes && n.kind != kFixed) || !ok || precision < 1 || precision > maxPrecision || scale < 0 || scale > precision {
		return nil
	}
	n.logical, n.precision, n.scale = l, precision, scale
	return nil
}

// logicalBases lists the base types of the logical types that are read as more than their base type, decimal apart.
var logicalBases = map[string][]kind{
	logicalUUID:            {kString, kFixed},
	logicalDate:            {kInt},
	logicalTimeMillis:      {kInt},
	logicalTimeMicros:      {kLong},
	logicalTimestampMillis: {kLong},
	logicalTimestampMicros: {kLong},
	logicalTimestampNanos:  {kLong},
}

func intOf(v any) (int, bool) {
	num, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := num.Int64()
	return int(i), err == nil
}

func (p *parser) declaration(m map[string]any, k kind, ns, path string) (*node, error) {
	name, _ := m["name"].(string)
	space, given := m["namespace"].(string)
	if !given {
		space = ns
	}
	n := &node{kind: k, name: qualify(name, space)}
	if k == "error" {
		n.kind = kRecord
	}
	if err := checkName(n.name, true); err != nil {
		return nil, fmt.Errorf("serde: %s: %w", path, err)
	}
	if isPrimitive(kind(n.name)) {
		return nil, fmt.Errorf("serde: %s: %q is the name of a primitive type", path, n.name)
	}
	if p.names[n.name] != nil {
		return nil, fmt.Errorf("serde: %s: %q is declared twice", path, n.name)
	}
	aliases, err := stringsOf(m["aliases"])
	if err != nil {
		return nil, fmt.Errorf("serde: %s: aliases: %w", path, err)
	}
	for _, a := range aliases {
		n.aliases = append(n.aliases, qualify(a, namespaceOf(n.name)))
	}
	p.names[n.name] = n
	if path == "schema" {
		path = shortName(n.name)
	}
	switch n.kind {
	case kRecord:
		return n, p.record(n, m, path)
	case kEnum:
		return n, p.enum(n, m, path)
	}
	size, ok := intOf(m["size"])
	if !ok || size < 0 || size > maxFixed {
		return nil, fmt.Errorf("serde: %s: size of fixed is %v, want 0 to %d", path, m["size"], maxFixed)
	}
	n.size = size
	return n, p.logical(n, m, path)
}

func (p *parser) record(n *node, m map[string]any, path string) error {
	list, ok := m["fields"].([]any)
	if !ok {
		return fmt.Errorf("serde: %s: record without a list of fields", path)
	}
	seen := map[string]bool{}
	for i, v := range list {
		fm, _ := v.(map[string]any)
		f := &field{}
		f.name, _ = fm["name"].(string)
		if err := checkName(f.name, false); err != nil {
			return fmt.Errorf("serde: %s: field %d: %w", path, i, err)
		}
		at := path + "." + f.name
		if seen[f.name] {
			return fmt.Errorf("serde: %s: field is declared twice", at)
		}
		seen[f.name] = true
		var err error
		if f.aliases, err = stringsOf(fm["aliases"]); err != nil {
			return fmt.Errorf("serde: %s: aliases: %w", at, err)
		}
		if fm["type"] == nil {
			return fmt.Errorf("serde: %s: field without a type", at)
		}
		// Written by some tools on the field, where the specification has no logical type: the type decides.
		if f.typ, err = p.node(fm["type"], namespaceOf(n.name), at); err != nil {
			return err
		}
		if f.def, f.hasDefault = fm["default"]; f.hasDefault {
			p.checks = append(p.checks, defaultCheck{path: at, f: f})
		}
		n.fields = append(n.fields, f)
	}
	return nil
}

func (p *parser) enum(n *node, m map[string]any, path string) error {
	symbols, err := stringsOf(m["symbols"])
	if err != nil || len(symbols) == 0 {
		return fmt.Errorf("serde: %s: enum without a list of symbols", path)
	}
	seen := map[string]bool{}
	for _, s := range symbols {
		if err := checkName(s, false); err != nil {
			return fmt.Errorf("serde: %s: symbol: %w", path, err)
		}
		if seen[s] {
			return fmt.Errorf("serde: %s: symbol %q is declared twice", path, s)
		}
		seen[s] = true
	}
	n.symbols = symbols
	if d, ok := m["default"]; ok {
		if n.fallback, _ = d.(string); !seen[n.fallback] {
			return fmt.Errorf("serde: %s: enum default %v is none of %v", path, d, symbols)
		}
	}
	return nil
}

func stringsOf(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%v is no list of strings", v)
	}
	var out []string
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no string", e)
		}
		out = append(out, s)
	}
	return out, nil
}

// checkName checks name, or each part of a dotted one, against [A-Za-z_][A-Za-z0-9_]*.
func checkName(name string, dotted bool) error {
	parts := []string{name}
	if dotted {
		parts = strings.Split(name, ".")
	}
	for _, part := range parts {
		for i := 0; i < len(part); i++ {
			if !isNameByte(part[i], i == 0) {
				return fmt.Errorf("name %q holds %q; Avro names are letters, digits and _, and begin with no digit", name, part[i])
			}
		}
		if part == "" {
			return fmt.Errorf("name %q is empty or has an empty part", name)
		}
	}
	return nil
}

func isNameByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		return true
	case c >= '0' && c <= '9':
		return !first
	}
	return false
}

package serde

import (
	"bytes"
	"encoding/json"
	"strings"
)

// kind is the Avro type of a node, spelled as in schemas.
type kind string

const (
	kNull    kind = "null"
	kBoolean kind = "boolean"
	kInt     kind = "int"
	kLong    kind = "long"
	kFloat   kind = "float"
	kDouble  kind = "double"
	kBytes   kind = "bytes"
	kString  kind = "string"
	kRecord  kind = "record"
	kEnum    kind = "enum"
	kArray   kind = "array"
	kMap     kind = "map"
	kUnion   kind = "union"
	kFixed   kind = "fixed"
)

// Logical types that change how a value is read. Any other is kept in the schema and means its base type.
const (
	logicalDecimal         = "decimal"
	logicalUUID            = "uuid"
	logicalDate            = "date"
	logicalTimeMillis      = "time-millis"
	logicalTimeMicros      = "time-micros"
	logicalTimestampMillis = "timestamp-millis"
	logicalTimestampMicros = "timestamp-micros"
	logicalTimestampNanos  = "timestamp-nanos"
)

// node is one type of a schema. A recursive schema is a cyclic graph of nodes: whoever walks it remembers where it has been. Nodes
// are never changed once the schema is complete.
type node struct {
	kind      kind
	name      string   // full name of a record, enum or fixed
	aliases   []string // full names
	logical   string   // "" for none
	precision int      // decimal
	scale     int      // decimal
	fields    []*field // record
	symbols   []string // enum
	fallback  string   // enum default, "" for none
	size      int      // fixed, bytes
	item      *node    // array and map
	branches  []*node  // union
}

// field is one field of a record.
type field struct {
	name       string
	aliases    []string
	typ        *node
	hasDefault bool
	def        any // as from encoding/json with UseNumber
}

// named reports whether the kind of n is declared once and referred to by name.
func (n *node) named() bool { return n.kind == kRecord || n.kind == kEnum || n.kind == kFixed }

// shortName is the part of a full name after the last dot; resolution compares these.
func shortName(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }

// namespaceOf is the part of a full name before the last dot, "" for none.
func namespaceOf(full string) string { return full[:max(strings.LastIndexByte(full, '.'), 0)] }

// describe names n in messages: "long (timestamp-millis)", "record a.B".
func (n *node) describe() string {
	s := string(n.kind)
	if n.kind == kUnion {
		parts := make([]string, len(n.branches))
		for i, b := range n.branches {
			parts[i] = b.describe()
		}
		return "union of " + strings.Join(parts, ", ")
	}
	if n.named() {
		s += " " + n.name
	}
	if n.logical != "" {
		s += " (" + n.logical + ")"
	}
	return s
}

// minSizes remembers the least number of bytes that a value of each node takes. It bounds what a hostile block count can make a
// decoder do.
type minSizes map[*node]int

func (m minSizes) of(n *node) int {
	switch n.kind {
	case kNull:
		return 0
	case kFloat:
		return 4
	case kDouble:
		return 8
	case kFixed:
		return n.size
	case kRecord:
		size, ok := m[n]
		if ok {
			return size
		}
		m[n] = 0 // a record within itself: no value of it is finite
		for _, f := range n.fields {
			size = min(size+m.of(f.typ), maxFixed)
		}
		m[n] = size
		return size
	default: // boolean, int, long, bytes, string, enum, array, map and union all take a byte at least
		return 1
	}
}

// schemaWriter renders nodes as JSON, each named type in full where it occurs first and by name afterwards.
type schemaWriter struct {
	buf     bytes.Buffer
	defined map[string]bool
	// bare leaves out all that the Parsing Canonical Form of the Avro specification leaves out.
	bare bool
}

// json is the schema of n in the order of the Parsing Canonical Form (name, type, then the rest), with full names and without
// white space, and keeping what evolution needs: logical types, defaults and aliases. Equal types give equal text.
func (n *node) json() string {
	w := schemaWriter{defined: map[string]bool{}}
	w.node(n, "")
	return w.buf.String()
}

// canonical is the Parsing Canonical Form of n.
// Source: Avro specification 1.12, "Transforming into Parsing Canonical Form".
func (n *node) canonical() string {
	w := schemaWriter{defined: map[string]bool{}, bare: true}
	w.node(n, "")
	return w.buf.String()
}

func (w *schemaWriter) quote(s string) { w.value(s) }

func (w *schemaWriter) value(v any) {
	enc := json.NewEncoder(&w.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Defaults come out of a JSON parser or out of a tag that was parsed as JSON: they can be written again.
		panic("serde: default cannot be written as JSON: " + err.Error())
	}
	w.buf.Truncate(w.buf.Len() - 1) // the newline of Encode
}

func (w *schemaWriter) strings(list []string) {
	w.buf.WriteByte('[')
	for i, s := range list {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		w.quote(s)
	}
	w.buf.WriteByte(']')
}

// node writes n; ns is the namespace that encloses it.
func (w *schemaWriter) node(n *node, ns string) {
	if n.named() {
		if w.defined[n.name] {
			w.quote(n.name)
			return
		}
		w.defined[n.name] = true
	}
	switch n.kind {
	case kUnion:
		w.buf.WriteByte('[')
		for i, b := range n.branches {
			if i > 0 {
				w.buf.WriteByte(',')
			}
			w.node(b, ns)
		}
		w.buf.WriteByte(']')
		return
	case kRecord, kEnum, kFixed:
		w.buf.WriteString(`{"name":`)
		w.quote(n.name)
		if ns != "" && namespaceOf(n.name) == "" && !w.bare {
			w.buf.WriteString(`,"namespace":""`)
		}
		w.buf.WriteString(`,"type":`)
	default:
		if n.kind != kArray && n.kind != kMap && (n.logical == "" || w.bare) {
			w.quote(string(n.kind))
			return
		}
		w.buf.WriteString(`{"type":`)
	}
	w.quote(string(n.kind))
	w.attributes(n, ns)
	w.buf.WriteByte('}')
}

// attributes writes what follows the type of n; ns is the namespace that encloses n.
func (w *schemaWriter) attributes(n *node, ns string) {
	if len(n.aliases) > 0 && !w.bare {
		w.buf.WriteString(`,"aliases":`)
		w.strings(n.aliases)
	}
	switch n.kind {
	case kRecord:
		w.buf.WriteString(`,"fields":[`)
		for i, f := range n.fields {
			if i > 0 {
				w.buf.WriteByte(',')
			}
			w.field(f, namespaceOf(n.name))
		}
		w.buf.WriteByte(']')
	case kEnum:
		w.buf.WriteString(`,"symbols":`)
		w.strings(n.symbols)
		if n.fallback != "" && !w.bare {
			w.buf.WriteString(`,"default":`)
			w.quote(n.fallback)
		}
	case kArray:
		w.buf.WriteString(`,"items":`)
		w.node(n.item, ns)
	case kMap:
		w.buf.WriteString(`,"values":`)
		w.node(n.item, ns)
	case kFixed:
		w.buf.WriteString(`,"size":`)
		w.value(n.size)
	}
	if n.logical == "" || w.bare {
		return
	}
	w.buf.WriteString(`,"logicalType":`)
	w.quote(n.logical)
	if n.logical == logicalDecimal {
		w.buf.WriteString(`,"precision":`)
		w.value(n.precision)
		w.buf.WriteString(`,"scale":`)
		w.value(n.scale)
	}
}

func (w *schemaWriter) field(f *field, ns string) {
	w.buf.WriteString(`{"name":`)
	w.quote(f.name)
	w.buf.WriteString(`,"type":`)
	w.node(f.typ, ns)
	if w.bare {
		w.buf.WriteByte('}')
		return
	}
	if len(f.aliases) > 0 {
		w.buf.WriteString(`,"aliases":`)
		w.strings(f.aliases)
	}
	if f.hasDefault {
		w.buf.WriteString(`,"default":`)
		w.value(f.def)
	}
	w.buf.WriteByte('}')
}

package serde

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"
)

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	decimalType  = reflect.TypeFor[Decimal]()
	ratType      = reflect.TypeFor[big.Rat]()
)

// symbolic is a string type that lists its values: it becomes an enum.
type symbolic interface{ Symbols() []string }

// isLeaf reports whether struct type t is one value for Avro, not a record.
func isLeaf(t reflect.Type) bool { return t == timeType || t == decimalType || t == ratType }

// TypeError reports a Go type, or a part of one, that has no codec.
type TypeError struct {
	Type   reflect.Type // the type that a codec was asked for
	Path   string       // the field at fault, "" for the type itself; elements are written [] and map values {}
	Reason string       // what is wrong and how to mend it
}

// Error names type, field and remedy.
func (e *TypeError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("serde: type %v has no codec: %s", e.Type, e.Reason)
	}
	return fmt.Sprintf("serde: type %v has no codec: field %s: %s", e.Type, e.Path, e.Reason)
}

const remedy = "tag the field `avro:\"-\"` to leave it out, or give a hand-written Serde"

// deriver makes the schema of a Go type. It goes on after a fault, to report them all.
type deriver struct {
	root      reflect.Type
	namespace string
	rootName  string
	aliases   []string
	records   map[reflect.Type]*node
	names     map[string]*node
	open      []reflect.Type // unnamed containers being walked: meeting one again is a recursion without a record
	errs      []error
}

// derive makes the schema of t. All faults are in the error, each a *TypeError.
func (d *deriver) derive(t reflect.Type) (*node, error) {
	d.root, d.records, d.names = t, map[reflect.Type]*node{}, map[string]*node{}
	n := d.node(t, tag{}, "", "")
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return n, nil
}

func (d *deriver) fail(path, format string, args ...any) *node {
	d.errs = append(d.errs, &TypeError{Type: d.root, Path: path, Reason: fmt.Sprintf(format, args...)})
	return &node{kind: kNull}
}

// node is the schema of t. hint names a type that has no name of its own.
func (d *deriver) node(t reflect.Type, tg tag, path, hint string) *node {
	switch {
	case t == timeType:
		return d.time(tg, path)
	case t == durationType && (tg.logical == logicalTimeMillis || tg.logical == logicalTimeMicros):
		return &node{kind: map[string]kind{logicalTimeMillis: kInt, logicalTimeMicros: kLong}[tg.logical], logical: tg.logical}
	case t == decimalType, t == ratType:
		return d.decimal(t, tg, path)
	}
	switch t.Kind() {
	case reflect.Bool:
		return &node{kind: kBoolean}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16:
		if tg.long {
			return &node{kind: kLong}
		}
		return &node{kind: kInt}
	case reflect.Int, reflect.Int64, reflect.Uint32:
		return &node{kind: kLong}
	case reflect.Uint, reflect.Uint64:
		if tg.long {
			return &node{kind: kLong}
		}
		return uint64Node()
	case reflect.Float32:
		return &node{kind: kFloat}
	case reflect.Float64:
		return &node{kind: kDouble}
	case reflect.String:
		return d.text(t, tg, path, hint)
	case reflect.Pointer:
		return d.pointer(t, tg, path, hint)
	case reflect.Slice, reflect.Map:
		return d.container(t, tg, path, hint)
	case reflect.Array:
		return d.fixed(t, tg, path)
	case reflect.Struct:
		return d.record(t, path, hint)
	}
	return d.fail(path, "%v (%v) holds no data that can be written; %s", t, t.Kind(), remedy)
}

// uint64Node is the schema of unsigned 64-bit integers: Avro has none, and a long would fail on, or falsify, the upper half.
func uint64Node() *node { return &node{kind: kBytes, logical: logicalDecimal, precision: 20} }

func (d *deriver) time(tg tag, path string) *node {
	switch tg.logical {
	case "":
		return &node{kind: kLong, logical: logicalTimestampMillis}
	case logicalTimestampMillis, logicalTimestampMicros, logicalTimestampNanos:
		return &node{kind: kLong, logical: tg.logical}
	case logicalDate:
		return &node{kind: kInt, logical: logicalDate}
	}
	return d.fail(path, "time.Time cannot be %s; use timestamp-millis, timestamp-micros, timestamp-nanos or date", tg.logical)
}

func (d *deriver) decimal(t reflect.Type, tg tag, path string) *node {
	limit := maxPrecision
	if t == decimalType {
		limit = DecimalDigits
	}
	if tg.precision < 1 || tg.precision > limit || tg.scale < 0 || tg.scale > tg.precision {
		return d.fail(path, "%v needs a precision of 1 to %d digits and a scale of 0 to precision, not precision %d and scale %d; tag the field `avro:\"name,precision=12,scale=2\"`",
			t, limit, tg.precision, tg.scale)
	}
	return &node{kind: kBytes, logical: logicalDecimal, precision: tg.precision, scale: tg.scale}
}

func (d *deriver) text(t reflect.Type, tg tag, path, hint string) *node {
	symbols := tg.enum
	name := hint
	if symbols == nil {
		s, ok := reflect.New(t).Interface().(symbolic)
		switch {
		case ok:
			var err error
			if symbols, err = symbolsOf(s); err != nil {
				return d.fail(path, "%v", err)
			}
			name = d.typeName(t, hint)
		case tg.logical == logicalUUID:
			return &node{kind: kString, logical: logicalUUID}
		default:
			return &node{kind: kString}
		}
	}
	n := &node{kind: kEnum, name: d.qualify(name), symbols: slices.Clone(symbols), fallback: tg.fallback}
	for i, s := range symbols {
		if err := checkName(s, false); err != nil || slices.Contains(symbols[:i], s) {
			return d.fail(path, "enum symbol %q is doubled or no Avro name (letters, digits, _)", s)
		}
	}
	if len(symbols) == 0 || (tg.fallback != "" && !slices.Contains(symbols, tg.fallback)) {
		return d.fail(path, "enum has the symbols %q and the default %q, which must be one of them", symbols, tg.fallback)
	}
	return d.declare(n, path)
}

// symbolsOf calls a method of the user.
func symbolsOf(s symbolic) (symbols []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("method Symbols of its zero value panics: %v", p)
		}
	}()
	return s.Symbols(), nil
}

// declare returns n, or the equal type that has the same name already.
func (d *deriver) declare(n *node, path string) *node {
	other := d.names[n.name]
	if other == nil {
		d.names[n.name] = n
		return n
	}
	if other.kind == n.kind && other.size == n.size && other.logical == n.logical && other.fallback == n.fallback &&
		slices.Equal(other.symbols, n.symbols) && n.kind != kRecord {
		return other
	}
	return d.fail(path, "two different types are named %q in the schema; name a struct by a field _ struct{} `avro:\"othername\"`, rename other types", n.name)
}

func (d *deriver) pointer(t reflect.Type, tg tag, path, hint string) *node {
	elem := t.Elem()
	if elem.Kind() == reflect.Pointer {
		return d.fail(path, "%v is a pointer to a pointer, and Avro knows only one null; use %v", t, elem)
	}
	if !d.enter(t, path) {
		return &node{kind: kNull}
	}
	defer d.leave()
	n := d.node(elem, tg, path, hint)
	if tg.notNull {
		return n
	}
	return &node{kind: kUnion, branches: []*node{{kind: kNull}, n}}
}

// enter notes that container t is being walked. It is an error when the walk came from t without passing a struct: such a type has
// no finite schema.
func (d *deriver) enter(t reflect.Type, path string) bool {
	if slices.Contains(d.open, t) {
		d.fail(path, "%v holds itself without a struct between, which Avro cannot express; put it into a struct", t)
		return false
	}
	d.open = append(d.open, t)
	return true
}

func (d *deriver) leave() { d.open = d.open[:len(d.open)-1] }

func (d *deriver) container(t reflect.Type, tg tag, path, hint string) *node {
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return &node{kind: kBytes}
	}
	if !d.enter(t, path) {
		return &node{kind: kNull}
	}
	defer d.leave()
	if t.Kind() == reflect.Slice {
		return &node{kind: kArray, item: d.node(t.Elem(), tg, path+"[]", hint)}
	}
	if t.Key().Kind() != reflect.String {
		return d.fail(path, "%v has keys of type %v, and Avro maps have string keys only; use a slice of structs", t, t.Key())
	}
	return &node{kind: kMap, item: d.node(t.Elem(), tg, path+"{}", hint)}
}

func (d *deriver) fixed(t reflect.Type, tg tag, path string) *node {
	if t.Elem().Kind() != reflect.Uint8 {
		return d.fail(path, "%v: only arrays of bytes have a fixed size in Avro; use a slice", t)
	}
	if t.Len() > maxFixed {
		return d.fail(path, "%v is larger than %d bytes; use a slice", t, maxFixed)
	}
	n := &node{kind: kFixed, size: t.Len()}
	if t.Len() == 16 && (tg.logical == logicalUUID || strings.EqualFold(t.Name(), "UUID")) {
		n.logical = logicalUUID
	}
	def := fmt.Sprintf("fixed_%d", t.Len())
	if n.logical == logicalUUID {
		def = "uuid"
	}
	n.name = d.qualify(d.typeName(t, def))
	return d.declare(n, path)
}

func (d *deriver) record(t reflect.Type, path, hint string) *node {
	if n := d.records[t]; n != nil {
		return n
	}
	fields, rec, errs := structFields(t)
	for _, err := range errs {
		d.fail(path, "%v", err)
	}
	if rec.name == "" {
		rec.name = d.typeName(t, hint)
	}
	n := &node{kind: kRecord, name: d.qualify(rec.name)}
	if path == "" && d.rootName != "" {
		n.name = d.qualify(d.rootName)
		rec.aliases = append(slices.Clone(d.aliases), rec.aliases...)
	}
	for _, a := range rec.aliases {
		n.aliases = append(n.aliases, qualify(a, namespaceOf(n.name)))
	}
	for _, name := range append([]string{n.name}, n.aliases...) {
		if err := checkName(name, true); err != nil {
			return d.fail(path, "%v", err)
		}
	}
	d.records[t] = n
	before := len(d.errs)
	if d.declare(n, path); len(d.errs) > before {
		return n
	}
	open, namespace := d.open, d.namespace
	d.open = nil // recursion through a record is expressed by its name
	d.namespace = namespaceOf(n.name)
	for _, sf := range fields {
		at := strings.TrimPrefix(path+"."+sf.goName, ".")
		f := &field{name: sf.name, aliases: sf.tag.aliases}
		f.typ = d.node(sf.typ, sf.tag, at, shortName(n.name)+"_"+sf.name)
		if f.typ.kind == kUnion && !sf.tag.hasDefault {
			f.hasDefault = true // null: adding or removing an optional field stays compatible
		}
		if sf.tag.hasDefault {
			f.hasDefault, f.def = true, sf.tag.defaultOf(f.typ)
			if f.typ.kind == kUnion && f.def != nil {
				slices.Reverse(f.typ.branches) // before Avro 1.12 a default belongs to the first branch
			}
		}
		n.fields = append(n.fields, f)
	}
	d.open, d.namespace = open, namespace
	d.defaults(n, path)
	return n
}

// defaults checks the defaults of record n, whose fields are complete by now.
func (d *deriver) defaults(n *node, path string) {
	for _, f := range n.fields {
		if !f.hasDefault || len(d.errs) > 0 {
			continue
		}
		if _, err := appendDefault(nil, f.typ, f.def, 0); err != nil {
			d.fail(strings.TrimPrefix(path+"."+f.name, "."), "default: %v", err)
		}
	}
}

func (d *deriver) qualify(name string) string { return qualify(name, d.namespace) }

// typeName is the name of t for a schema: its Go name without package, which survives a move to another one. Type arguments become
// part of the name: Pair[string,a/b.Key] gives Pair_string_Key.
func (d *deriver) typeName(t reflect.Type, hint string) string {
	name := t.Name()
	if name == "" {
		name = hint
	}
	if name == "" {
		name = "Record"
	}
	var out strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("[]{},* ", r) }) {
		part = part[strings.LastIndexAny(part, "./")+1:]
		if i := strings.Index(part, "·"); i >= 0 { // local types carry a number
			part = part[:i]
		}
		if out.Len() > 0 {
			out.WriteByte('_')
		}
		for i := 0; i < len(part); i++ {
			if c := part[i]; isNameByte(c, out.Len() == 0) {
				out.WriteByte(c)
			}
		}
	}
	return out.String()
}

package file

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
	"github.com/parquet-go/parquet-go"
)

// shape is how a column node is built.
type shape int

const (
	leafShape   shape = iota
	recordShape       // children are the fields
	optionShape       // children[0] is the branch that is not null
	listShape         // children[0] is the element
	mapShape          // children are key and value
)

// column is one node of the tree that maps an Avro schema to Parquet columns. A tree is immutable.
type column struct {
	shape    shape
	children []*column
	// Leaves below the node are the columns [first, end).
	first, end int
	// A value with at least definition level def is present at this node; rep is the repetition level of its second and later items.
	// Source: Dremel: Interactive Analysis of Web-Scale Datasets (2010), section 4.1.
	def, rep int
	null     int       // optionShape: index of the null branch, 0 or 1
	typ      avro.Type // leafShape
	size     int       // leafShape of fixed
	symbols  []string  // leafShape of enum
	indices  map[string]int
}

// columnBuilder turns a schema into columns and Parquet nodes.
type columnBuilder struct {
	leaves int
	open   map[string]bool // records that are being built: meeting one again is recursion
}

// columnsOf translates an Avro record. The error names the field that has no Parquet form.
func columnsOf(s avro.Schema) (*column, parquet.Node, error) {
	if _, ok := s.(*avro.RecordSchema); !ok {
		return nil, nil, fmt.Errorf("file: Parquet needs a record at the top, the schema is %q: use the Avro format", s.Type())
	}
	b := &columnBuilder{open: map[string]bool{}}
	c, n, err := b.node(s, "", 0, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("file: %w: use the Avro format", err)
	}
	return c, n, nil
}

func (b *columnBuilder) node(s avro.Schema, at string, def, rep int) (*column, parquet.Node, error) {
	first := b.leaves
	c, n, err := b.build(s, at, def, rep)
	if err != nil {
		return nil, nil, err
	}
	c.first, c.end = first, b.leaves
	return c, n, nil
}

func (b *columnBuilder) build(s avro.Schema, at string, def, rep int) (*column, parquet.Node, error) {
	switch s := s.(type) {
	case *avro.RefSchema:
		return b.build(s.Schema(), at, def, rep)
	case *avro.RecordSchema:
		return b.record(s, at, def, rep)
	case *avro.UnionSchema:
		null, other := s.Indices()
		if !s.Nullable() || len(s.Types()) != 2 {
			return nil, nil, fmt.Errorf("field %q is a union other than of null and one type, which has no Parquet form", at)
		}
		child, n, err := b.node(s.Types()[other], at, def+1, rep)
		if err != nil {
			return nil, nil, err
		}
		return &column{shape: optionShape, children: []*column{child}, def: def + 1, rep: rep, null: null}, parquet.Optional(n), nil
	case *avro.ArraySchema:
		child, n, err := b.node(s.Items(), at+"[]", def+1, rep+1)
		if err != nil {
			return nil, nil, err
		}
		return &column{shape: listShape, children: []*column{child}, def: def + 1, rep: rep + 1}, parquet.List(n), nil
	case *avro.MapSchema:
		keyNode := parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		key := &column{first: b.leaves, end: b.leaves + 1, def: def + 1, rep: rep + 1, typ: avro.String}
		b.leaves++
		child, n, err := b.node(s.Values(), at+"{}", def+1, rep+1)
		if err != nil {
			return nil, nil, err
		}
		return &column{shape: mapShape, children: []*column{key, child}, def: def + 1, rep: rep + 1}, parquet.Map(keyNode, n), nil
	}
	n, err := leafNode(s, at)
	if err != nil {
		return nil, nil, err
	}
	n = encoded(n, s.Type())
	b.leaves++
	c := &column{def: def, rep: rep, typ: s.Type()}
	switch s := s.(type) {
	case *avro.FixedSchema:
		c.size = s.Size()
	case *avro.EnumSchema:
		c.symbols = s.Symbols()
		c.indices = make(map[string]int, len(c.symbols))
		for i, symbol := range c.symbols {
			c.indices[symbol] = i
		}
	}
	return c, n, nil
}

func (b *columnBuilder) record(s *avro.RecordSchema, at string, def, rep int) (*column, parquet.Node, error) {
	if b.open[s.FullName()] {
		return nil, nil, fmt.Errorf("field %q is the recursive record %q, which has no Parquet form", at, s.FullName())
	}
	if len(s.Fields()) == 0 {
		return nil, nil, fmt.Errorf("record %q has no fields, which has no Parquet form", s.FullName())
	}
	b.open[s.FullName()] = true
	defer delete(b.open, s.FullName())
	c := &column{shape: recordShape, def: def, rep: rep}
	g := record{Group: parquet.Group{}, order: map[string]int{}}
	for i, f := range s.Fields() {
		name := f.Name()
		if at != "" {
			name = at + "." + name
		}
		child, n, err := b.node(f.Type(), name, def, rep)
		if err != nil {
			return nil, nil, err
		}
		c.children = append(c.children, child)
		g.Group[f.Name()] = n
		g.order[f.Name()] = i
	}
	return c, g, nil
}

// record is a group whose fields keep the order of the schema; parquet.Group sorts them by name.
type record struct {
	parquet.Group
	order map[string]int
}

// Fields lists the fields in the order of the schema.
func (r record) Fields() []parquet.Field {
	fields := r.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int { return cmp.Compare(r.order[a.Name()], r.order[b.Name()]) })
	return fields
}

// encoded sets the encoding of a column to what every engine reads. The library's default for bytes, DELTA_LENGTH_BYTE_ARRAY, is refused
// by DuckDB 2.0 for decimals.
func encoded(n parquet.Node, t avro.Type) parquet.Node {
	if t == avro.String || t == avro.Enum {
		return parquet.Encoded(n, &parquet.RLEDictionary)
	}
	return parquet.Encoded(n, &parquet.Plain)
}

// leafNode is the Parquet form of an Avro type that is one column.
func leafNode(s avro.Schema, at string) (parquet.Node, error) {
	switch s.Type() {
	case avro.Boolean:
		return parquet.Leaf(parquet.BooleanType), nil
	case avro.Float:
		return parquet.Leaf(parquet.FloatType), nil
	case avro.Double:
		return parquet.Leaf(parquet.DoubleType), nil
	case avro.String, avro.Enum:
		return parquet.String(), nil
	case avro.Int:
		switch logicalOf(s) {
		case "date":
			return parquet.Date(), nil
		case "time-millis":
			return parquet.Time(parquet.Millisecond), nil
		}
		return parquet.Leaf(parquet.Int32Type), nil
	case avro.Long:
		return longNode(logicalOf(s)), nil
	case avro.Bytes:
		return decimalOr(s, parquet.ByteArrayType), nil
	case avro.Fixed:
		size := s.(*avro.FixedSchema).Size()
		if size == 0 {
			return nil, fmt.Errorf("field %q is a fixed of no bytes, which has no Parquet form", at)
		}
		if size == 16 && logicalOf(s) == "uuid" {
			return parquet.UUID(), nil
		}
		return decimalOr(s, parquet.FixedLenByteArrayType(size)), nil
	}
	return nil, fmt.Errorf("field %q is of type %q, which has no Parquet form", at, s.Type())
}

// longNode is the Parquet form of a long with the given logical type; local timestamps are not adjusted to UTC.
func longNode(logical string) parquet.Node {
	switch logical {
	case "timestamp-millis":
		return parquet.Timestamp(parquet.Millisecond)
	case "timestamp-micros":
		return parquet.Timestamp(parquet.Microsecond)
	case "timestamp-nanos":
		return parquet.Timestamp(parquet.Nanosecond)
	case "local-timestamp-millis":
		return parquet.TimestampAdjusted(parquet.Millisecond, false)
	case "local-timestamp-micros":
		return parquet.TimestampAdjusted(parquet.Microsecond, false)
	case "local-timestamp-nanos":
		return parquet.TimestampAdjusted(parquet.Nanosecond, false)
	case "time-micros":
		return parquet.Time(parquet.Microsecond)
	}
	return parquet.Leaf(parquet.Int64Type)
}

// decimalOr annotates bytes that are a decimal; both formats keep it as big-endian two's complement.
func decimalOr(s avro.Schema, t parquet.Type) parquet.Node {
	if l, ok := s.(avro.LogicalTypeSchema); ok {
		if d, ok := l.Logical().(*avro.DecimalLogicalSchema); ok {
			return parquet.Decimal(d.Scale(), d.Precision(), t)
		}
	}
	return parquet.Leaf(t)
}

// logicalOf is the name of the logical type, "" for none. The library keeps those that it does not know as a property.
func logicalOf(s avro.Schema) string {
	if l, ok := s.(avro.LogicalTypeSchema); ok && l.Logical() != nil {
		return string(l.Logical().Type())
	}
	if p, ok := s.(avro.PropertySchema); ok {
		name, _ := p.Prop("logicalType").(string)
		return name
	}
	return ""
}

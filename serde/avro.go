package serde

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unsafe"
)

// AvroOption sets a detail of the codec that Avro derives.
type AvroOption func(*avroOptions)

type avroOptions struct {
	name, namespace string
	aliases         []string
	schema          string
}

// WithName sets the name of the outermost record; it may hold a namespace ("shop.Order"). Default: the name of the Go type without
// its package.
func WithName(name string) AvroOption { return func(o *avroOptions) { o.name = name } }

// WithNamespace sets the namespace of all types whose name has none. Default: none.
func WithNamespace(namespace string) AvroOption {
	return func(o *avroOptions) { o.namespace = namespace }
}

// WithAliases adds earlier names of the outermost record, so that data written under them can be read.
func WithAliases(aliases ...string) AvroOption {
	return func(o *avroOptions) { o.aliases = append(o.aliases, aliases...) }
}

// WithSchema encodes by the given Avro schema instead of a derived one. Every field of the Go type must be in it; a field that is only
// in the schema needs a default, which is written always.
func WithSchema(schema string) AvroOption { return func(o *avroOptions) { o.schema = schema } }

// Avro makes the Serde of T from the Go type, by reflection, once; encoding afterwards uses no reflection but for maps.
//
// Go types and their Avro types:
//
//	bool                              boolean
//	int8 int16 int32 uint8 uint16     int
//	int int64 uint32                  long
//	uint uint64                       bytes, decimal(20,0); tag long: long, larger values are errors
//	float32 float64                   float, double
//	string                            string; tag uuid: with logical type uuid
//	string with Symbols() []string,
//	  or tag enum=A|B                 enum; tag enum-default=A: what readers take for unknown symbols
//	[]byte, [N]byte                   bytes, fixed; [16]byte named UUID or tagged uuid: logical type uuid
//	time.Time                         long, timestamp-millis; tags timestamp-micros, timestamp-nanos, date
//	time.Duration                     long in nanoseconds; tags time-millis, time-micros: a time of day
//	Decimal, big.Rat                  bytes, decimal; tags precision=12,scale=2 are needed
//	struct                            record; a field _ struct{} tagged "name,alias=old" names it
//	*T                                union of null and T with default null; tag notnull: T alone
//	[]T, map[string]T                 array, map
//
// A field is named by its tag `avro:"name"`, else as in Go; alias=old gives earlier names and default=x (last in the tag) the value for
// data without the field. Embedded structs without a tag are part of the outer one. Recursive types are possible through pointers,
// slices and maps, up to 1,000 records deep.
//
// What is not kept: the difference between nil and empty slices and maps; what is finer than the unit of a time; the location of a
// time (it comes back in UTC). Values that the schema cannot hold are errors of Append.
//
// Errors are *TypeError, one for each fault, joined.
func Avro[T any](opts ...AvroOption) (Serde[T], error) {
	s, err := newAvro[T](opts)
	if err != nil {
		return nil, err // not s: a nil pointer in an interface is not nil
	}
	return s, nil
}

func newAvro[T any](opts []AvroOption) (*avroSerde[T], error) {
	var o avroOptions
	for _, opt := range opts {
		opt(&o)
	}
	t := reflect.TypeFor[T]()
	n, err := o.node(t)
	if err != nil {
		return nil, err
	}
	b, err := bind(n, t)
	if err != nil {
		return nil, err
	}
	s, err := compileAvro[T](n, b)
	if err != nil || o.schema != "" {
		return s, err
	}
	g, err := generatedOf[T](b)
	if err != nil {
		return nil, err
	}
	if g != nil {
		s.appendOwn, s.decodeOwn = g.Append, g.Decode
	}
	return s, nil
}

func (o avroOptions) node(t reflect.Type) (*node, error) {
	if o.schema == "" {
		d := deriver{namespace: o.namespace, rootName: o.name, aliases: o.aliases}
		return d.derive(t)
	}
	if o.name != "" || o.namespace != "" || o.aliases != nil {
		return nil, errors.New("serde: WithSchema excludes WithName, WithNamespace and WithAliases: the schema holds the names")
	}
	return parseSchema(o.schema)
}

// SchemaOf is the Avro schema that Avro derives for T.
func SchemaOf[T any](opts ...AvroOption) (string, error) {
	s, err := newAvro[T](opts)
	if err != nil {
		return "", err
	}
	return s.schema, nil
}

// Resolve makes a Serde for data that was written with writerSchema: Decode reads it into T by the rules of Avro schema resolution
// (names and aliases, defaults, promotions), while Append and Schema use T's own schema. When the schemas do not match the error holds
// an Incompatibility for each fault. A writer's union is judged value by value: a branch that T cannot take is an error
// of Decode when it comes.
func Resolve[T any](writerSchema string, opts ...AvroOption) (Serde[T], error) {
	s, err := newAvro[T](opts)
	if err != nil {
		return nil, err
	}
	return s.Resolve(writerSchema)
}

// Evolve makes a Serde that reads data written with writerSchema into the type of s, and writes as s does: what a program needs to go
// on from stored data that an earlier version of it wrote. It is s itself when the schemas are equal. A hand-written Serde takes part
// by a method Resolve(writerSchema string) (Serde[T], error); without one, only its own schema can be read.
func Evolve[T any](s Serde[T], writerSchema string) (Serde[T], error) {
	if s.Schema() == writerSchema {
		return s, nil
	}
	r, ok := s.(interface {
		Resolve(writerSchema string) (Serde[T], error)
	})
	if !ok || strings.HasPrefix(writerSchema, opaque) {
		return nil, fmt.Errorf("serde: data of schema %s cannot be read by a codec of schema %s: it is not Avro, or the codec has no method Resolve", writerSchema, s.Schema())
	}
	return r.Resolve(writerSchema)
}

// opaque begins the schemas of codecs that are not Avro.
const opaque = "opaque:"

// avroSerde is the codec of a type by reflection. It is never changed once made.
type avroSerde[T any] struct {
	schema string
	bound  *bound
	enc    encFunc
	dec    decFunc
	boxes  *sync.Pool // of *T: values to encode need an address that does not move
	// Generated code of T, if there is any. decodeOwn is nil for data of another schema.
	appendOwn func(dst []byte, v T) ([]byte, bool)
	decodeOwn func(src []byte, text string, v *T) bool
}

// readers is shared by all codecs: a reader holds nothing between two values.
var readers = sync.Pool{New: func() any { return new(reader) }}

func compileAvro[T any](w *node, b *bound) (*avroSerde[T], error) {
	c := newDecoders()
	dec := c.compile(w, b)
	if len(c.errs) > 0 {
		return nil, fmt.Errorf("serde: data of the writer's schema cannot be read as %v: %w", b.typ, errors.Join(c.errs...))
	}
	return &avroSerde[T]{
		schema: b.n.json(),
		bound:  b,
		enc:    encoders{}.compile(b),
		dec:    dec,
		boxes:  &sync.Pool{New: func() any { return new(T) }},
	}, nil
}

func (s *avroSerde[T]) resolve(writerSchema string) (*avroSerde[T], error) {
	w, err := parseSchema(writerSchema)
	if err != nil {
		return nil, err
	}
	out, err := compileAvro[T](w, s.bound)
	if err != nil {
		return nil, err
	}
	out.enc, out.boxes, out.appendOwn = s.enc, s.boxes, s.appendOwn
	if w.json() == s.schema {
		out.decodeOwn = s.decodeOwn
	}
	return out, nil
}

// Resolve reads data of another schema.
func (s *avroSerde[T]) Resolve(writerSchema string) (Serde[T], error) {
	out, err := s.resolve(writerSchema)
	if err != nil {
		return nil, err // not out: a nil pointer in an interface is not nil
	}
	return out, nil
}

// Schema is the reader's schema, which Append writes with.
func (s *avroSerde[T]) Schema() string { return s.schema }

// Append appends the encoding of v.
func (s *avroSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	if s.appendOwn != nil {
		if out, ok := s.appendOwn(dst, v); ok {
			return out, nil
		}
	}
	return s.appendDerived(dst, v)
}

// appendDerived encodes v by closures; it also finds the words for what generated code refuses.
func (s *avroSerde[T]) appendDerived(dst []byte, v T) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = dst, fmt.Errorf("serde: encode %v: panic: %v", s.bound.typ, p)
		}
	}()
	box := s.boxes.Get().(*T)
	*box = v
	out, err = s.enc(dst, unsafe.Pointer(box), 0)
	var zero T
	*box = zero
	s.boxes.Put(box)
	if err != nil {
		return dst, fmt.Errorf("serde: encode %v: %w", s.bound.typ, err)
	}
	return out, nil
}

// Decode reads src into v, whose earlier content is dropped: what is left in a map or slice would mix with the new value unseen.
func (s *avroSerde[T]) Decode(src []byte, v *T) error { return s.decode(src, "", v) }

// DecodeShared is Decode with strings that are parts of text.
func (s *avroSerde[T]) DecodeShared(src []byte, text string, v *T) error {
	if len(text) != len(src) {
		return unequalText(s.bound.typ, src, text)
	}
	return s.decode(src, text, v)
}

// decode reads src; text is the memory of the strings, "" for one of their own.
func (s *avroSerde[T]) decode(src []byte, text string, v *T) error {
	var zero T
	*v = zero
	if s.decodeOwn != nil {
		if s.decodeOwn(src, text, v) {
			return nil
		}
		*v = zero
	}
	return s.decodeDerived(src, text, v)
}

// decodeDerived reads src into v, which is zero, by closures; it also finds the words for what generated code refuses.
func (s *avroSerde[T]) decodeDerived(src []byte, text string, v *T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("serde: decode %v: panic: %v", s.bound.typ, p)
		}
	}()
	r := readers.Get().(*reader)
	*r = reader{src: src, slab: text}
	err = s.dec(r, unsafe.Pointer(v))
	pos := r.pos
	*r = reader{}
	readers.Put(r)
	if err == nil && pos < len(src) {
		err = fmt.Errorf("%w at byte %d: %d bytes follow the value", ErrCorrupt, pos, len(src)-pos)
	}
	if err != nil {
		return fmt.Errorf("serde: decode %v: %w", s.bound.typ, err)
	}
	return nil
}

// derived implements IsDerived.
func (s *avroSerde[T]) derived() bool { return s.appendOwn == nil }

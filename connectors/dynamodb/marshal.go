package dynamodb

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Marshaler writes itself as an attribute value.
type Marshaler interface {
	// MarshalDynamoDB returns the value, owned by the caller; nil leaves the attribute out.
	MarshalDynamoDB() (types.AttributeValue, error)
}

// Number is a decimal in text. It is stored as a number without passing through a float: 38 digits stay exact.
type Number string

// MarshalDynamoDB returns an N.
func (n Number) MarshalDynamoDB() (types.AttributeValue, error) {
	return &types.AttributeValueMemberN{Value: string(n)}, nil
}

// Marshal turns a struct, or a map with string keys, into an item.
//
// A field is named by its tag `dynamodb:"name"`, else by its Go name; "-" leaves it out, and the option omitempty leaves a zero value
// out. Embedded structs are flattened. Types:
//
//   - string: S; bool: BOOL; integers and floats: N (a float in the shortest form that reads back equal; NaN and infinities are errors)
//   - []byte: B; other slices and arrays: L, or with the option set SS, NS or BS (an empty one is left out)
//   - struct and map with string keys: M; a nil map, slice or pointer is left out of structs and NULL in lists
//   - time.Time: S in RFC 3339 with nanoseconds, UTC; with the option unixms N, milliseconds since 1970
//   - Number and Marshaler: as they say; encoding.TextMarshaler: S; types.AttributeValue: as it is
//
// All else is an error. The result shares no memory with v, except values of types.AttributeValue.
func Marshal(v any) (map[string]types.AttributeValue, error) { return make(encoder).item(v) }

// encoder remembers the fields of the struct types it has seen. One goroutine uses it.
type encoder map[reflect.Type]fieldList

func (e encoder) item(v any) (map[string]types.AttributeValue, error) {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer || rv.Kind() == reflect.Interface {
		if rv.IsNil() {
			return nil, errors.New("dynamodb: cannot marshal nil as an item")
		}
		rv = rv.Elem()
	}
	if !rv.IsValid() {
		return nil, errors.New("dynamodb: cannot marshal nil as an item")
	}
	av, err := e.value(rv, fieldOptions{}, 0)
	if err != nil {
		return nil, fmt.Errorf("dynamodb: cannot marshal %v: %w", rv.Type(), err)
	}
	m, ok := av.(*types.AttributeValueMemberM)
	if !ok {
		return nil, fmt.Errorf("dynamodb: cannot marshal %v as an item; want a struct or a map with string keys", rv.Type())
	}
	return m.Value, nil
}

type fieldOptions struct{ omitEmpty, set, unixMS bool }

type field struct {
	name  string
	index []int
	fieldOptions
}

var (
	textType      = reflect.TypeFor[encoding.TextMarshaler]()
	marshalerType = reflect.TypeFor[Marshaler]()
	valueType     = reflect.TypeFor[types.AttributeValue]()
	timeType      = reflect.TypeFor[time.Time]()
)

type fieldList struct {
	fields []field
	err    error
}

// structFields lists the fields of a struct type.
func structFields(t reflect.Type) (out fieldList) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("dynamodb") == "" {
			continue // its fields are visible themselves
		}
		if !f.IsExported() || throughPointer(t, f.Index) || insideNamed(t, f.Index) {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("dynamodb"), ",")
		if name == "-" {
			continue
		}
		x := field{name: name, index: f.Index}
		if name == "" {
			x.name = f.Name
		}
		for _, o := range strings.Split(options, ",") {
			switch o {
			case "":
			case "omitempty":
				x.omitEmpty = true
			case "set":
				x.set = true
			case "unixms":
				x.unixMS = true
			default:
				out.err = errors.Join(out.err, fmt.Errorf("field %s has the unknown option %q, want omitempty, set or unixms", f.Name, o))
			}
		}
		if slices.ContainsFunc(out.fields, func(y field) bool { return y.name == x.name }) {
			out.err = errors.Join(out.err, fmt.Errorf("two fields are named %q", x.name))
		}
		out.fields = append(out.fields, x)
	}
	return out
}

// throughPointer and insideNamed leave out promoted fields that are reached through an embedded pointer, or that belong to an embedded struct
// with a name of its own.
func throughPointer(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		if t = t.Field(i).Type; t.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

func insideNamed(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		f := t.Field(i)
		if f.Tag.Get("dynamodb") != "" {
			return true
		}
		t = f.Type
	}
	return false
}

// checkType reports types that Marshal can never write. Values behind interfaces are seen only when they are marshalled.
func checkType[T any]() error {
	t := reflect.TypeFor[T]()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		return structFields(t).err
	case reflect.Map, reflect.Interface:
		return nil
	}
	return fmt.Errorf("%v is no struct and no map; give Options.Item", t)
}

// value writes one value; nil says that it is to be left out.
func (e encoder) value(v reflect.Value, o fieldOptions, depth int) (types.AttributeValue, error) {
	if depth > depthMax {
		return nil, fmt.Errorf("lists and maps are nested deeper than %d", depthMax)
	}
	t := v.Type()
	if (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		return nil, nil
	}
	switch {
	case t.Implements(valueType):
		return v.Interface().(types.AttributeValue), nil
	case t == timeType:
		return encodeTime(v.Interface().(time.Time), o), nil
	case t.Implements(marshalerType):
		return v.Interface().(Marshaler).MarshalDynamoDB()
	case t.Implements(textType):
		b, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		return &types.AttributeValueMemberS{Value: string(b)}, err
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return e.value(v.Elem(), o, depth+1)
	case reflect.String:
		return &types.AttributeValueMemberS{Value: v.String()}, nil
	case reflect.Bool:
		return &types.AttributeValueMemberBOOL{Value: v.Bool()}, nil
	case reflect.Struct:
		return e.structure(v, depth)
	case reflect.Map:
		return e.mapping(v, depth)
	case reflect.Slice, reflect.Array:
		return e.list(v, o, depth)
	}
	n, err := numberText(v)
	if err != nil {
		return nil, err
	}
	return &types.AttributeValueMemberN{Value: n}, nil
}

func numberText(v reflect.Value) (string, error) {
	switch {
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	case v.CanFloat():
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return "", fmt.Errorf("%v is no number that DynamoDB can store", f)
		}
		return strconv.FormatFloat(f, 'g', -1, v.Type().Bits()), nil
	}
	return "", fmt.Errorf("type %v cannot be marshalled", v.Type())
}

func encodeTime(t time.Time, o fieldOptions) types.AttributeValue {
	if o.unixMS {
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(t.UnixMilli(), 10)}
	}
	return &types.AttributeValueMemberS{Value: t.UTC().Format(time.RFC3339Nano)}
}

func (e encoder) structure(v reflect.Value, depth int) (types.AttributeValue, error) {
	l, ok := e[v.Type()]
	if !ok {
		l = structFields(v.Type())
		e[v.Type()] = l
	}
	if l.err != nil {
		return nil, l.err
	}
	out := make(map[string]types.AttributeValue, len(l.fields))
	for _, f := range l.fields {
		x := v.FieldByIndex(f.index)
		if f.omitEmpty && x.IsZero() {
			continue
		}
		av, err := e.value(x, f.fieldOptions, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if av != nil {
			out[f.name] = av
		}
	}
	return &types.AttributeValueMemberM{Value: out}, nil
}

func (e encoder) mapping(v reflect.Value, depth int) (types.AttributeValue, error) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("map has keys of type %v, want strings", v.Type().Key())
	}
	if v.IsNil() {
		return nil, nil
	}
	out := make(map[string]types.AttributeValue, v.Len())
	for it := v.MapRange(); it.Next(); {
		av, err := e.value(it.Value(), fieldOptions{}, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", it.Key(), err)
		}
		if av != nil {
			out[it.Key().String()] = av
		}
	}
	return &types.AttributeValueMemberM{Value: out}, nil
}

func (e encoder) list(v reflect.Value, o fieldOptions, depth int) (types.AttributeValue, error) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return nil, nil
	}
	if o.set {
		return encodeSet(v)
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return &types.AttributeValueMemberB{Value: bytesOf(v)}, nil
	}
	out := make([]types.AttributeValue, v.Len())
	for i := range out {
		av, err := e.value(v.Index(i), fieldOptions{}, depth+1)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		if out[i] = av; av == nil {
			out[i] = &types.AttributeValueMemberNULL{Value: true}
		}
	}
	return &types.AttributeValueMemberL{Value: out}, nil
}

func bytesOf(v reflect.Value) []byte {
	out := make([]byte, v.Len())
	reflect.Copy(reflect.ValueOf(out), v)
	return out
}

func encodeSet(v reflect.Value) (types.AttributeValue, error) {
	if v.Len() == 0 {
		return nil, nil
	}
	elem := v.Type().Elem()
	switch {
	case elem.Kind() == reflect.String && elem != reflect.TypeFor[Number]():
		out := make([]string, v.Len())
		for i := range out {
			out[i] = v.Index(i).String()
		}
		return &types.AttributeValueMemberSS{Value: out}, nil
	case (elem.Kind() == reflect.Slice || elem.Kind() == reflect.Array) && elem.Elem().Kind() == reflect.Uint8:
		out := make([][]byte, v.Len())
		for i := range out {
			out[i] = bytesOf(v.Index(i))
		}
		return &types.AttributeValueMemberBS{Value: out}, nil
	}
	out := make([]string, v.Len())
	for i := range out {
		var err error
		if x := v.Index(i); x.Kind() == reflect.String {
			out[i] = x.String()
		} else if out[i], err = numberText(x); err != nil {
			return nil, fmt.Errorf("set: [%d]: %w", i, err)
		}
	}
	return &types.AttributeValueMemberNS{Value: out}, nil
}

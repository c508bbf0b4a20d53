// Package attr holds attribute values as DynamoDB defines them: exact numbers, sets, nested documents, their sizes, order
// and JSON form. Values are immutable once made; whoever changes one copies the container first.
package attr

import (
	"slices"
	"strings"
)

// Error is a ValidationException: its text is the service's.
type Error struct{ Message string }

// Error is the service's text.
func (e *Error) Error() string { return e.Message }

// Invalid makes an *Error.
func Invalid(message string) error { return &Error{Message: message} }

// Kind is the type of a value.
type Kind byte

// The kinds, in the order in which names lists them.
const (
	S Kind = iota + 1
	N
	B
	BOOL
	NULL
	M
	L
	SS
	NS
	BS
)

var names = [...]string{"", "S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}

// String is the name of the type in the API, e.g. SS.
func (k Kind) String() string { return names[k] }

// KindOf is the kind of this name, or 0.
func KindOf(name string) Kind {
	for k, n := range names {
		if n == name && k > 0 {
			return Kind(k)
		}
	}
	return 0
}

// Value is one attribute value.
type Value struct {
	Kind Kind
	// Str holds S, N in plain notation, and the raw bytes of B.
	Str  string
	Bool bool
	List []Value
	Map  Item
	// Set holds SS, NS and BS without duplicates, sorted.
	Set []string
}

// Item maps attribute names to values.
type Item map[string]Value

// Number is the value of an N; the text was checked when the value was made.
func (v Value) Number() Number {
	n, _ := ParseNumber(v.Str)
	return n
}

// NumberValue makes an N.
func NumberValue(n Number) Value { return Value{Kind: N, Str: n.String()} }

// Equal compares by type and value; sets regardless of order.
func (v Value) Equal(o Value) bool {
	if v.Kind != o.Kind {
		return false
	}
	switch v.Kind {
	case BOOL:
		return v.Bool == o.Bool
	case L:
		return slices.EqualFunc(v.List, o.List, Value.Equal)
	case M:
		return v.Map.Equal(o.Map)
	case SS, NS, BS:
		return slices.Equal(v.Set, o.Set)
	}
	return v.Str == o.Str
}

// Equal compares all attributes.
func (i Item) Equal(o Item) bool {
	if len(i) != len(o) {
		return false
	}
	for name, v := range i {
		w, ok := o[name]
		if !ok || !v.Equal(w) {
			return false
		}
	}
	return true
}

// Cmp orders two values of one of the kinds S, N, B; ok is false for all else.
func (v Value) Cmp(o Value) (c int, ok bool) {
	if v.Kind != o.Kind {
		return 0, false
	}
	switch v.Kind {
	case S, B:
		return strings.Compare(v.Str, o.Str), true
	case N:
		return v.Number().Cmp(o.Number()), true
	}
	return 0, false
}

// Sortable is a byte string in the order of Cmp, for S, N and B.
func (v Value) Sortable() string {
	if v.Kind == N {
		return v.Number().Sortable()
	}
	return v.Str
}

// Size is the size of a value in bytes. Source: developer guide, "Item sizes and formats".
func (v Value) Size() int {
	switch v.Kind {
	case S, B:
		return len(v.Str)
	case N:
		return v.Number().SizeBytes()
	case BOOL, NULL:
		return 1
	case M:
		return 3 + len(v.Map) + v.Map.Size()
	case L:
		n := 3 + len(v.List)
		for _, e := range v.List {
			n += e.Size()
		}
		return n
	}
	n := 0
	for _, e := range v.Set {
		if v.Kind == NS {
			num, _ := ParseNumber(e)
			n += num.SizeBytes()
			continue
		}
		n += len(e)
	}
	return n
}

// Size is the sum of the sizes of names and values in bytes.
func (i Item) Size() int {
	n := 0
	for name, v := range i {
		n += len(name) + v.Size()
	}
	return n
}

// NewSet makes a set of kind SS, NS or BS out of raw elements; numbers become plain. Empty sets and duplicates are an *Error.
func NewSet(kind Kind, elems []string) (Value, error) {
	if len(elems) == 0 {
		what := map[Kind]string{SS: "An string set  may not be empty", NS: "An number set  may not be empty", BS: "Binary sets should not be empty"}[kind]
		return Value{}, Invalid("One or more parameter values were invalid: " + what)
	}
	set := make([]string, 0, len(elems))
	for _, e := range elems {
		if kind == NS {
			n, err := ParseNumber(e)
			if err != nil {
				return Value{}, err
			}
			e = n.String()
		}
		set = append(set, e)
	}
	v := Value{Kind: kind, Set: set}
	v.sortSet()
	for i := 1; i < len(v.Set); i++ {
		if v.Set[i] == v.Set[i-1] {
			return Value{}, Invalid("One or more parameter values were invalid: Input collection [" + strings.Join(elems, ", ") + "] contains duplicates.")
		}
	}
	return v, nil
}

func (v *Value) sortSet() {
	if v.Kind != NS {
		slices.Sort(v.Set)
		return
	}
	slices.SortFunc(v.Set, func(a, b string) int {
		x, _ := ParseNumber(a)
		y, _ := ParseNumber(b)
		return x.Cmp(y)
	})
}

// Union is the set of all elements of v and o, which are of one kind.
func (v Value) Union(o Value) Value {
	r := Value{Kind: v.Kind, Set: slices.Concat(v.Set, o.Set)}
	r.sortSet()
	r.Set = slices.Compact(r.Set)
	return r
}

// Minus is v without the elements of o. It may be empty, which the caller removes: the service stores no empty set.
func (v Value) Minus(o Value) Value {
	r := Value{Kind: v.Kind}
	for _, e := range v.Set {
		if !slices.Contains(o.Set, e) {
			r.Set = append(r.Set, e)
		}
	}
	return r
}

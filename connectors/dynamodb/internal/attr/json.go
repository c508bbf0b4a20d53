package attr

import (
	"encoding/base64"
	"encoding/json/jsontext"
	"errors"
	"fmt"
)

// MaxDepth is the greatest nesting of lists and maps in an item.
const MaxDepth = 32

// ErrFormat reports JSON that is no attribute value: the service answers SerializationException.
var ErrFormat = errors.New("attribute value expected")

var errDepth = Invalid("Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit")

// UnmarshalJSONFrom reads {"S": "…"} and its like. Errors are *Error (invalid value), or wrap ErrFormat, or are syntax errors.
func (v *Value) UnmarshalJSONFrom(dec *jsontext.Decoder) error { return v.decode(dec, 0) }

// UnmarshalJSONFrom reads an object of attribute values.
func (i *Item) UnmarshalJSONFrom(dec *jsontext.Decoder) error { return i.decode(dec, 0) }

func (i *Item) decode(dec *jsontext.Decoder, depth int) error {
	if dec.PeekKind() == 'n' {
		*i = nil
		return dec.SkipValue()
	}
	if err := open(dec, '{'); err != nil {
		return err
	}
	m := make(Item)
	for dec.PeekKind() == '"' {
		name, err := str(dec)
		if err != nil {
			return err
		}
		var v Value
		if err := v.decode(dec, depth); err != nil {
			return err
		}
		m[name] = v
	}
	*i = m
	_, err := dec.ReadToken()
	return err
}

func (v *Value) decode(dec *jsontext.Decoder, depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	if err := open(dec, '{'); err != nil {
		return err
	}
	*v = Value{}
	for dec.PeekKind() == '"' {
		name, err := str(dec)
		if err != nil {
			return err
		}
		kind := KindOf(name)
		if kind == 0 || dec.PeekKind() == 'n' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if v.Kind != 0 {
			return Invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
		}
		if err := v.decodeAs(dec, kind, depth); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if v.Kind == 0 {
		return Invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
	}
	return nil
}

func (v *Value) decodeAs(dec *jsontext.Decoder, kind Kind, depth int) (err error) {
	v.Kind = kind
	switch kind {
	case S:
		v.Str, err = str(dec)
	case N:
		if v.Str, err = str(dec); err != nil {
			return err
		}
		n, err := ParseNumber(v.Str)
		if err != nil {
			return err
		}
		v.Str = n.String()
	case B:
		v.Str, err = binary(dec)
	case BOOL, NULL:
		tok, terr := dec.ReadToken()
		if terr != nil {
			return terr
		}
		if tok.Kind() != 't' && tok.Kind() != 'f' {
			return fmt.Errorf("%w: boolean of type %v", ErrFormat, kind)
		}
		v.Bool = tok.Kind() == 't'
		if kind == NULL && !v.Bool {
			return Invalid("One or more parameter values were invalid: Null attribute value types must have the value of true")
		}
	case M:
		v.Map = Item{}
		err = v.Map.decode(dec, depth+1)
	case L:
		v.List, err = list(dec, depth)
	case SS, NS, BS:
		var elems []string
		if elems, err = stringList(dec, kind); err != nil {
			return err
		}
		*v, err = NewSet(kind, elems)
	}
	return err
}

func list(dec *jsontext.Decoder, depth int) ([]Value, error) {
	if err := open(dec, '['); err != nil {
		return nil, err
	}
	out := []Value{}
	for dec.PeekKind() != ']' {
		var v Value
		if err := v.decode(dec, depth+1); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := dec.ReadToken()
	return out, err
}

func stringList(dec *jsontext.Decoder, kind Kind) ([]string, error) {
	if err := open(dec, '['); err != nil {
		return nil, err
	}
	var out []string
	for dec.PeekKind() != ']' {
		read := str
		if kind == BS {
			read = binary
		}
		s, err := read(dec)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	_, err := dec.ReadToken()
	return out, err
}

// open reads the token that opens an object or array.
func open(dec *jsontext.Decoder, kind jsontext.Kind) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != kind {
		return fmt.Errorf("%w: %v found where %v is due", ErrFormat, tok.Kind(), kind)
	}
	return nil
}

func str(dec *jsontext.Decoder) (string, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	if tok.Kind() != '"' {
		return "", fmt.Errorf("%w: %v found where a string is due", ErrFormat, tok.Kind())
	}
	return tok.String(), nil
}

func binary(dec *jsontext.Decoder) (string, error) {
	s, err := str(dec)
	if err != nil {
		return "", err
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("%w: invalid base64", ErrFormat)
	}
	return string(raw), nil
}

// MarshalJSONTo writes {"S": "…"} and its like.
func (v Value) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	if err := enc.WriteToken(jsontext.String(v.Kind.String())); err != nil {
		return err
	}
	if err := v.encode(enc); err != nil {
		return err
	}
	return enc.WriteToken(jsontext.EndObject)
}

func (v Value) encode(enc *jsontext.Encoder) error {
	switch v.Kind {
	case S, N:
		return enc.WriteToken(jsontext.String(v.Str))
	case B:
		return enc.WriteToken(jsontext.String(base64.StdEncoding.EncodeToString([]byte(v.Str))))
	case BOOL, NULL:
		return enc.WriteToken(jsontext.Bool(v.Bool))
	case M:
		return v.Map.MarshalJSONTo(enc)
	}
	if err := enc.WriteToken(jsontext.BeginArray); err != nil {
		return err
	}
	for _, e := range v.List {
		if err := e.MarshalJSONTo(enc); err != nil {
			return err
		}
	}
	for _, e := range v.Set {
		if v.Kind == BS {
			e = base64.StdEncoding.EncodeToString([]byte(e))
		}
		if err := enc.WriteToken(jsontext.String(e)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndArray)
}

// MarshalJSONTo writes an object of attribute values; nil is an empty one.
func (i Item) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for name, v := range i {
		if err := enc.WriteToken(jsontext.String(name)); err != nil {
			return err
		}
		if err := v.MarshalJSONTo(enc); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

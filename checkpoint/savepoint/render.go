package savepoint

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Printer shows keys and values as JSON by their schemas, in the form of serde.Raw.AppendJSON; those of a codec that is not Avro as base64. The zero value
// is ready. One goroutine uses it.
type Printer struct{ schemas map[string]*serde.Raw }

// raw is nil for a codec that is not Avro.
func (p *Printer) raw(schema string) (*serde.Raw, error) {
	if strings.HasPrefix(schema, "opaque:") {
		return nil, nil
	}
	r, ok := p.schemas[schema]
	if !ok {
		var err error
		if r, err = serde.ParseRaw(schema); err != nil {
			return nil, err
		}
		if p.schemas == nil {
			p.schemas = map[string]*serde.Raw{}
		}
		p.schemas[schema] = r
	}
	return r, nil
}

// append shows what was encoded with a schema.
func (p *Printer) append(dst, encoded []byte, schema string) ([]byte, error) {
	r, err := p.raw(schema)
	switch {
	case err != nil:
		return dst, err
	case r == nil:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), encoded), '"'), nil
	}
	return r.AppendJSON(dst, encoded)
}

// parse is the other way.
func (p *Printer) parse(text json.RawMessage, schema string) ([]byte, error) {
	r, err := p.raw(schema)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		var b []byte
		if err := json.Unmarshal(text, &b); err != nil {
			return nil, fmt.Errorf("%s is no base64 string, which the encoding of %s is given as", text, schema)
		}
		return b, nil
	}
	return r.ParseJSON(nil, text)
}

// Key is the operator's key.
func (p *Printer) Key(e *Entry) (json.RawMessage, error) { return p.append(nil, e.Key, e.Of.Key) }

// Value is the value; null for a timer.
func (p *Printer) Value(e *Entry) (json.RawMessage, error) {
	if e.Of.Kind == state.KindTimers {
		return json.RawMessage("null"), nil
	}
	return p.append(nil, e.Value, e.Schema)
}

// AppendLine appends the entry as one line of JSON, with the line break:
//
//	{"uid":"agg","state":"days","group":7,"key":"cust-7","map_key":12,"value":"x","expires_ms":1800000000000}
//
// Instead of map_key, an element of a list has "element", its number, and a timer "clock" ("event time" or "processing time") and "at_ms". An entry of
// broadcast state has "broadcast":true. Builder.Apply takes such lines back.
func (p *Printer) AppendLine(dst []byte, uid string, e *Entry) ([]byte, error) {
	out := append(appendText(append(dst, `{"uid":`...), uid), `,"state":`...)
	out = appendText(out, e.Of.Name)
	if e.Broadcast {
		out = append(out, `,"broadcast":true`...)
	}
	out = strconv.AppendInt(append(out, `,"group":`...), int64(e.Group), 10)
	var err error
	if out, err = p.append(append(out, `,"key":`...), e.Key, e.Of.Key); err != nil {
		return dst, undecodable(uid, e, "key", err)
	}
	if out, err = p.appendSub(out, e); err != nil {
		return dst, undecodable(uid, e, "sub key", err)
	}
	if e.Of.Kind != state.KindTimers {
		if out, err = p.append(append(out, `,"value":`...), e.Value, e.Schema); err != nil {
			return dst, undecodable(uid, e, "value", err)
		}
	}
	if ms, ok := e.ExpiryMS(); ok {
		out = strconv.AppendInt(append(out, `,"expires_ms":`...), ms, 10)
	}
	return append(out, '}', '\n'), nil
}

// appendSub appends the field for the sub key.
func (p *Printer) appendSub(dst []byte, e *Entry) ([]byte, error) {
	switch e.Of.Kind {
	case state.KindMap:
		return p.append(append(dst, `,"map_key":`...), e.Sub, e.Of.Sub)
	case state.KindList:
		n, err := elementNumber(e.Sub)
		return strconv.AppendUint(append(dst, `,"element":`...), n, 10), err
	case state.KindTimers:
		clock, _, err := e.Timer()
		if err != nil {
			return dst, err
		}
		dst = appendText(append(dst, `,"clock":`...), clock.String())
		return strconv.AppendInt(append(dst, `,"at_ms":`...), timerMS(e.Sub), 10), nil
	}
	return dst, nil
}

func appendText(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string can always be written
	return append(dst, b...)
}

// canonical is equal for equal values of one schema: the encoding, or JSON with sorted keys where values hold maps.
func (p *Printer) canonical(encoded []byte, schema string) ([]byte, error) {
	r, err := p.raw(schema)
	if err != nil || r == nil || !r.HoldsMap() {
		return encoded, err
	}
	return r.AppendJSON(nil, encoded)
}

// same reports whether two values are equal.
func (p *Printer) same(a, b []byte, schemaA, schemaB string) (bool, error) {
	if schemaA == schemaB {
		if bytes.Equal(a, b) {
			return true, nil
		}
		ca, err := p.canonical(a, schemaA)
		if err != nil {
			return false, err
		}
		cb, err := p.canonical(b, schemaB)
		return bytes.Equal(ca, cb), err
	}
	ja, err := p.append(nil, a, schemaA)
	if err != nil {
		return false, err
	}
	jb, err := p.append(nil, b, schemaB)
	return bytes.Equal(ja, jb), err
}

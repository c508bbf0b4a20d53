package dynamodb

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Limits of the service. Source: API reference, BatchWriteItem; developer guide, "Quotas".
const (
	batchItemsMax = 25
	itemBytesMax  = 400 << 10
	hashBytesMax  = 2048
	rangeBytesMax = 1024
	// batchBytesMax leaves room for names and framing below the 16 MB of a request.
	batchBytesMax = 15 << 20
	writeUnit     = 1 << 10
	depthMax      = 32
)

// measure is the size of an item: as the service counts it, and as an upper bound of its JSON.
type measure struct{ stored, wire int }

func (m *measure) add(o measure) { m.stored, m.wire = m.stored+o.stored, m.wire+o.wire }

// framing of {"M": …}, in a list or map, with quotes, colon and comma.
const framing = 16

func measureItem(item map[string]types.AttributeValue, depth int) (measure, error) {
	var sum measure
	if depth > depthMax {
		return sum, fmt.Errorf("lists and maps are nested deeper than %d", depthMax)
	}
	for name, v := range item {
		m, err := measureValue(v, depth)
		if err != nil {
			return sum, fmt.Errorf("attribute %q: %w", name, err)
		}
		m.stored += len(name)
		m.wire += quoted(name)
		sum.add(m)
	}
	return sum, nil
}

func measureValue(v types.AttributeValue, depth int) (measure, error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return measure{len(v.Value), framing + quoted(v.Value)}, nil
	case *types.AttributeValueMemberN:
		return measureNumber(v.Value)
	case *types.AttributeValueMemberB:
		return measure{len(v.Value), framing + base64.StdEncoding.EncodedLen(len(v.Value))}, nil
	case *types.AttributeValueMemberBOOL, *types.AttributeValueMemberNULL:
		return measure{1, framing + 5}, nil
	case *types.AttributeValueMemberM:
		m, err := measureItem(v.Value, depth+1)
		m.add(measure{3 + len(v.Value), framing})
		return m, err
	case *types.AttributeValueMemberL:
		m := measure{3 + len(v.Value), framing}
		if depth >= depthMax {
			return m, fmt.Errorf("lists and maps are nested deeper than %d", depthMax)
		}
		for i, e := range v.Value {
			x, err := measureValue(e, depth+1)
			if err != nil {
				return m, fmt.Errorf("element %d: %w", i, err)
			}
			m.add(x)
		}
		return m, nil
	case nil:
		return measure{}, errors.New("value is nil; leave the attribute out or use types.AttributeValueMemberNULL")
	}
	return measureSet(v)
}

func measureNumber(s string) (measure, error) {
	n, err := attr.ParseNumber(s)
	return measure{n.SizeBytes(), framing + len(s)}, err
}

func measureSet(v types.AttributeValue) (measure, error) {
	m := measure{0, framing}
	n := 0
	switch v := v.(type) {
	case *types.AttributeValueMemberSS:
		for _, e := range v.Value {
			m.add(measure{len(e), quoted(e) + 1})
		}
		n = len(v.Value)
	case *types.AttributeValueMemberBS:
		for _, e := range v.Value {
			m.add(measure{len(e), base64.StdEncoding.EncodedLen(len(e)) + 3})
		}
		n = len(v.Value)
	case *types.AttributeValueMemberNS:
		for _, e := range v.Value {
			x, err := measureNumber(e)
			if err != nil {
				return m, err
			}
			m.add(x)
		}
		n = len(v.Value)
	default:
		return m, fmt.Errorf("unknown type %T of an attribute value", v)
	}
	if n == 0 {
		return m, errors.New("a set must not be empty; leave the attribute out")
	}
	return m, nil
}

// quoted is an upper bound of the length of s as a JSON string.
func quoted(s string) int {
	n := 2
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x7f:
			n += 6
		case c == '"' || c == '\\':
			n += 2
		case c >= utf8.RuneSelf:
			n += 6 // an invalid byte, or part of a character that is escaped
		default:
			n++
		}
	}
	return n
}

// encodeKey checks the key attributes of an item and writes them as one string: equal exactly if the service holds the keys equal.
func encodeKey(item map[string]types.AttributeValue, names []string) (string, error) {
	out := make([]byte, 0, 48)
	for i, name := range names {
		var text string
		kind := byte('S')
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			text = v.Value
		case *types.AttributeValueMemberB:
			text, kind = string(v.Value), 'B'
		case *types.AttributeValueMemberN:
			n, err := attr.ParseNumber(v.Value)
			if err != nil {
				return "", fmt.Errorf("key attribute %q: %w", name, err)
			}
			text, kind = n.String(), 'N'
		case nil:
			return "", fmt.Errorf("key attribute %q is missing", name)
		default:
			return "", fmt.Errorf("key attribute %q has type %T, want S, N or B", name, v)
		}
		limit := hashBytesMax
		if i > 0 {
			limit = rangeBytesMax
		}
		if len(text) == 0 || len(text) > limit && kind != 'N' {
			return "", fmt.Errorf("key attribute %q has %d bytes, want 1 to %d", name, len(text), limit)
		}
		out = append(out, kind)
		out = binary.AppendUvarint(out, uint64(len(text)))
		out = append(out, text...)
	}
	return string(out), nil
}

// showKey writes the key attributes for messages, at most 200 bytes.
func showKey(item map[string]types.AttributeValue, names []string) string {
	out := ""
	for i, name := range names {
		if i > 0 {
			out += ", "
		}
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			out += fmt.Sprintf("%s=%q", name, v.Value)
		case *types.AttributeValueMemberN:
			out += name + "=" + v.Value
		case *types.AttributeValueMemberB:
			out += fmt.Sprintf("%s=%x", name, v.Value)
		}
	}
	return out[:min(len(out), 200)]
}

package dynamodb

import (
	"encoding/base64"
	"encoding/json/jsontext"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// appendItem writes an item as JSON in DynamoDB's notation, attributes in order of their names: the raw bytes of a dead letter.
func appendItem(b []byte, item map[string]types.AttributeValue) ([]byte, error) {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(item)) {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendText(b, name); err != nil {
			return b, err
		}
		b = append(b, ':')
		if b, err = appendValue(b, item[name]); err != nil {
			return b, fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	return append(b, '}'), nil
}

func appendText(b []byte, s string) ([]byte, error) {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		return b, fmt.Errorf("text is not UTF-8: %w", err)
	}
	return b, nil
}

func appendValue(b []byte, v types.AttributeValue) (_ []byte, err error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		b, err = appendText(append(b, `{"S":`...), v.Value)
	case *types.AttributeValueMemberN:
		b, err = appendText(append(b, `{"N":`...), v.Value)
	case *types.AttributeValueMemberB:
		b, err = appendText(append(b, `{"B":`...), base64.StdEncoding.EncodeToString(v.Value))
	case *types.AttributeValueMemberBOOL:
		b = fmt.Appendf(b, `{"BOOL":%t`, v.Value)
	case *types.AttributeValueMemberNULL:
		b = append(b, `{"NULL":true`...)
	case *types.AttributeValueMemberM:
		b, err = appendItem(append(b, `{"M":`...), v.Value)
	case *types.AttributeValueMemberL:
		b, err = appendList(append(b, `{"L":`...), v.Value, appendValue)
	case *types.AttributeValueMemberSS:
		b, err = appendList(append(b, `{"SS":`...), v.Value, appendText)
	case *types.AttributeValueMemberNS:
		b, err = appendList(append(b, `{"NS":`...), v.Value, appendText)
	case *types.AttributeValueMemberBS:
		b, err = appendList(append(b, `{"BS":`...), v.Value, func(b []byte, e []byte) ([]byte, error) {
			return appendText(b, base64.StdEncoding.EncodeToString(e))
		})
	default:
		return b, fmt.Errorf("unknown type %T of an attribute value", v)
	}
	return append(b, '}'), err
}

func appendList[E any](b []byte, list []E, one func([]byte, E) ([]byte, error)) ([]byte, error) {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = one(b, e); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

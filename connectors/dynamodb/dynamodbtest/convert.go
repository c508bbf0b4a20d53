package dynamodbtest

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

func fromSDK(item map[string]types.AttributeValue) (attr.Item, error) {
	out := make(attr.Item, len(item))
	for name, v := range item {
		w, err := valueFromSDK(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		out[name] = w
	}
	return out, nil
}

func valueFromSDK(v types.AttributeValue) (out attr.Value, err error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return attr.Value{Kind: attr.S, Str: v.Value}, nil
	case *types.AttributeValueMemberN:
		n, err := attr.ParseNumber(v.Value)
		return attr.NumberValue(n), err
	case *types.AttributeValueMemberB:
		return attr.Value{Kind: attr.B, Str: string(v.Value)}, nil
	case *types.AttributeValueMemberBOOL:
		return attr.Value{Kind: attr.BOOL, Bool: v.Value}, nil
	case *types.AttributeValueMemberNULL:
		return attr.Value{Kind: attr.NULL, Bool: true}, nil
	case *types.AttributeValueMemberM:
		m, err := fromSDK(v.Value)
		return attr.Value{Kind: attr.M, Map: m}, err
	case *types.AttributeValueMemberL:
		out.Kind = attr.L
		for _, e := range v.Value {
			w, err := valueFromSDK(e)
			if err != nil {
				return out, err
			}
			out.List = append(out.List, w)
		}
		return out, nil
	case *types.AttributeValueMemberSS:
		return attr.NewSet(attr.SS, v.Value)
	case *types.AttributeValueMemberNS:
		return attr.NewSet(attr.NS, v.Value)
	case *types.AttributeValueMemberBS:
		var elems []string
		for _, b := range v.Value {
			elems = append(elems, string(b))
		}
		return attr.NewSet(attr.BS, elems)
	}
	return out, fmt.Errorf("unknown type %T of an attribute value", v)
}

func toSDK(item attr.Item) map[string]types.AttributeValue {
	out := make(map[string]types.AttributeValue, len(item))
	for name, v := range item {
		out[name] = valueToSDK(v)
	}
	return out
}

func valueToSDK(v attr.Value) types.AttributeValue {
	switch v.Kind {
	case attr.S:
		return &types.AttributeValueMemberS{Value: v.Str}
	case attr.N:
		return &types.AttributeValueMemberN{Value: v.Str}
	case attr.B:
		return &types.AttributeValueMemberB{Value: []byte(v.Str)}
	case attr.BOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Bool}
	case attr.M:
		return &types.AttributeValueMemberM{Value: toSDK(v.Map)}
	case attr.L:
		l := make([]types.AttributeValue, len(v.List))
		for i, e := range v.List {
			l[i] = valueToSDK(e)
		}
		return &types.AttributeValueMemberL{Value: l}
	case attr.SS:
		return &types.AttributeValueMemberSS{Value: append([]string(nil), v.Set...)}
	case attr.NS:
		return &types.AttributeValueMemberNS{Value: append([]string(nil), v.Set...)}
	case attr.BS:
		b := make([][]byte, len(v.Set))
		for i, e := range v.Set {
			b[i] = []byte(e)
		}
		return &types.AttributeValueMemberBS{Value: b}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}

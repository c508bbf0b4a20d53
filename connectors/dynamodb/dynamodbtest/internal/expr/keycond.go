package expr

import (
	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// KeyRange is what a key condition selects: one value of the hash key, and a condition on the range key or nil.
type KeyRange struct {
	Hash  attr.Value
	Range Cond
}

// ParseKeyCondition parses a key condition for the named hash and range key; rangeKey is empty when there is none.
func ParseKeyCondition(scope *Scope, s, hashKey, rangeKey string) (KeyRange, error) {
	var out KeyRange
	c, err := ParseCondition(scope, KeyCondition, s)
	if err != nil {
		return out, err
	}
	var parts []Cond
	if parts, err = conjuncts(c); err != nil {
		return out, err
	}
	if len(parts) > 2 {
		return out, attr.Invalid("Conditions can be of length 1 or 2 only")
	}
	found := false
	for _, part := range parts {
		name, err := subject(part)
		if err != nil {
			return out, err
		}
		switch {
		case name == hashKey && !found:
			eq, ok := part.(cmpCond)
			if !ok || eq.op != "=" {
				return out, attr.Invalid("Query key condition not supported")
			}
			v := eq.r.value
			if v == nil {
				v = eq.l.value
			}
			out.Hash, found = *v, true
		case rangeKey != "" && name == rangeKey && out.Range == nil:
			if eq, ok := part.(cmpCond); ok && eq.op == "<>" {
				return out, invalid(KeyCondition, "Unsupported operator in KeyConditionExpression: <>")
			}
			out.Range = part
		case name == hashKey || name == rangeKey:
			return out, invalid(KeyCondition, "KeyConditionExpressions must only contain one condition per key")
		default:
			return out, attr.Invalid("Query condition missed key schema element: " + firstMissing(found, hashKey, rangeKey))
		}
	}
	if !found {
		return out, attr.Invalid("Query condition missed key schema element: " + hashKey)
	}
	return out, nil
}

func firstMissing(found bool, hashKey, rangeKey string) string {
	if found && rangeKey != "" {
		return rangeKey
	}
	return hashKey
}

func conjuncts(c Cond) ([]Cond, error) {
	switch c := c.(type) {
	case andCond:
		l, err := conjuncts(c.l)
		if err != nil {
			return nil, err
		}
		r, err := conjuncts(c.r)
		return append(l, r...), err
	case orCond:
		return nil, invalid(KeyCondition, "Invalid operator used in KeyConditionExpression: OR")
	case notCond:
		return nil, invalid(KeyCondition, "Invalid operator used in KeyConditionExpression: NOT")
	}
	return []Cond{c}, nil
}

// subject is the attribute that a key condition is about. Its other operands must be values.
func subject(c Cond) (string, error) {
	var v operand
	var rest []operand
	switch c := c.(type) {
	case cmpCond:
		v, rest = c.l, []operand{c.r}
		if v.value != nil && c.op == "=" {
			v, rest = c.r, []operand{c.l}
		}
	case betweenCond:
		v, rest = c.v, []operand{c.low, c.high}
	case beginsCond:
		v, rest = c.v, []operand{c.prefix}
	case inCond:
		return "", invalid(KeyCondition, "Invalid operator used in KeyConditionExpression: IN")
	default:
		return "", invalid(KeyCondition, "Invalid operator used in KeyConditionExpression")
	}
	if v.path == nil || v.size {
		return "", invalid(KeyCondition, "No key attribute specified")
	}
	if len(v.path) > 1 {
		return "", invalid(KeyCondition, "KeyConditionExpressions cannot have conditions on nested attributes")
	}
	for _, o := range rest {
		if o.value == nil || o.size {
			return "", invalid(KeyCondition, "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
		}
	}
	return v.path.Top(), nil
}

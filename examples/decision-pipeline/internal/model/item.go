package model

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The attributes of a stored decision that clients do not send.
const (
	AttrRequest    = "request"    // fingerprint of the POST that made version 1
	AttrCorrection = "correction" // fingerprint of the newest correction
)

// Item is d as it is stored, without the fingerprints.
func (d Decision) Item() map[string]types.AttributeValue {
	m := map[string]types.AttributeValue{
		"id":         text(d.ID),
		"customer":   text(d.Customer),
		"version":    number(d.Version),
		"outcome":    text(string(d.Outcome)),
		"amount":     &types.AttributeValueMemberN{Value: d.Amount.String()},
		"decided_at": number(d.DecidedAt.UnixMilli()),
	}
	if d.Product != "" {
		m["product"] = text(d.Product)
	}
	if d.Reason != "" {
		m["reason"] = text(d.Reason)
	}
	if len(d.Attributes) > 0 {
		a := make(map[string]types.AttributeValue, len(d.Attributes))
		for k, v := range d.Attributes {
			a[k] = text(v)
		}
		m["attributes"] = &types.AttributeValueMemberM{Value: a}
	}
	return m
}

// DecisionOfItem reads a stored item. The error joins one fault per attribute that does not conform to the event schema, each beginning
// with the attribute's name. Attributes that the schema does not know are ignored.
func DecisionOfItem(m map[string]types.AttributeValue) (Decision, error) {
	var f faults
	d := Decision{
		ID:        f.text(m, "id", true),
		Customer:  f.text(m, "customer", true),
		Version:   f.number(m, "version"),
		Outcome:   Outcome(f.text(m, "outcome", true)),
		Product:   f.text(m, "product", false),
		Reason:    f.text(m, "reason", false),
		DecidedAt: time.UnixMilli(f.number(m, "decided_at")).UTC(),
	}
	d.Amount = f.money(m, "amount")
	if m["outcome"] != nil && d.Outcome != "" && !d.Outcome.Valid() {
		f.add("outcome", "is %q, want APPROVED or REJECTED", d.Outcome)
	}
	if d.Amount < 0 {
		f.add("amount", "is %v, want at least 0", d.Amount)
	}
	if m["version"] != nil && len(f) == 0 && d.Version < 1 {
		f.add("version", "is %d, want at least 1", d.Version)
	}
	if a, ok := m["attributes"].(*types.AttributeValueMemberM); ok {
		d.Attributes = map[string]string{}
		for k := range a.Value {
			d.Attributes[k] = f.text(a.Value, k, true)
		}
	}
	return d, errors.Join(f...)
}

type faults []error

func (f *faults) add(name, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
}

func (f *faults) text(m map[string]types.AttributeValue, name string, required bool) string {
	switch v := m[name].(type) {
	case nil:
		if required {
			f.add(name, "is missing")
		}
		return ""
	case *types.AttributeValueMemberS:
		if v.Value == "" && required {
			f.add(name, "is empty")
		}
		return v.Value
	default:
		f.add(name, "has type %s, want S", typeName(v))
		return ""
	}
}

func (f *faults) number(m map[string]types.AttributeValue, name string) int64 {
	switch v := m[name].(type) {
	case nil:
		f.add(name, "is missing")
		return 0
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			f.add(name, "is %q, want a whole number of 64 bits", v.Value)
		}
		return n
	default:
		f.add(name, "has type %s, want N", typeName(v))
		return 0
	}
}

func (f *faults) money(m map[string]types.AttributeValue, name string) Money {
	switch v := m[name].(type) {
	case nil:
		f.add(name, "is missing")
		return 0
	case *types.AttributeValueMemberN:
		a, err := ParseMoney(v.Value)
		if err != nil {
			f.add(name, "%v: %q", err, v.Value)
		}
		return a
	default:
		f.add(name, "has type %s, want N", typeName(v))
		return 0
	}
}

// Item is v as it is stored.
func (v Variable) Item() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"customer":        text(v.Customer),
		"version":         number(v.Version),
		"count":           number(v.Count),
		"rejected":        number(v.Rejected),
		"sum":             &types.AttributeValueMemberN{Value: v.Sum.String()},
		"last_id":         text(v.LastID),
		"last_outcome":    text(string(v.LastOutcome)),
		"last_decided_at": number(v.LastDecidedAt.UnixMilli()),
		"day_count":       number(v.DayCount),
		"day_sum":         &types.AttributeValueMemberN{Value: v.DaySum.String()},
	}
}

// VariableOfItem reads a stored variable. The error names each attribute that is missing or of another type.
func VariableOfItem(m map[string]types.AttributeValue) (Variable, error) {
	var f faults
	v := Variable{
		Customer:      f.text(m, "customer", true),
		Version:       f.number(m, "version"),
		Count:         f.number(m, "count"),
		Rejected:      f.number(m, "rejected"),
		LastID:        f.text(m, "last_id", true),
		LastOutcome:   Outcome(f.text(m, "last_outcome", true)),
		LastDecidedAt: time.UnixMilli(f.number(m, "last_decided_at")).UTC(),
		DayCount:      f.number(m, "day_count"),
		Sum:           f.money(m, "sum"),
		DaySum:        f.money(m, "day_sum"),
	}
	return v, errors.Join(f...)
}

// Item is p as it is stored for customer.
func (p Profile) Item(customer string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"customer": text(customer), "segment": text(p.Segment), "country": text(p.Country)}
}

// ProfileOfItem reads a stored profile.
func ProfileOfItem(m map[string]types.AttributeValue) (Profile, error) {
	var f faults
	p := Profile{Segment: f.text(m, "segment", true), Country: f.text(m, "country", true)}
	return p, errors.Join(f...)
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func typeName(v types.AttributeValue) string {
	switch v.(type) {
	case *types.AttributeValueMemberS:
		return "S"
	case *types.AttributeValueMemberN:
		return "N"
	case *types.AttributeValueMemberB:
		return "B"
	case *types.AttributeValueMemberBOOL:
		return "BOOL"
	case *types.AttributeValueMemberNULL:
		return "NULL"
	case *types.AttributeValueMemberM:
		return "M"
	case *types.AttributeValueMemberL:
		return "L"
	default:
		return "a set"
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

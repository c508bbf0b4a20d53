package model

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func sample() Decision {
	return Decision{ID: "d-1", Customer: "c-1", Version: 2, Outcome: Approved, Amount: 1250, DecidedAt: time.UnixMilli(1_700_000_000_123).UTC(),
		Product: "loan", Reason: "score", Attributes: map[string]string{"channel": "web"}}
}

func TestDecisionItemRoundTrip(t *testing.T) {
	got, err := DecisionOfItem(sample().Item())
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Fatalf("DecisionOfItem = %+v, %v, want %+v", got, err, sample())
	}
}

func TestDecisionOfItemNamesEachFault(t *testing.T) {
	cases := []struct {
		name   string
		change func(map[string]types.AttributeValue)
		want   string
	}{
		{"missing customer", func(m map[string]types.AttributeValue) { delete(m, "customer") }, "customer is missing"},
		{"amount as text", func(m map[string]types.AttributeValue) { m["amount"] = text("12") }, "amount has type S, want N"},
		{"negative amount", func(m map[string]types.AttributeValue) { m["amount"] = &types.AttributeValueMemberN{Value: "-1"} }, "amount is -1.00"},
		{"three places", func(m map[string]types.AttributeValue) { m["amount"] = &types.AttributeValueMemberN{Value: "0.001"} }, "amount has more than 2"},
		{"unknown outcome", func(m map[string]types.AttributeValue) { m["outcome"] = text("MAYBE") }, `outcome is "MAYBE"`},
		{"no time", func(m map[string]types.AttributeValue) { delete(m, "decided_at") }, "decided_at is missing"},
		{"fractional version", func(m map[string]types.AttributeValue) { m["version"] = &types.AttributeValueMemberN{Value: "1.5"} }, "version is"},
		{"version 0", func(m map[string]types.AttributeValue) { m["version"] = number(0) }, "version is 0"},
		{"empty id", func(m map[string]types.AttributeValue) { m["id"] = text("") }, "id is empty"},
		{"nested", func(m map[string]types.AttributeValue) {
			m["attributes"] = &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"x": number(1)}}
		}, "x has type N"},
	}
	for _, c := range cases {
		m := sample().Item()
		c.change(m)
		if _, err := DecisionOfItem(m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", c.name, err, c.want)
		}
	}
	if _, err := DecisionOfItem(nil); err == nil || strings.Count(err.Error(), "is missing") != 6 {
		t.Errorf("an empty item gives %v, want all six required attributes named", err)
	}
}

func TestVariableItemRoundTrip(t *testing.T) {
	want := Variable{Customer: "c", Version: 3, Count: 2, Rejected: 1, Sum: 300, LastID: "d-9", LastOutcome: Rejected,
		LastDecidedAt: time.UnixMilli(5).UTC(), DayCount: 1, DaySum: 100}
	if got, err := VariableOfItem(want.Item()); err != nil || got != want {
		t.Fatalf("VariableOfItem = %+v, %v, want %+v", got, err, want)
	}
}

func TestFingerprintTellsRequestsApart(t *testing.T) {
	base := sample()
	seen := map[string]string{base.Fingerprint(): "base"}
	for name, change := range map[string]func(*Decision){
		"amount":    func(d *Decision) { d.Amount++ },
		"reason":    func(d *Decision) { d.Reason = "" },
		"shift":     func(d *Decision) { d.Product, d.Reason = "loans", "core" },
		"attribute": func(d *Decision) { d.Attributes = map[string]string{"channel": "app"} },
		"time":      func(d *Decision) { d.DecidedAt = d.DecidedAt.Add(time.Millisecond) },
	} {
		d := sample()
		change(&d)
		if other, ok := seen[d.Fingerprint()]; ok {
			t.Errorf("%s and %s have the same fingerprint", name, other)
		}
		seen[d.Fingerprint()] = name
	}
	again := sample()
	again.Version = 7
	if again.Fingerprint() != base.Fingerprint() {
		t.Error("the version is not part of the request, but changes its fingerprint")
	}
}

package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodbstreams"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

func stored() model.Decision {
	return model.Decision{ID: "d-1", Customer: "c-1", Version: 1, Outcome: model.Rejected, Amount: 1250, DecidedAt: time.UnixMilli(1_700_000_000_123).UTC()}
}

// image is the item as the stream carries it.
func image(m map[string]types.AttributeValue) map[string]streams.AttributeValue {
	out := map[string]streams.AttributeValue{}
	for k, v := range m {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			out[k] = &streams.AttributeValueMemberS{Value: v.Value}
		case *types.AttributeValueMemberN:
			out[k] = &streams.AttributeValueMemberN{Value: v.Value}
		}
	}
	return out
}

func TestConform(t *testing.T) {
	first, second := stored(), stored()
	second.Version, second.Outcome, second.Amount = 2, model.Approved, 1300
	d, err := conform(dynamodbstreams.Change{Op: dynamodbstreams.Insert, New: image(first.Item())})
	if err != nil || d.Replaces || d.ID != "d-1" || d.Amount != 1250 {
		t.Errorf("insert = %+v, %v", d, err)
	}
	d, err = conform(dynamodbstreams.Change{Op: dynamodbstreams.Modify, Old: image(first.Item()), New: image(second.Item())})
	if err != nil || !d.Replaces || d.OldOutcome != model.Rejected || d.OldAmount != 1250 || d.Amount != 1300 {
		t.Errorf("modify = %+v, %v", d, err)
	}
	moved := second
	moved.Customer = "c-2"
	broken := second.Item()
	delete(broken, "amount")
	for name, c := range map[string]struct {
		change dynamodbstreams.Change
		reason string
	}{
		"removed": {dynamodbstreams.Change{Op: dynamodbstreams.Remove, Old: image(first.Item())}, "removed"},
		"broken":  {dynamodbstreams.Change{Op: dynamodbstreams.Modify, Old: image(first.Item()), New: image(broken)}, "amount is missing"},
		"moved":   {dynamodbstreams.Change{Op: dynamodbstreams.Modify, Old: image(first.Item()), New: image(moved.Item())}, `to customer "c-2"`},
		"back":    {dynamodbstreams.Change{Op: dynamodbstreams.Modify, Old: image(second.Item()), New: image(first.Item())}, "replaces version 2 by version 1"},
	} {
		if _, err := conform(c.change); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
	if d, err := conform(dynamodbstreams.Change{Op: dynamodbstreams.Modify, Old: map[string]streams.AttributeValue{}, New: image(second.Item())}); err != nil || d.Replaces {
		t.Errorf("repair of an invalid item = %+v, %v, want a decision that replaces nothing", d, err)
	}
}

// TestSchemaHasTheFixedFields compares with the fields that are promised to readers of the topic.
func TestSchemaHasTheFixedFields(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Type, Name string
		Fields     []struct {
			Name string
			Type any
		}
	}
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range schema.Fields {
		b, err := json.Marshal(f.Type)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(b)
	}
	for name, parts := range map[string][]string{
		"id": {`"string"`}, "customer": {`"string"`}, "version": {`"long"`}, "outcome": {`"enum"`, `["APPROVED","REJECTED"]`},
		"amount": {`"bytes"`, `"decimal"`, `"scale":2`}, "decided_at": {`"long"`, `"timestamp-millis"`},
	} {
		for _, p := range parts {
			if !strings.Contains(got[name], p) {
				t.Errorf("field %s has type %s, want %s in it", name, got[name], p)
			}
		}
	}
}

func TestDeadLetterRecord(t *testing.T) {
	d := connectors.DeadLetter{UID: "decisions", Reason: "no customer", At: connectors.Coordinates{UID: "decisions", Split: "shard-1", Sequence: "42"},
		TimestampMS: 1000, Key: []byte(`{"id":{"S":"d-7"}}`), Raw: []byte(`{"x":1}`)}
	value, err := deadLetterValue([]byte("head"), d)
	want := `head{"reason":"no customer","step":"decisions","source":{"uid":"decisions","split":"shard-1","offset":0,"sequence":"42"},` +
		`"time":"1970-01-01T00:00:01Z","raw":"eyJ4IjoxfQ=="}`
	if err != nil || string(value) != want {
		t.Errorf("value = %s, %v\nwant    %s", value, err, want)
	}
	for key, want := range map[string]string{`{"id":{"S":"d-7"}}`: "d-7", `{"id":{"N":"7"}}`: `{"id":{"N":"7"}}`, "plain": "plain"} {
		d.Key = []byte(key)
		if got, err := deadLetterKey(nil, d); err != nil || string(got) != want {
			t.Errorf("key of %s = %s, %v, want %s", key, got, err, want)
		}
	}
}

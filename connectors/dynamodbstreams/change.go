package dynamodbstreams

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors"
)

// Op is what happened to an item.
type Op string

// The operations, as the service names them.
const (
	Insert Op = "INSERT"
	Modify Op = "MODIFY"
	Remove Op = "REMOVE"
)

// Change is one change of one item.
type Change struct {
	Op Op
	// Keys is the item's key.
	Keys map[string]types.AttributeValue
	// Old and New are the item before and after, as far as the stream's view type gives them; nil otherwise.
	Old, New map[string]types.AttributeValue
	// Shard and Sequence say where the record is. Sequence numbers ascend within the changes of one item; they are decimal numbers of
	// any length: the longer is the later, then compare as strings.
	Shard, Sequence string
	// EventID is the service's id of the record.
	EventID string
	// CreatedMS is about when the change was made, Unix ms, often rounded down to the second; NoTimestamp if the service gave none.
	CreatedMS int64
	// TTLDeletion says that the item was removed by DynamoDB because its time to live had passed, not by a caller.
	TTLDeletion bool
	// SizeBytes is the size of the record as the service counts it.
	SizeBytes int64
}

// changeOf makes a Change of a record. The maps are those of the record.
func changeOf(shard string, r *types.Record) (Change, error) {
	if r.Dynamodb == nil || r.Dynamodb.SequenceNumber == nil {
		return Change{}, fmt.Errorf("dynamodbstreams: shard %q has a record without a sequence number (event %q): the server breaks the protocol", shard, value(r.EventID))
	}
	c := Change{
		Op: Op(r.EventName), Keys: r.Dynamodb.Keys, Old: r.Dynamodb.OldImage, New: r.Dynamodb.NewImage, Shard: shard,
		Sequence: *r.Dynamodb.SequenceNumber, EventID: value(r.EventID), CreatedMS: connectors.NoTimestamp, SizeBytes: value(r.Dynamodb.SizeBytes),
	}
	if at := r.Dynamodb.ApproximateCreationDateTime; at != nil {
		c.CreatedMS = at.UnixMilli()
	}
	if u := r.UserIdentity; u != nil {
		c.TTLDeletion = c.Op == Remove && value(u.Type) == "Service" && value(u.PrincipalId) == "dynamodb.amazonaws.com"
	}
	return c, nil
}

// rawRecord is the record in the JSON of the API, keys sorted: what the service sent, up to white space and order.
func rawRecord(r *types.Record) ([]byte, error) {
	d := map[string]any{"SequenceNumber": value(r.Dynamodb.SequenceNumber)}
	for name, item := range map[string]map[string]types.AttributeValue{"Keys": r.Dynamodb.Keys, "OldImage": r.Dynamodb.OldImage, "NewImage": r.Dynamodb.NewImage} {
		if item != nil {
			d[name] = jsonItem(item)
		}
	}
	if at := r.Dynamodb.ApproximateCreationDateTime; at != nil {
		d["ApproximateCreationDateTime"] = json.Number(epochSeconds(at.UnixMilli()))
	}
	if n := r.Dynamodb.SizeBytes; n != nil {
		d["SizeBytes"] = *n
	}
	if v := r.Dynamodb.StreamViewType; v != "" {
		d["StreamViewType"] = v
	}
	out := map[string]any{"dynamodb": d, "eventName": r.EventName}
	for name, s := range map[string]*string{"eventID": r.EventID, "eventVersion": r.EventVersion, "eventSource": r.EventSource, "awsRegion": r.AwsRegion} {
		if s != nil {
			out[name] = *s
		}
	}
	if u := r.UserIdentity; u != nil {
		out["userIdentity"] = map[string]any{"type": value(u.Type), "principalId": value(u.PrincipalId)}
	}
	return marshal(out)
}

// rawItem is an item, or a key, in DynamoDB JSON.
func rawItem(item map[string]types.AttributeValue) ([]byte, error) { return marshal(jsonItem(item)) }

// marshal leaves <, > and & as they are: dead letters are read by people.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func epochSeconds(ms int64) string {
	if ms%1000 == 0 {
		return fmt.Sprint(ms / 1000)
	}
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}

func jsonItem(item map[string]types.AttributeValue) map[string]any {
	out := make(map[string]any, len(item))
	for name, v := range item {
		out[name] = jsonValue(v)
	}
	return out
}

// jsonValue is one attribute in DynamoDB JSON: one member, named by the type. Numbers stay the strings they are.
func jsonValue(v types.AttributeValue) map[string]any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberB:
		return map[string]any{"B": base64.StdEncoding.EncodeToString(v.Value)}
	case *types.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *types.AttributeValueMemberNULL:
		return map[string]any{"NULL": v.Value}
	case *types.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *types.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *types.AttributeValueMemberBS:
		var out []string
		for _, b := range v.Value {
			out = append(out, base64.StdEncoding.EncodeToString(b))
		}
		return map[string]any{"BS": out}
	case *types.AttributeValueMemberL:
		out := []any{}
		for _, e := range v.Value {
			out = append(out, jsonValue(e))
		}
		return map[string]any{"L": out}
	case *types.AttributeValueMemberM:
		return map[string]any{"M": jsonItem(v.Value)}
	}
	return map[string]any{"UNKNOWN": fmt.Sprintf("%T", v)}
}

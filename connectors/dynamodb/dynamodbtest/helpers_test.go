package dynamodbtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/smithy-go"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

type (
	item  = map[string]types.AttributeValue
	value = types.AttributeValue
)

func str(v string) value     { return &types.AttributeValueMemberS{Value: v} }
func num(v string) value     { return &types.AttributeValueMemberN{Value: v} }
func bin(v string) value     { return &types.AttributeValueMemberB{Value: []byte(v)} }
func truth(v bool) value     { return &types.AttributeValueMemberBOOL{Value: v} }
func null() value            { return &types.AttributeValueMemberNULL{Value: true} }
func list(v ...value) value  { return &types.AttributeValueMemberL{Value: v} }
func object(v item) value    { return &types.AttributeValueMemberM{Value: v} }
func strs(v ...string) value { return &types.AttributeValueMemberSS{Value: v} }
func nums(v ...string) value { return &types.AttributeValueMemberNS{Value: v} }
func bins(v ...[]byte) value { return &types.AttributeValueMemberBS{Value: v} }
func p[T any](v T) *T        { return &v }
func with(i item, more item) item {
	out := maps.Clone(i)
	maps.Copy(out, more)
	return out
}

// show writes a value so that two values are equal exactly if their texts are; sets in order.
func show(v value) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return fmt.Sprintf("%q", v.Value)
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberB:
		return fmt.Sprintf("b%q", v.Value)
	case *types.AttributeValueMemberBOOL:
		return fmt.Sprint(v.Value)
	case *types.AttributeValueMemberNULL:
		return "null"
	case *types.AttributeValueMemberM:
		return showItem(v.Value)
	case *types.AttributeValueMemberL:
		parts := make([]string, len(v.Value))
		for i, e := range v.Value {
			parts[i] = show(e)
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *types.AttributeValueMemberSS:
		return fmt.Sprintf("SS%q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberNS:
		return fmt.Sprintf("NS%v", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberBS:
		parts := make([]string, len(v.Value))
		for i, e := range v.Value {
			parts[i] = string(e)
		}
		slices.Sort(parts)
		return fmt.Sprintf("BS%q", parts)
	}
	return fmt.Sprintf("%T", v)
}

func showItem(i item) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(i)) {
		parts = append(parts, k+":"+show(i[k]))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func equal(t *testing.T, what string, got, want item) {
	t.Helper()
	if g, w := showItem(got), showItem(want); g != w {
		t.Errorf("%s: got %.300s, want %.300s", what, g, w)
	}
}

// target is the server under test.
type target struct {
	fake    *dynamodbtest.Server // nil when the server is another process
	moto    bool
	client  *dynamodb.Client
	streams *dynamodbstreams.Client
}

// unlessMoto checks what moto is known to do differently from the service; difference is what moto does.
func (x target) unlessMoto(t *testing.T, difference string, check func()) {
	t.Helper()
	if x.moto {
		t.Logf("not checked, moto differs from the service: %s", difference)
		return
	}
	check()
}

var tableN atomic.Int64

// table makes an empty table with hash key id (S), optional range key n (N), index by-customer (customer S, at N), and a stream.
func (x target) table(t *testing.T, change ...func(*dynamodb.CreateTableInput)) string {
	t.Helper()
	name := fmt.Sprintf("conformance-%d-%d", os.Getpid(), tableN.Add(1))
	in := &dynamodb.CreateTableInput{
		TableName:            &name,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: "HASH"}},
		BillingMode:          types.BillingModePayPerRequest,
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: p(true), StreamViewType: "NEW_AND_OLD_IMAGES"},
	}
	for _, c := range change {
		c(in)
	}
	if _, err := x.client.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if x.fake == nil {
		t.Cleanup(func() {
			// The test may have deleted it; what matters is that a server outside does not fill up with tables.
			x.client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name}) //nolint:errcheck // see above
		})
	}
	return name
}

func withRange(in *dynamodb.CreateTableInput) {
	in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: p("n"), AttributeType: "N"})
	in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: p("n"), KeyType: "RANGE"})
}

func withIndex(in *dynamodb.CreateTableInput) {
	in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: p("customer"), AttributeType: "S"}, types.AttributeDefinition{AttributeName: p("at"), AttributeType: "N"})
	in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
		IndexName: p("by-customer"), Projection: &types.Projection{ProjectionType: "ALL"},
		KeySchema: []types.KeySchemaElement{{AttributeName: p("customer"), KeyType: "HASH"}, {AttributeName: p("at"), KeyType: "RANGE"}},
	})
}

func withView(view types.StreamViewType) func(*dynamodb.CreateTableInput) {
	return func(in *dynamodb.CreateTableInput) { in.StreamSpecification.StreamViewType = view }
}

func (x target) put(t *testing.T, table string, i item) {
	t.Helper()
	if _, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: i}); err != nil {
		t.Fatalf("put %.300s: %v", showItem(i), err)
	}
}

func (x target) get(t *testing.T, table string, key item) item {
	t.Helper()
	out, err := x.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: p(true)})
	if err != nil {
		t.Fatalf("get %s: %v", showItem(key), err)
	}
	return out.Item
}

// code is the service's name of an error, "" for none.
func code(err error) string {
	if ae, ok := errors.AsType[smithy.APIError](err); ok {
		return ae.ErrorCode()
	}
	if err != nil {
		return "no API error: " + err.Error()
	}
	return ""
}

// fails checks the name of an error, and a part of its text on the fake: other servers word it as they like.
func (x target) fails(t *testing.T, what string, err error, wantCode, wantText string) {
	t.Helper()
	if got := code(err); got != wantCode {
		t.Errorf("%s: got %q (%v), want %q", what, got, err, wantCode)
		return
	}
	if x.fake != nil && !strings.Contains(err.Error(), wantText) {
		t.Errorf("%s: got %q, want a text with %q", what, err, wantText)
	}
}

// outside is the server at DYNAMODB_ENDPOINT.
func outside(url string) target {
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: &http.Client{Transport: dynamodbtest.WholeBody(&http.Transport{})},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} }}
	return target{client: dynamodb.NewFromConfig(cfg), streams: dynamodbstreams.NewFromConfig(cfg)}
}

func fake(s *dynamodbtest.Server) target {
	return target{fake: s, client: s.Client(), streams: s.StreamsClient()}
}

// clock is a clock that stands until it is moved.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, 11, 1, 12, 0, 0, 250e6, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// schema is a table with hash key id (S).
func schema() ([]types.AttributeDefinition, []types.KeySchemaElement) {
	return []types.AttributeDefinition{{AttributeName: p("id"), AttributeType: "S"}}, []types.KeySchemaElement{{AttributeName: p("id"), KeyType: "HASH"}}
}

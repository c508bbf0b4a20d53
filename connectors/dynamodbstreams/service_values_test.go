package dynamodbstreams_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors/connectortest"
	source "github.com/millrace-io/millrace/connectors/dynamodbstreams"
)

func key(id string) map[string]dbtypes.AttributeValue {
	return map[string]dbtypes.AttributeValue{"id": &dbtypes.AttributeValueMemberS{Value: id}}
}

// everyType is an item with each type of attribute, as it is written and as it is read.
func everyType() (written map[string]dbtypes.AttributeValue, read map[string]types.AttributeValue) {
	const digits = "12345678901234567890123456789012345678"
	return map[string]dbtypes.AttributeValue{
		"id": &dbtypes.AttributeValueMemberS{Value: "a"},
		"n":  &dbtypes.AttributeValueMemberN{Value: digits},
		"b":  &dbtypes.AttributeValueMemberB{Value: []byte{0, 1, 255}},
		"t":  &dbtypes.AttributeValueMemberBOOL{Value: true},
		"z":  &dbtypes.AttributeValueMemberNULL{Value: true},
		"ss": &dbtypes.AttributeValueMemberSS{Value: []string{"x"}},
		"ns": &dbtypes.AttributeValueMemberNS{Value: []string{"-1.5"}},
		"bs": &dbtypes.AttributeValueMemberBS{Value: [][]byte{{7}}},
		"l":  &dbtypes.AttributeValueMemberL{Value: []dbtypes.AttributeValue{&dbtypes.AttributeValueMemberM{Value: map[string]dbtypes.AttributeValue{"deep": &dbtypes.AttributeValueMemberN{Value: "1"}}}}},
	}, map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "a"},
		"n":  &types.AttributeValueMemberN{Value: digits},
		"b":  &types.AttributeValueMemberB{Value: []byte{0, 1, 255}},
		"t":  &types.AttributeValueMemberBOOL{Value: true},
		"z":  &types.AttributeValueMemberNULL{Value: true},
		"ss": &types.AttributeValueMemberSS{Value: []string{"x"}},
		"ns": &types.AttributeValueMemberNS{Value: []string{"-1.5"}},
		"bs": &types.AttributeValueMemberBS{Value: [][]byte{{7}}},
		"l":  &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"deep": &types.AttributeValueMemberN{Value: "1"}}}}},
	}
}

// S27: every view of the stream, every type, an update that changes nothing, a removal by a caller and one by time to live.
func TestService_S27_ViewsAndTypes(t *testing.T) {
	for _, view := range dbtypes.StreamViewType("").Values() {
		t.Run(string(view), func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bed) {
				b.table = fmt.Sprintf("views-%s-%d", view, time.Now().UnixNano())
				b.create(view)
				ctx := context.Background()
				item, _ := everyType()
				put := func() {
					if _, err := b.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: &b.table, Item: item}); err != nil {
						t.Fatal(err)
					}
				}
				put()
				if b.fake != nil {
					put() // changes nothing: no record; an emulator may differ
				}
				item["t"] = &dbtypes.AttributeValueMemberBOOL{Value: false}
				put()
				if _, err := b.db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &b.table, Key: key("a")}); err != nil {
					t.Fatal(err)
				}
				ttl := false
				if b.fake != nil {
					item["t"] = &dbtypes.AttributeValueMemberBOOL{Value: true}
					put()
					if err := b.fake.Expire(b.table, key("a")); err != nil {
						t.Fatal(err)
					}
					ttl = true
				}
				checkViews(t, b, view, ttl)
			})
		})
	}
}

// checkViews reads the stream and compares each change with what the view type shows of it.
func checkViews(t *testing.T, b *bed, view dbtypes.StreamViewType, ttl bool) {
	t.Helper()
	o := source.Options[source.Change]{
		Client: b.streams, Table: b.table, Tables: b.db, PollInterval: 20 * time.Millisecond,
		Decode: func(c source.Change) (source.Change, error) { return c, nil },
	}
	j := connectortest.NewJob(source.NewSource(o), connectortest.Options{})
	defer j.Crash()
	if err := j.Start(nil); err != nil {
		t.Fatal(err)
	}
	_, first := everyType()
	_, second := everyType()
	second["t"] = &types.AttributeValueMemberBOOL{Value: false}
	want := []source.Change{{Op: source.Insert, New: first}, {Op: source.Modify, Old: first, New: second}, {Op: source.Remove, Old: second}}
	if ttl {
		want = append(want, source.Change{Op: source.Insert, New: first}, source.Change{Op: source.Remove, Old: first, TTLDeletion: true})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := j.Run(ctx, func() bool { return j.Len() >= len(want) }); err != nil {
		t.Fatal(err)
	}
	for i, r := range j.Output() {
		w, got := want[i], r.Value
		if view != dbtypes.StreamViewTypeNewImage && view != dbtypes.StreamViewTypeNewAndOldImages {
			w.New = nil
		}
		if view != dbtypes.StreamViewTypeOldImage && view != dbtypes.StreamViewTypeNewAndOldImages {
			w.Old = nil
		}
		keys := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "a"}}
		if got.Op != w.Op || got.TTLDeletion != w.TTLDeletion || !reflect.DeepEqual(got.Keys, keys) || !reflect.DeepEqual(got.Old, w.Old) || !reflect.DeepEqual(got.New, w.New) {
			t.Errorf("change %d\n got %s %v old %v new %v ttl %t\nwant %s %v old %v new %v ttl %t", i, got.Op, got.Keys, got.Old, got.New, got.TTLDeletion, w.Op, keys, w.Old, w.New, w.TTLDeletion)
		}
	}
}

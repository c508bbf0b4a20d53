package dynamodbtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

func (x target) streamARN(t *testing.T, table string) *string {
	t.Helper()
	out, err := x.client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &table})
	if err != nil {
		t.Fatal(err)
	}
	return out.Table.LatestStreamArn
}

func (x target) shards(t *testing.T, arn *string) []streamtypes.Shard {
	t.Helper()
	out, err := x.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	return out.StreamDescription.Shards
}

func (x target) iterator(t *testing.T, in *dynamodbstreams.GetShardIteratorInput) *string {
	t.Helper()
	out, err := x.streams.GetShardIterator(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out.ShardIterator
}

// read gets records until a page is empty or the shard ends, and returns the iterator after them.
func (x target) read(t *testing.T, it *string) (got []streamtypes.Record, next *string) {
	t.Helper()
	for {
		out, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: it})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, out.Records...)
		if it = out.NextShardIterator; it == nil || len(out.Records) == 0 {
			return got, it
		}
	}
}

// all reads the only shard of a table from its start.
func (x target) all(t *testing.T, table string) []streamtypes.Record {
	t.Helper()
	arn := x.streamARN(t, table)
	got, _ := x.read(t, x.iterator(t, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: x.shards(t, arn)[0].ShardId, ShardIteratorType: "TRIM_HORIZON"}))
	return got
}

func describeRecord(r streamtypes.Record) string {
	return fmt.Sprintf("%s keys=%s old=%s new=%s", r.EventName, showStream(r.Dynamodb.Keys), showStream(r.Dynamodb.OldImage), showStream(r.Dynamodb.NewImage))
}

func showStream(m map[string]streamtypes.AttributeValue) string {
	out := item{}
	for k, v := range m {
		switch v := v.(type) {
		case *streamtypes.AttributeValueMemberS:
			out[k] = str(v.Value)
		case *streamtypes.AttributeValueMemberN:
			out[k] = num(v.Value)
		default:
			out[k] = str(fmt.Sprintf("%T", v))
		}
	}
	return showItem(out)
}

func (x target) remove(t *testing.T, table string, key item) {
	t.Helper()
	if _, err := x.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: key}); err != nil {
		t.Fatal(err)
	}
}

func streamRecords(t *testing.T, x target) {
	table := x.table(t)
	key := item{"id": str("a")}
	x.put(t, table, with(key, item{"n": num("1")}))
	x.put(t, table, with(key, item{"n": num("2")}))
	if _, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: key, UpdateExpression: p("ADD n :v"), ExpressionAttributeValues: item{":v": num("1")}}); err != nil {
		t.Fatal(err)
	}
	x.remove(t, table, key)
	x.remove(t, table, key) // deletes nothing: no record
	if _, err := x.client.BatchWriteItem(t.Context(), batch(table, putRequest(item{"id": str("b")}))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`INSERT keys={id:"a"} old={} new={id:"a" n:1}`, `MODIFY keys={id:"a"} old={id:"a" n:1} new={id:"a" n:2}`, `MODIFY keys={id:"a"} old={id:"a" n:2} new={id:"a" n:3}`,
		`REMOVE keys={id:"a"} old={id:"a" n:3} new={}`, `INSERT keys={id:"b"} old={} new={id:"b"}`,
	}
	got := x.all(t, table)
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	last := ""
	for i, r := range got {
		if g := describeRecord(r); g != want[i] {
			t.Errorf("record %d: got %s, want %s", i, g, want[i])
		}
		if seq := *r.Dynamodb.SequenceNumber; len(seq) < len(last) || len(seq) == len(last) && seq <= last {
			t.Errorf("sequence number %s after %s", seq, last)
		} else {
			last = seq
		}
		if r.EventID == nil || *r.EventSource != "aws:dynamodb" || *r.AwsRegion != "us-east-1" || r.Dynamodb.ApproximateCreationDateTime == nil || *r.Dynamodb.SizeBytes <= 0 {
			t.Errorf("record %d lacks a field: %+v", i, r)
		}
	}
}

func streamViews(t *testing.T, x target) {
	for view, want := range map[types.StreamViewType]string{
		"KEYS_ONLY": `MODIFY keys={id:"a"} old={} new={}`, "NEW_IMAGE": `MODIFY keys={id:"a"} old={} new={id:"a" n:2}`,
		"OLD_IMAGE": `MODIFY keys={id:"a"} old={id:"a" n:1} new={}`, "NEW_AND_OLD_IMAGES": `MODIFY keys={id:"a"} old={id:"a" n:1} new={id:"a" n:2}`,
	} {
		table := x.table(t, withView(view))
		x.put(t, table, item{"id": str("a"), "n": num("1")})
		x.put(t, table, item{"id": str("a"), "n": num("2")})
		got := x.all(t, table)
		if len(got) != 2 || describeRecord(got[1]) != want || got[1].Dynamodb.StreamViewType != streamtypes.StreamViewType(view) {
			t.Errorf("%s: got %d records, want the second to be %s", view, len(got), want)
		}
	}
}

func streamIterators(t *testing.T, x target) {
	table := x.table(t)
	arn := x.streamARN(t, table)
	shard := x.shards(t, arn)[0].ShardId
	at := func(kind streamtypes.ShardIteratorType, seq *string) string {
		t.Helper()
		got, next := x.read(t, x.iterator(t, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard, ShardIteratorType: kind, SequenceNumber: seq}))
		if next == nil {
			t.Errorf("%s: no next iterator of an open shard", kind)
		}
		var ids []string
		for _, r := range got {
			ids = append(ids, r.Dynamodb.Keys["id"].(*streamtypes.AttributeValueMemberS).Value)
		}
		return strings.Join(ids, " ")
	}
	x.put(t, table, item{"id": str("a")})
	latest := x.iterator(t, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard, ShardIteratorType: "LATEST"})
	x.put(t, table, item{"id": str("b")})
	x.put(t, table, item{"id": str("c")})
	records := x.all(t, table)
	if got := at("TRIM_HORIZON", nil); got != "a b c" {
		t.Errorf("TRIM_HORIZON: %s", got)
	}
	if got := at("AT_SEQUENCE_NUMBER", records[1].Dynamodb.SequenceNumber); got != "b c" {
		t.Errorf("AT_SEQUENCE_NUMBER: %s", got)
	}
	if got := at("AFTER_SEQUENCE_NUMBER", records[1].Dynamodb.SequenceNumber); got != "c" {
		t.Errorf("AFTER_SEQUENCE_NUMBER: %s", got)
	}
	got, _ := x.read(t, latest)
	if len(got) != 2 {
		t.Errorf("LATEST taken after the first record: got %d records, want 2", len(got))
	}
	out, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{Limit: p(int32(2)), ShardIterator: x.iterator(t, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard, ShardIteratorType: "TRIM_HORIZON"})})
	if err != nil || len(out.Records) != 2 || out.NextShardIterator == nil {
		t.Errorf("limit 2: %v, %v", out, err)
	}
}

func unchangedPut(t *testing.T, x target) {
	table := x.table(t)
	for range 3 {
		x.put(t, table, item{"id": str("a"), "s": strs("x", "y"), "n": num("1")})
	}
	x.put(t, table, item{"id": str("a"), "s": strs("y", "x"), "n": num("1.0")})
	if got := x.all(t, table); len(got) != 1 {
		t.Errorf("got %d records, want 1: the later puts changed nothing", len(got))
	}
}

func disabledStream(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, item{"id": str("a")})
	arn := x.streamARN(t, table)
	_, err := x.client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: &table, StreamSpecification: &types.StreamSpecification{StreamEnabled: p(false)}})
	if err != nil {
		t.Fatal(err)
	}
	x.put(t, table, item{"id": str("b")})
	shard := x.shards(t, arn)[0]
	if shard.SequenceNumberRange.EndingSequenceNumber == nil {
		t.Errorf("shard is open, want it closed")
	}
	got, next := x.read(t, x.iterator(t, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard.ShardId, ShardIteratorType: "TRIM_HORIZON"}))
	if len(got) != 1 || next != nil {
		t.Errorf("got %d records, next iterator %t, want 1 record and the end", len(got), next != nil)
	}
}

func streamErrors(t *testing.T, x target) {
	table := x.table(t)
	arn := x.streamARN(t, table)
	shard := x.shards(t, arn)[0].ShardId
	_, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: p(*arn + "|1|nonsense")})
	x.fails(t, "nonsense iterator", err, "ValidationException", "Invalid ShardIterator")
	_, err = x.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: p(*arn + "9")})
	x.fails(t, "unknown stream", err, "ResourceNotFoundException", "Requested resource not found: Stream")
	_, err = x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: p("shardId-00000000000000000001-aaaaaaaa"), ShardIteratorType: "TRIM_HORIZON"})
	x.fails(t, "unknown shard", err, "ResourceNotFoundException", "Shard does not exist")
	_, err = x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard, ShardIteratorType: "SOMETIMES"})
	x.fails(t, "unknown type of iterator", err, "ValidationException", "Member must satisfy enum value set")
}

package dynamodbtest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

var operations = []string{
	"DynamoDB_20120810.PutItem", "DynamoDB_20120810.GetItem", "DynamoDB_20120810.UpdateItem", "DynamoDB_20120810.DeleteItem", "DynamoDB_20120810.Query", "DynamoDB_20120810.Scan",
	"DynamoDB_20120810.BatchWriteItem", "DynamoDB_20120810.BatchGetItem", "DynamoDB_20120810.TransactWriteItems", "DynamoDB_20120810.TransactGetItems", "DynamoDB_20120810.CreateTable",
	"DynamoDB_20120810.DescribeTable", "DynamoDB_20120810.UpdateTable", "DynamoDB_20120810.ListTables", "DynamoDB_20120810.UpdateTimeToLive",
	"DynamoDBStreams_20120810.ListStreams", "DynamoDBStreams_20120810.DescribeStream", "DynamoDBStreams_20120810.GetShardIterator", "DynamoDBStreams_20120810.GetRecords", "Nonsense",
}

// call posts a body and checks what holds for every answer: it is JSON, and no error is the server's own.
func call(t *testing.T, s *dynamodbtest.Server, op string, body []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("X-Amz-Target", op)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != 200 && w.Code != 400 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%s with %q: status %d, %s", op, body, w.Code, w.Body)
	}
}

// FuzzRequests sends random bodies to every operation: errors, never a panic.
func FuzzRequests(f *testing.F) {
	for i := range operations {
		f.Add(uint8(i), []byte(`{"TableName":"fuzz","Key":{"id":{"S":"a"}},"Item":{"id":{"S":"a"},"l":{"L":[{"N":"1"},{"M":{"x":{"NS":["1","2"]}}}]}},"RequestItems":{"fuzz":[{"PutRequest":{"Item":{"id":{"S":"b"}}}}]}}`))
	}
	f.Add(uint8(2), []byte(`{"TableName":"fuzz","Key":{"id":{"S":"a"}},"UpdateExpression":"SET a.b[0] = if_not_exists(c, :v) + :v REMOVE d[1] ADD e :v","ExpressionAttributeValues":{":v":{"N":"1e3"}}}`))
	f.Add(uint8(4), []byte(`{"TableName":"fuzz","KeyConditionExpression":"id = :v AND begins_with(n, :v)","ExpressionAttributeValues":{":v":{"S":"1"}},"Limit":1,"ExclusiveStartKey":{"id":{"S":""}}}`))
	f.Add(uint8(7), []byte(`{"RequestItems":{"fuzz":{"Keys":[{"id":{"S":"a"}}],"ProjectionExpression":"a[1].b, #c"}}}`))
	f.Add(uint8(8), []byte(`{"TransactItems":[{"Put":{"TableName":"fuzz","Item":{"id":{"S":"a"}}}},{"ConditionCheck":{"TableName":"fuzz","Key":{"id":{"S":"b"}},"ConditionExpression":"size(id) > :v"}}]}`))
	f.Add(uint8(9), []byte(`{"TransactItems":[{"Get":{"TableName":"fuzz","Key":{"id":{"S":"a"}}}},{}]}`))
	f.Add(uint8(10), []byte(`{"TableName":"abc","AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST","GlobalSecondaryIndexes":[{"IndexName":"abc"}]}`))
	f.Add(uint8(12), []byte(`{"TableName":"fuzz","StreamSpecification":{"StreamEnabled":false}}`))
	f.Add(uint8(17), []byte(`{"StreamArn":"x","ShardId":"y","ShardIteratorType":"AT_TIMESTAMP","Timestamp":1e300}`))
	f.Add(uint8(18), []byte(`{"ShardIterator":"x|1|eHh8MXwx"}`))
	f.Fuzz(func(t *testing.T, op uint8, body []byte) {
		s := dynamodbtest.New(dynamodbtest.Options{})
		x := fake(s)
		create(t, x, "fuzz")
		call(t, s, operations[int(op)%len(operations)], body)
	})
}

func create(t testing.TB, x target, name string) {
	t.Helper()
	in := &dynamodb.CreateTableInput{TableName: &name, BillingMode: "PAY_PER_REQUEST"}
	in.AttributeDefinitions, in.KeySchema = schema()
	if _, err := x.client.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// FuzzExpressions puts random text where expressions are due.
func FuzzExpressions(f *testing.F) {
	for _, s := range []string{
		"a = :v AND NOT (b < :w OR attribute_exists(#n.x[0]))", "size(a) BETWEEN :v AND :w", "a IN (:v, :w)", "begins_with(a, :s) OR contains(a, b)", "attribute_type(a, :s)",
		"SET a = list_append(a, :l), b.c = :v - if_not_exists(d, :w)", "REMOVE a[0], a[1].b ADD n :v DELETE s :t", "a.b[3].#n, c", "id = :s", "((((((", "a = :v a", "#", ":", "[", "",
	} {
		f.Add(s)
	}
	s := dynamodbtest.New(dynamodbtest.Options{})
	f.Cleanup(s.Close)
	x := fake(s)
	create(f, x, "fuzz")
	f.Fuzz(func(t *testing.T, text string) {
		values := map[string]any{":v": map[string]any{"N": "1"}, ":w": map[string]any{"N": "2"}, ":s": map[string]any{"S": "S"}, ":l": map[string]any{"L": []any{}}, ":t": map[string]any{"SS": []any{"x"}}}
		id := map[string]any{"id": map[string]any{"S": "a"}}
		full := map[string]any{"id": map[string]any{"S": "a"}, "a": map[string]any{"L": []any{id["id"], map[string]any{"M": id}}}, "b": map[string]any{"M": id}, "n": map[string]any{"N": "1"}, "s": map[string]any{"SS": []any{"x", "y"}}}
		for name, op := range map[string]string{"ConditionExpression": "PutItem", "UpdateExpression": "UpdateItem", "ProjectionExpression": "GetItem", "KeyConditionExpression": "Query", "FilterExpression": "Scan"} {
			// With and without substitutions: the service refuses those that are not used.
			for _, bare := range []bool{true, false} {
				req := map[string]any{"TableName": "fuzz", name: text}
				switch op {
				case "PutItem":
					req["Item"] = full
				case "UpdateItem", "GetItem":
					req["Key"] = id
				}
				if !bare {
					req["ExpressionAttributeValues"] = values
					req["ExpressionAttributeNames"] = map[string]string{"#n": "n"}
				}
				body, err := json.Marshal(req)
				if err != nil {
					t.Fatal(err)
				}
				call(t, s, "DynamoDB_20120810."+op, body)
			}
		}
	})
}

// BenchmarkPutItem measures the server alone: decode, store, stream record, answer.
func BenchmarkPutItem(b *testing.B) {
	s := dynamodbtest.New(dynamodbtest.Options{})
	defer s.Close()
	create(b, fake(s), "bench")
	body := []byte(`{"TableName":"bench","Item":{"id":{"S":"d-000001"},"customer":{"S":"c-17"},"version":{"N":"12"},"amount":{"N":"1234.50"},"outcome":{"S":"APPROVED"}},"ConditionExpression":"attribute_not_exists(#v) OR #v < :v","ExpressionAttributeNames":{"#v":"version"},"ExpressionAttributeValues":{":v":{"N":"13"}}}`)
	h := s.Handler()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("X-Amz-Target", "DynamoDB_20120810.PutItem")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkClientPutItem measures server and AWS client together, over a socket.
func BenchmarkClientPutItem(b *testing.B) {
	s := dynamodbtest.Start(dynamodbtest.Options{})
	defer s.Close()
	x := fake(s)
	create(b, x, "bench")
	name := "bench"
	for b.Loop() {
		if _, err := x.client.PutItem(b.Context(), &dynamodb.PutItemInput{TableName: &name, Item: item{"id": str("d-000001"), "customer": str("c-17"), "version": num("12")}}); err != nil {
			b.Fatal(err)
		}
	}
}

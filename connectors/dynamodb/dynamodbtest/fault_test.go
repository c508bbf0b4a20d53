package dynamodbtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

// once makes the next PutItem or BatchWriteItem go wrong.
func once(s *dynamodbtest.Server, f dynamodbtest.Fault) {
	var mu sync.Mutex
	used := false
	s.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if used || c.Operation != "PutItem" && c.Operation != "BatchWriteItem" {
			return nil
		}
		used = true
		return &f
	})
}

// TestFaults runs each fault over a socket and without.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault   dynamodbtest.Fault
		code    string // expected error of the service, or
		unknown bool   // the answer does not come
		applied bool
	}{
		"error":       {dynamodbtest.Fault{Err: &dynamodbtest.Error{Code: "AccessDeniedException", Message: "no"}}, "AccessDeniedException", false, false},
		"status 503":  {dynamodbtest.Fault{Status: 503}, "", true, false},
		"drop before": {dynamodbtest.Fault{DropBefore: true}, "", true, false},
		"drop after":  {dynamodbtest.Fault{DropAfter: true}, "", true, true},
		"truncated":   {dynamodbtest.Fault{Truncate: true}, "", true, true},
		"none":        {dynamodbtest.Fault{}, "", false, true},
	} {
		for kind, start := range map[string]func(dynamodbtest.Options) *dynamodbtest.Server{"socket": dynamodbtest.Start, "memory": dynamodbtest.New} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s := start(dynamodbtest.Options{})
				defer s.Close()
				x := fake(s)
				table := x.table(t)
				once(s, c.fault)
				_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a")}, ReturnConsumedCapacity: "TOTAL"})
				if c.unknown && (err == nil || code(err) == "" || !strings.HasPrefix(code(err), "no API error") && c.fault.Status == 0) || !c.unknown && code(err) != c.code {
					t.Errorf("got %v", err)
				}
				if got := x.get(t, table, item{"id": str("a")}); (len(got) == 1) != c.applied {
					t.Errorf("item stored: %t, want %t", len(got) == 1, c.applied)
				}
				calls := s.Calls()
				put := calls[len(calls)-2]
				if put.Operation != "PutItem" || put.Table != table || put.N != 2 || put.Lost != (c.unknown && c.fault.Status == 0) || put.Body != nil {
					t.Errorf("call log: %+v", put)
				}
			})
		}
	}
}

// TestDelays runs in virtual time: hours pass at once.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dynamodbtest.New(dynamodbtest.Options{})
		defer s.Close()
		x := fake(s)
		table := x.table(t)
		put := func(id string, timeout time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			start := time.Now()
			_, err := x.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str(id)}})
			return time.Since(start), err
		}
		there := func(id string) bool { return len(x.get(t, table, item{"id": str(id)})) > 0 }

		once(s, dynamodbtest.Fault{Delay: 2 * time.Hour})
		if d, err := put("slow", 3*time.Hour); d != 2*time.Hour || err != nil || !there("slow") {
			t.Errorf("delay: %v, %v", d, err)
		}
		once(s, dynamodbtest.Fault{Delay: 2 * time.Hour})
		if d, err := put("gone", time.Hour); d != time.Hour || !errors.Is(err, context.DeadlineExceeded) || there("gone") {
			t.Errorf("client gives up before the call is carried out: %v, %v", d, err)
		}
		once(s, dynamodbtest.Fault{DelayAfter: 2 * time.Hour})
		if d, err := put("done", time.Hour); d != time.Hour || !errors.Is(err, context.DeadlineExceeded) || !there("done") {
			t.Errorf("client gives up after the call is carried out: %v, %v", d, err)
		}
		once(s, dynamodbtest.Fault{Late: time.Hour})
		if d, err := put("late", 3*time.Hour); d != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || there("late") {
			t.Errorf("late call: %v, %v", d, err)
		}
		time.Sleep(time.Hour + time.Second)
		if !there("late") {
			t.Error("late call was not carried out")
		}
	})
}

func TestUnprocessedByScript(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	var in []types.WriteRequest
	for i := range 5 {
		in = append(in, putRequest(item{"id": str(fmt.Sprint(i))}))
	}
	once(x.fake, dynamodbtest.Fault{Unprocessed: []int{1, 4}})
	out, err := x.client.BatchWriteItem(t.Context(), batch(table, in...))
	must(t, err)
	var back []string
	for _, r := range out.UnprocessedItems[table] {
		back = append(back, showItem(r.PutRequest.Item))
	}
	if fmt.Sprint(back) != `[{id:"1"} {id:"4"}]` || len(x.fake.Items(table)) != 3 {
		t.Errorf("unprocessed %v, %d stored", back, len(x.fake.Items(table)))
	}
	once(x.fake, dynamodbtest.Fault{Unprocessed: []int{0, 1, 2, 3, 4}})
	_, err = x.client.BatchWriteItem(t.Context(), batch(table, in...))
	throttled, ok := errors.AsType[*types.ThrottlingException](err) // the table is on demand
	if !ok || len(throttled.ThrottlingReasons) != 1 || *throttled.ThrottlingReasons[0].Reason != "TableWriteProvisionedThroughputExceeded" || !strings.HasSuffix(*throttled.ThrottlingReasons[0].Resource, ":table/"+table) {
		t.Errorf("all unprocessed: got %v", err)
	}
}

func TestCapacity(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{Partitions: 4})
	table := x.table(t, func(in *dynamodb.CreateTableInput) {
		in.BillingMode = types.BillingModeProvisioned
		in.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: p(int64(10)), WriteCapacityUnits: p(int64(10))}
	})
	put := func(id string, bytes int) error {
		return second(x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str(id), "x": str(strings.Repeat("x", bytes))}}))
	}
	written := 0
	count := func(n, bytes int) (ok int) {
		for range n {
			written++ // a new item each time: replacing a larger one would cost more
			err := put(fmt.Sprint("k", written), bytes)
			if err == nil {
				ok++
			} else if e, is := errors.AsType[*types.ProvisionedThroughputExceededException](err); !is || len(e.ThrottlingReasons) != 1 || !strings.HasPrefix(*e.ThrottlingReasons[0].Reason, "TableWrite") {
				t.Fatalf("got %v, want ProvisionedThroughputExceededException with its reason", err)
			}
		}
		return ok
	}
	if n := count(50, 1); n != 50 {
		t.Errorf("%d of 50 writes without a limit", n)
	}
	must(t, x.fake.SetLimits(table, dynamodbtest.Limits{WCU: 10, Burst: 2 * time.Second}))
	if n := count(50, 1); n != 20 {
		t.Errorf("%d writes from a full bucket of 10 × 2 s, want 20", n)
	}
	c.advance(time.Second)
	if n := count(50, 1500); n != 5 {
		t.Errorf("%d writes of 2 units a second later, want 5", n)
	}
	c.advance(time.Hour)
	out, err := x.client.BatchWriteItem(t.Context(), batch(table, requests(25)...))
	must(t, err)
	if n := len(out.UnprocessedItems[table]); n != 5 {
		t.Errorf("%d of 25 items unprocessed by a bucket of 20, want 5", n)
	}
	must(t, x.fake.SetLimits(table, dynamodbtest.Limits{PartitionWCU: 5}))
	if n := count(200, 1); n != 20 {
		t.Errorf("%d writes by 4 partitions of 5 units, want 20", n)
	}
	err = put("one more", 1)
	if e, ok := errors.AsType[*types.ProvisionedThroughputExceededException](err); !ok || *e.ThrottlingReasons[0].Reason != "TableWriteKeyRangeThroughputExceeded" {
		t.Errorf("hot partition: got %v", err)
	}
	must(t, x.fake.SetLimits(table, dynamodbtest.Limits{}))
	must(t, put("one more", 1))
	if err := x.fake.SetLimits("nobody", dynamodbtest.Limits{}); err == nil {
		t.Error("SetLimits of a missing table: no error")
	}
}

func requests(n int) (out []types.WriteRequest) {
	for i := range n {
		out = append(out, putRequest(item{"id": str(fmt.Sprint("r", i))}))
	}
	return out
}

func TestReadCapacity(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	x.put(t, table, item{"id": str("a"), "x": str(strings.Repeat("x", 5000))}) // 2 units consistent, 1 eventually
	must(t, x.fake.SetLimits(table, dynamodbtest.Limits{RCU: 4}))
	ok := 0
	for range 10 {
		_, err := x.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: item{"id": str("a")}, ConsistentRead: p(true)})
		if err == nil {
			ok++
		} else if c := code(err); c != "ThrottlingException" {
			t.Fatalf("got %s", c)
		}
	}
	if ok != 2 {
		t.Errorf("%d reads of 2 units by 4 units, want 2", ok)
	}
}

func TestConcurrentUpdatesAreExact(t *testing.T) {
	s := dynamodbtest.New(dynamodbtest.Options{Partitions: 4})
	defer s.Close()
	x := fake(s)
	table := x.table(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				_, err := x.client.UpdateItem(context.Background(), &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str(fmt.Sprint(i % 3))}, UpdateExpression: p("ADD n :one"), ExpressionAttributeValues: item{":one": num("1")}})
				if err != nil {
					t.Error(err)
				}
				if i%20 == 0 {
					if err := s.RollOver(table); err != nil {
						t.Error(err)
					}
					s.Calls()
				}
			}
		})
	}
	wg.Wait()
	sum, records := 0, 0
	for i := range 3 {
		var n int
		fmt.Sscan(x.get(t, table, item{"id": str(fmt.Sprint(i))})["n"].(*types.AttributeValueMemberN).Value, &n)
		sum += n
	}
	for _, sh := range s.Shards(table) {
		got, _ := x.read(t, x.from(t, table, sh.ID, "TRIM_HORIZON", ""))
		records += len(got)
	}
	if sum != 400 || records != 400 {
		t.Errorf("counters sum to %d, %d stream records, want 400 each", sum, records)
	}
}

func TestCallLogIsBounded(t *testing.T) {
	s := dynamodbtest.New(dynamodbtest.Options{CallLogMax: 3})
	defer s.Close()
	x := fake(s)
	table := x.table(t)
	x.putN(t, table, "a", 5)
	var got []int
	for _, c := range s.Calls() {
		got = append(got, c.N)
	}
	if fmt.Sprint(got) != "[4 5 6]" {
		t.Errorf("calls %v, want the last three of six", got)
	}
	s.ResetCalls()
	if len(s.Calls()) != 0 {
		t.Error("calls left after ResetCalls")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	err := dynamodbtest.Options{Partitions: 300, ShardFilter: 9, ListedAfterClose: -1, CallLogMax: -1}.Validate()
	for _, field := range []string{"Partitions is 300", "ShardFilter is 9", "ListedAfterClose is", "CallLogMax is -1"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want a fault with %q", err, field)
		}
	}
}

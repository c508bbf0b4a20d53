package dynamodb_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsdynamodb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodb"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

// record is what the tests write.
type record struct {
	ID      string `dynamodb:"id"`
	V       int64  `dynamodb:"v"`
	Body    string `dynamodb:"body,omitempty"`
	Amount  any    `dynamodb:"amount,omitempty"` // a number by the table's index
	Deleted bool   `dynamodb:"-"`
}

const table = "variables"

// createTable makes the table; amount is the key of an index, so that an item with a text there passes every check but the service's.
func createTable(t testing.TB, c *awsdynamodb.Client, name string) {
	t.Helper()
	_, err := c.CreateTable(context.Background(), &awsdynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: "S"}, {AttributeName: aws.String("amount"), AttributeType: "N"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: "HASH"}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-amount"), Projection: &types.Projection{ProjectionType: "KEYS_ONLY"},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("amount"), KeyType: "HASH"}}}},
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: "NEW_IMAGE"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// host runs one writer as a task would.
type host struct {
	t       testing.TB
	fake    *dynamodbtest.Server
	w       connectors.Writer[record]
	reg     *prometheus.Registry
	letters []connectors.DeadLetter
	cancel  context.CancelFunc
	id      int64
}

// writerContext is what a host gives; the context ends with the test.
func writerContext(t testing.TB, letters func(connectors.DeadLetter) error) connectors.WriterContext {
	return connectors.WriterContext{
		Context: connectors.Context{UID: "variables", Parallelism: 1, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now},
		Ctx:     t.Context(), Attempt: "1", DeadLetter: letters,
	}
}

// open starts a writer on the table of the fake.
func open(t testing.TB, s *dynamodbtest.Server, o dynamodb.Options[record]) *host {
	t.Helper()
	h := &host{t: t, fake: s, reg: prometheus.NewRegistry()}
	if o.Client == nil {
		o.Client = s.Client()
	}
	o.Table = cmp.Or(o.Table, table)
	o.Key = []string{"id"}
	o.Delete = func(r record) bool { return r.Deleted }
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	c := writerContext(t, func(d connectors.DeadLetter) error { h.letters = append(h.letters, d); return nil })
	c.Ctx, c.Metrics = ctx, h.reg
	w, err := dynamodb.NewSink(o).NewWriter(c)
	if err != nil {
		t.Fatal(err)
	}
	h.w = w
	return h
}

func (h *host) close() {
	h.cancel()
	if err := h.w.Close(); err != nil {
		h.t.Errorf("close: %v", err)
	}
}

func (h *host) write(r ...record) {
	h.t.Helper()
	for i, x := range r {
		if err := h.w.Write(x, connectors.Meta{TimestampMS: int64(i), At: connectors.Coordinates{UID: "src", Split: "s", Offset: int64(i)}}); err != nil {
			h.t.Fatalf("write %s: %v", x.ID, err)
		}
	}
}

// prepare takes a checkpoint that must succeed.
func (h *host) prepare() {
	h.t.Helper()
	h.id++
	if _, err := h.w.Prepare(context.Background(), h.id); err != nil {
		h.t.Fatalf("checkpoint: %v", err)
	}
}

// metric is the sum of a metric over its labels.
func (h *host) metric(name string) float64 {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "millrace_dynamodb_sink_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// stored is the table as id → version.
func stored(s *dynamodbtest.Server) map[string]int64 {
	out := map[string]int64{}
	for _, i := range s.Items(table) {
		v, _ := strconv.ParseInt(i["v"].(*types.AttributeValueMemberN).Value, 10, 64)
		out[i["id"].(*types.AttributeValueMemberS).Value] = v
	}
	return out
}

func (h *host) holds(want map[string]int64) {
	h.t.Helper()
	got := stored(h.fake)
	for id, v := range want {
		if g, ok := got[id]; !ok || g != v {
			h.t.Errorf("item %s has version %d (there: %t), want %d", id, g, ok, v)
		}
	}
	if len(got) != len(want) {
		h.t.Errorf("table holds %d items, want %d", len(got), len(want))
	}
}

func numbered(n int) (r []record, want map[string]int64) {
	want = map[string]int64{}
	for i := range n {
		id := fmt.Sprintf("k%03d", i)
		r, want[id] = append(r, record{ID: id, V: 1}), 1
	}
	return r, want
}

// calls counts the calls of an operation that ended as said by code ("" for success).
func calls(s *dynamodbtest.Server, op, code string) int {
	n := 0
	for _, c := range s.Calls() {
		if c.Operation == op && (c.Err == nil && code == "" || c.Err != nil && c.Err.Code == code) {
			n++
		}
	}
	return n
}

// bubble runs a test against a fake without a socket, in virtual time.
func bubble(t *testing.T, f func(t *testing.T, s *dynamodbtest.Server)) {
	synctest.Test(t, func(t *testing.T) {
		s := dynamodbtest.New(dynamodbtest.Options{})
		defer s.Close()
		createTable(t, s.Client(), table)
		f(t, s)
	})
}

// modes runs a test with and without versions.
func modes(t *testing.T, f func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record])) {
	for name, version := range map[string]string{"batches": "", "versions": "v"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *dynamodbtest.Server) { f(t, s, dynamodb.Options[record]{Version: version}) })
		})
	}
}

// slow delays every write call, so that writes gather.
func slow(d time.Duration) func(*dynamodbtest.Call) *dynamodbtest.Fault {
	return func(*dynamodbtest.Call) *dynamodbtest.Fault { return &dynamodbtest.Fault{Delay: d} }
}

func TestD1BatchCuts(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{CallsMax: 1, BufferBytesMax: 64 << 20})
		defer h.close()
		var mu sync.Mutex
		var sizes []int
		s.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, strings.Count(string(c.Body), "PutRequest"))
			return &dynamodbtest.Fault{Delay: time.Millisecond}
		})
		records, want := numbered(60)
		h.write(records...)
		h.prepare()
		h.holds(want)
		// The first goes out alone, at once; the others gather behind it.
		if got := fmt.Sprint(sizes); got != "[1 25 25 9]" {
			t.Errorf("items in the calls: %s, want [1 25 25 9]", got)
		}
		// A control character is one byte of an item and six of a request: 25 such items would be a request of 60 MB.
		for i := range 25 {
			id := fmt.Sprintf("big%02d", i)
			h.write(record{ID: id, V: 1, Body: strings.Repeat("\x01", 400<<10-100)})
			want[id] = 1
		}
		h.prepare()
		h.holds(want)
		if len(h.letters) != 0 || calls(s, "BatchWriteItem", "ValidationException") != 0 {
			t.Errorf("%d dead letters, %d batches refused, want none", len(h.letters), calls(s, "BatchWriteItem", "ValidationException"))
		}
	})
}

// The size of {"id": 5 bytes, "v": 1, "body": n bytes} is 2+5 + 1+2 + 4+n: 409600 for n = 409586.
func TestD1ItemOf400KB(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		h := open(t, s, o)
		defer h.close()
		h.write(record{ID: "exact", V: 1, Body: strings.Repeat("x", 409586)}, record{ID: "above", V: 1, Body: strings.Repeat("x", 409587)}, record{ID: "small", V: 1})
		h.prepare()
		h.holds(map[string]int64{"exact": 1, "small": 1})
		if len(h.letters) != 1 || !strings.Contains(h.letters[0].Reason, "409601 bytes") || h.letters[0].At.Offset != 1 || !strings.Contains(string(h.letters[0].Key), "above") {
			t.Errorf("dead letters: %.200v, want one for item above of 409601 bytes", h.letters)
		}
	})
}

func TestD2SameKeyInOneWindow(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		s.Fault(slow(10 * time.Millisecond))
		o.CallsMax = 1
		h := open(t, s, o)
		defer h.close()
		want := map[string]int64{}
		for v := range int64(20) {
			for k := range 5 {
				id := fmt.Sprint("k", k)
				h.write(record{ID: id, V: v + 1})
				want[id] = v + 1
			}
		}
		h.prepare()
		h.holds(want)
		if n := calls(s, "BatchWriteItem", "ValidationException"); n != 0 {
			t.Errorf("%d batches with a key twice", n)
		}
		// k0 is in flight with version 1 when the others gather: each key is then written once more, with its newest version.
		if got := h.metric("items_written_total"); got != 6 {
			t.Errorf("%v items written, want 6", got)
		}
		if got := h.metric("items_superseded_total"); got != 94 {
			t.Errorf("%v items superseded, want 94", got)
		}
	})
}

func TestD3Unprocessed(t *testing.T) {
	for n := 1; n <= 25; n++ {
		bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
			h := open(t, s, dynamodb.Options[record]{CallsMax: 1})
			defer h.close()
			left := make([]int, n)
			for i := range left {
				left[i] = i
			}
			// The first call has one item and is held, so that the second one has 25.
			s.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
				switch c.N {
				case 2:
					return &dynamodbtest.Fault{Delay: time.Millisecond}
				case 3, 4:
					return &dynamodbtest.Fault{Unprocessed: left}
				}
				return nil
			})
			records, want := numbered(26)
			h.write(records...)
			h.prepare()
			h.holds(want)
			if got := h.metric("items_unprocessed_total") + 25*h.metric("throttles_total"); got < float64(n) {
				t.Errorf("n=%d: %v items counted as unprocessed", n, got)
			}
		})
	}
}

func TestD3OneUnprocessedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{CallsMax: 2, PrepareTimeout: 30 * time.Second})
		defer h.close()
		s.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
			parts := strings.Split(string(c.Body), "PutRequest")
			at := slices.IndexFunc(parts, func(p string) bool { return strings.Contains(p, `"k007"`) })
			if at < 0 {
				return nil
			}
			return &dynamodbtest.Fault{Unprocessed: []int{at - 1}}
		})
		records, want := numbered(100)
		h.write(records...)
		start := time.Now()
		_, err := h.w.Prepare(context.Background(), 1)
		stuck, ok := errors.AsType[*dynamodb.StuckError](err)
		if !ok || stuck.Items != 1 || stuck.Key != `id="k007"` || stuck.Table != table || stuck.Tries < 5 || stuck.Checkpoint != 1 {
			t.Fatalf("got %v, want a StuckError for k007", err)
		}
		if d := time.Since(start); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("gave up after %v, want 30s", d)
		}
		delete(want, "k007")
		h.holds(want)
		// Never spin: a wait of up to 2 s between attempts.
		if n := calls(s, "BatchWriteItem", "ProvisionedThroughputExceededException"); n > 100 {
			t.Errorf("%d attempts for one item in 30 s", n)
		}
	})
}

func TestD4PoisonItem(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		s.Fault(slow(time.Millisecond))
		o.CallsMax = 1
		h := open(t, s, o)
		defer h.close()
		records, want := numbered(26)
		records[13].Amount = "no number"
		delete(want, records[13].ID)
		h.write(records...)
		h.prepare()
		h.holds(want)
		if len(h.letters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(h.letters))
		}
		d := h.letters[0]
		if d.UID != "variables" || string(d.Key) != `id="k013"` || d.At.Offset != 13 || d.TimestampMS != 13 || string(d.Raw) != `{"amount":{"S":"no number"},"id":{"S":"k013"},"v":{"N":"1"}}` ||
			!strings.Contains(d.Reason, `table "variables"`) || !strings.Contains(d.Reason, "Type mismatch for Index Key amount") {
			t.Errorf("dead letter: %+v", d)
		}
		// Halving 25 items down to one takes at most 5 refused calls.
		if n := calls(s, "BatchWriteItem", "ValidationException"); n > 5 {
			t.Errorf("%d refused calls to find one item of 25", n)
		}
		h.write(record{ID: "after", V: 1})
		h.prepare()
		want["after"] = 1
		h.holds(want)
	})
}

// throttledCall is what the table answers when it is overloaded.
var throttledCall = &dynamodbtest.Fault{Err: &dynamodbtest.Error{Code: "ProvisionedThroughputExceededException", Reasons: []string{"TableWriteProvisionedThroughputExceeded"}}}

func TestD5TotalThrottle(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		o.BufferBytesMax = 1 << 20
		h := open(t, s, o)
		defer h.close()
		h.write(record{ID: "first", V: 1})
		h.prepare()
		start := time.Now()
		attempts := 0
		var mu sync.Mutex
		s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if time.Since(start) < time.Minute {
				attempts++
				return throttledCall
			}
			return &dynamodbtest.Fault{Delay: 5 * time.Millisecond}
		})
		want := map[string]int64{"first": 1}
		body := strings.Repeat("x", 10<<10)
		var blocked time.Duration
		for i := range 1000 { // 10 MB through a buffer of 1 MB
			before := time.Now()
			id := fmt.Sprint("k", i)
			h.write(record{ID: id, V: 1, Body: body})
			blocked = max(blocked, time.Since(before))
			want[id] = 1
		}
		h.prepare()
		h.holds(want)
		if blocked < 50*time.Second {
			t.Errorf("Write waited %v at most, want about 60 s: the buffer has no bound", blocked)
		}
		if got := h.metric("buffered_bytes"); got != 0 {
			t.Errorf("%v bytes held after the checkpoint", got)
		}
		if d := time.Since(start); d > 70*time.Second {
			t.Errorf("all was written %v after the start, want at most 10 s after the throttle of 60 s", d)
		}
		if attempts > 300 {
			t.Errorf("%d attempts in 60 s of throttling", attempts)
		}
		if got := h.metric("throttles_total"); got != float64(attempts) {
			t.Errorf("%v throttles counted, want %d", got, attempts)
		}
	})
}

func TestD6HotPartition(t *testing.T) {
	for name, version := range map[string]string{"batches": "", "versions": "v"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := dynamodbtest.New(dynamodbtest.Options{Partitions: 8})
				defer s.Close()
				createTable(t, s.Client(), table)
				if err := s.SetLimits(table, dynamodbtest.Limits{PartitionWCU: 100}); err != nil {
					t.Fatal(err)
				}
				s.Fault(slow(2 * time.Millisecond))
				h := open(t, s, dynamodb.Options[record]{Version: version})
				defer h.close()
				want := map[string]int64{}
				start := time.Now()
				// 2000 writes a second to one item, whose partition takes 100, and 100 a second to 500 others.
				for i := range int64(10000) {
					h.write(record{ID: "hot", V: i + 1})
					want["hot"] = i + 1
					if i%20 == 0 {
						id := fmt.Sprint("k", i)
						h.write(record{ID: id, V: 1})
						want[id] = 1
					}
					time.Sleep(500 * time.Microsecond)
				}
				offered := time.Since(start)
				if offered > 5100*time.Millisecond {
					t.Errorf("the input was held back: %v for 5 s of writes", offered)
				}
				time.Sleep(200 * time.Millisecond)
				got := stored(s)
				late := 0
				for id := range want {
					if _, ok := got[id]; !ok && id != "hot" {
						late++
					}
				}
				// The partition of the hot item is itself out of capacity, and about an eighth of the others share it.
				if late > 500/8+20 {
					t.Errorf("%d of 500 other items not written 200 ms after the last", late)
				}
				if w := h.metric("calls_window"); w < 8 {
					t.Errorf("window of calls is %v, want at least the 8 it started with: a hot key range must not slow the others", w)
				}
				h.prepare()
				h.holds(want)
				if h.metric("throttles_total") == 0 {
					t.Error("nothing was throttled: the test proves nothing")
				}
			})
		})
	}
}

func TestD7UnknownOutcome(t *testing.T) {
	for name, f := range map[string]dynamodbtest.Fault{
		"answer lost": {DropAfter: true}, "answer late": {DelayAfter: 6 * time.Second}, "request lost": {DropBefore: true}, "request slow": {Delay: 6 * time.Second},
		"answer cut": {Truncate: true}, "status 500": {Status: 500}, "status 503": {Status: 503}, "internal error": {Err: &dynamodbtest.Error{Code: "InternalServerError"}},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
				s.ResetCalls()
				failed := map[string]bool{}
				var mu sync.Mutex
				s.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
					mu.Lock()
					defer mu.Unlock()
					if n := len(failed); n < 3 {
						failed[fmt.Sprint(c.N)] = true
						return &f
					}
					return nil
				})
				h := open(t, s, o)
				defer h.close()
				records, want := numbered(30)
				h.write(records...)
				h.prepare()
				h.holds(want)
				if got := h.metric("call_failures_total"); got != 3 {
					t.Errorf("%v failed calls counted, want 3", got)
				}
				if n := h.metric("items_written_total") + h.metric("condition_failures_total"); n != 30 {
					t.Errorf("%v items written or known to be there, want 30", n)
				}
			})
		})
	}
}

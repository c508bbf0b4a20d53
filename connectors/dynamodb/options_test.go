package dynamodb

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"
)

func TestValidateReportsAllFaults(t *testing.T) {
	err := Options[int]{Key: []string{"id", "id"}, Version: "v", Tombstone: "v", Capacity: Provisioned(-1), BufferBytesMax: 1, CallsMax: -1, CallTimeout: -1}.Validate()
	for _, part := range []string{"Client is nil", "Table is empty", `Key is ["id" "id"]`, `Tombstone is "v"`, "Item is nil and the record type cannot be marshalled: int", "provisioned(-1)", "BufferBytesMax is 1", "CallsMax is -1", "CallTimeout is -1ns"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want a fault with %q", err, part)
		}
	}
	if err := (Options[int]{Capacity: Provisioned(0)}).Validate(); !strings.Contains(fmt.Sprint(err), "provisioned(0)") {
		t.Errorf("no capacity: got %v", err)
	}
	if err := (Options[int]{Key: []string{"id"}, Version: "id", Capacity: Provisioned(math.NaN())}).Validate(); !strings.Contains(fmt.Sprint(err), "part of the key") || !strings.Contains(fmt.Sprint(err), "NaN") {
		t.Errorf("got %v", err)
	}
}

// answered is an error as the client makes it.
func answered(status int, err error) error {
	return &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "PutItem", Err: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err}}
}

func api(code string) error { return &smithy.GenericAPIError{Code: code} }

func TestClassify(t *testing.T) {
	reasons := func(r ...string) (out []types.ThrottlingReason) {
		for _, x := range r {
			out = append(out, types.ThrottlingReason{Reason: aws.String(x)})
		}
		return out
	}
	for _, c := range []struct {
		err     error
		want    verdict
		reasons int
	}{
		{errors.New("connection reset by peer"), unknown, 0},
		{answered(500, errors.New("no JSON")), unknown, 0},
		{answered(500, api("InternalServerError")), unknown, 0},
		{answered(503, api("ServiceUnavailable")), unknown, 0},
		{answered(400, api("TransactionConflictException")), unknown, 0},
		{answered(408, api("Whatever")), unknown, 0},
		{answered(400, &types.ConditionalCheckFailedException{}), condition, 0},
		{answered(400, api("ThrottlingException")), throttled, 1},
		{answered(400, &types.ProvisionedThroughputExceededException{}), throttled, 1},
		{answered(400, &types.ProvisionedThroughputExceededException{ThrottlingReasons: reasons("TableWriteProvisionedThroughputExceeded")}), throttled, 1},
		{answered(400, &types.ThrottlingException{ThrottlingReasons: reasons("TableWriteKeyRangeThroughputExceeded")}), hotKey, 1},
		{answered(400, &types.ThrottlingException{ThrottlingReasons: reasons("IndexWriteKeyRangeThroughputExceeded", "TableWriteAccountLimitExceeded")}), throttled, 2},
		{answered(400, &types.RequestLimitExceeded{ThrottlingReasons: reasons("TableWriteAccountLimitExceeded")}), throttled, 1},
		{answered(400, api("ValidationException")), refused, 0},
		{answered(413, errors.New("entity too large")), refused, 0},
		{&smithy.SerializationError{Err: errors.New("nil value")}, refused, 0},
		{answered(400, &types.ResourceNotFoundException{}), fatal, 0},
		{answered(400, api("AccessDeniedException")), fatal, 0},
		{answered(400, api("UnrecognizedClientException")), fatal, 0},
		{answered(403, api("InvalidSignatureException")), fatal, 0},
	} {
		v, r := classify(c.err)
		if v != c.want || len(r) != c.reasons {
			t.Errorf("%v: verdict %d with reasons %v, want %d with %d", c.err, v, r, c.want, c.reasons)
		}
	}
}

func TestMetricsOfARestartedTask(t *testing.T) {
	reg := prometheus.NewRegistry()
	newMetrics(reg).written.Add(3)
	m := newMetrics(reg) // must not panic, and goes on
	m.written.Add(4)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millrace_dynamodb_sink_items_written_total" && f.GetMetric()[0].GetCounter().GetValue() == 7 {
			return
		}
	}
	t.Error("items written after the restart are not counted in the series of the first attempt")
}

func TestBackoffBounds(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 25 * time.Millisecond, 2: 50 * time.Millisecond, 5: 400 * time.Millisecond, 8: 2 * time.Second, 1000: 2 * time.Second} {
		if low, high := backoff(n, 0), backoff(n, 0.999999); low != time.Millisecond || high > want+time.Millisecond || high < want*99/100 {
			t.Errorf("failure %d: %v to %v, want 1ms to %v", n, low, high, want)
		}
	}
}

func TestWindow(t *testing.T) {
	w := newWindow(8, 10)
	for range 8 {
		w.success(8)
	}
	if w.calls() != 9 {
		t.Errorf("after a clean window of 8: %d, want 9", w.calls())
	}
	for range 100 {
		w.success(10)
	}
	if w.calls() != 10 {
		t.Errorf("window grew to %d, want the limit 10", w.calls())
	}
	for range 5 {
		w.throttle(w.epoch)
	}
	if w.calls() != 1 {
		t.Errorf("after five cuts: %d, want 1", w.calls())
	}
	for range 100 {
		w.success(1)
	}
	// Calls that run alone fill a window of 1 and half of one of 2: with 3 it stays.
	if w.calls() != 3 {
		t.Errorf("window grew to %d by calls that run alone, want 3", w.calls())
	}
}

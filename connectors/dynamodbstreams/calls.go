package dynamodbstreams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Client is what the source uses of *dynamodbstreams.Client. Retries of the SDK are switched off in every call: the source paces and
// repeats by itself, and the SDK's retryer would hide throttles from it for minutes. Safe for concurrent use.
type Client interface {
	// DescribeStream lists shards, at most 100 a call.
	DescribeStream(ctx context.Context, in *dynamodbstreams.DescribeStreamInput, o ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	// GetShardIterator gives a place in a shard, good for 15 minutes.
	GetShardIterator(ctx context.Context, in *dynamodbstreams.GetShardIteratorInput, o ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	// GetRecords reads from a place, at most 1000 records or 1 MB a call.
	GetRecords(ctx context.Context, in *dynamodbstreams.GetRecordsInput, o ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

// TableClient is what the source uses of *dynamodb.Client, to find the stream of a table.
type TableClient interface {
	// DescribeTable names the table's latest stream.
	DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, o ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
}

func oneAttempt(o *dynamodbstreams.Options) { o.Retryer = aws.NopRetryer{} }

func oneTableAttempt(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// fault is what an error of a call means for the source.
type fault int

const (
	transient fault = iota // unknown outcome or trouble of the server: ask again
	throttled              // the server did nothing: ask again later
	expired                // the iterator is older than 15 minutes
	trimmed                // the position is older than the oldest record
	gone                   // no such shard or stream
	invalid                // the server does not take the request as it is
	fatal                  // asking again cannot help: access denied, …
)

// faultOf says what an error means.
// Source: model of DynamoDB Streams 2012-08-10 and "Common Errors" of its API reference.
func faultOf(err error) fault {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return faultOfStatus(err)
	}
	switch api.ErrorCode() {
	case "ExpiredIteratorException":
		return expired
	case "TrimmedDataAccessException":
		return trimmed
	case "ResourceNotFoundException":
		return gone
	case "LimitExceededException", "ThrottlingException", "Throttling", "ThrottledException", "ProvisionedThroughputExceededException",
		"RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "SlowDown":
		return throttled
	case "ValidationException", "SerializationException", "UnknownOperationException":
		return invalid
	case "InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout":
		return transient
	}
	return faultOfStatus(err)
}

// faultOfStatus judges errors without a known code by the HTTP status, and errors without a status as trouble of the network.
func faultOfStatus(err error) fault {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		return transient
	}
	switch status := response.HTTPStatusCode(); {
	case status == http.StatusTooManyRequests:
		return throttled
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout:
		return fatal
	}
	return transient
}

const (
	backoffBase = 50 * time.Millisecond
	backoffMax  = 5 * time.Second
	// invalidMax is how often in a row a shard's reading is tried anew after the server called the request invalid: an iterator may be
	// of a server that has restarted since.
	invalidMax = 3
)

// trouble counts failures in a row.
type trouble struct {
	tries   int
	invalid int
	since   time.Time // of the first that was no throttle
}

func (t *trouble) clear() { *t = trouble{} }

// delay is the time to wait before the next try: full jitter, so that readers that were refused together do not come back together.
// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
func (t *trouble) delay() time.Duration {
	d := backoffDelay(backoffBase, t.tries, backoffMax)
	t.tries++
	return time.Duration(rand.Int64N(int64(d))) + time.Millisecond
}

// lasting reports whether the trouble, not counting throttles, has gone on for longer than the limit.
func (t *trouble) lasting(limit time.Duration) bool {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	return time.Since(t.since) > limit
}

// wait waits for d, and reports false when ctx ended before.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeat makes one call until it is answered with a result or with an error that repeating does not cure.
func repeat(ctx context.Context, name string, o limits, m *metrics, call func(ctx context.Context) error) error {
	var t trouble
	for {
		callCtx, cancel := context.WithTimeout(ctx, o.request)
		err := call(callCtx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch faultOf(err) {
		case throttled:
			m.throttle(name)
		case transient:
			if t.lasting(o.failAfter) {
				return fmt.Errorf("dynamodbstreams: %s has failed for %v: %w", name, o.failAfter, err)
			}
		default:
			return err
		}
		if !wait(ctx, t.delay()) {
			return ctx.Err()
		}
	}
}

// limits are the options that calls need.
type limits struct {
	request, failAfter time.Duration
}

func pointer[V any](v V) *V { return &v }

func value[V any](p *V) (v V) {
	if p != nil {
		v = *p
	}
	return v
}

var _ Client = (*dynamodbstreams.Client)(nil)
var _ TableClient = (*dynamodb.Client)(nil)

package dynamodb

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// verdict is what an error of a call means for its writes.
type verdict int

const (
	// unknown: no answer, or one that cannot be read. The write may or may not have been done: it is repeated, which both forms of
	// write allow.
	unknown verdict = iota
	// condition: the table holds this version or a newer one.
	condition
	throttled
	// hotKey: throttled, for the key range of the item only.
	hotKey
	// refused: these items can never be written.
	refused
	// fatal: no write to this table can succeed: wrong name, no permission.
	fatal
)

// classify judges the error of a call and names the reasons of a throttle.
func classify(err error) (verdict, []string) {
	var reasons []types.ThrottlingReason
	if e, ok := errors.AsType[*types.ProvisionedThroughputExceededException](err); ok {
		reasons = e.ThrottlingReasons
	} else if e, ok := errors.AsType[*types.ThrottlingException](err); ok {
		reasons = e.ThrottlingReasons
	} else if e, ok := errors.AsType[*types.RequestLimitExceeded](err); ok {
		reasons = e.ThrottlingReasons
	}
	if len(reasons) > 0 {
		return throttleOf(reasons)
	}
	if _, ok := errors.AsType[*smithy.SerializationError](err); ok {
		return refused, nil
	}
	status := 0
	if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = re.HTTPStatusCode()
	}
	ae, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if status == http.StatusRequestEntityTooLarge {
			return refused, nil
		}
		return unknown, nil
	}
	switch code := ae.ErrorCode(); code {
	case "ConditionalCheckFailedException":
		return condition, nil
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "Throttling", "LimitExceededException", "SlowDown":
		return throttled, []string{code}
	case "ValidationException", "ItemCollectionSizeLimitExceededException", "RequestEntityTooLarge":
		return refused, nil
	case "InternalServerError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "TransactionConflictException", "TransactionInProgressException",
		"ReplicatedWriteConflictException", "UnknownError":
		return unknown, nil
	}
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
		return fatal, nil
	}
	return unknown, nil
}

func throttleOf(reasons []types.ThrottlingReason) (verdict, []string) {
	v := hotKey
	var names []string
	for _, r := range reasons {
		if r.Reason == nil {
			continue
		}
		names = append(names, *r.Reason)
		if !strings.HasSuffix(*r.Reason, "KeyRangeThroughputExceeded") {
			v = throttled
		}
	}
	if names == nil {
		return throttled, []string{"unnamed"}
	}
	return v, names
}

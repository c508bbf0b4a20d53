package dynamodbtest

import (
	"net/http"
	"strings"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Error is an answer that the service gives instead of a result. As a Fault it makes the server give that answer.
type Error struct {
	// Code is the service's name of the error, e.g. ProvisionedThroughputExceededException.
	Code    string
	Message string
	// Status of the HTTP answer. Default 400; 500 for InternalServerError.
	Status int
	// Reasons are sent as ThrottlingReasons with the ARN of the table, e.g. TableWriteKeyRangeThroughputExceeded.
	Reasons []string

	resource string // ARN that the reasons are about
	item     attr.Item
	cancel   []cancelReason
}

// Error is code and message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Code == "InternalServerError":
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

type cancelReason struct {
	Code    string
	Item    attr.Item `json:",omitzero"`
	Message string    `json:",omitempty"`
}

type throttlingReason struct {
	Reason   string `json:"reason"`
	Resource string `json:"resource"`
}

// errorBody is the JSON of an error. The names of its members differ between shapes of the service.
type errorBody struct {
	Type         string             `json:"__type"`
	Message      string             `json:"message"`
	Item         attr.Item          `json:",omitzero"`
	Cancel       []cancelReason     `json:"CancellationReasons,omitempty"`
	Reasons      []throttlingReason `json:"ThrottlingReasons,omitempty"`
	ReasonsLower []throttlingReason `json:"throttlingReasons,omitempty"`
}

func (e *Error) body() errorBody {
	// Messages quote parts of expressions, which may be cut within a character.
	b := errorBody{Message: strings.ToValidUTF8(e.Message, "\uFFFD"), Item: e.item, Cancel: e.cancel}
	switch e.Code {
	case "ValidationException", "SerializationException", "UnknownOperationException", "ThrottlingException", "AccessDeniedException":
		b.Type = "com.amazon.coral.service#" + e.Code
	default:
		b.Type = "com.amazonaws.dynamodb.v20120810#" + e.Code
	}
	for _, r := range e.Reasons {
		t := throttlingReason{Reason: r, Resource: e.resource}
		if e.Code == "ThrottlingException" {
			b.ReasonsLower = append(b.ReasonsLower, t)
		} else {
			b.Reasons = append(b.Reasons, t)
		}
	}
	return b
}

func invalid(message string) error { return &Error{Code: "ValidationException", Message: message} }

func notFound(message string) error {
	return &Error{Code: "ResourceNotFoundException", Message: message}
}

var (
	errNoTable     = notFound("Requested resource not found")
	errConditional = "The conditional request failed"
	errSchema      = invalid("The provided key element does not match the schema")
	errTooLarge    = invalid("Item size has exceeded the maximum allowed size")
	errTooLargeUpd = invalid("Item size to update has exceeded the maximum allowed size")
)

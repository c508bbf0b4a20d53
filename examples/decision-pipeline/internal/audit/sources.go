package audit

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// Sources are the places that the audit reads.
type Sources struct {
	DynamoDB *dynamodb.Client
	// Kafka makes a client with the given options beside the address of the brokers.
	Kafka    func(opts ...kgo.Opt) (*kgo.Client, error)
	Registry *sr.Client
	// Archive is file:///path or s3://bucket/prefix; S3 is needed for the latter only.
	Archive string
	S3      *s3.Client
	// IDPrefix and CustomerPrefix restrict the audit to what one run has written in places that hold more; empty: everything.
	IDPrefix       string
	CustomerPrefix string
}

// Belongs reports whether the decision or item with this id is audited.
func (s Sources) Belongs(id string) bool { return strings.HasPrefix(id, s.IDPrefix) }

// BelongsCustomer reports whether the variable of this customer is audited.
func (s Sources) BelongsCustomer(customer string) bool {
	return strings.HasPrefix(customer, s.CustomerPrefix)
}

// Gather reads everything back. The pipeline must be stopped, or the places change while they are read. Accepted is left
// to the caller.
func (s Sources) Gather(ctx context.Context) (Evidence, error) {
	var e Evidence
	for _, read := range []func(context.Context, *Evidence) error{s.readTable, s.readTopic, s.readArchive, s.readVariables, s.readDeadLetters} {
		if err := read(ctx, &e); err != nil {
			return e, err
		}
	}
	return e, nil
}

// Package store keeps decisions and reads variables in DynamoDB. It is the only thing that the Decision Store API writes to: Kafka,
// the archive and the pipeline learn of a decision from the table's stream.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

var (
	// ErrNotFound says that nothing is stored under the id or customer.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict says that something else is stored: another body under the id, or another version than the expected one.
	ErrConflict = errors.New("store: conflict")
	// ErrCursor says that a cursor does not come from an earlier answer to the same query.
	ErrCursor = errors.New("store: invalid cursor")
)

// DynamoDB is the store. It is safe for use by many goroutines.
type DynamoDB struct {
	client *dynamodb.Client
	// Wrote, if set, is told each version right after it was stored, before the client is. A repeated request is not told again. It is
	// called by many goroutines at once.
	Wrote func(id string, version int64)
}

// New returns the store on client's tables; Setup makes them.
func New(client *dynamodb.Client) *DynamoDB { return &DynamoDB{client: client} }

func (s *DynamoDB) wrote(d model.Decision) {
	if s.Wrote != nil {
		s.Wrote(d.ID, d.Version)
	}
}

// Create stores d as version 1 and returns it as stored. The same request again gives the same answer, also after corrections;
// ErrConflict says that another request has taken the id.
func (s *DynamoDB) Create(ctx context.Context, d model.Decision) (model.Decision, error) {
	d.Version = 1
	item := d.Item()
	fingerprint := d.Fingerprint()
	item[model.AttrRequest] = &types.AttributeValueMemberS{Value: fingerprint}
	_, err := s.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(model.DecisionsTable), Item: item, ConditionExpression: aws.String("attribute_not_exists(id)"),
	})
	if err == nil {
		s.wrote(d)
		return d, nil
	}
	if !conditionFailed(err) {
		return model.Decision{}, fmt.Errorf("store: put decision %q: %w", d.ID, err)
	}
	old, err := s.item(ctx, d.ID)
	if err != nil {
		return model.Decision{}, err
	}
	if stringOf(old[model.AttrRequest]) == fingerprint {
		return d, nil
	}
	return model.Decision{}, fmt.Errorf("%w: decision %q exists with another content", ErrConflict, d.ID)
}

// Correct stores the next version of a decision. The same correction again, while it is the newest, gives the same answer;
// ErrConflict says that the stored version is not the expected one.
func (s *DynamoDB) Correct(ctx context.Context, c model.Correction) (model.Decision, error) {
	item, err := s.item(ctx, c.ID)
	if err != nil {
		return model.Decision{}, err
	}
	d, err := model.DecisionOfItem(item)
	if err != nil {
		return model.Decision{}, fmt.Errorf("%w: decision %q is stored with faults and cannot be corrected: %v", ErrConflict, c.ID, err)
	}
	if d.Version == c.ExpectedVersion+1 && stringOf(item[model.AttrCorrection]) == c.Fingerprint() {
		return d, nil
	}
	if d.Version != c.ExpectedVersion {
		return model.Decision{}, fmt.Errorf("%w: decision %q has version %d, not %d", ErrConflict, c.ID, d.Version, c.ExpectedVersion)
	}
	d.Version, d.Outcome, d.Amount, d.Reason = c.ExpectedVersion+1, c.Outcome, c.Amount, c.Reason
	next := d.Item()
	next[model.AttrRequest] = item[model.AttrRequest]
	next[model.AttrCorrection] = &types.AttributeValueMemberS{Value: c.Fingerprint()}
	_, err = s.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(model.DecisionsTable), Item: next,
		ConditionExpression:       aws.String("#v = :v"),
		ExpressionAttributeNames:  map[string]string{"#v": "version"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":v": item["version"]},
	})
	switch {
	case err == nil:
		s.wrote(d)
		return d, nil
	case conditionFailed(err):
		return s.afterLostRace(ctx, c)
	default:
		return model.Decision{}, fmt.Errorf("store: correct decision %q: %w", c.ID, err)
	}
}

// afterLostRace tells whether the version that came in between is our own: a retry inside the SDK fails on the write that it repeats.
func (s *DynamoDB) afterLostRace(ctx context.Context, c model.Correction) (model.Decision, error) {
	item, err := s.item(ctx, c.ID)
	if err != nil {
		return model.Decision{}, err
	}
	d, err := model.DecisionOfItem(item)
	if err == nil && d.Version == c.ExpectedVersion+1 && stringOf(item[model.AttrCorrection]) == c.Fingerprint() {
		return d, nil
	}
	return model.Decision{}, fmt.Errorf("%w: decision %q has version %d, not %d", ErrConflict, c.ID, d.Version, c.ExpectedVersion)
}

// Get returns the newest version of a decision, or ErrNotFound.
func (s *DynamoDB) Get(ctx context.Context, id string) (model.Decision, error) {
	item, err := s.item(ctx, id)
	if err != nil {
		return model.Decision{}, err
	}
	d, err := model.DecisionOfItem(item)
	if err != nil {
		return model.Decision{}, fmt.Errorf("%w: what is stored under %q is no decision: %v", ErrNotFound, id, err)
	}
	return d, nil
}

// Variable returns the variable of a customer, or ErrNotFound.
func (s *DynamoDB) Variable(ctx context.Context, customer string) (model.Variable, error) {
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(model.VariablesTable), ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{"customer": &types.AttributeValueMemberS{Value: customer}},
	})
	if err != nil {
		return model.Variable{}, fmt.Errorf("store: get variable %q: %w", customer, err)
	}
	if out.Item == nil {
		return model.Variable{}, ErrNotFound
	}
	v, err := model.VariableOfItem(out.Item)
	if err != nil {
		return model.Variable{}, fmt.Errorf("%w: what is stored for customer %q is no variable: %v", ErrNotFound, customer, err)
	}
	return v, nil
}

// Ping reports whether the decisions table answers and takes writes.
func (s *DynamoDB) Ping(ctx context.Context) error {
	out, err := s.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(model.DecisionsTable)})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if st := out.Table.TableStatus; st != types.TableStatusActive && st != types.TableStatusUpdating {
		return fmt.Errorf("store: table %q is %s", model.DecisionsTable, st)
	}
	return nil
}

func (s *DynamoDB) item(ctx context.Context, id string) (map[string]types.AttributeValue, error) {
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(model.DecisionsTable), ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}},
	})
	if err != nil {
		return nil, fmt.Errorf("store: get decision %q: %w", id, err)
	}
	if out.Item == nil {
		return nil, ErrNotFound
	}
	return out.Item, nil
}

func conditionFailed(err error) bool {
	var e *types.ConditionalCheckFailedException
	return errors.As(err, &e)
}

func stringOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// Query selects decisions of one customer.
type Query struct {
	Customer string
	From, To time.Time     // decided_at in [From, To); zero: no bound
	Outcome  model.Outcome // empty: any
	Limit    int           // decisions in one answer, at least 1
	Cursor   string        // empty: from the newest
}

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

// setupTimeout bounds the wait for a new table to become active.
const setupTimeout = time.Minute

// Setup makes the tables that do not exist yet and waits until they are active. It returns the ARN of the stream of the decisions table.
// A decisions table without a stream of new images is an error: Setup does not change what it finds.
func (s *DynamoDB) Setup(ctx context.Context) (streamARN string, err error) {
	for _, in := range []*dynamodb.CreateTableInput{decisionsTable(), customerTable(model.VariablesTable), customerTable(model.ProfilesTable)} {
		if _, err := s.client.CreateTable(ctx, in); err != nil {
			if e := (*types.ResourceInUseException)(nil); !errors.As(err, &e) {
				return "", fmt.Errorf("store: create table %q: %w", *in.TableName, err)
			}
		}
		w := dynamodb.NewTableExistsWaiter(s.client, func(o *dynamodb.TableExistsWaiterOptions) {
			o.MinDelay, o.MaxDelay = 100*time.Millisecond, 5*time.Second
		})
		out, err := w.WaitForOutput(ctx, &dynamodb.DescribeTableInput{TableName: in.TableName}, setupTimeout)
		if err != nil {
			return "", fmt.Errorf("store: wait for table %q: %w", *in.TableName, err)
		}
		if *in.TableName == model.DecisionsTable {
			if streamARN, err = streamOf(out.Table); err != nil {
				return "", err
			}
		}
	}
	return streamARN, nil
}

func streamOf(t *types.TableDescription) (string, error) {
	spec := t.StreamSpecification
	if spec == nil || !aws.ToBool(spec.StreamEnabled) || t.LatestStreamArn == nil {
		return "", fmt.Errorf("store: table %q exists without a stream; enable one with view type NEW_AND_OLD_IMAGES", model.DecisionsTable)
	}
	if v := spec.StreamViewType; v != types.StreamViewTypeNewAndOldImages {
		return "", fmt.Errorf("store: the stream of table %q has view type %s, want NEW_AND_OLD_IMAGES", model.DecisionsTable, v)
	}
	return *t.LatestStreamArn, nil
}

func decisionsTable() *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: aws.String(model.DecisionsTable), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("customer"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("decided_at"), AttributeType: types.ScalarAttributeTypeN},
		},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String(model.CustomerIndex),
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("customer"), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String("decided_at"), KeyType: types.KeyTypeRange},
			},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}},
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	}
}

func customerTable(name string) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("customer"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("customer"), KeyType: types.KeyTypeHash}},
	}
}

// batchMax is DynamoDB's limit of items in one BatchWriteItem.
const batchMax = 25

// PutProfiles stores the profiles of the customers.
func (s *DynamoDB) PutProfiles(ctx context.Context, customers []string, profile func(customer string) model.Profile) error {
	for len(customers) > 0 {
		n := min(batchMax, len(customers))
		var writes []types.WriteRequest
		for _, c := range customers[:n] {
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: profile(c).Item(c)}})
		}
		pending := map[string][]types.WriteRequest{model.ProfilesTable: writes}
		for attempt := 0; len(pending) > 0; attempt++ {
			if attempt == 20 {
				return fmt.Errorf("store: %d profiles stay unprocessed after %d attempts", len(pending[model.ProfilesTable]), attempt)
			}
			out, err := s.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: pending})
			if err != nil {
				return fmt.Errorf("store: put profiles: %w", err)
			}
			if pending = out.UnprocessedItems; len(pending) > 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(50 * time.Millisecond << min(attempt, 5)):
				}
			}
		}
		customers = customers[n:]
	}
	return nil
}

// Profile returns the profile of a customer; a customer without one has the profile "standard" of no country.
func (s *DynamoDB) Profile(ctx context.Context, customer string) (model.Profile, error) {
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(model.ProfilesTable),
		Key:       map[string]types.AttributeValue{"customer": &types.AttributeValueMemberS{Value: customer}},
	})
	if err != nil {
		return model.Profile{}, fmt.Errorf("store: get profile %q: %w", customer, err)
	}
	if out.Item == nil {
		return model.Profile{Segment: "standard"}, nil
	}
	p, err := model.ProfileOfItem(out.Item)
	if err != nil {
		return model.Profile{}, fmt.Errorf("store: profile of %q: %w", customer, err)
	}
	return p, nil
}

package dynamodbstreams_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	"github.com/millrace-io/millrace/connectors/dynamodbstreams"
)

// The changes of a table, read from the in-process server. A job would take the source by From; here the test driver runs it.
func ExampleNewSource() {
	server := dynamodbtest.New(dynamodbtest.Options{})
	defer server.Close()
	ctx, db := context.Background(), server.Client()
	_, err := db.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String("decisions"), BillingMode: dbtypes.BillingModePayPerRequest,
		AttributeDefinitions: []dbtypes.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: dbtypes.ScalarAttributeTypeS}},
		KeySchema:            []dbtypes.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: dbtypes.KeyTypeHash}},
		StreamSpecification:  &dbtypes.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: dbtypes.StreamViewTypeNewImage},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, outcome := range []string{"PENDING", "APPROVED"} {
		item := map[string]dbtypes.AttributeValue{
			"id": &dbtypes.AttributeValueMemberS{Value: "d1"}, "outcome": &dbtypes.AttributeValueMemberS{Value: outcome},
		}
		if _, err := db.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("decisions"), Item: item}); err != nil {
			fmt.Println(err)
			return
		}
	}

	changes := dynamodbstreams.NewSource(dynamodbstreams.Options[string]{
		Client: server.StreamsClient(),
		Table:  "decisions",
		Tables: db,
		Decode: func(c dynamodbstreams.Change) (string, error) {
			outcome, ok := c.New["outcome"].(*types.AttributeValueMemberS)
			if !ok {
				return "", fmt.Errorf("%s without an outcome", c.Op)
			}
			return fmt.Sprintf("%s %s", c.Op, outcome.Value), nil
		},
	})

	job := connectortest.NewJob(changes, connectortest.Options{})
	defer job.Crash()
	if err := job.Start(nil); err != nil {
		fmt.Println(err)
		return
	}
	if err := job.Run(ctx, func() bool { return job.Len() == 2 }); err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range job.Output() {
		fmt.Println(r.Value)
	}
	// Output:
	// INSERT PENDING
	// MODIFY APPROVED
}

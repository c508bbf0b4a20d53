package dynamodbtest_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

// A table with a stream: one item is written, its record is read.
func Example() {
	s := dynamodbtest.Start(dynamodbtest.Options{})
	defer s.Close()
	ctx := context.Background()
	client, streams := s.Client(), s.StreamsClient()

	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            aws.String("decisions"),
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		BillingMode:          types.BillingModePayPerRequest,
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("decisions"), Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "d-1"}, "version": &types.AttributeValueMemberN{Value: "1"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}

	arn := aws.String(s.StreamARN("decisions"))
	it, err := streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: arn, ShardId: aws.String(s.Shards("decisions")[0].ID), ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: it.ShardIterator})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range page.Records {
		fmt.Println(r.EventName, r.Dynamodb.NewImage["id"].(*streamtypes.AttributeValueMemberS).Value)
	}
	// Output: INSERT d-1
}

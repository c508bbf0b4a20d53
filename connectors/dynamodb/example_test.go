package dynamodb_test

import (
	"context"
	"fmt"
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

// An older version that comes late does not overwrite a newer one.
func ExampleNewSink() {
	type Variable struct {
		Customer string          `dynamodb:"customer"`
		Version  int64           `dynamodb:"version"`
		Sum      dynamodb.Number `dynamodb:"sum"`
	}
	s := dynamodbtest.New(dynamodbtest.Options{})
	defer s.Close()
	ctx := context.Background()
	_, err := s.Client().CreateTable(ctx, &awsdynamodb.CreateTableInput{
		TableName: aws.String("variables"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("customer"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("customer"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	sink := dynamodb.NewSink(dynamodb.Options[Variable]{Client: s.Client(), Table: "variables", Key: []string{"customer"}, Version: "version"})
	// What follows is the runtime's part.
	w, err := sink.NewWriter(connectors.WriterContext{
		Context: connectors.Context{UID: "variables", Parallelism: 1, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now}, Ctx: ctx,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	for i, v := range []Variable{{"c-1", 2, "30.10"}, {"c-1", 1, "10.00"}} {
		if err := w.Write(v, connectors.Meta{}); err != nil {
			fmt.Println(err)
		}
		if _, err := w.Prepare(ctx, int64(i+1)); err != nil {
			fmt.Println(err)
		}
	}
	for _, item := range s.Items("variables") {
		fmt.Println("version", item["version"].(*types.AttributeValueMemberN).Value, "sum", item["sum"].(*types.AttributeValueMemberN).Value)
	}
	// Output: version 2 sum 30.1
}

func ExampleMarshal() {
	item, err := dynamodb.Marshal(struct {
		ID     string          `dynamodb:"id"`
		Amount dynamodb.Number `dynamodb:"amount"`
		Tags   []string        `dynamodb:"tags,set"`
		Note   string          `dynamodb:"note,omitempty"`
	}{ID: "d-1", Amount: "12345678901234567890.12345"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(item), item["amount"].(*types.AttributeValueMemberN).Value)
	// Output: 2 12345678901234567890.12345
}

func ExampleProvisioned() {
	fmt.Println(dynamodb.Provisioned(500), "or", dynamodb.OnDemand())
	// Output: provisioned(500) or on demand
}

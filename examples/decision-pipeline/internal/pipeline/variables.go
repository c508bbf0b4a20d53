package pipeline

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

func (o Options) variablesSink() connectors.Sink[model.Variable] {
	return varSink{o.Endpoints.Tables()}
}

type varSink struct{ c *dynamodb.Client }

func (s varSink) Validate() error { return nil }
func (s varSink) NewWriter(c connectors.WriterContext) (connectors.Writer[model.Variable], error) {
	return &varWriter{s.c, c.Ctx}, nil
}

type varWriter struct {
	c   *dynamodb.Client
	ctx context.Context
}

func (w *varWriter) Write(v model.Variable, _ connectors.Meta) error {
	item := v.Item()
	_, err := w.c.PutItem(w.ctx, &dynamodb.PutItemInput{TableName: aws.String(model.VariablesTable), Item: item,
		ConditionExpression: aws.String("attribute_not_exists(customer) OR #v < :v"), ExpressionAttributeNames: map[string]string{"#v": "version"},
		ExpressionAttributeValues: map[string]types.AttributeValue{":v": item["version"]}})
	if e := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &e) {
		return nil
	}
	return err
}
func (w *varWriter) Idle() error                                             { return nil }
func (w *varWriter) Prepare(ctx context.Context, id int64) ([][]byte, error) { return nil, nil }
func (w *varWriter) Close() error                                            { return nil }

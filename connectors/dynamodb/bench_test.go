package dynamodb_test

import (
	"context"
	"fmt"
	"testing"

	awsdynamodb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodb"
)

// instant answers every call at once.
type instant struct{}

// BatchWriteItem has written all.
func (instant) BatchWriteItem(context.Context, *awsdynamodb.BatchWriteItemInput, ...func(*awsdynamodb.Options)) (*awsdynamodb.BatchWriteItemOutput, error) {
	return &awsdynamodb.BatchWriteItemOutput{}, nil
}

// PutItem has written it.
func (instant) PutItem(context.Context, *awsdynamodb.PutItemInput, ...func(*awsdynamodb.Options)) (*awsdynamodb.PutItemOutput, error) {
	return &awsdynamodb.PutItemOutput{}, nil
}

// BenchmarkSink measures the sink alone, per record: marshalling, lanes, batches, without a client and a table.
func BenchmarkSink(b *testing.B) {
	for name, version := range map[string]string{"batches": "", "versions": "v"} {
		b.Run(name, func(b *testing.B) {
			w, err := dynamodb.NewSink(dynamodb.Options[record]{Client: instant{}, Table: table, Key: []string{"id"}, Version: version}).NewWriter(writerContext(b, nil))
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			ids := make([]string, 1000)
			for i := range ids {
				ids[i] = fmt.Sprint("customer-", i)
			}
			n := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				if err := w.Write(record{ID: ids[n%1000], V: n, Body: "x"}, connectors.Meta{}); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := w.Prepare(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
		})
	}
}

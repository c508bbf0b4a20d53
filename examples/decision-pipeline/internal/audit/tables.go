package audit

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// readTable scans the decisions table.
func (s Sources) readTable(ctx context.Context, e *Evidence) error {
	return s.scan(ctx, model.DecisionsTable, func(item map[string]types.AttributeValue) {
		id, ok := item["id"].(*types.AttributeValueMemberS)
		if !ok {
			e.Unreadable = append(e.Unreadable, fmt.Sprintf("item of table %q without an id", model.DecisionsTable))
			return
		}
		if s.Belongs(id.Value) {
			d, fault := model.DecisionOfItem(item)
			e.Table = append(e.Table, Stored{ID: id.Value, Decision: d, Fault: fault})
		}
	})
}

// readVariables scans the variables table.
func (s Sources) readVariables(ctx context.Context, e *Evidence) error {
	e.Variables = map[string]model.Variable{}
	return s.scan(ctx, model.VariablesTable, func(item map[string]types.AttributeValue) {
		v, err := model.VariableOfItem(item)
		switch {
		case !s.BelongsCustomer(v.Customer):
		case err != nil:
			e.Unreadable = append(e.Unreadable, fmt.Sprintf("variable of %q: %v", v.Customer, err))
		default:
			e.Variables[v.Customer] = v
		}
	})
}

func (s Sources) scan(ctx context.Context, table string, each func(map[string]types.AttributeValue)) error {
	pages := dynamodb.NewScanPaginator(s.DynamoDB, &dynamodb.ScanInput{TableName: aws.String(table), ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("audit: scan table %q: %w", table, err)
		}
		for _, item := range out.Items {
			each(item)
		}
	}
	return nil
}

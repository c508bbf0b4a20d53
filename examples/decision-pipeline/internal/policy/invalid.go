package policy

import (
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// invalidItem is an item as another program might write it into the table: DynamoDB takes it, the event schema does not.
func invalidItem(rnd *rand.Rand, id, customer string, at time.Time) map[string]types.AttributeValue {
	item := model.Decision{ID: id, Customer: customer, Version: 1, Outcome: model.Approved, Amount: 100, DecidedAt: at}.Item()
	switch rnd.IntN(6) {
	case 0:
		delete(item, "customer")
	case 1:
		item["amount"] = &types.AttributeValueMemberS{Value: "a lot"}
	case 2:
		item["outcome"] = &types.AttributeValueMemberS{Value: "MAYBE"}
	case 3:
		item["amount"] = &types.AttributeValueMemberN{Value: "-1"}
	case 4:
		delete(item, "decided_at")
	default:
		item["version"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	return item
}

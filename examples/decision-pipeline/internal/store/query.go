package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// pagesMax bounds the index pages read for one answer, so that a rare outcome among very many decisions gives a short answer with a
// cursor instead of a request without end.
const pagesMax = 20

// ByCustomer returns up to q.Limit decisions, newest decided_at first, and the cursor of what follows, empty at the end. An answer may
// be shorter than the limit and still have a cursor. The index follows the table with a delay of its own (DynamoDB's global
// secondary indexes are eventually consistent).
func (s *DynamoDB) ByCustomer(ctx context.Context, q Query) (page []model.Decision, next string, err error) {
	start, err := decodeCursor(q.Cursor, q.Customer)
	if err != nil {
		return nil, "", err
	}
	for range pagesMax {
		out, err := s.client.Query(ctx, queryInput(q, start))
		if err != nil {
			return nil, "", fmt.Errorf("store: query decisions of %q: %w", q.Customer, err)
		}
		for _, item := range out.Items {
			d, err := model.DecisionOfItem(item)
			// What does not conform is no decision; it is in the dead-letter topic.
			if err != nil || q.Outcome != "" && d.Outcome != q.Outcome {
				continue
			}
			page = append(page, d)
			if len(page) == q.Limit {
				return page, encodeCursor(d), nil
			}
		}
		if start = out.LastEvaluatedKey; start == nil {
			return page, "", nil
		}
	}
	return page, encodeCursorKey(q.Customer, start), nil
}

func queryInput(q Query, start map[string]types.AttributeValue) *dynamodb.QueryInput {
	from, to := int64(0), int64(math.MaxInt64)
	if !q.From.IsZero() {
		from = q.From.UnixMilli()
	}
	if !q.To.IsZero() {
		to = q.To.UnixMilli() - 1 // BETWEEN includes both ends
	}
	return &dynamodb.QueryInput{
		TableName: aws.String(model.DecisionsTable), IndexName: aws.String(model.CustomerIndex),
		KeyConditionExpression:   aws.String("#c = :c AND #d BETWEEN :from AND :to"),
		ExpressionAttributeNames: map[string]string{"#c": "customer", "#d": "decided_at"},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":c":    &types.AttributeValueMemberS{Value: q.Customer},
			":from": &types.AttributeValueMemberN{Value: strconv.FormatInt(from, 10)},
			":to":   &types.AttributeValueMemberN{Value: strconv.FormatInt(to, 10)},
		},
		ScanIndexForward: aws.Bool(false), Limit: aws.Int32(int32(min(q.Limit, 200) + 1)), ExclusiveStartKey: start,
	}
}

// cursor is the index key of the last decision of a page.
type cursor struct {
	ID        string `json:"i"`
	Customer  string `json:"c"`
	DecidedAt int64  `json:"d"`
}

func encodeCursor(d model.Decision) string {
	b, _ := json.Marshal(cursor{d.ID, d.Customer, d.DecidedAt.UnixMilli()}) // strings and an integer always marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

func encodeCursorKey(customer string, key map[string]types.AttributeValue) string {
	c := cursor{ID: stringOf(key["id"]), Customer: customer}
	if n, ok := key["decided_at"].(*types.AttributeValueMemberN); ok {
		c.DecidedAt, _ = strconv.ParseInt(n.Value, 10, 64) // written by Item
	}
	b, _ := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s, customer string) (map[string]types.AttributeValue, error) {
	if s == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, ErrCursor
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil || c.ID == "" || c.Customer != customer {
		return nil, ErrCursor
	}
	return map[string]types.AttributeValue{
		"id":         &types.AttributeValueMemberS{Value: c.ID},
		"customer":   &types.AttributeValueMemberS{Value: c.Customer},
		"decided_at": &types.AttributeValueMemberN{Value: strconv.FormatInt(c.DecidedAt, 10)},
	}, nil
}

package dynamodb

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// errUnprocessed is the cause given for items that the service sent back.
var errUnprocessed = errors.New("items were sent back unprocessed")

// once turns the client's own retries off: they would hide throttles from the pacing.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// send makes one call and takes its answer in.
func (w *writer[T]) send(b *batch[T]) {
	defer w.calls.Done()
	ctx, cancel := context.WithTimeout(w.ctx, w.o.CallTimeout)
	defer cancel()
	w.m.sent.Add(float64(len(b.ops)))
	var a answer[T]
	var err error
	if w.o.Version != "" {
		a, err = w.putItem(ctx, b.ops[0])
	} else {
		a, err = w.batchWrite(ctx, b)
	}
	if err == nil {
		w.written(a)
		w.finish(b, a, causeOf(a))
		return
	}
	if w.ctx.Err() != nil {
		return // the writer is closed: nobody waits for the outcome
	}
	a, end := w.judge(b, err)
	if end != nil {
		w.fail(end)
		return
	}
	w.finish(b, a, err)
}

func causeOf[T any](a answer[T]) error {
	if len(a.retry) > 0 {
		return errUnprocessed
	}
	return nil
}

func (w *writer[T]) written(a answer[T]) {
	w.m.written.Add(float64(len(a.done)))
	w.m.unprocessed.Add(float64(len(a.retry)))
	if a.counted > 0 {
		w.m.units.Add(a.counted)
	}
}

// judge turns the error of a call into an answer, or into the end of the writer.
func (w *writer[T]) judge(b *batch[T], err error) (a answer[T], end error) {
	v, reasons := classify(err)
	for _, r := range reasons {
		w.m.throttles.WithLabelValues(r).Inc()
	}
	a = answer[T]{counted: 0}
	switch v {
	case condition:
		w.m.conditions.Inc()
		// A failed condition costs as much as the write would have.
		a.done, a.counted = b.ops, -1
	case refused:
		a.refused = true
	case throttled:
		a.retry, a.slow = b.ops, table
	case hotKey:
		a.retry, a.slow = b.ops, oneKey
	case fatal:
		return a, fmt.Errorf("dynamodb: table %q cannot be written: %w; check the name, the region and the permission for dynamodb:PutItem and dynamodb:BatchWriteItem", w.o.Table, err)
	default:
		w.m.failures.Inc()
		// It may have been done, and then it was paid for.
		a.retry, a.slow, a.counted = b.ops, outage, -1
	}
	return a, nil
}

// putItem writes one item if the table holds no equal or newer version.
func (w *writer[T]) putItem(ctx context.Context, o *op[T]) (answer[T], error) {
	out, err := w.o.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                 &w.o.Table,
		Item:                      o.item,
		ConditionExpression:       aws.String("attribute_not_exists(#v) OR #v < :v"),
		ExpressionAttributeNames:  map[string]string{"#v": w.o.Version},
		ExpressionAttributeValues: map[string]types.AttributeValue{":v": o.item[w.o.Version]},
		ReturnConsumedCapacity:    types.ReturnConsumedCapacityTotal,
	}, once)
	a := answer[T]{done: []*op[T]{o}, counted: -1}
	if err == nil && out.ConsumedCapacity != nil {
		a.counted = units(*out.ConsumedCapacity)
	}
	return a, err
}

func units(c types.ConsumedCapacity) float64 {
	if c.CapacityUnits == nil {
		return 0
	}
	return *c.CapacityUnits
}

// batchWrite writes and deletes up to 25 items without conditions.
func (w *writer[T]) batchWrite(ctx context.Context, b *batch[T]) (answer[T], error) {
	requests := make([]types.WriteRequest, len(b.ops))
	for i, o := range b.ops {
		if o.del {
			requests[i].DeleteRequest = &types.DeleteRequest{Key: o.item}
		} else {
			requests[i].PutRequest = &types.PutRequest{Item: o.item}
		}
	}
	out, err := w.o.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
		RequestItems:           map[string][]types.WriteRequest{w.o.Table: requests},
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}, once)
	a := answer[T]{counted: -1}
	if err != nil {
		return a, err
	}
	if out.ConsumedCapacity != nil {
		a.counted = 0
		for _, c := range out.ConsumedCapacity {
			a.counted += units(c)
		}
	}
	back := map[string]bool{}
	for _, list := range out.UnprocessedItems {
		for _, r := range list {
			key, err := w.keyOf(r)
			if err != nil {
				return a, err
			}
			back[key] = true
		}
	}
	for _, o := range b.ops {
		if back[o.key] {
			a.retry = append(a.retry, o)
		} else {
			a.done = append(a.done, o)
		}
	}
	if len(a.retry) > 0 {
		a.slow = oneKey
		// A few items sent back are a hot key range; when most are, the table as a whole has had enough.
		if 2*len(a.retry) > len(b.ops) {
			a.slow = table
		}
		w.m.throttles.WithLabelValues("UnprocessedItems").Inc()
	}
	return a, nil
}

func (w *writer[T]) keyOf(r types.WriteRequest) (string, error) {
	switch {
	case r.PutRequest != nil:
		return encodeKey(r.PutRequest.Item, w.o.Key)
	case r.DeleteRequest != nil:
		return encodeKey(r.DeleteRequest.Key, w.o.Key)
	}
	return "", errors.New("dynamodb: an unprocessed item is neither a put nor a delete")
}

package dynamodbtest

import (
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest/internal/expr"
	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// substitutions are the parameters that expressions share, and the legacy ones that are refused.
type substitutions struct {
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues attr.Item
	Expected                  any
	ConditionalOperator       any
	AttributeUpdates          any
	KeyConditions             any
	QueryFilter               any
	ScanFilter                any
	AttributesToGet           any
}

// scope refuses substitutions without any expression, as the service does.
func (p substitutions) scope(expressions ...string) (*expr.Scope, error) {
	for name, v := range map[string]any{"Expected": p.Expected, "ConditionalOperator": p.ConditionalOperator, "AttributeUpdates": p.AttributeUpdates,
		"KeyConditions": p.KeyConditions, "QueryFilter": p.QueryFilter, "ScanFilter": p.ScanFilter, "AttributesToGet": p.AttributesToGet} {
		if v != nil {
			return nil, invalid("dynamodbtest does not know the legacy parameter " + name + "; use an expression")
		}
	}
	given := slices.ContainsFunc(expressions, func(s string) bool { return s != "" })
	if !given && p.ExpressionAttributeNames != nil {
		return nil, invalid("ExpressionAttributeNames can only be specified when using expressions")
	}
	if !given && p.ExpressionAttributeValues != nil {
		return nil, invalid("ExpressionAttributeValues can only be specified when using expressions: UpdateExpression is null, ConditionExpression is null")
	}
	if p.ExpressionAttributeNames != nil && len(p.ExpressionAttributeNames) == 0 {
		return nil, invalid("ExpressionAttributeNames must not be empty")
	}
	if p.ExpressionAttributeValues != nil && len(p.ExpressionAttributeValues) == 0 {
		return nil, invalid("ExpressionAttributeValues must not be empty")
	}
	return expr.NewScope(p.ExpressionAttributeNames, p.ExpressionAttributeValues)
}

// write is one change of one item, whatever call it came by.
type write struct {
	TableName                           string
	Item                                attr.Item // of a put
	Key                                 attr.Item // of the others
	ConditionExpression                 *string
	UpdateExpression                    *string
	ReturnValues                        string
	ReturnConsumedCapacity              string
	ReturnValuesOnConditionCheckFailure string
	substitutions

	verb    verb
	table   *table
	cond    expr.Cond
	changes *expr.Changes
	pk      string
	hash    uint64
}

type verb byte

const (
	verbPut verb = iota
	verbUpdate
	verbDelete
	verbCheck // of a transaction
)

type (
	putItem    struct{ write }
	updateItem struct{ write }
	deleteItem struct{ write }
)

func (w *write) about() (table, shard string) { return tableName(w.TableName), "" }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// parse finds the table and checks all that can be checked without looking at the stored item.
func (w *write) parse(s *Server, v verb) (err error) {
	w.verb = v
	if w.table, err = s.table(w.TableName); err != nil {
		return err
	}
	key := w.Key
	switch {
	case v == verbPut && w.Item == nil:
		return invalid("1 validation error detected: Value null at 'item' failed to satisfy constraint: Member must not be null")
	case v == verbPut:
		if err := w.table.checkItem(w.Item); err != nil {
			return err
		}
		key = w.Item
	case key == nil:
		return invalid("1 validation error detected: Value null at 'key' failed to satisfy constraint: Member must not be null")
	default:
		if err := w.table.checkKey(key); err != nil {
			return err
		}
	}
	w.pk = w.table.pk(key)
	w.hash = hashOf(key[w.table.base.hashKey].Sortable())
	return w.parseExpressions()
}

func (w *write) parseExpressions() error {
	scope, err := w.scope(text(w.ConditionExpression), text(w.UpdateExpression))
	if err != nil {
		return err
	}
	if w.ConditionExpression != nil {
		if w.cond, err = expr.ParseCondition(scope, expr.Condition, *w.ConditionExpression); err != nil {
			return err
		}
	}
	if w.UpdateExpression != nil {
		if w.changes, err = expr.ParseUpdate(scope, *w.UpdateExpression); err != nil {
			return err
		}
		if err := w.changes.Check(w.table.keys()...); err != nil {
			return err
		}
	}
	return scope.Unused()
}

// outcome is what a write would do.
type outcome struct {
	old  *entry
	item attr.Item // nil: the item does not exist afterwards
}

func (o outcome) oldItem() attr.Item {
	if o.old == nil {
		return nil
	}
	return o.old.item
}

// unchanged says that the write stores what is stored already.
func (o outcome) unchanged() bool {
	if o.old == nil || o.item == nil {
		return o.old == nil && o.item == nil
	}
	return o.old.item.Equal(o.item)
}

// evaluate decides the condition and computes the new item, without changing anything.
func (w *write) evaluate() (outcome, error) {
	key := w.Key
	if w.verb == verbPut {
		key = w.Item
	}
	o := outcome{old: w.table.get(key)}
	if w.cond != nil && !w.cond.Eval(o.oldItem()) {
		e := &Error{Code: "ConditionalCheckFailedException", Message: errConditional}
		if w.ReturnValuesOnConditionCheckFailure == "ALL_OLD" && o.old != nil {
			e.item = o.old.item
		}
		return o, e
	}
	switch w.verb {
	case verbPut:
		o.item = w.Item
	case verbCheck:
		o.item = o.oldItem()
	case verbUpdate:
		base := o.oldItem()
		if base == nil {
			base = w.Key
		}
		o.item = base
		if w.changes != nil {
			var err error
			if o.item, err = w.changes.Apply(base); err != nil {
				return o, err
			}
		}
		if err := w.table.checkIndexKeys(o.item); err != nil {
			return o, err
		}
		if o.item.Size() > itemBytesMax {
			return o, errTooLargeUpd
		}
	}
	return o, nil
}

// commit stores the outcome and writes the stream record.
func (s *Server) commit(t *table, o outcome, ttl bool) {
	if o.unchanged() {
		return
	}
	t.set(o.old, o.item)
	s.record(t, o, ttl)
}

type attributes struct {
	Attributes       attr.Item `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

// single runs a PutItem, UpdateItem or DeleteItem.
func (s *Server) single(w *write, v verb) (any, error) {
	if err := w.parse(s, v); err != nil {
		return nil, err
	}
	if err := w.checkReturn(); err != nil {
		return nil, err
	}
	o, evalErr := w.evaluate()
	u := usage{table: w.table}
	u.addWrite(o.oldItem(), o.item, 1)
	if err := w.table.spend(true, w.hash, u.base, s.opts.Now()); err != nil {
		return nil, err
	}
	if evalErr != nil {
		return nil, evalErr
	}
	s.commit(w.table, o, false)
	return attributes{Attributes: w.returned(o), ConsumedCapacity: u.report(w.ReturnConsumedCapacity, false)}, nil
}

func (w *write) checkReturn() error {
	switch w.ReturnValues {
	case "", "NONE", "ALL_OLD":
		return nil
	case "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW":
		if w.verb == verbUpdate {
			return nil
		}
		return invalid("ReturnValues can only be ALL_OLD or NONE")
	}
	return invalid(fmt.Sprintf("1 validation error detected: Value '%s' at 'returnValues' failed to satisfy constraint: Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]", w.ReturnValues))
}

func (w *write) returned(o outcome) attr.Item {
	switch w.ReturnValues {
	case "ALL_OLD":
		return o.oldItem()
	case "ALL_NEW":
		return o.item
	case "UPDATED_OLD":
		if w.changes != nil {
			return w.changes.Updated(o.oldItem())
		}
	case "UPDATED_NEW":
		if w.changes != nil {
			return w.changes.Updated(o.item)
		}
	}
	return nil
}

func (s *Server) putItem(_ *Fault, r *putItem) (any, error) { return s.single(&r.write, verbPut) }
func (s *Server) updateItem(_ *Fault, r *updateItem) (any, error) {
	return s.single(&r.write, verbUpdate)
}
func (s *Server) deleteItem(_ *Fault, r *deleteItem) (any, error) {
	return s.single(&r.write, verbDelete)
}

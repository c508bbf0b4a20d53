package dynamodbtest

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

const (
	transactMax   = 100
	tokenLifetime = 10 * time.Minute // Source: API reference, ClientRequestToken
)

// token remembers a transaction that succeeded.
type token struct {
	at     time.Time
	params uint64
}

type transactItem struct {
	Put            *write
	Update         *write
	Delete         *write
	ConditionCheck *write
}

type transactWrite struct {
	TransactItems          []transactItem
	ClientRequestToken     string
	ReturnConsumedCapacity string
}

func (r *transactWrite) about() (table, shard string) {
	for _, i := range r.TransactItems {
		for _, w := range []*write{i.Put, i.Update, i.Delete, i.ConditionCheck} {
			if w != nil {
				return tableName(w.TableName), ""
			}
		}
	}
	return "", ""
}

type transactAnswer struct {
	Responses        []itemAnswer `json:",omitempty"`
	ConsumedCapacity []*capacity  `json:",omitempty"`
}

func (i transactItem) one() (*write, verb, error) {
	var out *write
	var v verb
	for k, w := range []*write{verbPut: i.Put, verbUpdate: i.Update, verbDelete: i.Delete, verbCheck: i.ConditionCheck} {
		if w == nil {
			continue
		}
		if out != nil {
			return nil, 0, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
		}
		out, v = w, verb(k)
	}
	switch {
	case out == nil:
		return nil, 0, invalid("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
	case v == verbCheck && out.ConditionExpression == nil:
		return nil, 0, invalid("1 validation error detected: Value null at 'transactItems.member.conditionCheck.conditionExpression' failed to satisfy constraint: Member must not be null")
	case v == verbUpdate && out.UpdateExpression == nil:
		return nil, 0, invalid("1 validation error detected: Value null at 'transactItems.member.update.updateExpression' failed to satisfy constraint: Member must not be null")
	}
	return out, v, nil
}

func (r *transactWrite) parse(s *Server) ([]*write, error) {
	if n := len(r.TransactItems); n < 1 || n > transactMax {
		return nil, invalid("1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to 100, Member must have length greater than or equal to 1")
	}
	var out []*write
	seen := map[string]bool{}
	bytes := 0
	for _, i := range r.TransactItems {
		w, v, err := i.one()
		if err != nil {
			return nil, err
		}
		if err := w.parse(s, v); err != nil {
			return nil, err
		}
		id := w.table.name + "\x00" + w.pk
		if seen[id] {
			return nil, invalid("Transaction request cannot include multiple operations on one item")
		}
		seen[id] = true
		if bytes += w.Item.Size() + w.Key.Size(); bytes > transactBytes {
			return nil, invalid("Collection size limit exceeded: the aggregate size of the items in the transaction exceeds 4 MB")
		}
		out = append(out, w)
	}
	return out, nil
}

// repeated looks a token up: done says that the same transaction succeeded within the last ten minutes.
func (s *Server) repeated(r *transactWrite) (sum uint64, done bool, err error) {
	if r.ClientRequestToken == "" {
		return 0, false, nil
	}
	if len(r.ClientRequestToken) > 36 {
		return 0, false, invalid("1 validation error detected: Value '" + r.ClientRequestToken + "' at 'clientRequestToken' failed to satisfy constraint: Member must have length less than or equal to 36")
	}
	b, err := json.Marshal(r.TransactItems, json.Deterministic(true))
	if err != nil {
		return 0, false, err
	}
	h := fnv.New64a()
	h.Write(b)
	now := s.opts.Now()
	for k, t := range s.tokens {
		if now.Sub(t.at) >= tokenLifetime {
			delete(s.tokens, k)
		}
	}
	t, ok := s.tokens[r.ClientRequestToken]
	if ok && t.params != h.Sum64() {
		return 0, false, &Error{Code: "IdempotentParameterMismatchException", Message: "The request uses the same client token as a previous, but non-identical request."}
	}
	return h.Sum64(), ok, nil
}

func (s *Server) transactWrite(_ *Fault, r *transactWrite) (any, error) {
	writes, err := r.parse(s)
	if err != nil {
		return nil, err
	}
	sum, done, err := s.repeated(r)
	if err != nil {
		return nil, err
	}
	used := map[string]*usage{}
	if done {
		return transactAnswer{ConsumedCapacity: reports(used, r.ReturnConsumedCapacity, true)}, nil
	}
	outcomes := make([]outcome, len(writes))
	reasons := make([]cancelReason, len(writes))
	failed := false
	for i, w := range writes {
		reasons[i].Code = "None"
		o, err := w.evaluate()
		if err == nil {
			u := usage{table: w.table}
			u.addWrite(o.oldItem(), o.item, 2)
			merge(used, w.table.name, u)
			err = w.table.spend(true, w.hash, u.base, s.opts.Now())
		}
		if outcomes[i] = o; err != nil {
			failed = true
			reasons[i] = reason(err)
		}
	}
	if failed {
		return nil, cancelled(reasons)
	}
	for i, w := range writes {
		if w.verb != verbCheck {
			s.commit(w.table, outcomes[i], false)
		}
	}
	if r.ClientRequestToken != "" {
		s.tokens[r.ClientRequestToken] = token{at: s.opts.Now(), params: sum}
	}
	return transactAnswer{ConsumedCapacity: reports(used, r.ReturnConsumedCapacity, true)}, nil
}

// reason translates the fault of one action into a cancellation reason.
func reason(err error) cancelReason {
	e := asError(err)
	code := strings.TrimSuffix(e.Code, "Exception")
	switch code {
	case "Validation":
		code = "ValidationError"
	case "Throttling":
		code = "ThrottlingError"
	}
	return cancelReason{Code: code, Message: e.Message, Item: e.item}
}

func cancelled(reasons []cancelReason) error {
	codes := make([]string, len(reasons))
	for i, r := range reasons {
		codes[i] = r.Code
	}
	return &Error{Code: "TransactionCanceledException", cancel: reasons,
		Message: fmt.Sprintf("Transaction cancelled, please refer cancellation reasons for specific reasons [%s]", strings.Join(codes, ", "))}
}

type transactGet struct {
	TransactItems          []struct{ Get *getItem }
	ReturnConsumedCapacity string
}

func (r *transactGet) about() (table, shard string) {
	if len(r.TransactItems) == 0 || r.TransactItems[0].Get == nil {
		return "", ""
	}
	return r.TransactItems[0].Get.about()
}

func (s *Server) transactGet(_ *Fault, r *transactGet) (any, error) {
	if n := len(r.TransactItems); n < 1 || n > transactMax {
		return nil, invalid("1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to 100, Member must have length greater than or equal to 1")
	}
	out := transactAnswer{}
	used := map[string]*usage{}
	reasons := make([]cancelReason, len(r.TransactItems))
	failed := false
	for i, x := range r.TransactItems {
		reasons[i].Code = "None"
		if x.Get == nil {
			return nil, invalid("1 validation error detected: Value null at 'transactItems.member.get' failed to satisfy constraint: Member must not be null")
		}
		item, err := s.transactOne(x.Get, used)
		var e *Error
		if errors.As(err, &e) && e.Reasons == nil {
			return nil, err
		}
		if err != nil {
			failed = true
			reasons[i] = reason(err)
		}
		out.Responses = append(out.Responses, itemAnswer{Item: item})
	}
	if failed {
		return nil, cancelled(reasons)
	}
	out.ConsumedCapacity = reports(used, r.ReturnConsumedCapacity, true)
	return out, nil
}

func (s *Server) transactOne(g *getItem, used map[string]*usage) (attr.Item, error) {
	t, err := s.table(g.TableName)
	if err != nil {
		return nil, err
	}
	if err := t.checkKey(g.Key); err != nil {
		return nil, err
	}
	paths, err := projection(g.ProjectionExpression, g.substitutions)
	if err != nil {
		return nil, asError(err)
	}
	size := 0
	e := t.get(g.Key)
	if e != nil {
		size = e.size
	}
	u := usage{table: t, base: 2 * readUnits(size, true)}
	if err := t.spend(false, hashOf(g.Key[t.base.hashKey].Sortable()), u.base, s.opts.Now()); err != nil {
		return nil, err
	}
	merge(used, t.name, u)
	if e == nil {
		return nil, nil
	}
	return projected(e.item, paths), nil
}

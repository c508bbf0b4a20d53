package dynamodbtest

import (
	"maps"
	"slices"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

const (
	batchWriteMax = 25
	batchGetMax   = 100
)

type writeRequest struct {
	PutRequest    *struct{ Item attr.Item } `json:",omitempty"`
	DeleteRequest *struct{ Key attr.Item }  `json:",omitempty"`
}

type batchWrite struct {
	RequestItems           map[string][]writeRequest
	ReturnConsumedCapacity string
}

func (r *batchWrite) about() (table, shard string) {
	return firstTable(r.RequestItems), ""
}

func firstTable[V any](m map[string]V) string {
	if len(m) == 0 {
		return ""
	}
	return tableName(slices.Min(slices.Collect(maps.Keys(m))))
}

type batchWriteAnswer struct {
	UnprocessedItems map[string][]writeRequest
	ConsumedCapacity []*capacity `json:",omitempty"`
}

// parse checks the whole batch: one fault refuses all of it.
func (r *batchWrite) parse(s *Server) ([]*write, error) {
	if len(r.RequestItems) == 0 {
		return nil, invalid("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	var out []*write
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(r.RequestItems)) {
		list := r.RequestItems[name]
		if len(list) == 0 {
			return nil, invalid("The batch write request list for a table cannot be null or empty: " + name)
		}
		for _, q := range list {
			w := &write{TableName: name}
			v := verbPut
			switch {
			case q.PutRequest != nil && q.DeleteRequest == nil:
				w.Item = q.PutRequest.Item
			case q.DeleteRequest != nil && q.PutRequest == nil:
				w.Key, v = q.DeleteRequest.Key, verbDelete
			default:
				return nil, invalid("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
			}
			if len(out) == batchWriteMax {
				return nil, invalid("Too many items requested for the BatchWriteItem call")
			}
			if err := w.parse(s, v); err != nil {
				return nil, err
			}
			if id := w.table.name + "\x00" + w.pk; seen[id] {
				return nil, invalid("Provided list of item keys contains duplicates")
			} else {
				seen[id] = true
			}
			out = append(out, w)
		}
	}
	return out, nil
}

func (s *Server) batchWrite(f *Fault, r *batchWrite) (any, error) {
	writes, err := r.parse(s)
	if err != nil {
		return nil, err
	}
	out := batchWriteAnswer{UnprocessedItems: map[string][]writeRequest{}}
	used := map[string]*usage{}
	var refused error
	done, at := 0, map[string]int{}
	for i, w := range writes {
		q := r.RequestItems[w.TableName][at[w.TableName]]
		at[w.TableName]++
		o, err := w.evaluate()
		if err != nil {
			return nil, err
		}
		u := usage{table: w.table}
		u.addWrite(o.oldItem(), o.item, 1)
		if slices.Contains(f.Unprocessed, i) {
			refused = w.table.throttled("TableWriteProvisionedThroughputExceeded")
		} else if err := w.table.spend(true, w.hash, u.base, s.opts.Now()); err != nil {
			refused = err
		} else {
			done++
			s.commit(w.table, o, false)
			merge(used, w.TableName, u)
			continue
		}
		out.UnprocessedItems[w.TableName] = append(out.UnprocessedItems[w.TableName], q)
	}
	if done == 0 {
		return nil, refused
	}
	out.ConsumedCapacity = reports(used, r.ReturnConsumedCapacity, false)
	return out, nil
}

func merge(used map[string]*usage, name string, u usage) {
	old := used[name]
	if old == nil {
		used[name] = &u
		return
	}
	old.base += u.base
	for k, n := range u.indexes {
		if old.indexes == nil {
			old.indexes = map[string]float64{}
		}
		old.indexes[k] += n
	}
}

func reports(used map[string]*usage, mode string, transact bool) []*capacity {
	var out []*capacity
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if c := used[name].report(mode, transact); c != nil {
			out = append(out, c)
		}
	}
	return out
}

type keysAndAttributes struct {
	Keys                     []attr.Item
	ProjectionExpression     *string           `json:",omitempty"`
	ConsistentRead           bool              `json:",omitzero"`
	ExpressionAttributeNames map[string]string `json:",omitempty"`
}

type batchGet struct {
	RequestItems           map[string]keysAndAttributes
	ReturnConsumedCapacity string
}

func (r *batchGet) about() (table, shard string) { return firstTable(r.RequestItems), "" }

type batchGetAnswer struct {
	Responses        map[string][]attr.Item
	UnprocessedKeys  map[string]keysAndAttributes
	ConsumedCapacity []*capacity `json:",omitempty"`
}

func (r *batchGet) check(s *Server) error {
	if len(r.RequestItems) == 0 {
		return invalid("1 validation error detected: Value '{}' at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	n := 0
	for name, q := range r.RequestItems {
		t, err := s.table(name)
		if err != nil {
			return err
		}
		if n += len(q.Keys); n > batchGetMax {
			return invalid("Too many items requested for the BatchGetItem call")
		}
		seen := map[string]bool{}
		for _, k := range q.Keys {
			if err := t.checkKey(k); err != nil {
				return err
			}
			if seen[t.pk(k)] {
				return invalid("Provided list of item keys contains duplicates")
			}
			seen[t.pk(k)] = true
		}
	}
	if n == 0 {
		return invalid("1 validation error detected: Value at 'requestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	return nil
}

func (s *Server) batchGet(f *Fault, r *batchGet) (any, error) {
	if err := r.check(s); err != nil {
		return nil, err
	}
	out := batchGetAnswer{Responses: map[string][]attr.Item{}, UnprocessedKeys: map[string]keysAndAttributes{}}
	used := map[string]*usage{}
	var refused error
	i, done, bytes := -1, 0, 0
	for _, name := range slices.Sorted(maps.Keys(r.RequestItems)) {
		q := r.RequestItems[name]
		t := s.tables[tableName(name)]
		paths, err := projection(q.ProjectionExpression, substitutions{ExpressionAttributeNames: q.ExpressionAttributeNames})
		if err != nil {
			return nil, err
		}
		out.Responses[name] = []attr.Item{}
		left := q
		left.Keys = nil
		for _, k := range q.Keys {
			i++
			e := t.get(k)
			size := 0
			if e != nil {
				size = e.size
			}
			n := readUnits(size, q.ConsistentRead)
			if slices.Contains(f.Unprocessed, i) {
				refused = t.throttled("TableReadProvisionedThroughputExceeded")
			} else if bytes+size <= batchBytesMax {
				if refused = t.spend(false, hashOf(k[t.base.hashKey].Sortable()), n, s.opts.Now()); refused == nil {
					done++
					bytes += size
					merge(used, name, usage{table: t, base: n})
					if e != nil {
						out.Responses[name] = append(out.Responses[name], projected(e.item, paths))
					}
					continue
				}
			}
			left.Keys = append(left.Keys, k)
		}
		if left.Keys != nil {
			out.UnprocessedKeys[name] = left
		}
	}
	if done == 0 {
		return nil, refused
	}
	out.ConsumedCapacity = reports(used, r.ReturnConsumedCapacity, false)
	return out, nil
}

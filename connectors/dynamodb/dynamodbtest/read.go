package dynamodbtest

import (
	"slices"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest/internal/expr"
	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

type getItem struct {
	TableName              string
	Key                    attr.Item
	ProjectionExpression   *string
	ConsistentRead         bool
	ReturnConsumedCapacity string
	substitutions
}

func (r *getItem) about() (table, shard string) { return tableName(r.TableName), "" }

type itemAnswer struct {
	Item             attr.Item `json:",omitzero"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

// projection parses a ProjectionExpression; nil means all attributes.
func projection(s *string, subst substitutions) ([]expr.Path, error) {
	scope, err := subst.scope(text(s))
	if err != nil || s == nil {
		return nil, err
	}
	paths, err := expr.ParseProjection(scope, *s)
	if err != nil {
		return nil, err
	}
	return paths, scope.Unused()
}

func projected(item attr.Item, paths []expr.Path) attr.Item {
	if paths == nil {
		return item
	}
	return expr.Project(item, paths)
}

func (s *Server) getItem(_ *Fault, r *getItem) (any, error) {
	t, err := s.table(r.TableName)
	if err != nil {
		return nil, err
	}
	if err := t.checkKey(r.Key); err != nil {
		return nil, err
	}
	paths, err := projection(r.ProjectionExpression, r.substitutions)
	if err != nil {
		return nil, err
	}
	e := t.get(r.Key)
	size := 0
	if e != nil {
		size = e.size
	}
	n := readUnits(size, r.ConsistentRead)
	if err := t.spend(false, hashOf(r.Key[t.base.hashKey].Sortable()), n, s.opts.Now()); err != nil {
		return nil, err
	}
	u := usage{table: t, base: n}
	out := itemAnswer{ConsumedCapacity: u.report(r.ReturnConsumedCapacity, false)}
	if e != nil {
		out.Item = projected(e.item, paths)
	}
	return out, nil
}

// search is a Query or Scan.
type search struct {
	TableName              string
	IndexName              string
	KeyConditionExpression *string
	FilterExpression       *string
	ProjectionExpression   *string
	Select                 string
	ScanIndexForward       *bool
	Limit                  *int
	ExclusiveStartKey      attr.Item
	ConsistentRead         bool
	Segment                *int
	TotalSegments          *int
	ReturnConsumedCapacity string
	substitutions

	table  *table
	index  *index
	keys   expr.KeyRange
	filter expr.Cond
	paths  []expr.Path
}

type (
	query struct{ search }
	scan  struct{ search }
)

func (r *search) about() (table, shard string) { return tableName(r.TableName), "" }

type searchAnswer struct {
	Items            []attr.Item `json:",omitzero"`
	Count            int
	ScannedCount     int
	LastEvaluatedKey attr.Item `json:",omitempty"`
	ConsumedCapacity *capacity `json:",omitempty"`
}

func (r *search) parse(s *Server, isQuery bool) (err error) {
	if r.table, err = s.table(r.TableName); err != nil {
		return err
	}
	r.index = r.table.base
	if r.IndexName != "" {
		if r.index = r.table.index(r.IndexName); r.index == nil {
			return invalid("The table does not have the specified index: " + r.IndexName)
		}
		if r.ConsistentRead && !r.index.local {
			return invalid("Consistent reads are not supported on global secondary indexes")
		}
	}
	if r.Limit != nil && *r.Limit < 1 {
		return invalid("1 validation error detected: Value at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1")
	}
	switch r.Select {
	case "", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "SPECIFIC_ATTRIBUTES", "COUNT":
	default:
		return invalid("1 validation error detected: Value '" + r.Select + "' at 'select' failed to satisfy constraint: Member must satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]")
	}
	return r.parseExpressions(isQuery)
}

func (r *search) parseExpressions(isQuery bool) error {
	scope, err := r.scope(text(r.KeyConditionExpression), text(r.FilterExpression), text(r.ProjectionExpression))
	if err != nil {
		return err
	}
	if isQuery {
		if r.KeyConditionExpression == nil {
			return invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
		}
		if r.keys, err = expr.ParseKeyCondition(scope, *r.KeyConditionExpression, r.index.hashKey, r.index.rng); err != nil {
			return err
		}
		if r.keys.Hash.Kind != r.table.types[r.index.hashKey] {
			return invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
		}
	}
	if r.FilterExpression != nil {
		if r.filter, err = expr.ParseCondition(scope, expr.Filter, *r.FilterExpression); err != nil {
			return err
		}
	}
	if r.ProjectionExpression != nil {
		if r.paths, err = expr.ParseProjection(scope, *r.ProjectionExpression); err != nil {
			return err
		}
	}
	return scope.Unused()
}

// page gathers items until a limit stops it.
type page struct {
	r       *search
	out     searchAnswer
	bytes   int
	stopped bool
}

// add takes one row; false says that the page is full.
func (p *page) add(x row) bool {
	r := p.r
	item, _ := r.index.view(x.e.item, r.table)
	p.out.ScannedCount++
	p.bytes += item.Size()
	if r.filter == nil || r.filter.Eval(item) {
		p.out.Count++
		if r.Select != "COUNT" {
			p.out.Items = append(p.out.Items, projected(item, r.paths))
		}
	}
	// Like the service, a page that is full names its last key even when nothing follows.
	if r.Limit != nil && p.out.ScannedCount == *r.Limit || p.bytes >= pageBytesMax {
		p.out.LastEvaluatedKey = r.position(x.e.item)
		p.stopped = true
	}
	return !p.stopped
}

// position is the key from which a later page goes on: the index's keys and the table's.
func (r *search) position(item attr.Item) attr.Item {
	out := r.table.key(item)
	for _, k := range []string{r.index.hashKey, r.index.rng} {
		if v, ok := item[k]; ok {
			out[k] = v
		}
	}
	return out
}

// start checks ExclusiveStartKey and returns its place.
func (r *search) start() (hashKey string, at row, err error) {
	bad := invalid("The provided starting key is invalid")
	want := r.position(r.ExclusiveStartKey)
	if len(want) != len(r.ExclusiveStartKey) {
		return "", at, bad
	}
	for k, v := range want {
		if v.Kind != r.table.types[k] {
			return "", at, bad
		}
	}
	for _, k := range r.table.keys() {
		if _, ok := want[k]; !ok {
			return "", at, bad
		}
	}
	hashKey, at, ok := r.index.place(want, r.table.pk(want))
	if !ok {
		return "", at, bad
	}
	return hashKey, at, nil
}

func (p *page) finish(s *Server, hash uint64) (any, error) {
	r := p.r
	n := readUnits(p.bytes, r.ConsistentRead)
	if err := r.table.spend(false, hash, n, s.opts.Now()); err != nil {
		return nil, err
	}
	u := usage{table: r.table, base: n}
	if r.index.name != "" {
		u = usage{table: r.table, indexes: map[string]float64{r.index.name: n}}
	}
	if p.out.Items == nil && r.Select != "COUNT" {
		p.out.Items = []attr.Item{}
	}
	p.out.ConsumedCapacity = u.report(r.ReturnConsumedCapacity, false)
	return p.out, nil
}

func (s *Server) query(_ *Fault, r *query) (any, error) {
	if err := r.parse(s, true); err != nil {
		return nil, err
	}
	p := &page{r: &r.search}
	hashKey := r.keys.Hash.Sortable()
	var rows []row
	if g := r.index.groups[hashKey]; g != nil {
		rows = g.rows
	}
	forward := r.ScanIndexForward == nil || *r.ScanIndexForward
	if r.ExclusiveStartKey != nil {
		key, at, err := r.start()
		if err != nil {
			return nil, err
		}
		if key != hashKey {
			return nil, invalid("The provided starting key is outside query boundaries based on provided conditions")
		}
		i, found := slices.BinarySearchFunc(rows, at, compareRows)
		switch {
		case !forward:
			rows = rows[:i]
		case found:
			rows = rows[i+1:]
		default:
			rows = rows[i:]
		}
	}
	for i := range rows {
		x := rows[i]
		if !forward {
			x = rows[len(rows)-1-i]
		}
		if r.keys.Range != nil && !r.keys.Range.Eval(x.e.item) {
			continue
		}
		if !p.add(x) {
			break
		}
	}
	return p.finish(s, hashOf(hashKey))
}

func (s *Server) scan(_ *Fault, r *scan) (any, error) {
	if err := r.parse(s, false); err != nil {
		return nil, err
	}
	if (r.Segment == nil) != (r.TotalSegments == nil) {
		return nil, invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	}
	if r.Segment != nil && (*r.TotalSegments < 1 || *r.TotalSegments > 1000000 || *r.Segment < 0 || *r.Segment >= *r.TotalSegments) {
		return nil, invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments")
	}
	groups := r.index.sorted()
	var at row
	var from *group
	if r.ExclusiveStartKey != nil {
		key, place, err := r.start()
		if err != nil {
			return nil, err
		}
		at, from = place, &group{hash: hashOf(key), key: key}
		i, _ := slices.BinarySearchFunc(groups, from, compareGroups)
		groups = groups[i:]
	}
	p := &page{r: &r.search}
	for _, g := range groups {
		if r.Segment != nil && int(g.hash%uint64(*r.TotalSegments)) != *r.Segment {
			continue
		}
		rows := g.rows
		if from != nil && g.key == from.key {
			i, found := slices.BinarySearchFunc(rows, at, compareRows)
			if found {
				i++
			}
			rows = rows[i:]
		}
		for _, x := range rows {
			if !p.add(x) {
				return p.finish(s, 0)
			}
		}
	}
	return p.finish(s, 0)
}

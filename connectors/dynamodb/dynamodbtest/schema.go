package dynamodbtest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Billing modes.
const (
	onDemand    = "PAY_PER_REQUEST"
	provisioned = "PROVISIONED"
)

type attributeDefinition struct{ AttributeName, AttributeType string }

type keySchemaElement struct{ AttributeName, KeyType string }

type projectionSpec struct {
	ProjectionType   string
	NonKeyAttributes []string `json:",omitempty"`
}

type throughput struct {
	ReadCapacityUnits, WriteCapacityUnits int64
	NumberOfDecreasesToday                int64
}

type secondaryIndex struct {
	IndexName             string
	KeySchema             []keySchemaElement
	Projection            *projectionSpec
	ProvisionedThroughput *throughput `json:",omitempty"`
	// Only in descriptions:
	IndexStatus    string `json:",omitempty"`
	IndexArn       string `json:",omitempty"`
	ItemCount      int
	IndexSizeBytes int
}

type streamSpecification struct {
	StreamEnabled  bool
	StreamViewType string `json:",omitempty"`
}

type createTable struct {
	TableName                 string
	AttributeDefinitions      []attributeDefinition
	KeySchema                 []keySchemaElement
	GlobalSecondaryIndexes    []secondaryIndex
	LocalSecondaryIndexes     []secondaryIndex
	BillingMode               string
	ProvisionedThroughput     *throughput
	StreamSpecification       *streamSpecification
	DeletionProtectionEnabled bool
}

func (r *createTable) about() (table, shard string) { return tableName(r.TableName), "" }

type tableDescription struct {
	TableName                 string
	TableArn                  string
	TableId                   string
	TableStatus               string
	CreationDateTime          float64
	AttributeDefinitions      []attributeDefinition
	KeySchema                 []keySchemaElement
	ItemCount                 int
	TableSizeBytes            int
	ProvisionedThroughput     throughput
	BillingModeSummary        *struct{ BillingMode string } `json:",omitempty"`
	GlobalSecondaryIndexes    []secondaryIndex              `json:",omitempty"`
	LocalSecondaryIndexes     []secondaryIndex              `json:",omitempty"`
	StreamSpecification       *streamSpecification          `json:",omitempty"`
	LatestStreamArn           string                        `json:",omitempty"`
	LatestStreamLabel         string                        `json:",omitempty"`
	DeletionProtectionEnabled bool
}

func badSchema(what string) error {
	return invalid("One or more parameter values were invalid: " + what)
}

func (s *Server) createTable(_ *Fault, r *createTable) (any, error) {
	if n := len(r.TableName); n < 3 || n > 255 {
		return nil, invalid("TableName must be at least 3 characters long and at most 255 characters long")
	}
	for _, c := range r.TableName {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return nil, invalid("1 validation error detected: Value '" + r.TableName + "' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
		}
	}
	if s.tables[r.TableName] != nil {
		return nil, &Error{Code: "ResourceInUseException", Message: "Table already exists: " + r.TableName}
	}
	t := &table{name: r.TableName, arn: s.tableARN(r.TableName), created: s.opts.Now(), protect: r.DeletionProtectionEnabled, emptyPages: map[string]int{}}
	s.seq++
	t.id = fmt.Sprintf("00000000-0000-4000-8000-%012x", s.seq)
	if err := t.define(r); err != nil {
		return nil, err
	}
	if err := t.bill(r.BillingMode, r.ProvisionedThroughput); err != nil {
		return nil, err
	}
	n := s.opts.Partitions
	for i := range n {
		t.parts = append(t.parts, &partition{lo: bound(0, ^uint64(0), i, n), hi: bound(0, ^uint64(0), i+1, n) - 1})
	}
	t.parts[n-1].hi = ^uint64(0)
	if sp := r.StreamSpecification; sp != nil && sp.StreamEnabled {
		if err := s.enableStream(t, sp.StreamViewType); err != nil {
			return nil, err
		}
	}
	s.tables[t.name] = t
	return map[string]any{"TableDescription": t.describe()}, nil
}

// bound is the start of part i of n equal parts of [lo, hi].
func bound(lo, hi uint64, i, n int) uint64 {
	return lo + (hi-lo)/uint64(n)*uint64(i)
}

func (t *table) define(r *createTable) error {
	t.types = map[string]attr.Kind{}
	for _, d := range r.AttributeDefinitions {
		kind := attr.KindOf(d.AttributeType)
		if kind != attr.S && kind != attr.N && kind != attr.B {
			return invalid(fmt.Sprintf("1 validation error detected: Value '%s' at 'attributeDefinitions.member.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]", d.AttributeType))
		}
		t.types[d.AttributeName] = kind
	}
	used := map[string]bool{}
	var err error
	if t.base, err = t.newIndex(secondaryIndex{KeySchema: r.KeySchema, Projection: &projectionSpec{ProjectionType: "ALL"}}, used); err != nil {
		return err
	}
	for i, d := range slices.Concat(r.GlobalSecondaryIndexes, r.LocalSecondaryIndexes) {
		x, err := t.newIndex(d, used)
		if err != nil {
			return err
		}
		x.local = i >= len(r.GlobalSecondaryIndexes)
		if len(d.IndexName) < 3 || t.index(d.IndexName) != nil {
			return badSchema("Duplicate or too short index name: " + d.IndexName)
		}
		if x.local && (x.hashKey != t.base.hashKey || x.rng == "") {
			return badSchema("Index KeySchema of a local index must have the table's hash key and a range key: " + d.IndexName)
		}
		t.indexes = append(t.indexes, x)
	}
	if len(used) != len(t.types) {
		return badSchema(fmt.Sprintf("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions; keys: %v, definitions: %v",
			slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(t.types))))
	}
	return nil
}

func (t *table) newIndex(d secondaryIndex, used map[string]bool) (*index, error) {
	x := &index{name: d.IndexName, groups: map[string]*group{}}
	for i, k := range d.KeySchema {
		switch {
		case i == 0 && k.KeyType == "HASH":
			x.hashKey = k.AttributeName
		case i == 1 && k.KeyType == "RANGE" && k.AttributeName != x.hashKey:
			x.rng = k.AttributeName
		default:
			return nil, invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type, or the second is not another attribute of RANGE key type")
		}
		if t.types[k.AttributeName] == 0 {
			return nil, badSchema(fmt.Sprintf("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: %v", k.AttributeName, slices.Sorted(maps.Keys(t.types))))
		}
		used[k.AttributeName] = true
	}
	if x.hashKey == "" {
		return nil, invalid("1 validation error detected: Value '[]' at 'keySchema' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if d.Projection == nil || !slices.Contains([]string{"ALL", "KEYS_ONLY", "INCLUDE"}, d.Projection.ProjectionType) {
		return nil, badSchema("Unknown ProjectionType of index " + d.IndexName)
	}
	x.projection, x.include = d.Projection.ProjectionType, d.Projection.NonKeyAttributes
	if (x.projection == "INCLUDE") != (len(x.include) > 0) {
		return nil, badSchema("NonKeyAttributes must be given for ProjectionType INCLUDE and for no other; index " + d.IndexName)
	}
	return x, nil
}

func (t *table) bill(mode string, p *throughput) error {
	switch mode {
	case onDemand:
		if p != nil {
			return badSchema("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
	case "", provisioned:
		mode = provisioned
		if p == nil {
			return badSchema("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		if p.ReadCapacityUnits < 1 || p.WriteCapacityUnits < 1 {
			return invalid("1 validation error detected: Value at 'provisionedThroughput' failed to satisfy constraint: Member must have value greater than or equal to 1")
		}
		t.rcu, t.wcu = p.ReadCapacityUnits, p.WriteCapacityUnits
	default:
		return invalid("1 validation error detected: Value '" + mode + "' at 'billingMode' failed to satisfy constraint: Member must satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]")
	}
	t.billing = mode
	return nil
}

func (x *index) schema() []keySchemaElement {
	out := []keySchemaElement{{x.hashKey, "HASH"}}
	if x.rng != "" {
		out = append(out, keySchemaElement{x.rng, "RANGE"})
	}
	return out
}

func (t *table) describe() tableDescription {
	d := tableDescription{
		TableName: t.name, TableArn: t.arn, TableId: t.id, TableStatus: "ACTIVE", CreationDateTime: seconds(t.created),
		KeySchema: t.base.schema(), ItemCount: t.base.itemN, TableSizeBytes: t.base.bytesN,
		ProvisionedThroughput:     throughput{ReadCapacityUnits: t.rcu, WriteCapacityUnits: t.wcu},
		DeletionProtectionEnabled: t.protect,
	}
	for _, name := range slices.Sorted(maps.Keys(t.types)) {
		d.AttributeDefinitions = append(d.AttributeDefinitions, attributeDefinition{name, t.types[name].String()})
	}
	if t.billing == onDemand {
		d.BillingModeSummary = &struct{ BillingMode string }{onDemand}
	}
	for _, x := range t.indexes {
		i := secondaryIndex{IndexName: x.name, KeySchema: x.schema(), Projection: &projectionSpec{x.projection, x.include},
			IndexArn: t.arn + "/index/" + x.name, ItemCount: x.itemN, IndexSizeBytes: x.bytesN}
		if x.local {
			d.LocalSecondaryIndexes = append(d.LocalSecondaryIndexes, i)
			continue
		}
		i.IndexStatus = "ACTIVE"
		i.ProvisionedThroughput = &throughput{}
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, i)
	}
	if t.stream != nil {
		d.StreamSpecification = &streamSpecification{StreamEnabled: true, StreamViewType: t.stream.view}
	}
	if t.lastStream != nil {
		d.LatestStreamArn, d.LatestStreamLabel = t.lastStream.arn, t.lastStream.label
	}
	return d
}

// seconds is how the service writes times.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

type tableOnly struct{ TableName string }

func (r *tableOnly) about() (table, shard string) { return tableName(r.TableName), "" }

type describeTable struct{ tableOnly }

type deleteTable struct{ tableOnly }

type describeTTL struct{ tableOnly }

func (s *Server) named(name string) (*table, error) {
	t, err := s.table(name)
	if err == errNoTable { //nolint:errorlint // the very value is meant
		return nil, notFound("Requested resource not found: Table: " + tableName(name) + " not found")
	}
	return t, err
}

func (s *Server) describeTable(_ *Fault, r *describeTable) (any, error) {
	t, err := s.named(r.TableName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"Table": t.describe()}, nil
}

func (s *Server) deleteTable(_ *Fault, r *deleteTable) (any, error) {
	t, err := s.named(r.TableName)
	if err != nil {
		return nil, err
	}
	if t.protect {
		return nil, invalid("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	if t.stream != nil {
		s.disableStream(t)
	}
	delete(s.tables, t.name)
	d := t.describe()
	d.TableStatus = "DELETING"
	return map[string]any{"TableDescription": d}, nil
}

type updateTable struct {
	TableName                   string
	BillingMode                 string
	ProvisionedThroughput       *throughput
	StreamSpecification         *streamSpecification
	DeletionProtectionEnabled   *bool
	GlobalSecondaryIndexUpdates any
}

func (r *updateTable) about() (table, shard string) { return tableName(r.TableName), "" }

func (s *Server) updateTable(_ *Fault, r *updateTable) (any, error) {
	t, err := s.named(r.TableName)
	if err != nil {
		return nil, err
	}
	if r.GlobalSecondaryIndexUpdates != nil {
		return nil, invalid("dynamodbtest does not change indexes of a table; create the table with them")
	}
	if sp := r.StreamSpecification; sp != nil {
		switch {
		case sp.StreamEnabled && t.stream != nil:
			return nil, invalid("Table already has an enabled stream: TableName: " + t.name)
		case !sp.StreamEnabled && t.stream == nil:
			return nil, invalid("Table is already in a state where stream is disabled: TableName: " + t.name)
		case sp.StreamEnabled:
			if err := s.enableStream(t, sp.StreamViewType); err != nil {
				return nil, err
			}
		default:
			s.disableStream(t)
		}
	}
	if r.BillingMode != "" || r.ProvisionedThroughput != nil {
		mode := r.BillingMode
		if mode == "" {
			mode = t.billing
		}
		if err := t.bill(mode, r.ProvisionedThroughput); err != nil {
			return nil, err
		}
	}
	if r.DeletionProtectionEnabled != nil {
		t.protect = *r.DeletionProtectionEnabled
	}
	return map[string]any{"TableDescription": t.describe()}, nil
}

type listTables struct {
	ExclusiveStartTableName string
	Limit                   int
}

func (r *listTables) about() (table, shard string) { return "", "" }

func (s *Server) listTables(_ *Fault, r *listTables) (any, error) {
	if r.Limit < 0 || r.Limit > 100 {
		return nil, invalid("1 validation error detected: Value at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100")
	}
	limit := r.Limit
	if limit == 0 {
		limit = 100
	}
	out := map[string]any{}
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		if name <= r.ExclusiveStartTableName {
			continue
		}
		if len(names) == limit {
			out["LastEvaluatedTableName"] = names[limit-1]
			break
		}
		names = append(names, name)
	}
	out["TableNames"] = names
	return out, nil
}

type updateTTL struct {
	TableName               string
	TimeToLiveSpecification struct {
		AttributeName string
		Enabled       bool
	}
}

func (r *updateTTL) about() (table, shard string) { return tableName(r.TableName), "" }

// updateTTL stores the setting. Items expire when the test calls Server.Expire only: the service itself promises no moment.
func (s *Server) updateTTL(_ *Fault, r *updateTTL) (any, error) {
	t, err := s.named(r.TableName)
	if err != nil {
		return nil, err
	}
	t.ttl = ""
	if r.TimeToLiveSpecification.Enabled {
		t.ttl = r.TimeToLiveSpecification.AttributeName
	}
	return map[string]any{"TimeToLiveSpecification": r.TimeToLiveSpecification}, nil
}

func (s *Server) describeTTL(_ *Fault, r *describeTTL) (any, error) {
	t, err := s.named(r.TableName)
	if err != nil {
		return nil, err
	}
	d := map[string]string{"TimeToLiveStatus": "DISABLED"}
	if t.ttl != "" {
		d = map[string]string{"TimeToLiveStatus": "ENABLED", "AttributeName": t.ttl}
	}
	return map[string]any{"TimeToLiveDescription": d}, nil
}

package dynamodbtest

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Limits are the capacity of a table. Zero fields mean no limit.
type Limits struct {
	// WCU and RCU are write and read units a second for the whole table. Beyond them the table answers
	// ProvisionedThroughputExceededException, reason TableWriteProvisionedThroughputExceeded (TableRead…).
	WCU, RCU float64
	// Burst is how many seconds of unused units are kept. Default 1 s; the service keeps up to 300 s. A full reserve is there
	// when the limit is set.
	Burst time.Duration
	// PartitionWCU and PartitionRCU are units a second for each partition (the service: 1000 and 3000). Beyond them the reason is
	// TableWriteKeyRangeThroughputExceeded (TableRead…).
	PartitionWCU, PartitionRCU float64
}

// SetLimits limits a table's capacity from now on.
func (s *Server) SetLimits(name string, l Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		return fmt.Errorf("dynamodbtest: SetLimits: no table %q; create it first", name)
	}
	t.limits = l
	now := s.opts.Now()
	t.writes, t.reads = newBucket(l.WCU, l.Burst, now), newBucket(l.RCU, l.Burst, now)
	for _, p := range t.parts {
		p.limit(l, now)
	}
	return nil
}

func (p *partition) limit(l Limits, now time.Time) {
	p.writes, p.reads = newBucket(l.PartitionWCU, l.Burst, now), newBucket(l.PartitionRCU, l.Burst, now)
}

// bucket is a token bucket; rate 0 means no limit.
type bucket struct {
	rate, size, tokens float64
	at                 time.Time
}

func newBucket(rate float64, burst time.Duration, now time.Time) bucket {
	size := rate * max(1, burst.Seconds())
	return bucket{rate: rate, size: size, tokens: size, at: now}
}

// has refills and reports whether n units can be taken. A request larger than the bucket passes when the bucket is full.
func (b *bucket) has(n float64, now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.size, b.tokens+b.rate*d.Seconds())
		b.at = now
	}
	return b.tokens >= min(n, b.size)
}

func (b *bucket) take(n float64) {
	if b.rate > 0 {
		b.tokens -= n
	}
}

// spend takes n units from table and partition, or from neither.
func (t *table) spend(write bool, hash uint64, n float64, now time.Time) error {
	p := t.partition(hash)
	whole, part, op := &t.reads, &p.reads, "Read"
	if write {
		whole, part, op = &t.writes, &p.writes, "Write"
	}
	if !part.has(n, now) {
		return t.throttled("Table" + op + "KeyRangeThroughputExceeded")
	}
	if !whole.has(n, now) {
		return t.throttled("Table" + op + "ProvisionedThroughputExceeded")
	}
	whole.take(n)
	part.take(n)
	return nil
}

func (t *table) throttled(reason string) *Error {
	e := &Error{Code: "ProvisionedThroughputExceededException", Reasons: []string{reason}, resource: t.arn,
		Message: "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API."}
	if t.billing == onDemand {
		e.Code = "ThrottlingException"
		e.Message = "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or index so please try again shortly."
	}
	return e
}

// units rounds bytes up to capacity units of the given size; the least is 1.
func units(bytes, unit int) float64 { return float64(max(1, (bytes+unit-1)/unit)) }

const (
	writeUnit = 1 << 10
	readUnit  = 4 << 10
)

func readUnits(bytes int, consistent bool) float64 {
	if consistent {
		return units(bytes, readUnit)
	}
	return units(bytes, readUnit) / 2
}

// usage adds up the units of one table in one call.
type usage struct {
	table   *table
	base    float64
	indexes map[string]float64
	write   bool
}

type capacity struct {
	TableName          string
	CapacityUnits      float64
	ReadCapacityUnits  float64                 `json:",omitzero"`
	WriteCapacityUnits float64                 `json:",omitzero"`
	Table              *capacityPart           `json:",omitempty"`
	Global             map[string]capacityPart `json:"GlobalSecondaryIndexes,omitempty"`
	Local              map[string]capacityPart `json:"LocalSecondaryIndexes,omitempty"`
}

type capacityPart struct{ CapacityUnits float64 }

// report is the ConsumedCapacity of an answer, or nil when it was not asked for.
func (u *usage) report(mode string, transact bool) *capacity {
	if mode != "TOTAL" && mode != "INDEXES" {
		return nil
	}
	c := &capacity{TableName: u.table.name, CapacityUnits: u.base}
	for _, n := range u.indexes {
		c.CapacityUnits += n
	}
	if transact && u.write {
		c.WriteCapacityUnits = c.CapacityUnits
	} else if transact {
		c.ReadCapacityUnits = c.CapacityUnits
	}
	if mode == "TOTAL" {
		return c
	}
	c.Table = &capacityPart{u.base}
	for name, n := range u.indexes {
		to := &c.Global
		if x := u.table.index(name); x != nil && x.local {
			to = &c.Local
		}
		if *to == nil {
			*to = map[string]capacityPart{}
		}
		(*to)[name] = capacityPart{n}
	}
	return c
}

// addWrite counts a write of one item: 1 unit per KB of the larger image, and as much for each index whose entry changes.
func (u *usage) addWrite(old, now attr.Item, times float64) {
	u.write = true
	u.base += times * units(max(old.Size(), now.Size()), writeUnit)
	for _, x := range u.table.indexes {
		a, okA := x.view(old, u.table)
		b, okB := x.view(now, u.table)
		if (!okA && !okB) || (okA && okB && a.Equal(b)) {
			continue
		}
		if u.indexes == nil {
			u.indexes = map[string]float64{}
		}
		n := units(max(a.Size(), b.Size()), writeUnit)
		if okA && okB && (!a[x.hashKey].Equal(b[x.hashKey]) || x.rng != "" && !a[x.rng].Equal(b[x.rng])) {
			n *= 2 // the old entry is deleted and a new one put
		}
		u.indexes[x.name] += times * n
	}
}

// view is what an index shows of an item; ok is false when the item is not in it.
func (x *index) view(item attr.Item, t *table) (attr.Item, bool) {
	if item == nil {
		return nil, false
	}
	if _, _, ok := x.place(item, ""); !ok {
		return nil, false
	}
	if x.projection == "ALL" || x.name == "" {
		return item, true
	}
	out := t.key(item)
	for _, k := range append([]string{x.hashKey, x.rng}, x.include...) {
		if v, ok := item[k]; ok {
			out[k] = v
		}
	}
	return out, true
}

// index finds a secondary index by name.
func (t *table) index(name string) *index {
	for _, x := range t.indexes {
		if x.name == name {
			return x
		}
	}
	return nil
}

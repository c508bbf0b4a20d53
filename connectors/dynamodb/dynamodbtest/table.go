package dynamodbtest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Limits of the service, in bytes. Source: developer guide, "Quotas".
const (
	itemBytesMax  = 400 << 10
	hashBytesMax  = 2048
	rangeBytesMax = 1024
	pageBytesMax  = 1 << 20
	batchBytesMax = 16 << 20
	transactBytes = 4 << 20
)

// entry is a stored item; never changed, only replaced.
type entry struct {
	item attr.Item
	size int
	pk   string // encoded primary key
	hash uint64 // of the hash key: decides the partition
}

// row is an entry at its place in an index.
type row struct {
	rangeKey string // sortable
	pk       string
	e        *entry
}

func compareRows(a, b row) int {
	if c := cmp.Compare(a.rangeKey, b.rangeKey); c != 0 {
		return c
	}
	return cmp.Compare(a.pk, b.pk)
}

// group holds the rows of one hash key, in order.
type group struct {
	hash uint64
	key  string
	rows []row
}

// index is the table itself, or a secondary index.
type index struct {
	name          string // empty for the table
	hashKey, rng  string // rng is empty when there is none
	projection    string // ALL, KEYS_ONLY or INCLUDE
	include       []string
	local         bool
	groups        map[string]*group
	order         []*group // by hash; nil when it must be made anew
	itemN, bytesN int
}

// place returns where an item stands in the index; ok is false when it lacks a key of it.
func (x *index) place(item attr.Item, pk string) (hashKey string, r row, ok bool) {
	h, ok := item[x.hashKey]
	if !ok {
		return "", r, false
	}
	r.pk = pk
	if x.rng != "" {
		v, ok := item[x.rng]
		if !ok {
			return "", r, false
		}
		r.rangeKey = v.Sortable()
	}
	return h.Sortable(), r, true
}

func (x *index) add(e *entry) {
	key, r, ok := x.place(e.item, e.pk)
	if !ok {
		return
	}
	g := x.groups[key]
	if g == nil {
		g = &group{hash: hashOf(key), key: key}
		x.groups[key] = g
		x.order = nil
	}
	r.e = e
	at, _ := slices.BinarySearchFunc(g.rows, r, compareRows)
	g.rows = slices.Insert(g.rows, at, r)
	x.itemN++
	x.bytesN += e.size
}

func (x *index) remove(e *entry) {
	key, r, ok := x.place(e.item, e.pk)
	if !ok {
		return
	}
	g := x.groups[key]
	at, _ := slices.BinarySearchFunc(g.rows, r, compareRows)
	g.rows = slices.Delete(g.rows, at, at+1)
	if len(g.rows) == 0 {
		delete(x.groups, key)
		x.order = nil
	}
	x.itemN--
	x.bytesN -= e.size
}

// sorted are the groups in the order of a scan: by hash, as the service does, so that no test relies on insertion order.
func (x *index) sorted() []*group {
	if x.order == nil {
		x.order = make([]*group, 0, len(x.groups))
		for _, g := range x.groups {
			x.order = append(x.order, g)
		}
		slices.SortFunc(x.order, compareGroups)
	}
	return x.order
}

func compareGroups(a, b *group) int {
	if c := cmp.Compare(a.hash, b.hash); c != 0 {
		return c
	}
	return cmp.Compare(a.key, b.key)
}

// hashOf places a hash key: FNV-1a, then a finalizer so that similar keys spread over all partitions.
// Source: Fowler/Noll/Vo; the finalizer of MurmurHash3.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// partition is a range of hashes, both ends included.
type partition struct {
	lo, hi uint64
	writes bucket
	reads  bucket
	shard  *shard // the open shard; nil without a stream
}

type table struct {
	name, arn, id string
	created       time.Time
	billing       string
	rcu, wcu      int64
	types         map[string]attr.Kind
	base          *index
	indexes       []*index
	parts         []*partition // in order of hashes
	stream        *stream      // the enabled one
	lastStream    *stream      // the latest, perhaps disabled
	ttl           string       // attribute name
	protect       bool
	limits        Limits
	writes, reads bucket
	emptyPages    map[string]int // by shard
	emptyN        int            // for shards not in emptyPages
}

// keys are the names of the primary key's attributes.
func (t *table) keys() []string {
	if t.base.rng == "" {
		return []string{t.base.hashKey}
	}
	return []string{t.base.hashKey, t.base.rng}
}

func (t *table) key(item attr.Item) attr.Item {
	out := make(attr.Item, 2)
	for _, k := range t.keys() {
		if v, ok := item[k]; ok {
			out[k] = v
		}
	}
	return out
}

// pk encodes the primary key of an item that has one.
func (t *table) pk(item attr.Item) string {
	h := item[t.base.hashKey].Sortable()
	if t.base.rng == "" {
		return h
	}
	b := binary.AppendUvarint(make([]byte, 0, len(h)+32), uint64(len(h)))
	b = append(b, h...)
	return string(append(b, item[t.base.rng].Sortable()...))
}

// get returns the stored entry with this key, or nil.
func (t *table) get(key attr.Item) *entry {
	g := t.base.groups[key[t.base.hashKey].Sortable()]
	if g == nil {
		return nil
	}
	_, r, _ := t.base.place(key, t.pk(key))
	if at, ok := slices.BinarySearchFunc(g.rows, r, compareRows); ok {
		return g.rows[at].e
	}
	return nil
}

// set stores item in the place of old; either may be nil.
func (t *table) set(old *entry, item attr.Item) {
	var e *entry
	if item != nil {
		e = &entry{item: item, size: item.Size(), pk: t.pk(item), hash: hashOf(item[t.base.hashKey].Sortable())}
	}
	for _, x := range append([]*index{t.base}, t.indexes...) {
		if old != nil {
			x.remove(old)
		}
		if e != nil {
			x.add(e)
		}
	}
}

// partition is the one that holds the hash.
func (t *table) partition(hash uint64) *partition {
	at, _ := slices.BinarySearchFunc(t.parts, hash, func(p *partition, h uint64) int {
		switch {
		case p.hi < h:
			return -1
		case p.lo > h:
			return 1
		}
		return 0
	})
	return t.parts[at]
}

// checkKey checks a Key parameter: the key attributes and nothing else.
func (t *table) checkKey(key attr.Item) error {
	if len(key) != len(t.keys()) {
		return errSchema
	}
	for _, k := range t.keys() {
		v, ok := key[k]
		if !ok || v.Kind != t.types[k] {
			return errSchema
		}
	}
	return t.checkKeySizes(key)
}

// checkItem checks the key attributes of an item to be stored, and its size.
func (t *table) checkItem(item attr.Item) error {
	for _, k := range t.keys() {
		v, ok := item[k]
		if !ok {
			return invalid("One or more parameter values were invalid: Missing the key " + k + " in the item")
		}
		if v.Kind != t.types[k] {
			return invalid(fmt.Sprintf("One or more parameter values were invalid: Type mismatch for key %s expected: %v actual: %v", k, t.types[k], v.Kind))
		}
	}
	if err := t.checkKeySizes(item); err != nil {
		return err
	}
	if err := t.checkIndexKeys(item); err != nil {
		return err
	}
	if item.Size() > itemBytesMax {
		return errTooLarge
	}
	return nil
}

func (t *table) checkIndexKeys(item attr.Item) error {
	for _, x := range t.indexes {
		for _, k := range []string{x.hashKey, x.rng} {
			v, ok := item[k]
			switch {
			case !ok:
			case v.Kind != t.types[k]:
				return invalid(fmt.Sprintf("One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %v Actual: %v IndexName: %s", k, t.types[k], v.Kind, x.name))
			case v.Kind != attr.N && v.Str == "":
				return invalid(fmt.Sprintf("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: %s, IndexKey: %s", x.name, k))
			}
		}
	}
	return nil
}

func (t *table) checkKeySizes(item attr.Item) error {
	for _, k := range t.keys() {
		v := item[k]
		switch {
		case v.Kind != attr.N && v.Str == "":
			what := "string"
			if v.Kind == attr.B {
				what = "binary"
			}
			return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty " + what + " value. Key: " + k)
		case k == t.base.hashKey && v.Size() > hashBytesMax:
			return invalid("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes")
		case k == t.base.rng && v.Size() > rangeBytesMax:
			return invalid("One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
		}
	}
	return nil
}

// tableName takes a name or an ARN.
func tableName(s string) string {
	if _, after, ok := strings.Cut(s, ":table/"); ok {
		s, _, _ = strings.Cut(after, "/")
	}
	return s
}

// table finds a table for a data call.
func (s *Server) table(name string) (*table, error) {
	if name == "" {
		return nil, invalid("1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null")
	}
	t := s.tables[tableName(name)]
	if t == nil {
		return nil, errNoTable
	}
	return t, nil
}

func (s *Server) tableARN(name string) string {
	return "arn:aws:dynamodb:" + s.opts.Region + ":000000000000:table/" + name
}

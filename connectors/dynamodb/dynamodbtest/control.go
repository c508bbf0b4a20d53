package dynamodbtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Shard is a shard as DescribeStream shows it.
type Shard struct {
	ID     string
	Parent string // empty for a root
	Start  string // sequence number
	End    string // empty while the shard is open
}

// Listing is what the function given to Server.Listing may change.
type Listing struct {
	Table     string
	StreamARN string
	// N counts the listings of the stream from 1. A page with ExclusiveStartShardId belongs to the listing of the page before it.
	N int
	// Shards are all shards of the stream in order of creation; owned by the function.
	Shards []Shard
}

// Listing sets the function that decides what DescribeStream shows before it is filtered and cut into pages: leave shards out, show a
// closed leaf without its child, take a parent away. It must leave ids unique. nil removes it.
func (s *Server) Listing(f func(Listing) []Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listing = f
}

// streaming finds a table with an enabled stream, for the controls.
func (s *Server) streaming(what, name string) (*table, error) {
	t := s.tables[name]
	if t == nil {
		return nil, fmt.Errorf("dynamodbtest: %s: no table %q; create it first", what, name)
	}
	if t.stream == nil {
		return nil, fmt.Errorf("dynamodbtest: %s: table %q has no stream; enable one by StreamSpecification", what, name)
	}
	return t, nil
}

// Shards returns the shards of the table's latest stream, enabled or not, in order of creation; nil when there is none.
func (s *Server) Shards(name string) []Shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil || t.lastStream == nil {
		return nil
	}
	return t.lastStream.list()
}

// StreamARN returns the ARN of the table's latest stream, or "".
func (s *Server) StreamARN(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil || t.lastStream == nil {
		return ""
	}
	return t.lastStream.arn
}

// Split closes an open shard and opens the given number of children, at least 2, each for an equal part of its hash range. The
// partition behind it is split too, so that each part has the limits of a partition of its own. It returns the
// children's ids.
func (s *Server) Split(name, shardID string, children int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.streaming("Split", name)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(t.parts, func(p *partition) bool { return p.shard != nil && p.shard.id == shardID })
	if at < 0 {
		return nil, fmt.Errorf("dynamodbtest: Split: table %q has no open shard %q", name, shardID)
	}
	if children < 2 {
		return nil, fmt.Errorf("dynamodbtest: Split: %d children, want at least 2 (RollOver gives one)", children)
	}
	p := t.parts[at]
	s.closeShard(p.shard)
	var parts []*partition
	var ids []string
	for i := range children {
		c := &partition{lo: bound(p.lo, p.hi, i, children), hi: bound(p.lo, p.hi, i+1, children) - 1}
		if i == children-1 {
			c.hi = p.hi
		}
		c.limit(t.limits, s.opts.Now())
		c.shard = s.open(t.stream, shardID, c.lo, c.hi)
		parts, ids = append(parts, c), append(ids, c.shard.id)
	}
	t.parts = slices.Replace(t.parts, at, at+1, parts...)
	return ids, nil
}

// RollOver closes every open shard of the table and opens one child for each, as the service does every few hours.
func (s *Server) RollOver(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.streaming("RollOver", name)
	if err != nil {
		return err
	}
	for _, p := range t.parts {
		s.closeShard(p.shard)
		p.shard = s.open(t.stream, p.shard.id, p.lo, p.hi)
	}
	return nil
}

// TrimBefore drops the records of the table's stream that were created before at. Retention of 24 h applies by itself.
func (s *Server) TrimBefore(name string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.streaming("TrimBefore", name)
	if err != nil {
		return err
	}
	for _, sh := range t.stream.shards {
		sh.trim(at, s.opts.Now())
	}
	return nil
}

// ForgetShard makes a closed shard unknown at once: it is no longer listed, and reading it gives ResourceNotFoundException.
func (s *Server) ForgetShard(name, shardID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.streaming("ForgetShard", name)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(t.stream.shards, func(sh *shard) bool { return sh.id == shardID && sh.end != 0 })
	if at < 0 {
		return fmt.Errorf("dynamodbtest: ForgetShard: table %q has no closed shard %q", name, shardID)
	}
	t.stream.shards = slices.Delete(t.stream.shards, at, at+1)
	return nil
}

// EmptyPages makes the next n GetRecords calls of every shard of the table, also of shards yet to come, return no record and an
// iterator that goes on at the same place.
func (s *Server) EmptyPages(name string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.streaming("EmptyPages", name)
	if err != nil {
		return err
	}
	t.emptyN = n
	clear(t.emptyPages)
	return nil
}

// Expire deletes an item as Time to Live does: the stream record names the service as its author. A key that is not there is no
// error, as for a delete.
func (s *Server) Expire(name string, key map[string]types.AttributeValue) error {
	k, err := fromSDK(key)
	if err != nil {
		return fmt.Errorf("dynamodbtest: Expire: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		return fmt.Errorf("dynamodbtest: Expire: no table %q; create it first", name)
	}
	if err := t.checkKey(k); err != nil {
		return fmt.Errorf("dynamodbtest: Expire: %w", err)
	}
	s.commit(t, outcome{old: t.get(k)}, true)
	return nil
}

// Items returns all items of a table in the order of a Scan; nil when there is no such table. The caller owns them.
func (s *Server) Items(name string) []map[string]types.AttributeValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		return nil
	}
	out := make([]map[string]types.AttributeValue, 0, t.base.itemN)
	for _, g := range t.base.sorted() {
		for _, r := range g.rows {
			out = append(out, toSDK(r.e.item))
		}
	}
	return out
}

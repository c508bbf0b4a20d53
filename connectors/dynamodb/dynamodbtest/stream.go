package dynamodbtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Times of the Streams API. Source: its API reference.
const (
	retention        = 24 * time.Hour
	iteratorLifetime = 15 * time.Minute
)

type stream struct {
	arn, label, view string
	table            *table
	created          time.Time
	disabled         time.Time // zero while enabled
	shards           []*shard  // in order of creation
	describes        rate
	listings         int
}

// shard is the log of one partition for some time.
type shard struct {
	id, parent string
	lo, hi     uint64
	start, end uint64 // sequence numbers; end is 0 while open
	closed     time.Time
	records    []streamRecord
	trimmed    uint64    // sequence number of the last record that was trimmed
	trimmedAt  time.Time // when that was
	reads      rate
}

type streamRecord struct {
	seq      uint64
	at       time.Time
	event    string
	keys     attr.Item
	old, now attr.Item
	size     int
	ttl      bool
}

// sequence writes a sequence number: 21 digits.
func sequence(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("1%020d", n)
}

// parseSequence reads what sequence wrote.
func parseSequence(s string) (uint64, bool) {
	if len(s) != 21 || s[0] != '1' {
		return 0, false
	}
	n := uint64(0)
	for _, c := range s[1:] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// nextSeq numbers rise, with gaps, through the whole server.
func (s *Server) nextSeq() uint64 {
	s.seq += 1 + s.seq*7919%97
	return s.seq
}

func (s *Server) enableStream(t *table, view string) error {
	if !slices.Contains([]string{"KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"}, view) {
		return invalid("1 validation error detected: Value '" + view + "' at 'streamSpecification.streamViewType' failed to satisfy constraint: Member must satisfy enum value set: [NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY]")
	}
	now := s.opts.Now()
	st := &stream{table: t, view: view, created: now, label: now.UTC().Format("2006-01-02T15:04:05.000")}
	for st.arn = t.arn + "/stream/" + st.label; s.streams[st.arn] != nil; st.arn = t.arn + "/stream/" + st.label {
		now = now.Add(time.Millisecond) // a label is unique
		st.label = now.UTC().Format("2006-01-02T15:04:05.000")
	}
	t.stream, t.lastStream = st, st
	s.streams[st.arn] = st
	for _, p := range t.parts {
		p.shard = s.open(st, "", p.lo, p.hi)
	}
	return nil
}

func (s *Server) disableStream(t *table) {
	t.stream.disabled = s.opts.Now()
	for _, p := range t.parts {
		s.closeShard(p.shard)
		p.shard = nil
	}
	t.stream = nil
}

func (s *Server) open(st *stream, parent string, lo, hi uint64) *shard {
	sh := &shard{parent: parent, lo: lo, hi: hi, start: s.nextSeq()}
	sh.id = fmt.Sprintf("shardId-%020d-%08x", s.opts.Now().UnixMilli(), uint32(hashOf(fmt.Sprint(sh.start))))
	st.shards = append(st.shards, sh)
	return sh
}

func (s *Server) closeShard(sh *shard) {
	sh.end = s.nextSeq()
	sh.closed = s.opts.Now()
}

// record writes what a change shows in the table's stream.
func (s *Server) record(t *table, o outcome, ttl bool) {
	if t.stream == nil {
		return
	}
	item := o.item
	if item == nil {
		item = o.old.item
	}
	r := streamRecord{seq: s.nextSeq(), at: s.opts.Now(), keys: t.key(item), ttl: ttl}
	switch {
	case o.old == nil:
		r.event = "INSERT"
	case o.item == nil:
		r.event = "REMOVE"
	default:
		r.event = "MODIFY"
	}
	switch t.stream.view {
	case "NEW_IMAGE":
		r.now = o.item
	case "OLD_IMAGE":
		r.old = o.oldItem()
	case "NEW_AND_OLD_IMAGES":
		r.now, r.old = o.item, o.oldItem()
	}
	r.size = r.keys.Size() + r.now.Size() + r.old.Size()
	sh := t.partition(hashOf(item[t.base.hashKey].Sortable())).shard
	sh.records = append(sh.records, r)
}

// trim drops records made before the limit.
func (sh *shard) trim(limit, now time.Time) {
	n := 0
	for n < len(sh.records) && sh.records[n].at.Before(limit) {
		n++
	}
	if n == 0 {
		return
	}
	sh.trimmed, sh.trimmedAt = sh.records[n-1].seq, now
	sh.records = slices.Delete(sh.records, 0, n)
}

// sweep applies retention, and forgets shards that were empty and closed for long.
func (st *stream) sweep(now time.Time, listed time.Duration) {
	for _, sh := range st.shards {
		sh.trim(now.Add(-retention), now)
	}
	st.shards = slices.DeleteFunc(st.shards, func(sh *shard) bool {
		return sh.end != 0 && len(sh.records) == 0 && now.Sub(sh.closed) > retention+listed
	})
}

func (st *stream) shard(id string) *shard {
	for _, sh := range st.shards {
		if sh.id == id {
			return sh
		}
	}
	return nil
}

// rate counts calls within the running second.
type rate struct {
	second int64
	n      int
}

func (r *rate) over(limit int, now time.Time) bool {
	if sec := now.Unix(); sec != r.second {
		r.second, r.n = sec, 0
	}
	r.n++
	return r.n > limit
}

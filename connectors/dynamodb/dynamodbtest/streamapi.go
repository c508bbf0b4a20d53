package dynamodbtest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

const (
	describePageMax = 100
	recordsPageMax  = 1000
	describeRateMax = 10 // calls a second for a stream
	readRateMax     = 5  // calls a second for a shard
)

type listStreams struct {
	TableName               string
	Limit                   int
	ExclusiveStartStreamArn string
}

func (r *listStreams) about() (table, shard string) { return tableName(r.TableName), "" }

type streamSummary struct{ StreamArn, StreamLabel, TableName string }

func (s *Server) listStreams(_ *Fault, r *listStreams) (any, error) {
	out := struct {
		Streams                []streamSummary
		LastEvaluatedStreamArn string `json:",omitempty"`
	}{Streams: []streamSummary{}}
	limit := min(max(r.Limit, 0), 100)
	if limit == 0 {
		limit = 100
	}
	for _, arn := range slices.Sorted(maps.Keys(s.streams)) {
		st := s.streams[arn]
		if arn <= r.ExclusiveStartStreamArn || r.TableName != "" && st.table.name != tableName(r.TableName) || st.gone(s.opts.Now()) {
			continue
		}
		if len(out.Streams) == limit {
			out.LastEvaluatedStreamArn = out.Streams[limit-1].StreamArn
			break
		}
		out.Streams = append(out.Streams, streamSummary{arn, st.label, st.table.name})
	}
	return out, nil
}

// gone says that the stream was disabled and all its data has expired.
func (st *stream) gone(now time.Time) bool {
	return !st.disabled.IsZero() && now.Sub(st.disabled) > retention
}

func (s *Server) findStream(arn string) (*stream, error) {
	st := s.streams[arn]
	if st == nil || st.gone(s.opts.Now()) {
		return nil, notFound("Requested resource not found: Stream: " + arn + " not found")
	}
	return st, nil
}

type describeStream struct {
	StreamArn             string
	Limit                 int
	ExclusiveStartShardId string
	ShardFilter           *struct{ Type, ShardId string }
}

func (r *describeStream) about() (table, shard string) { return tableName(r.StreamArn), "" }

type sequenceRange struct {
	StartingSequenceNumber string `json:",omitempty"`
	EndingSequenceNumber   string `json:",omitempty"`
}

type shardDescription struct {
	ShardId             string
	ParentShardId       string `json:",omitempty"`
	SequenceNumberRange sequenceRange
}

type streamDescription struct {
	StreamArn, StreamLabel, StreamStatus, StreamViewType, TableName string

	CreationRequestDateTime float64
	KeySchema               []keySchemaElement
	Shards                  []shardDescription
	LastEvaluatedShardId    string `json:",omitempty"`
}

func (s *Server) describeStream(_ *Fault, r *describeStream) (any, error) {
	st, err := s.findStream(r.StreamArn)
	if err != nil {
		return nil, err
	}
	if r.Limit < 0 || r.Limit > describePageMax {
		return nil, invalid("1 validation error detected: Value '" + strconv.Itoa(r.Limit) + "' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100")
	}
	now := s.opts.Now()
	if over := st.describes.over(describeRateMax, now); over && s.opts.EnforceStreamRates {
		return nil, &Error{Code: "LimitExceededException", Message: "Rate exceeded for stream " + r.StreamArn}
	}
	child, err := s.childOf(r)
	if err != nil {
		return nil, err
	}
	st.sweep(now, s.opts.ListedAfterClose)
	d := streamDescription{StreamArn: st.arn, StreamLabel: st.label, StreamStatus: "ENABLED", StreamViewType: st.view, TableName: st.table.name,
		CreationRequestDateTime: seconds(st.created), KeySchema: st.table.base.schema(), Shards: []shardDescription{}}
	if !st.disabled.IsZero() {
		d.StreamStatus = "DISABLED"
	}
	limit := r.Limit
	if limit == 0 {
		limit = describePageMax
	}
	for _, sh := range s.listed(st, r.ExclusiveStartShardId == "") {
		if sh.ID <= r.ExclusiveStartShardId || child != "" && sh.Parent != child {
			continue
		}
		if len(d.Shards) == limit {
			d.LastEvaluatedShardId = d.Shards[limit-1].ShardId
			break
		}
		d.Shards = append(d.Shards, shardDescription{sh.ID, sh.Parent, sequenceRange{sh.Start, sh.End}})
	}
	return map[string]any{"StreamDescription": d}, nil
}

// childOf returns the shard whose children are asked for, or "" for all shards.
func (s *Server) childOf(r *describeStream) (string, error) {
	if r.ShardFilter == nil || s.opts.ShardFilter == FilterIgnored {
		return "", nil
	}
	if s.opts.ShardFilter == FilterFails {
		return "", invalid("1 validation error detected: Value at 'shardFilter' failed to satisfy constraint: ShardFilter is not supported")
	}
	if r.ShardFilter.Type != "CHILD_SHARDS" || r.ShardFilter.ShardId == "" {
		return "", invalid("1 validation error detected: Value '" + r.ShardFilter.Type + "' at 'shardFilter.type' failed to satisfy constraint: Member must satisfy enum value set: [CHILD_SHARDS]")
	}
	return r.ShardFilter.ShardId, nil
}

// listed are the shards as a listing shows them, in order of id. The listing function runs without the lock.
func (s *Server) listed(st *stream, first bool) []Shard {
	out := st.list()
	if first {
		st.listings++
	}
	if f := s.listing; f != nil {
		l := Listing{Table: st.table.name, StreamARN: st.arn, N: st.listings, Shards: out}
		s.mu.Unlock()
		defer s.mu.Lock()
		out = f(l)
	}
	slices.SortFunc(out, func(a, b Shard) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (st *stream) list() []Shard {
	out := make([]Shard, 0, len(st.shards))
	for _, sh := range st.shards {
		out = append(out, Shard{ID: sh.id, Parent: sh.parent, Start: sequence(sh.start), End: sequence(sh.end)})
	}
	return out
}

type getShardIterator struct {
	StreamArn, ShardId, ShardIteratorType, SequenceNumber string

	Timestamp *float64
}

func (r *getShardIterator) about() (table, shard string) { return tableName(r.StreamArn), r.ShardId }

func (s *Server) getShardIterator(_ *Fault, r *getShardIterator) (any, error) {
	st, err := s.findStream(r.StreamArn)
	if err != nil {
		return nil, err
	}
	sh := st.shard(r.ShardId)
	if sh == nil {
		return nil, notFound("Requested resource not found: Shard does not exist")
	}
	now := s.opts.Now()
	sh.trim(now.Add(-retention), now)
	pos, err := s.startOf(sh, r, now)
	if err != nil {
		return nil, err
	}
	return map[string]string{"ShardIterator": iterator{st.arn, sh.id, pos, now.UnixMilli()}.String()}, nil
}

// startOf is the sequence number from which an iterator reads on.
func (s *Server) startOf(sh *shard, r *getShardIterator, now time.Time) (uint64, error) {
	switch r.ShardIteratorType {
	case "TRIM_HORIZON":
		return max(sh.start, sh.trimmed+1), nil
	case "LATEST":
		return s.seq + 1, nil
	case "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER":
		n, ok := parseSequence(r.SequenceNumber)
		if !ok || n < sh.start || sh.end != 0 && n > sh.end {
			return 0, invalid("Invalid SequenceNumber: " + r.SequenceNumber + " for shard " + sh.id)
		}
		if n <= sh.trimmed {
			return 0, errTrimmed(sh)
		}
		if r.ShardIteratorType == "AFTER_SEQUENCE_NUMBER" {
			n++
		}
		return n, nil
	case "AT_TIMESTAMP":
		if r.Timestamp == nil {
			return 0, invalid("Timestamp must be specified for shard iterator type AT_TIMESTAMP")
		}
		if *r.Timestamp > seconds(now) {
			return 0, invalid("Timestamp must not be in the future")
		}
		for _, rec := range sh.records {
			if float64(rec.at.Unix()) >= *r.Timestamp {
				return rec.seq, nil
			}
		}
		return s.seq + 1, nil
	}
	return 0, invalid("1 validation error detected: Value '" + r.ShardIteratorType + "' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_SEQUENCE_NUMBER, TRIM_HORIZON, AT_TIMESTAMP]")
}

func errTrimmed(sh *shard) error {
	return &Error{Code: "TrimmedDataAccessException", Message: "The operation attempted to read past the oldest stream record in shard " + sh.id}
}

// iterator is stateless: all it means is in its text.
type iterator struct {
	arn, shard string
	pos        uint64
	issuedMS   int64
}

func (i iterator) String() string {
	return i.arn + "|1|" + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s|%d|%d", i.shard, i.pos, i.issuedMS))
}

func parseIterator(s string) (i iterator, ok bool) {
	arn, rest, ok := strings.Cut(s, "|1|")
	if !ok {
		return i, false
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	parts := strings.Split(string(raw), "|")
	if err != nil || len(parts) != 3 {
		return i, false
	}
	i.arn, i.shard = arn, parts[0]
	pos, err1 := strconv.ParseUint(parts[1], 10, 64)
	issued, err2 := strconv.ParseInt(parts[2], 10, 64)
	i.pos, i.issuedMS = pos, issued
	return i, err1 == nil && err2 == nil
}

type getRecords struct {
	ShardIterator string
	Limit         *int
}

func (r *getRecords) about() (table, shard string) {
	i, _ := parseIterator(r.ShardIterator)
	return tableName(i.arn), i.shard
}

type recordBody struct {
	ApproximateCreationDateTime int64
	Keys                        attr.Item
	NewImage                    attr.Item `json:",omitzero"`
	OldImage                    attr.Item `json:",omitzero"`
	SequenceNumber              string
	SizeBytes                   int
	StreamViewType              string
}

type identity struct{ PrincipalId, Type string }

type record struct {
	EventID      string     `json:"eventID"`
	EventName    string     `json:"eventName"`
	EventVersion string     `json:"eventVersion"`
	EventSource  string     `json:"eventSource"`
	AWSRegion    string     `json:"awsRegion"`
	Dynamodb     recordBody `json:"dynamodb"`
	UserIdentity *identity  `json:"userIdentity,omitempty"`
}

type recordsAnswer struct {
	Records           []record
	NextShardIterator string `json:",omitempty"`
}

func (s *Server) getRecords(_ *Fault, r *getRecords) (any, error) {
	limit := recordsPageMax
	if r.Limit != nil {
		if limit = *r.Limit; limit > recordsPageMax {
			return nil, &Error{Code: "LimitExceededException", Message: "GetRecords was called with a value of more than 1000 for the limit request parameter"}
		}
		if limit < 1 {
			return nil, invalid("1 validation error detected: Value '" + strconv.Itoa(limit) + "' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1")
		}
	}
	it, ok := parseIterator(r.ShardIterator)
	if !ok {
		return nil, invalid("Invalid ShardIterator")
	}
	st, err := s.findStream(it.arn)
	if err != nil {
		return nil, err
	}
	sh := st.shard(it.shard)
	if sh == nil {
		return nil, notFound("Requested resource not found: Shard does not exist")
	}
	now := s.opts.Now()
	if now.UnixMilli()-it.issuedMS >= iteratorLifetime.Milliseconds() {
		return nil, &Error{Code: "ExpiredIteratorException", Message: "Iterator expired: the iterator was created at time " + time.UnixMilli(it.issuedMS).UTC().Format(time.RFC3339) + " which is more than 15 minutes ago"}
	}
	if over := sh.reads.over(readRateMax, now); over && s.opts.EnforceStreamRates {
		return nil, &Error{Code: "LimitExceededException", Message: "Rate exceeded for shard " + sh.id}
	}
	if sh.trim(now.Add(-retention), now); it.pos <= sh.trimmed {
		return nil, errTrimmed(sh)
	}
	return s.page(st, sh, it, limit), nil
}

// page reads from the iterator's position. The next iterator is left out when a closed shard has nothing more.
func (s *Server) page(st *stream, sh *shard, it iterator, limit int) recordsAnswer {
	out := recordsAnswer{Records: []record{}}
	next := iterator{st.arn, sh.id, it.pos, s.opts.Now().UnixMilli()}
	if st.table.emptyPage(sh.id) {
		out.NextShardIterator = next.String()
		return out
	}
	at, _ := slices.BinarySearchFunc(sh.records, it.pos, func(r streamRecord, pos uint64) int {
		if r.seq < pos {
			return -1
		}
		return 1
	})
	bytes := 0
	for at < len(sh.records) && len(out.Records) < limit {
		r := &sh.records[at]
		if bytes += r.size; bytes > pageBytesMax && len(out.Records) > 0 {
			break
		}
		out.Records = append(out.Records, s.encode(st, r))
		next.pos = r.seq + 1
		at++
	}
	if at < len(sh.records) || sh.end == 0 {
		out.NextShardIterator = next.String()
	}
	return out
}

func (s *Server) encode(st *stream, r *streamRecord) record {
	out := record{EventID: fmt.Sprintf("%032x", hashOf(sequence(r.seq))), EventName: r.event, EventVersion: "1.1", EventSource: "aws:dynamodb", AWSRegion: s.opts.Region,
		Dynamodb: recordBody{ApproximateCreationDateTime: r.at.Unix(), Keys: r.keys, NewImage: r.now, OldImage: r.old,
			SequenceNumber: sequence(r.seq), SizeBytes: r.size, StreamViewType: st.view}}
	if r.ttl {
		out.UserIdentity = &identity{PrincipalId: "dynamodb.amazonaws.com", Type: "Service"}
	}
	return out
}

// emptyPage uses up one of the empty pages that the test asked for.
func (t *table) emptyPage(shard string) bool {
	n, ok := t.emptyPages[shard]
	if !ok {
		n = t.emptyN
	}
	if n == 0 {
		return false
	}
	t.emptyPages[shard] = n - 1
	return true
}

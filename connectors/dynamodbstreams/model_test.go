package dynamodbstreams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
)

const modelARN = "arn:aws:dynamodb:local:000000000000:table/decisions/stream/1"

// model is a stream as its documentation describes it, with trouble on demand. It is a Client.
type model struct {
	mu     sync.Mutex
	shards []*modelShard
	serial int
	gone   int      // records trimmed
	all    []string // every record ever written, in order
	byKey  map[string]int

	pageSize  int            // shards a page of a listing; default 100
	filter    string         // "": honoured, "ignored", "fails"
	hidden    map[string]int // shard → listings that still leave it out
	empties   int            // empty pages before each page with records
	noTimes   bool           // AT_TIMESTAMP is answered with an internal error by GetRecords, as moto does
	keepFor   time.Duration  // retention; default 24 h
	strict    bool           // a position whose own record is trimmed is refused, also when nothing after it is
	fault     func(call, shard string) error
	lose      func(call string) bool // the answer is lost after the call was done
	onListing func(page int)

	trimmedAt time.Time
	calls     map[string]int
	reads     map[string][]time.Time
	lists     []time.Time
}

type modelShard struct {
	id, parent string
	created    time.Time
	closed     time.Time
	lo, hi     uint64
	place      uint32 // in a listing
	records    []types.Record
	trimmed    int // records gone
}

func newModel() *model {
	st := &model{byKey: map[string]int{}, hidden: map[string]int{}, calls: map[string]int{}, reads: map[string][]time.Time{}}
	st.open("", 0, 1<<32)
	return st
}

func (st *model) open(parent string, lo, hi uint64) *modelShard {
	st.serial++
	s := &modelShard{id: fmt.Sprintf("shardId-%020d-%08x", time.Now().UnixMilli(), st.serial*2654435761%(1<<32)), parent: parent, created: time.Now(), lo: lo, hi: hi}
	s.place = placeOf(s.id)
	st.shards = append(st.shards, s)
	return s
}

// placeOf is where a shard stands in a listing: anywhere.
func placeOf(id string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return h.Sum32()
}

// put writes the next version of each key.
func (st *model) put(keys ...string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, k := range keys {
		h := fnv.New32a()
		h.Write([]byte(k))
		at := uint64(h.Sum32())
		i := slices.IndexFunc(st.shards, func(s *modelShard) bool { return s.closed.IsZero() && s.lo <= at && at < s.hi })
		st.byKey[k]++
		st.serial++
		id := fmt.Sprintf("%s#%d", k, st.byKey[k])
		s := st.shards[i]
		s.records = append(s.records, types.Record{
			EventName: types.OperationTypeModify, EventID: pointer(id),
			Dynamodb: &types.StreamRecord{
				SequenceNumber: pointer(strconv.Itoa(100_000 + st.serial)), ApproximateCreationDateTime: pointer(time.Now().Truncate(time.Second)),
				Keys:     map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: k}},
				NewImage: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: k}, "n": &types.AttributeValueMemberN{Value: strconv.Itoa(st.byKey[k])}},
			},
		})
		st.all = append(st.all, id)
	}
}

// some writes n records over k keys.
func (st *model) some(n, k int) {
	for i := range n {
		st.put(fmt.Sprintf("k%d", i%k))
	}
}

// split closes an open shard, by its place among the open ones, and opens n children.
func (st *model) split(place, n int) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	var open []*modelShard
	for _, s := range st.shards {
		if s.closed.IsZero() {
			open = append(open, s)
		}
	}
	s := open[place%len(open)]
	s.closed = time.Now()
	var ids []string
	for i := range uint64(n) {
		width := s.hi - s.lo
		ids = append(ids, st.open(s.id, s.lo+width*i/uint64(n), s.lo+width*(i+1)/uint64(n)).id)
	}
	return ids
}

// rollOver closes every open shard and opens one child for each.
func (st *model) rollOver() {
	for range st.openShards() {
		st.split(0, 1)
	}
}

// fail sets what goes wrong from now on.
func (st *model) fail(fault func(call, shard string) error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.fault = fault
}

// log copies what was called so far: the number of each call, the times of each shard's reads and of the listings.
func (st *model) log() (calls map[string]int, reads map[string][]time.Time, lists []time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	reads = map[string][]time.Time{}
	for id, at := range st.reads {
		reads[id] = slices.Clone(at)
	}
	return maps.Clone(st.calls), reads, slices.Clone(st.lists)
}

// known are the shards that are not gone, in the order in which they were opened. Of a shard, only id and parent may be read while the
// source runs.
func (st *model) known() []*modelShard {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.shards)
}

func (st *model) openShards() (n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range st.shards {
		if s.closed.IsZero() {
			n++
		}
	}
	return n
}

// trim applies the retention; shards that are empty and closed for longer vanish.
func (st *model) trim() {
	if time.Since(st.trimmedAt) < time.Second {
		return
	}
	st.trimmedAt = time.Now()
	limit := time.Now().Add(-cmp.Or(st.keepFor, retention))
	for _, s := range st.shards {
		for s.trimmed < len(s.records) && s.records[s.trimmed].Dynamodb.ApproximateCreationDateTime.Before(limit) {
			s.trimmed++
			st.gone++
		}
	}
	expired := func(s *modelShard) bool { return !s.closed.IsZero() && s.closed.Before(limit) }
	if slices.ContainsFunc(st.shards, expired) {
		st.shards = slices.DeleteFunc(slices.Clone(st.shards), expired)
	}
}

func failure(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "scripted"}
}

// begin counts a call and gives its fault. st.mu is held.
func (st *model) begin(ctx context.Context, call, shard string) error {
	st.calls[call]++
	st.trim()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if st.fault != nil {
		return st.fault(call, shard)
	}
	return nil
}

// end loses the answer, perhaps.
func (st *model) end(call string) error {
	if st.lose != nil && st.lose(call) {
		return errors.New("connection reset by peer")
	}
	return nil
}

// DescribeStream implements Client. Shards come in no order that means anything.
func (st *model) DescribeStream(ctx context.Context, in *dynamodbstreams.DescribeStreamInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if f := st.onListing; in.ExclusiveStartShardId != nil && f != nil {
		page := st.calls["DescribeStream"]
		st.mu.Unlock()
		f(page)
		st.mu.Lock()
	}
	st.lists = append(st.lists, time.Now())
	if err := st.begin(ctx, "DescribeStream", ""); err != nil {
		return nil, err
	}
	if in.ShardFilter != nil && st.filter == "fails" {
		return nil, failure("ValidationException")
	}
	out := []*modelShard{}
	for _, s := range st.shards {
		if in.ShardFilter != nil && st.filter == "" && s.parent != *in.ShardFilter.ShardId {
			continue
		}
		if in.ExclusiveStartShardId == nil && st.hidden[s.id] > 0 {
			st.hidden[s.id]--
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *modelShard) int { return cmp.Compare(a.place, b.place) })
	if from := value(in.ExclusiveStartShardId); from != "" {
		out = slices.DeleteFunc(out, func(s *modelShard) bool { return s.place <= placeOf(from) })
	}
	d := &types.StreamDescription{StreamStatus: types.StreamStatusEnabled}
	if size := cmp.Or(st.pageSize, 100); len(out) > size {
		out = out[:size]
		d.LastEvaluatedShardId = &out[size-1].id
	}
	for _, s := range out {
		sh := types.Shard{ShardId: &s.id}
		if s.parent != "" {
			sh.ParentShardId = &s.parent
		}
		d.Shards = append(d.Shards, sh)
	}
	return &dynamodbstreams.DescribeStreamOutput{StreamDescription: d}, st.end("DescribeStream")
}

func (st *model) find(id string) *modelShard {
	for _, s := range st.shards {
		if s.id == id {
			return s
		}
	}
	return nil
}

// GetShardIterator implements Client.
func (st *model) GetShardIterator(ctx context.Context, in *dynamodbstreams.GetShardIteratorInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.begin(ctx, "GetShardIterator", *in.ShardId); err != nil {
		return nil, err
	}
	s := st.find(*in.ShardId)
	if s == nil {
		return nil, failure("ResourceNotFoundException")
	}
	at, kind := s.trimmed, "ok"
	switch in.ShardIteratorType {
	case types.ShardIteratorTypeTrimHorizon:
	case types.ShardIteratorTypeAfterSequenceNumber:
		at = slices.IndexFunc(s.records, func(r types.Record) bool {
			return compareSequences(*r.Dynamodb.SequenceNumber, *in.SequenceNumber) > 0
		})
		if at < 0 {
			at = len(s.records)
		}
		if at < s.trimmed || st.strict && at == s.trimmed && at > 0 {
			return nil, failure("TrimmedDataAccessException")
		}
	case types.ShardIteratorTypeAtTimestamp:
		if in.Timestamp.After(time.Now()) {
			return nil, failure("ValidationException")
		}
		if st.noTimes {
			kind = "broken"
		}
		for at < len(s.records) && s.records[at].Dynamodb.ApproximateCreationDateTime.Before(*in.Timestamp) {
			at++
		}
	default:
		return nil, failure("ValidationException")
	}
	return &dynamodbstreams.GetShardIteratorOutput{ShardIterator: pointer(iteratorOf(s, at, 0, kind))}, st.end("GetShardIterator")
}

func iteratorOf(s *modelShard, at, empty int, kind string) string {
	return fmt.Sprintf("%s|%d|%d|%d|%s", s.id, at, empty, time.Now().UnixMilli(), kind)
}

// GetRecords implements Client.
func (st *model) GetRecords(ctx context.Context, in *dynamodbstreams.GetRecordsInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	f := strings.Split(*in.ShardIterator, "|")
	st.reads[f[0]] = append(st.reads[f[0]], time.Now())
	if err := st.begin(ctx, "GetRecords", f[0]); err != nil {
		return nil, err
	}
	at, _ := strconv.Atoi(f[1])
	empty, _ := strconv.Atoi(f[2])
	made, _ := strconv.ParseInt(f[3], 10, 64)
	s := st.find(f[0])
	switch {
	case s == nil:
		return nil, failure("ResourceNotFoundException")
	case f[4] == "broken":
		return nil, failure("InternalServerError")
	case time.Since(time.UnixMilli(made)) > 15*time.Minute:
		return nil, failure("ExpiredIteratorException")
	case at < s.trimmed:
		return nil, failure("TrimmedDataAccessException")
	}
	if at < len(s.records) && empty < st.empties {
		return &dynamodbstreams.GetRecordsOutput{NextShardIterator: pointer(iteratorOf(s, at, empty+1, "ok"))}, st.end("GetRecords")
	}
	n := min(len(s.records)-at, int(*in.Limit))
	out := &dynamodbstreams.GetRecordsOutput{Records: slices.Clone(s.records[at : at+n])}
	if s.closed.IsZero() || at+n < len(s.records) {
		out.NextShardIterator = pointer(iteratorOf(s, at+n, 0, "ok"))
	}
	return out, st.end("GetRecords")
}

// row is a decoded change.
type row struct {
	id, key string
	change  Change
}

func decodeRow(c Change) (row, error) {
	key := c.Keys["id"].(*types.AttributeValueMemberS).Value
	return row{id: c.EventID, key: key, change: c}, nil
}

func rowID(r row) string  { return r.id }
func rowKey(r row) string { return r.key }

// source makes a source over the model.
func (st *model) source(change ...func(o *Options[row])) connectors.Source[row] {
	o := Options[row]{Client: st, StreamARN: modelARN, Decode: decodeRow}
	for _, c := range change {
		c(&o)
	}
	return NewSource(o)
}

// scenario runs a test over a model in virtual time. The job is closed at the end.
func scenario(t *testing.T, o connectortest.Options, change func(o *Options[row]), f func(t *testing.T, st *model, j *connectortest.Job[row])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newModel()
		var changes []func(o *Options[row])
		if change != nil {
			changes = append(changes, change)
		}
		j := connectortest.NewJob(st.source(changes...), o)
		defer j.Crash()
		f(t, st, j)
	})
}

// start starts the job afresh.
func start(t *testing.T, j *connectortest.Job[row]) {
	t.Helper()
	if err := j.Start(nil); err != nil {
		t.Fatal(err)
	}
}

// until drives the job, for at most a virtual hour, until it has n records.
func until(t *testing.T, j *connectortest.Job[row], n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := j.Run(ctx, func() bool { return j.Len() >= n }); err != nil {
		t.Fatalf("%d of %d records: %v", j.Len(), n, err)
	}
}

func runFor(t *testing.T, j *connectortest.Job[row], d time.Duration) {
	t.Helper()
	if err := j.RunFor(d); err != nil {
		t.Fatal(err)
	}
}

func checkpoint(t *testing.T, j *connectortest.Job[row], id int64) *connectortest.Checkpoint[row] {
	t.Helper()
	c, err := j.Checkpoint(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func restart(t *testing.T, j *connectortest.Job[row], c *connectortest.Checkpoint[row], parallelism int) {
	t.Helper()
	if err := j.Restart(c, parallelism); err != nil {
		t.Fatal(err)
	}
}

// complete drives the job until it has every record from the skip-th on, looks on for two minutes, and checks that each is there once and in the order
// of its key.
func complete(t *testing.T, st *model, j *connectortest.Job[row], skip int) {
	t.Helper()
	until(t, j, len(st.all)-skip)
	runFor(t, j, 2*time.Minute)
	same(t, j, st.all[skip:])
}

func same(t *testing.T, j *connectortest.Job[row], want []string) {
	t.Helper()
	var got []row
	for _, r := range j.Output() {
		got = append(got, r.Value)
	}
	if err := connectortest.Compare(got, want, rowID, rowKey); err != nil {
		t.Fatal(err)
	}
}

// pass lets virtual time go by while the job stands still. It is called in a synctest bubble.
func pass(d time.Duration) { time.Sleep(d) }

package dynamodbstreams

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

func TestValidateNamesEveryFault(t *testing.T) {
	err := NewSource(Options[row]{
		StreamARN: "a", Table: "t", OnDataLoss: 7, OnPoison: -1, Start: AtTimestamp(time.UnixMilli(-5)), PollInterval: time.Microsecond,
		DiscoveryInterval: time.Millisecond, PageBuffer: -1, PageRecords: 1001, IdleTimeout: -1, FailAfter: -1, RequestTimeout: -1,
	}).Validate()
	for _, want := range []string{"Client", "Decode", "exactly one", "Tables", "OnDataLoss is 7", "OnPoison is -1", "Start", "PollInterval is 1µs",
		"DiscoveryInterval is 1ms", "PageBuffer is -1", "PageRecords is 1001", "IdleTimeout is -1ns", "FailAfter is -1ns", "RequestTimeout is -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if err := newModelless().Validate(); err != nil {
		t.Errorf("least options: %v", err)
	}
}

func newModelless() connectors.Source[row] {
	return NewSource(Options[row]{Client: &model{}, StreamARN: modelARN, Decode: decodeRow})
}

func TestCompareSequences(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"9", "10", -1}, {"10", "9", 1}, {"100", "100", 0}, {"", "0", -1},
		{"99999999999999999999999999999999999999", "100000000000000000000000000000000000000", -1}, // beyond 128 bits of care
		{"000000000000000000009", "000000000000000000010", -1},
	} {
		if got := compareSequences(c.a, c.b); got != c.want {
			t.Errorf("compare(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestCreatedOf(t *testing.T) {
	for id, want := range map[string]int64{
		"shardId-00000001414576573621-f55eea83": 1414576573621, // from the API reference of DescribeStream
		"shardId-00000001414576573621":          -1,
		"shardId-0000000141457657362x-f":        -1,
		"shard-1":                               -1,
		"":                                      -1,
	} {
		got, ok := createdOf(id)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("createdOf(%q) = %d, %t, want %d", id, got, ok, want)
		}
	}
}

func TestJudge(t *testing.T) {
	const day = 24 * 3600_000
	for _, c := range []struct {
		name string
		p    position
		f    fault
		want verdict
	}{
		{"read an hour ago, trimmed: only what was read can be", position{After: "5", SinceMS: 9*day + day - 3600_000}, trimmed, reopen},
		{"read two days ago, trimmed", position{After: "5", SinceMS: 8 * day}, trimmed, lost},
		{"read within the clocks' difference of a day, trimmed", position{After: "5", SinceMS: 9*day + 600_000}, trimmed, lost},
		{"never read, new, trimmed", position{SinceMS: 10*day - 1}, trimmed, reopen},
		{"never read, old, trimmed", position{SinceMS: 8 * day}, trimmed, lost},
		{"gone, however new", position{After: "5", SinceMS: 10*day - 1}, gone, lost},
		{"gone, never read", position{SinceMS: 10*day - 1}, gone, lost},
		{"gone, nothing promised", position{SinceMS: 10*day - 1, Spent: true}, gone, finish},
		{"trimmed, nothing promised", position{SinceMS: 8 * day, Spent: true}, trimmed, reopen},
	} {
		if got := judge(c.p, c.f, 10*day); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
	}
}

// What is promised moves with the records; a start by time promises nothing older.
func TestSinceAfter(t *testing.T) {
	for _, c := range []struct {
		p         position
		createdMS int64
		want      int64
	}{
		{position{SinceMS: 50}, 70, 70},
		{position{SinceMS: 50}, 30, 30}, // older than the job: from here on all is promised, also what is as old
		{position{SinceMS: 50, FromMS: 40}, 30, 40},
		{position{SinceMS: 50}, connectors.NoTimestamp, 50},
	} {
		if got := c.p.sinceAfter(c.createdMS); got != c.want {
			t.Errorf("%+v after a record of %d: since %d, want %d", c.p, c.createdMS, got, c.want)
		}
	}
}

// A page from the oldest record on may begin with records that were emitted before; any other page must not.
func TestReopenedPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newModel()
		st.some(5, 2)
		records := st.known()[0].records
		for _, reopened := range []bool{true, false} {
			r, err := newReader(connectors.Context{UID: "source", Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now},
				Options[row]{Client: st, StreamARN: modelARN, Decode: decodeRow}.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			h := &heldShard{id: "shard", pos: position{ARN: modelARN, After: *records[2].Dynamodb.SequenceNumber}, taken: make(chan struct{}, 1)}
			var out discard
			_, err = r.emit(&out, h, &page{records: records, reopened: reopened}, 100)
			if reopened && (err != nil || out.n != 2 || h.pos.Reopen || h.pos.After != *records[4].Dynamodb.SequenceNumber) {
				t.Errorf("reopened: %d records, position %+v, error %v, want the last 2", out.n, h.pos, err)
			}
			if !reopened && (err == nil || !strings.Contains(err.Error(), "breaks the protocol") || out.n != 0) {
				t.Errorf("not reopened: %d records, error %v, want a breach of the protocol", out.n, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFaultOf(t *testing.T) {
	status := func(code int, err error) error {
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: err}
	}
	for _, c := range []struct {
		err  error
		want fault
	}{
		{&types.ExpiredIteratorException{}, expired},
		{&types.TrimmedDataAccessException{}, trimmed},
		{&types.ResourceNotFoundException{}, gone},
		{&types.LimitExceededException{}, throttled},
		{&types.InternalServerError{}, transient},
		{status(400, &smithy.GenericAPIError{Code: "ThrottlingException"}), throttled},
		{status(400, &smithy.GenericAPIError{Code: "ValidationException"}), invalid},
		{status(400, &smithy.GenericAPIError{Code: "AccessDeniedException"}), fatal},
		{status(503, &smithy.GenericAPIError{Code: "Whatever"}), transient},
		{status(429, errors.New("no body")), throttled},
		{status(502, errors.New("no body")), transient},
		{status(403, errors.New("no body")), fatal},
		{errors.New("connection reset by peer"), transient},
		{fmt.Errorf("wrapped: %w", &types.ExpiredIteratorException{}), expired},
	} {
		if got := faultOf(c.err); got != c.want {
			t.Errorf("faultOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// S27, the form of a dead letter: every type of attribute, as the API's JSON has it.
func TestRawRecordHoldsEveryType(t *testing.T) {
	r := &types.Record{
		EventName: types.OperationTypeRemove, EventID: pointer("e1"), AwsRegion: pointer("eu-west-1"), EventSource: pointer("aws:dynamodb"), EventVersion: pointer("1.1"),
		UserIdentity: &types.Identity{Type: pointer("Service"), PrincipalId: pointer("dynamodb.amazonaws.com")},
		Dynamodb: &types.StreamRecord{
			SequenceNumber: pointer("111"), SizeBytes: pointer(int64(9)), StreamViewType: types.StreamViewTypeOldImage, ApproximateCreationDateTime: pointer(time.UnixMilli(1500)),
			Keys: map[string]types.AttributeValue{"k": &types.AttributeValueMemberB{Value: []byte{0, 255}}},
			OldImage: map[string]types.AttributeValue{
				"n":  &types.AttributeValueMemberN{Value: "99999999999999999999999999999999999999"},
				"s":  &types.AttributeValueMemberS{Value: "<&>"},
				"t":  &types.AttributeValueMemberBOOL{Value: true},
				"z":  &types.AttributeValueMemberNULL{Value: true},
				"ss": &types.AttributeValueMemberSS{Value: []string{"a", "b"}},
				"ns": &types.AttributeValueMemberNS{Value: []string{"1", "2.50"}},
				"bs": &types.AttributeValueMemberBS{Value: [][]byte{{1}}},
				"l":  &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberN{Value: "1"}, &types.AttributeValueMemberL{}}},
				"m":  &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"x": &types.AttributeValueMemberM{}}},
			},
		},
	}
	raw, err := rawRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"awsRegion":"eu-west-1","dynamodb":{"ApproximateCreationDateTime":1.500,"Keys":{"k":{"B":"AP8="}},"OldImage":{"bs":{"BS":["AQ=="]},` +
		`"l":{"L":[{"N":"1"},{"L":[]}]},"m":{"M":{"x":{"M":{}}}},"n":{"N":"99999999999999999999999999999999999999"},"ns":{"NS":["1","2.50"]},"s":{"S":"<&>"},` +
		`"ss":{"SS":["a","b"]},"t":{"BOOL":true},"z":{"NULL":true}},"SequenceNumber":"111","SizeBytes":9,"StreamViewType":"OLD_IMAGE"},` +
		`"eventID":"e1","eventName":"REMOVE","eventSource":"aws:dynamodb","eventVersion":"1.1","userIdentity":{"principalId":"dynamodb.amazonaws.com","type":"Service"}}`
	if string(raw) != want {
		t.Errorf("raw  %s\nwant %s", raw, want)
	}
	c, err := changeOf("shard", r)
	if err != nil || !c.TTLDeletion || c.Op != Remove || c.New != nil || len(c.Old) != 9 || c.CreatedMS != 1500 || c.Sequence != "111" {
		t.Errorf("change %+v, error %v", c, err)
	}
	r.UserIdentity = nil
	if c, _ = changeOf("shard", r); c.TTLDeletion {
		t.Error("a removal by a caller counts as one by time to live")
	}
}

func TestRecordWithoutSequenceNumberIsAnError(t *testing.T) {
	for _, r := range []*types.Record{{}, {Dynamodb: &types.StreamRecord{}}} {
		if _, err := changeOf("shard-7", r); err == nil || !strings.Contains(err.Error(), "shard-7") {
			t.Errorf("error %v, want one that names the shard", err)
		}
	}
}

// What a checkpoint may hold after bits flipped: an error or a state that can be encoded, never a panic.
func FuzzState(f *testing.F) {
	l := newLineage("arn", 5, 0, time.Minute)
	l.page(9, []listed{{"a", ""}, {"b", "a"}, {"c", "x"}})
	l.finished(10, l.assign()[0].id)
	good, err := l.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"shards":[{"id":"a","parent":"a","state":"waiting"}]}`))
	f.Add([]byte(`{"version":1,"shards":[{"id":"a","parent":"b","state":"drained"},{"id":"b","parent":"a","state":"waiting"}]}`))
	f.Add([]byte(`{"arn":"x","after":"5"}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		if p, err := decodePosition("s", src); err == nil {
			if _, err := p.encode(); err != nil {
				t.Errorf("position %q cannot be encoded again: %v", src, err)
			}
		}
		l, err := decodeLineage(src, time.Minute)
		if err != nil {
			return
		}
		for _, s := range l.assign() {
			l.start(s)
			l.finished(1, s.id)
		}
		l.listed(1 << 50)
		l.due(1 << 50)
		if b, err := l.encode(); err != nil || !json.Valid(b) {
			t.Errorf("state %q cannot be encoded again: %v", src, err)
		}
	})
}

// Format 1 of the enumerator's state and of positions: every later release must read these.
func TestReadsFormat1(t *testing.T) {
	const state = `{"version":1,"stream_arn":"arn:s","started_ms":1000,"from_ms":900,"listings":3,"shards":[` +
		`{"id":"a","state":"finished","created":1,"listed":2},{"id":"b","parent":"a","state":"assigned","created":3,"listed":2},` +
		`{"id":"c","parent":"b","state":"waiting","listed":2},{"id":"d","parent":"x","state":"waiting","listed":2,"missing":2},{"id":"e","parent":"y","state":"waiting","listed":2,"released":true}]}`
	l, err := decodeLineage([]byte(state), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.assign(); len(got) != 1 || got[0].id != "e" {
		t.Errorf("ready %v, want e alone", got)
	}
	if l.arn != "arn:s" || l.startedMS != 1000 || l.fromMS != 900 || l.listings != 3 || l.orphans["x"][0].missing != 2 {
		t.Errorf("lineage %+v", l)
	}
	l.finished(0, "b")
	if got := l.assign(); len(got) != 1 || got[0].id != "c" {
		t.Errorf("ready after b: %v, want c alone", got)
	}
	p, err := decodePosition("a", []byte(`{"arn":"arn:s","after":"77","from":900,"since":1000,"spent":true,"reopen":true}`))
	if err != nil || p != (position{ARN: "arn:s", After: "77", FromMS: 900, SinceMS: 1000, Spent: true, Reopen: true}) {
		t.Errorf("position %+v, error %v", p, err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"shards":[{"id":"a","state":"lost"}]}`, `{"version":1,"shards":[{"id":"a","state":"waiting"},{"id":"a","state":"waiting"}]}`} {
		if _, err := decodeLineage([]byte(bad), time.Minute); err == nil || !strings.HasPrefix(err.Error(), "dynamodbstreams: ") {
			t.Errorf("state %q: error %v, want one of this package", bad, err)
		}
	}
}

package dynamodbtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

// timed is a fake without a socket whose clock stands still.
func timed(t *testing.T, o dynamodbtest.Options) (target, *clock) {
	t.Helper()
	c := newClock()
	o.Now = c.now
	s := dynamodbtest.New(o)
	t.Cleanup(s.Close)
	return fake(s), c
}

func (x target) from(t *testing.T, table, shard string, kind streamtypes.ShardIteratorType, seq string) *string {
	t.Helper()
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: p(x.fake.StreamARN(table)), ShardId: &shard, ShardIteratorType: kind}
	if seq != "" {
		in.SequenceNumber = &seq
	}
	return x.iterator(t, in)
}

func ids(records []streamtypes.Record) string {
	var out []string
	for _, r := range records {
		out = append(out, r.Dynamodb.Keys["id"].(*streamtypes.AttributeValueMemberS).Value)
	}
	return strings.Join(out, " ")
}

func (x target) putN(t *testing.T, table, prefix string, n int) {
	t.Helper()
	for i := range n {
		x.put(t, table, item{"id": str(fmt.Sprint(prefix, i))})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSplitMovesKeysToChildren(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	root := x.fake.Shards(table)[0].ID
	x.putN(t, table, "a", 100)
	children, err := x.fake.Split(table, root, 4)
	must(t, err)
	x.putN(t, table, "a", 100) // unchanged: no records
	x.putN(t, table, "b", 400)
	got, next := x.read(t, x.from(t, table, root, "TRIM_HORIZON", ""))
	if len(got) != 100 || next != nil {
		t.Errorf("parent: %d records, open %t, want 100 and closed", len(got), next != nil)
	}
	shards := x.fake.Shards(table)
	if len(shards) != 5 || shards[0].End == "" {
		t.Fatalf("shards: %+v, want a closed one and 4 children", shards)
	}
	total, where := 0, map[string]string{}
	for i, s := range shards[1:] {
		if s.ID != children[i] || s.Parent != root || s.End != "" || s.Start <= shards[0].End {
			t.Errorf("child %+v of %+v", s, shards[0])
		}
		got, next := x.read(t, x.from(t, table, s.ID, "TRIM_HORIZON", ""))
		if next == nil || len(got) < 50 {
			t.Errorf("child %d: %d of 400 records, open %t: keys are not spread", i, len(got), next != nil)
		}
		total += len(got)
		for _, id := range strings.Fields(ids(got)) {
			where[id] = s.ID
		}
	}
	if total != 400 || len(where) != 400 {
		t.Errorf("children hold %d records of %d items, want 400 each", total, len(where))
	}
	// A key stays in its shard.
	x.put(t, table, item{"id": str("b7"), "n": num("1")})
	got, _ = x.read(t, x.from(t, table, where["b7"], "TRIM_HORIZON", ""))
	if !strings.HasSuffix(ids(got), "b7") {
		t.Errorf("second write of b7 is not in its shard: %s", ids(got))
	}
	for what, err := range map[string]error{"closed shard": second(x.fake.Split(table, root, 2)), "one child": second(x.fake.Split(table, children[0], 1)), "no table": second(x.fake.Split("nobody", root, 2))} {
		if err == nil {
			t.Errorf("Split with %s: no error", what)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestRollOverKeepsOrder(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{Partitions: 2})
	table := x.table(t)
	for i := range 6 {
		x.put(t, table, item{"id": str("a"), "n": num(fmt.Sprint(i))})
		c.advance(4 * time.Hour / 2)
		must(t, x.fake.RollOver(table))
	}
	shards := x.fake.Shards(table)
	if len(shards) != 14 {
		t.Fatalf("%d shards, want 2 lineages of 7", len(shards))
	}
	byParent := map[string]dynamodbtest.Shard{}
	for _, s := range shards[2:] {
		byParent[s.Parent] = s
	}
	for _, root := range shards[:2] {
		var got []string
		length := 0
		for s, ok := root, true; ok; s, ok = byParent[s.ID] {
			records, _ := x.read(t, x.from(t, table, s.ID, "TRIM_HORIZON", ""))
			for _, r := range records {
				got = append(got, r.Dynamodb.NewImage["n"].(*streamtypes.AttributeValueMemberN).Value)
			}
			length++
		}
		if g := strings.Join(got, " "); length != 7 || g != "0 1 2 3 4 5" && g != "" {
			t.Errorf("lineage of %d shards holds %s", length, g)
		}
	}
}

func TestIteratorExpires(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	x.putN(t, table, "a", 1)
	it := x.from(t, table, x.fake.Shards(table)[0].ID, "TRIM_HORIZON", "")
	c.advance(15*time.Minute - time.Millisecond)
	got, next := x.read(t, it)
	if len(got) != 1 {
		t.Fatalf("before it expires: %d records, want 1", len(got))
	}
	c.advance(time.Millisecond)
	_, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: it})
	x.fails(t, "after 15 minutes", err, "ExpiredIteratorException", "Iterator expired")
	if got, _ := x.read(t, next); len(got) != 0 { // a new iterator lives 15 minutes of its own
		t.Errorf("next iterator: %d records", len(got))
	}
}

func TestTrim(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	shard := x.fake.Shards(table)[0].ID
	x.putN(t, table, "old", 2)
	old, afterOld := x.read(t, x.from(t, table, shard, "TRIM_HORIZON", ""))
	atOld := x.from(t, table, shard, "TRIM_HORIZON", "")
	c.advance(time.Minute)
	x.putN(t, table, "new", 2)
	must(t, x.fake.TrimBefore(table, c.now()))
	if got, _ := x.read(t, x.from(t, table, shard, "TRIM_HORIZON", "")); ids(got) != "new0 new1" {
		t.Errorf("TRIM_HORIZON after the trim: %s", ids(got))
	}
	if got, _ := x.read(t, afterOld); ids(got) != "new0 new1" {
		t.Errorf("iterator behind the trimmed records: %s", ids(got))
	}
	_, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: atOld})
	x.fails(t, "iterator taken before the trim", err, "TrimmedDataAccessException", "")
	_, err = x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: p(x.fake.StreamARN(table)), ShardId: &shard, ShardIteratorType: "AFTER_SEQUENCE_NUMBER", SequenceNumber: old[0].Dynamodb.SequenceNumber})
	x.fails(t, "position in the trimmed part", err, "TrimmedDataAccessException", "")
}

func TestRetention(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	shard := x.fake.Shards(table)[0].ID
	x.putN(t, table, "a", 1)
	must(t, x.fake.RollOver(table))
	c.advance(24 * time.Hour)
	if got, _ := x.read(t, x.from(t, table, shard, "TRIM_HORIZON", "")); len(got) != 1 {
		t.Errorf("after 24 h: %d records, want 1", len(got))
	}
	c.advance(time.Millisecond)
	if got, next := x.read(t, x.from(t, table, shard, "TRIM_HORIZON", "")); len(got) != 0 || next != nil {
		t.Errorf("after more than 24 h: %d records, open %t", len(got), next != nil)
	}
	if n := len(x.shards(t, p(x.fake.StreamARN(table)))); n != 2 {
		t.Errorf("%d shards listed, want 2: a closed shard stays listed for long", n)
	}
	c.advance(24 * time.Hour)
	if n := len(x.shards(t, p(x.fake.StreamARN(table)))); n != 1 {
		t.Errorf("%d shards listed after 48 h, want 1", n)
	}
	_, err := x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: p(x.fake.StreamARN(table)), ShardId: &shard, ShardIteratorType: "TRIM_HORIZON"})
	x.fails(t, "forgotten shard", err, "ResourceNotFoundException", "Shard does not exist")
}

func TestForgetShard(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	shard := x.fake.Shards(table)[0].ID
	it := x.from(t, table, shard, "TRIM_HORIZON", "")
	if err := x.fake.ForgetShard(table, shard); err == nil {
		t.Error("an open shard was forgotten")
	}
	must(t, x.fake.RollOver(table))
	must(t, x.fake.ForgetShard(table, shard))
	_, err := x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: it})
	x.fails(t, "read", err, "ResourceNotFoundException", "Shard does not exist")
}

// The clock starts at a quarter past a second: records are created at :00.25, :01.25 and :02.25, and show whole seconds.
func TestAtTimestamp(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	shard := x.fake.Shards(table)[0].ID
	start := c.now()
	for i := range 3 {
		x.put(t, table, item{"id": str(fmt.Sprint("a", i))})
		c.advance(time.Second)
	}
	at := func(ts time.Time) (string, error) {
		out, err := x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: p(x.fake.StreamARN(table)), ShardId: &shard, ShardIteratorType: "AT_TIMESTAMP", Timestamp: &ts})
		if err != nil {
			return "", err
		}
		got, _ := x.read(t, out.ShardIterator)
		return ids(got), nil
	}
	second := start.Truncate(time.Second)
	for ts, want := range map[time.Time]string{
		second: "a0 a1 a2", second.Add(time.Second): "a1 a2", second.Add(1100 * time.Millisecond): "a2", second.Add(2100 * time.Millisecond): "", second.Add(-48 * time.Hour): "a0 a1 a2",
	} {
		if got, err := at(ts); err != nil || got != want {
			t.Errorf("AT_TIMESTAMP %v: got %q, %v, want %q", ts.Sub(second), got, err, want)
		}
	}
	_, err := at(c.now().Add(time.Millisecond))
	x.fails(t, "future", err, "ValidationException", "Timestamp must not be in the future")
	records := x.all(t, table)
	if got := *records[0].Dynamodb.ApproximateCreationDateTime; !got.Equal(second) {
		t.Errorf("creation time %v, want the whole second %v", got, second)
	}
	if seq := *records[0].Dynamodb.SequenceNumber; len(seq) != 21 {
		t.Errorf("sequence number %s has %d digits, want 21", seq, len(seq))
	}
}

func TestPages(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	shard := x.fake.Shards(table)[0].ID
	page := func(it *string) (*dynamodbstreams.GetRecordsOutput, error) {
		return x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: it})
	}
	x.putN(t, table, "a", 1200)
	out, err := page(x.from(t, table, shard, "TRIM_HORIZON", ""))
	must(t, err)
	if len(out.Records) != 1000 {
		t.Errorf("first page: %d records, want 1000", len(out.Records))
	}
	out, err = page(out.NextShardIterator)
	must(t, err)
	if len(out.Records) != 200 {
		t.Errorf("second page: %d records, want 200", len(out.Records))
	}
	for i := range 5 { // two images of 300 KB each, after the first
		x.put(t, table, item{"id": str("big"), "n": num(fmt.Sprint(i)), "x": str(strings.Repeat("x", 300<<10))})
	}
	var sizes []int
	for range 5 {
		out, err = page(out.NextShardIterator)
		must(t, err)
		sizes = append(sizes, len(out.Records))
	}
	// 300 KB + 600 KB fit into 1 MB, then each record of 600 KB is alone.
	if fmt.Sprint(sizes) != "[2 1 1 1 0]" {
		t.Errorf("records on pages of 1 MB: %v, want [2 1 1 1 0]", sizes)
	}
	must(t, x.fake.EmptyPages(table, 3))
	x.putN(t, table, "z", 1)
	for i := range 4 {
		out, err = page(out.NextShardIterator)
		must(t, err)
		if want := i / 3; len(out.Records) != want || out.NextShardIterator == nil {
			t.Errorf("page %d: %d records, want %d", i, len(out.Records), want)
		}
	}
	_, err = x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: out.NextShardIterator, Limit: p(int32(1001))})
	x.fails(t, "limit 1001", err, "LimitExceededException", "more than 1000")
}

// describe lists all shards page by page; between is called after the first page.
func (x target) describe(t *testing.T, arn string, filter *streamtypes.ShardFilter, between func()) (ids []string, pages int) {
	t.Helper()
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &arn, ShardFilter: filter}
	for {
		out, err := x.streams.DescribeStream(t.Context(), in)
		must(t, err)
		pages++
		for _, s := range out.StreamDescription.Shards {
			ids = append(ids, *s.ShardId)
		}
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			return ids, pages
		}
		if between != nil {
			between()
			between = nil
		}
	}
}

func TestDescribePages(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{Partitions: 250})
	table := x.table(t)
	var fresh []string
	got, pages := x.describe(t, x.fake.StreamARN(table), nil, func() {
		c.advance(time.Second)
		var err error
		fresh, err = x.fake.Split(table, x.fake.Shards(table)[3].ID, 2)
		must(t, err)
	})
	slices.Sort(got)
	if len(slices.Compact(got)) != 252 || pages != 3 || !slices.Contains(got, fresh[1]) {
		t.Errorf("%d different shards on %d pages, want 252 on 3, with those born in between", len(slices.Compact(got)), pages)
	}
}

func TestShardFilter(t *testing.T) {
	for mode, want := range map[dynamodbtest.ShardFilterMode]int{dynamodbtest.FilterHonoured: 3, dynamodbtest.FilterIgnored: 5} {
		x, _ := timed(t, dynamodbtest.Options{Partitions: 2, ShardFilter: mode})
		table := x.table(t)
		parent := x.fake.Shards(table)[0].ID
		must(t, second(x.fake.Split(table, parent, 3)))
		got, _ := x.describe(t, x.fake.StreamARN(table), &streamtypes.ShardFilter{Type: "CHILD_SHARDS", ShardId: &parent}, nil)
		if len(got) != want {
			t.Errorf("mode %d: %d shards, want %d", mode, len(got), want)
		}
	}
	x, _ := timed(t, dynamodbtest.Options{ShardFilter: dynamodbtest.FilterFails})
	table := x.table(t)
	_, err := x.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: p(x.fake.StreamARN(table)), ShardFilter: &streamtypes.ShardFilter{Type: "CHILD_SHARDS", ShardId: p("x-00000000000000000000000000000")}})
	x.fails(t, "filter that fails", err, "ValidationException", "ShardFilter is not supported")
}

func TestListingScript(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	must(t, x.fake.RollOver(table))
	all := x.fake.Shards(table)
	x.fake.Listing(func(l dynamodbtest.Listing) []dynamodbtest.Shard {
		if l.Table != table || l.StreamARN != x.fake.StreamARN(table) { // the lock is free: this must not hang
			t.Errorf("listing of %s, %s", l.Table, l.StreamARN)
		}
		switch l.N {
		case 1:
			return l.Shards[:1] // a closed leaf without its child
		case 2:
			return l.Shards[1:] // a child without its parent
		}
		return l.Shards
	})
	for i, want := range []string{all[0].ID, all[1].ID, all[0].ID + " " + all[1].ID} {
		got, _ := x.describe(t, x.fake.StreamARN(table), nil, nil)
		slices.Sort(got)
		w := strings.Fields(want)
		slices.Sort(w)
		if !slices.Equal(got, w) {
			t.Errorf("listing %d: %v, want %v", i+1, got, w)
		}
	}
}

func TestExpireByTTL(t *testing.T) {
	x, _ := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	x.putN(t, table, "a", 2)
	x.remove(t, table, item{"id": str("a0")})
	must(t, x.fake.Expire(table, item{"id": str("a1")}))
	must(t, x.fake.Expire(table, item{"id": str("a1")})) // is gone already
	got := x.all(t, table)
	if len(got) != 4 || got[2].UserIdentity != nil || got[3].UserIdentity == nil || *got[3].UserIdentity.PrincipalId != "dynamodb.amazonaws.com" || *got[3].UserIdentity.Type != "Service" || got[3].EventName != "REMOVE" {
		t.Errorf("records: %+v", got)
	}
	if err := x.fake.Expire(table, item{"n": num("1")}); err == nil {
		t.Error("Expire with a wrong key: no error")
	}
}

func TestStreamIsReplaced(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	x.putN(t, table, "a", 1)
	old := x.fake.StreamARN(table)
	oldShard := x.fake.Shards(table)[0].ID
	enable := func(on bool) error {
		spec := &types.StreamSpecification{StreamEnabled: &on}
		if on {
			spec.StreamViewType = "KEYS_ONLY"
		}
		return second(x.client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: &table, StreamSpecification: spec}))
	}
	x.fails(t, "enable twice", enable(true), "ValidationException", "already has an enabled stream")
	must(t, enable(false))
	x.fails(t, "disable twice", enable(false), "ValidationException", "disabled")
	x.putN(t, table, "unseen", 1)
	must(t, enable(true))
	x.putN(t, table, "b", 1)
	if x.fake.StreamARN(table) == old {
		t.Error("the new stream has the ARN of the old one")
	}
	if got := x.all(t, table); ids(got) != "b0" || got[0].Dynamodb.NewImage != nil {
		t.Errorf("new stream: %s", ids(got))
	}
	oldIterator := func() (*dynamodbstreams.GetShardIteratorOutput, error) {
		return x.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &old, ShardId: &oldShard, ShardIteratorType: "TRIM_HORIZON"})
	}
	it, err := oldIterator()
	must(t, err)
	if got, next := x.read(t, it.ShardIterator); ids(got) != "a0" || next != nil {
		t.Errorf("old stream: %s, open %t", ids(got), next != nil)
	}
	list, err := x.streams.ListStreams(t.Context(), &dynamodbstreams.ListStreamsInput{TableName: &table})
	must(t, err)
	if len(list.Streams) != 2 {
		t.Errorf("%d streams listed, want 2", len(list.Streams))
	}
	c.advance(24*time.Hour + time.Millisecond)
	_, err = oldIterator()
	x.fails(t, "old stream after 24 h", err, "ResourceNotFoundException", "Stream")
}

func TestStreamRates(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{EnforceStreamRates: true})
	table := x.table(t)
	it := x.from(t, table, x.fake.Shards(table)[0].ID, "TRIM_HORIZON", "")
	limited := func(n int, call func() error) (out int) {
		for range n {
			if code(call()) == "LimitExceededException" {
				out++
			}
		}
		return out
	}
	read := func() error {
		return second(x.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: it}))
	}
	list := func() error {
		return second(x.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: p(x.fake.StreamARN(table))}))
	}
	for range 2 {
		if n := limited(8, read); n != 3 {
			t.Errorf("GetRecords: %d of 8 calls in a second limited, want 3", n)
		}
		if n := limited(12, list); n != 2 {
			t.Errorf("DescribeStream: %d of 12 calls in a second limited, want 2", n)
		}
		c.advance(time.Second)
	}
}

func TestTokenLivesTenMinutes(t *testing.T) {
	x, c := timed(t, dynamodbtest.Options{})
	table := x.table(t)
	in := &dynamodb.TransactWriteItemsInput{ClientRequestToken: p("t"), TransactItems: []types.TransactWriteItem{
		{Update: &types.Update{TableName: &table, Key: item{"id": str("c")}, UpdateExpression: p("ADD n :one"), ExpressionAttributeValues: item{":one": num("1")}}},
	}}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "1"}, {10*time.Minute - time.Millisecond, "1"}, {time.Millisecond, "2"}} {
		c.advance(step.after)
		must(t, second(x.client.TransactWriteItems(t.Context(), in)))
		equal(t, fmt.Sprint("after ", step.after), x.get(t, table, item{"id": str("c")}), item{"id": str("c"), "n": num(step.want)})
	}
}

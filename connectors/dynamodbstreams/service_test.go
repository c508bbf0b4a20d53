package dynamodbstreams_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	source "github.com/millrace-io/millrace/connectors/dynamodbstreams"
)

// bed is a table with a stream on a server that is reached through the AWS client: the one in this process, or one in a process of
// its own when DYNAMODB_ENDPOINT is set.
type bed struct {
	t       *testing.T
	fake    *dynamodbtest.Server // nil for a server of its own process
	db      *dynamodb.Client
	streams *dynamodbstreams.Client
	table   string
	want    []string
	byKey   map[string]int
}

// onFake runs a test against the server in this process, in virtual time.
func onFake(t *testing.T, o dynamodbtest.Options, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := dynamodbtest.New(o)
		defer s.Close()
		b := &bed{t: t, fake: s, db: s.Client(), streams: s.StreamsClient(), table: "decisions", byKey: map[string]int{}}
		b.create(dbtypes.StreamViewTypeNewAndOldImages)
		f(t, b)
	})
}

// onBoth runs a test on the server in this process and, if there is one, on the server of its own process.
func onBoth(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Run("in process", func(t *testing.T) { onFake(t, dynamodbtest.Options{}, f) })
	endpoint := os.Getenv("DYNAMODB_ENDPOINT")
	if endpoint == "" {
		return
	}
	t.Run("own process", func(t *testing.T) {
		cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
			HTTPClient: &http.Client{Transport: dynamodbtest.WholeBody(&http.Transport{})}}
		b := &bed{t: t, db: dynamodb.NewFromConfig(cfg), streams: dynamodbstreams.NewFromConfig(cfg), byKey: map[string]int{}}
		b.table = fmt.Sprintf("decisions-%d", time.Now().UnixNano())
		b.create(dbtypes.StreamViewTypeNewAndOldImages)
		defer b.db.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &b.table}) //nolint:errcheck // best effort
		f(t, b)
	})
}

func (b *bed) create(view dbtypes.StreamViewType) {
	b.t.Helper()
	_, err := b.db.CreateTable(context.Background(), &dynamodb.CreateTableInput{
		TableName: &b.table, BillingMode: dbtypes.BillingModePayPerRequest,
		AttributeDefinitions: []dbtypes.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: dbtypes.ScalarAttributeTypeS}},
		KeySchema:            []dbtypes.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: dbtypes.KeyTypeHash}},
		StreamSpecification:  &dbtypes.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: view},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// put writes the next version of a key, with some weight.
func (b *bed) put(key string, weight int) {
	b.t.Helper()
	b.byKey[key]++
	n := strconv.Itoa(b.byKey[key])
	item := map[string]dbtypes.AttributeValue{"id": &dbtypes.AttributeValueMemberS{Value: key}, "n": &dbtypes.AttributeValueMemberN{Value: n}}
	if weight > 0 {
		item["weight"] = &dbtypes.AttributeValueMemberB{Value: make([]byte, weight)}
	}
	if _, err := b.db.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: &b.table, Item: item}); err != nil {
		b.t.Fatal(err)
	}
	b.want = append(b.want, key+"#"+n)
}

func (b *bed) some(n, keys int) {
	b.t.Helper()
	for i := range n {
		b.put(fmt.Sprintf("k%d", i%keys), 0)
	}
}

// version is a decoded change.
type version struct{ key, n string }

func (v version) id() string { return v.key + "#" + v.n }

func decode(c source.Change) (version, error) {
	key, ok := c.Keys["id"].(*types.AttributeValueMemberS)
	if !ok {
		return version{}, fmt.Errorf("key %v, want a string named id", c.Keys)
	}
	n, ok := c.New["n"].(*types.AttributeValueMemberN)
	if !ok {
		return version{}, fmt.Errorf("item %v, want a number named n", c.New)
	}
	return version{key.Value, n.Value}, nil
}

func (b *bed) options() source.Options[version] {
	return source.Options[version]{Client: b.streams, Table: b.table, Tables: b.db, Decode: decode, PollInterval: 20 * time.Millisecond}
}

// job makes a job that is closed at the end of the test.
func (b *bed) job(o connectortest.Options, change func(o *source.Options[version])) *connectortest.Job[version] {
	so := b.options()
	if change != nil {
		change(&so)
	}
	return connectortest.NewJob(source.NewSource(so), o)
}

func (b *bed) start(j *connectortest.Job[version]) {
	b.t.Helper()
	if err := j.Start(nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) until(j *connectortest.Job[version], n int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := j.Run(ctx, func() bool { return j.Len() >= n }); err != nil {
		b.t.Fatalf("%d of %d records: %v", j.Len(), n, err)
	}
}

// complete reads all that was written, looks on for a moment, and compares.
func (b *bed) complete(j *connectortest.Job[version]) {
	b.t.Helper()
	b.until(j, len(b.want))
	if err := j.RunFor(200 * time.Millisecond); err != nil {
		b.t.Fatal(err)
	}
	var got []version
	for _, r := range j.Output() {
		got = append(got, r.Value)
	}
	if err := connectortest.Compare(got, b.want, version.id, func(v version) string { return v.key }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) checkpoint(j *connectortest.Job[version], id int64) *connectortest.Checkpoint[version] {
	b.t.Helper()
	c, err := j.Checkpoint(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bed) restart(j *connectortest.Job[version], c *connectortest.Checkpoint[version], parallelism int) {
	b.t.Helper()
	if err := j.Restart(c, parallelism); err != nil {
		b.t.Fatal(err)
	}
}

func TestService_S01_OneShardInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bed) {
		j := b.job(connectortest.Options{}, nil)
		defer j.Crash()
		b.some(10, 3)
		b.start(j)
		b.until(j, 10)
		b.some(30, 4)
		b.complete(j)
	})
}

func TestService_S12_LatestIsKeptInTheCheckpoint(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bed) {
		b.some(5, 2)
		began := time.Now().Truncate(time.Second).UnixMilli()
		j := b.job(connectortest.Options{}, func(o *source.Options[version]) { o.Start = source.Latest() })
		defer j.Crash()
		b.start(j)
		if err := j.RunFor(100 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		c := b.checkpoint(j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		b.some(20, 4) // while the job is down
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := j.Run(ctx, func() bool {
			clear(seen)
			for _, r := range j.Output() {
				seen[r.Value.id()]++
			}
			for _, id := range b.want[5:] {
				if seen[id] == 0 {
					return false
				}
			}
			return true
		})
		if err != nil {
			t.Fatalf("have %v, want at least %v: %v", seen, b.want[5:], err)
		}
		for _, r := range j.Output() {
			if seen[r.Value.id()] > 1 {
				t.Errorf("%s came %d times", r.Value.id(), seen[r.Value.id()])
			}
			// A server that rounds times to the minute may show older ones of that minute.
			if r.TimestampMS < began && r.TimestampMS%60_000 != 0 {
				t.Errorf("%s of %d is older than the start at %d", r.Value.id(), r.TimestampMS, began)
			}
		}
	})
}

func TestService_S14_CrashAndRestore(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bed) {
		j := b.job(connectortest.Options{PollMax: 3, Parallelism: 2, Seed: 14}, nil)
		defer j.Crash()
		b.start(j)
		last := b.checkpoint(j, 1)
		for i := range 8 {
			b.some(10, 3)
			b.until(j, len(b.want)-5)
			if i%3 == 0 {
				last = b.checkpoint(j, int64(i+2))
			}
			if i%2 == 0 {
				b.restart(j, last, 1+i%3)
			}
		}
		b.complete(j)
	})
}

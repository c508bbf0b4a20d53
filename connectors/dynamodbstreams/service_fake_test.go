package dynamodbstreams_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	source "github.com/millrace-io/millrace/connectors/dynamodbstreams"
)

// S2: pages are cut at 1 MB as well.
func TestService_S02_PagesOfOneMegabyte(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		for range 12 {
			b.put("k", 300_000)
		}
		j := b.job(connectortest.Options{}, nil)
		defer j.Crash()
		b.start(j)
		b.complete(j)
		reads := 0
		for _, c := range b.fake.Calls() {
			if c.Operation == "GetRecords" {
				reads++
			}
		}
		if reads < 4 {
			t.Errorf("%d reads of 3.6 MB, want at least 4", reads)
		}
	})
}

func TestService_S03_EmptyPages(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		b.some(5, 2)
		if err := b.fake.EmptyPages(b.table, 50); err != nil {
			t.Fatal(err)
		}
		j := b.job(connectortest.Options{}, nil)
		defer j.Crash()
		b.start(j)
		b.complete(j)
	})
}

// S5, S6, S7, S10 and S16 with the rates of the service, and with each behaviour of the child filter.
func TestService_S05_RollOversAndSplits(t *testing.T) {
	for _, filter := range []dynamodbtest.ShardFilterMode{dynamodbtest.FilterHonoured, dynamodbtest.FilterIgnored, dynamodbtest.FilterFails} {
		onFake(t, dynamodbtest.Options{Partitions: 2, ShardFilter: filter, EnforceStreamRates: true}, func(t *testing.T, b *bed) {
			j := b.job(connectortest.Options{Parallelism: 2, Seed: 5}, func(o *source.Options[version]) { o.PollInterval = 0 })
			defer j.Crash()
			b.start(j)
			for i := range 6 {
				b.some(40, 9)
				if i%2 == 0 {
					if err := b.fake.RollOver(b.table); err != nil {
						t.Fatal(err)
					}
				} else {
					shards := b.fake.Shards(b.table)
					if _, err := b.fake.Split(b.table, shards[len(shards)-1].ID, 4); err != nil {
						t.Fatal(err)
					}
				}
				b.some(40, 9)
				if i == 3 {
					c := b.checkpoint(j, 1)
					b.some(40, 9)
					if err := b.fake.RollOver(b.table); err != nil {
						t.Fatal(err)
					}
					b.some(40, 9)
					b.restart(j, c, 3)
				}
				if err := j.RunFor(3 * time.Second); err != nil {
					t.Fatal(err)
				}
			}
			b.complete(j)
			for _, c := range b.fake.Calls() {
				if c.Err != nil && strings.Contains(c.Err.Code, "LimitExceeded") {
					t.Fatalf("call %d, %s of shard %s, was throttled: %v", c.N, c.Operation, c.Shard, c.Err)
				}
			}
		})
	}
}

// S8 and S9: a listing that leaves the parent out, and several pages.
func TestService_S08_InconsistentListing(t *testing.T) {
	onFake(t, dynamodbtest.Options{Partitions: 150}, func(t *testing.T, b *bed) {
		b.some(300, 200)
		if err := b.fake.RollOver(b.table); err != nil {
			t.Fatal(err)
		}
		b.some(300, 200)
		b.fake.Listing(func(l dynamodbtest.Listing) []dynamodbtest.Shard {
			if l.N > 2 {
				return l.Shards
			}
			return l.Shards[100:] // 100 parents are missing
		})
		j := b.job(connectortest.Options{Parallelism: 3}, nil)
		defer j.Crash()
		b.start(j)
		b.complete(j)
	})
}

// S13: nothing is read for 16 minutes.
func TestService_S13_IteratorExpired(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		b.some(5, 2)
		j := b.job(connectortest.Options{}, nil)
		defer j.Crash()
		b.start(j)
		b.until(j, 5)
		b.fake.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
			if c.Operation == "GetRecords" {
				return &dynamodbtest.Fault{Err: &dynamodbtest.Error{Code: "ThrottlingException"}}
			}
			return nil
		})
		if err := j.RunFor(16 * time.Minute); err != nil {
			t.Fatal(err)
		}
		b.fake.Fault(nil)
		b.some(5, 2)
		b.complete(j)
		expired := false
		for _, c := range b.fake.Calls() {
			expired = expired || c.Err != nil && strings.Contains(c.Err.Code, "ExpiredIterator")
		}
		if !expired {
			t.Error("no iterator expired: the test proves nothing")
		}
	})
}

// S17: the job was down for longer than the retention.
func TestService_S17_DataLoss(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		b.some(5, 2)
		j := b.job(connectortest.Options{}, nil)
		defer j.Crash()
		b.start(j)
		b.until(j, 5)
		c := b.checkpoint(j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		b.some(5, 2)
		pass(25 * time.Hour)
		b.some(5, 2)
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		err := j.RunFor(time.Minute)
		var loss *source.DataLossError
		if !errors.As(err, &loss) || loss.Shard != b.fake.Shards(b.table)[0].ID || loss.StreamARN != b.fake.StreamARN(b.table) {
			t.Fatalf("error %v, want a DataLossError of the one shard", err)
		}
	})
}

// S21: calls that are carried out but not answered, or answered by half.
func TestService_S21_AnswersLost(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		b.some(30, 4)
		j := b.job(connectortest.Options{}, func(o *source.Options[version]) { o.PageRecords = 3 })
		defer j.Crash()
		var mu sync.Mutex
		calls := map[string]int{}
		b.fake.Fault(func(c *dynamodbtest.Call) *dynamodbtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			calls[c.Operation]++
			switch calls[c.Operation] % 5 {
			case 0:
				return &dynamodbtest.Fault{DropAfter: true}
			case 2:
				return &dynamodbtest.Fault{Truncate: true}
			case 3:
				return &dynamodbtest.Fault{Status: 503}
			}
			return nil
		})
		b.start(j)
		b.until(j, 30)
		if err := b.fake.RollOver(b.table); err != nil {
			t.Fatal(err)
		}
		b.fake.Fault(nil)
		b.some(30, 4)
		b.complete(j)
	})
}

// A record that has no NewImage, as a deletion, is poison for a decoder that wants one.
func TestService_S28_PoisonGoesToTheDeadLetters(t *testing.T) {
	onFake(t, dynamodbtest.Options{}, func(t *testing.T, b *bed) {
		b.some(4, 2)
		if err := b.fake.Expire(b.table, key("k1")); err != nil {
			t.Fatal(err)
		}
		b.put("k2", 0)
		j := b.job(connectortest.Options{}, func(o *source.Options[version]) { o.OnPoison = source.DeadLetterPoison })
		defer j.Crash()
		b.start(j)
		b.complete(j)
		letters := j.DeadLetters()
		if len(letters) != 1 || !strings.Contains(string(letters[0].Raw), `"eventName":"REMOVE"`) || !strings.Contains(string(letters[0].Raw), `"principalId":"dynamodb.amazonaws.com"`) {
			t.Fatalf("dead letters %+v, want the one deletion", letters)
		}
	})
}

// pass lets virtual time go by. It is called in a synctest bubble.
func pass(d time.Duration) { time.Sleep(d) }

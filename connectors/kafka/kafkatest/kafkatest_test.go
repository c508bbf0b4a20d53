package kafkatest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors/kafka/kafkatest"
)

func Example() {
	c, err := kafkatest.Start(kafkatest.Options{Topics: map[string]int32{"decisions": 2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx := context.Background()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "decisions", Key: []byte("c-1"), Value: []byte("approved")}).FirstErr(); err != nil {
		fmt.Println(err)
		return
	}
	records, err := kafkatest.ReadCommitted(ctx, c.Brokers(), "decisions")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		fmt.Printf("%s=%s\n", r.Key, r.Value)
	}
	// Output: c-1=approved
}

func values(t *testing.T, c *kafkatest.Cluster, topic string) []string {
	t.Helper()
	recs, err := kafkatest.ReadCommitted(t.Context(), c.Brokers(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range recs {
		out = append(out, fmt.Sprintf("%d:%s", r.Partition, r.Value))
	}
	return out
}

func TestReadCommittedSkipsAbortedAndOpen(t *testing.T) {
	c := kafkatest.Run(t, kafkatest.Options{Topics: map[string]int32{"t": 2}})
	write := func(id, value string, part int32, end *kgo.TransactionEndTry) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: part, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if end != nil {
			if err := cl.EndTransaction(t.Context(), *end); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit, abort := kgo.TryCommit, kgo.TryAbort
	write("x", "aborted", 0, &abort)
	write("x", "one", 0, &commit)
	write("x", "only aborted", 1, &abort)
	write("y", "open", 0, nil)
	write("x", "behind the open one", 0, &commit)
	if got := values(t, c, "t"); !slices.Equal(got, []string{"0:one"}) {
		t.Fatalf("read %q", got)
	}
	if _, err := kafkatest.ReadCommitted(t.Context(), c.Brokers(), "absent"); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Fatalf("read of a topic that does not exist: %v", err)
	}
}

func TestDirKeepsDataAndTransactions(t *testing.T) {
	dir := t.TempDir()
	c, err := kafkatest.Start(kafkatest.Options{Dir: dir, Topics: map[string]int32{"t": 1}})
	if err != nil {
		t.Fatal(err)
	}
	addr := c.Brokers()[0]
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("kept")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	c.Close()
	again := kafkatest.Run(t, kafkatest.Options{Dir: dir, Addr: addr})
	if again.Brokers()[0] != addr {
		t.Fatalf("address %v, want %s", again.Brokers(), addr)
	}
	if got := values(t, again, "t"); !slices.Equal(got, []string{"0:kept"}) {
		t.Fatalf("after the restart: %q", got)
	}
}

// TestRotatingIDsAndLongTimeouts is what an exactly-once sink needs of the cluster.
func TestRotatingIDsAndLongTimeouts(t *testing.T) {
	c := kafkatest.Run(t, kafkatest.Options{Brokers: 3, Topics: map[string]int32{"t": 3}})
	var adm *kadm.Client
	for i := range 3 {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID(fmt.Sprintf("job-0-%d", i)), kgo.TransactionTimeout(15*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		adm = kadm.NewClient(cl)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := adm.ListTransactionsByTxPattern(t.Context(), nil, []string{"Ongoing"}, "^job-[0-9]+-[0-9]+$")
	if err != nil || len(listed) != 3 {
		t.Fatalf("open transactions %v (%v), want 3", listed.TransactionalIDs(), err)
	}
	described, err := adm.DescribeTransactions(t.Context(), listed.TransactionalIDs()...)
	if err != nil {
		t.Fatal(err)
	}
	for id, d := range described {
		if d.Err != nil || d.State != "Ongoing" || d.TimeoutMillis != 900_000 {
			t.Fatalf("%s: %+v", id, d)
		}
	}
}

func TestValidate(t *testing.T) {
	err := kafkatest.Options{Addr: "0.0.0.0:9092", Brokers: -1, Topics: map[string]int32{"t": 0}}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"Addr", "127.0.0.1 only", "Brokers is -1", `0 partitions for "t"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in %v", want, err)
		}
	}
	if _, err := kafkatest.Start(kafkatest.Options{Addr: "127.0.0.1"}); err == nil {
		t.Error("an address without port was taken")
	}
}

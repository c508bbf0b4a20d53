package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/kafka/kafkatest"
)

// cluster is a Kafka to test against: the fake in the process, or the one that KAFKA_BROKERS names.
type cluster struct {
	t       testing.TB
	brokers []string
	client  []kgo.Opt
	fake    *kfake.Cluster                                                    // nil on a real one
	dial    func(ctx context.Context, network, addr string) (net.Conn, error) // of a virtual one
	cl      *kgo.Client
	adm     *kadm.Client
}

// eachCluster runs a test on the fake and, when KAFKA_BROKERS is set, on a real cluster.
func eachCluster(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Run("kfake", func(t *testing.T) { f(t, fakeCluster(t)) })
	if b := os.Getenv("KAFKA_BROKERS"); b != "" {
		t.Run("kafka", func(t *testing.T) { f(t, newCluster(t, strings.Split(b, ","), nil)) })
	}
}

func benchClusters(b *testing.B) map[string]*cluster {
	m := map[string]*cluster{"kfake": fakeCluster(b)}
	if env := os.Getenv("KAFKA_BROKERS"); env != "" {
		m["kafka"] = newCluster(b, strings.Split(env, ","), nil)
	}
	return m
}

// realCluster is for what the fake answers differently.
func realCluster(t *testing.T) *cluster {
	b := os.Getenv("KAFKA_BROKERS")
	if b == "" {
		t.Skip("KAFKA_BROKERS is not set: kfake answers these cases differently from Apache Kafka")
	}
	return newCluster(t, strings.Split(b, ","), nil)
}

func fakeCluster(t testing.TB, opts ...kfake.Opt) *cluster {
	k := kafkatest.Run(t, kafkatest.Options{Kfake: opts})
	c := newCluster(t, k.Brokers(), nil)
	c.fake = k.Fake
	return c
}

func newCluster(t testing.TB, brokers []string, client []kgo.Opt) *cluster {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}, client...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &cluster{t: t, brokers: brokers, client: client, cl: cl, adm: kadm.NewClient(cl)}
}

// ctx ends with the test, and long before the test binary would.
func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	c.t.Cleanup(cancel)
	return ctx
}

// unique makes a name that no other run on the same cluster uses.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:8]) }

func (c *cluster) topic(partitions int32, configs ...string) string {
	c.t.Helper()
	name := unique("t")
	c.createTopic(name, partitions, configs...)
	if c.fake == nil {
		c.t.Cleanup(func() { _, _ = c.adm.DeleteTopics(context.Background(), name) }) // best effort
	}
	return name
}

func (c *cluster) createTopic(name string, partitions int32, configs ...string) {
	c.t.Helper()
	kv := map[string]*string{}
	for _, s := range configs {
		k, v, _ := strings.Cut(s, "=")
		kv[k] = &v
	}
	r, err := c.adm.CreateTopic(c.ctx(), partitions, 1, kv, name)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		c.t.Fatalf("create topic %s: %v", name, err)
	}
}

// produce writes values to one partition, outside of any transaction.
func (c *cluster) produce(topic string, part int32, values ...string) {
	c.t.Helper()
	var recs []*kgo.Record
	for _, v := range values {
		recs = append(recs, &kgo.Record{Topic: topic, Partition: part, Value: []byte(v), Timestamp: time.UnixMilli(1_700_000_000_000)})
	}
	// A client of its own: one that knows the topic learns of new partitions only after a while.
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.DisableClientMetrics(), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}, c.client...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(c.ctx(), recs...).FirstErr(); err != nil {
		c.t.Fatalf("produce to %s-%d: %v", topic, part, err)
	}
}

// transaction writes values to one partition in a transaction of the given id and leaves it open; end commits or aborts it.
func (c *cluster) transaction(id, topic string, part int32, values ...string) (end func(kgo.TransactionEndTry)) {
	c.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.DisableClientMetrics(), kgo.TransactionalID(id), kgo.ProducerLinger(0),
		kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner())}, c.client...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	for _, v := range values {
		if err := cl.ProduceSync(c.ctx(), &kgo.Record{Topic: topic, Partition: part, Value: []byte(v)}).FirstErr(); err != nil {
			c.t.Fatalf("produce in transaction %s: %v", id, err)
		}
	}
	return func(how kgo.TransactionEndTry) {
		c.t.Helper()
		if err := cl.EndTransaction(c.ctx(), how); err != nil {
			c.t.Fatalf("end transaction %s: %v", id, err)
		}
	}
}

func (c *cluster) records(topic string) []*kgo.Record {
	c.t.Helper()
	recs, err := kafkatest.ReadCommitted(c.ctx(), c.brokers, topic, c.client...)
	if err != nil {
		c.t.Fatal(err)
	}
	return recs
}

// visible returns the values that a consumer sees which reads committed, in order of partition and offset.
func (c *cluster) visible(topic string) []string {
	c.t.Helper()
	out := []string{}
	for _, r := range c.records(topic) {
		out = append(out, string(r.Value))
	}
	return out
}

func (c *cluster) wantVisible(topic string, want ...string) {
	c.t.Helper()
	if got := c.visible(topic); !slices.Equal(got, append([]string{}, want...)) {
		c.t.Fatalf("visible in %s: %q, want %q", topic, got, want)
	}
}

// open returns the ids of open transactions under a prefix, as the broker lists them.
func (c *cluster) open(prefix string) []string {
	c.t.Helper()
	l, err := c.adm.ListTransactions(c.ctx(), nil, []string{"Ongoing"})
	if err != nil {
		c.t.Fatal(err)
	}
	out := []string{}
	for _, id := range l.TransactionalIDs() {
		if strings.HasPrefix(id, prefix) {
			out = append(out, id)
		}
	}
	return out
}

func testContext(uid string) connectors.Context {
	return connectors.Context{UID: uid, Parallelism: 1, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now}
}

func numbers(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

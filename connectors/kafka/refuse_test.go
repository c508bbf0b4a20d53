package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/connectors"
)

func bothDeliveries(t *testing.T, f func(t *testing.T, c *cluster, d Delivery)) {
	for name, d := range map[string]Delivery{"at-least-once": AtLeastOnce, "exactly-once": ExactlyOnce} {
		t.Run(name, func(t *testing.T) {
			eachCluster(t, func(t *testing.T, c *cluster) { f(t, c, d) })
		})
	}
}

// finish takes a last checkpoint of either delivery.
func (r *sinkRun) finish(id int64) savedSink {
	r.t.Helper()
	s := r.mustPrepare(id)
	if r.committer != nil {
		r.mustCommit(s)
	}
	return s
}

func TestK17RefusedRecordsBecomeDeadLetters(t *testing.T) {
	bothDeliveries(t, func(t *testing.T, c *cluster, d Delivery) {
		topic := c.topic(1, "max.message.bytes=20000")
		r := mustStart(t, stringSink(c, topic, d), 1, savedSink{})
		large := strings.Repeat("x", 30_000)
		r.mustWrite("a", large, "b")
		// Many small records make more than one batch may hold: none of them is refused for its neighbours.
		many := numbers(strings.Repeat("m", 500), 200)
		r.mustWrite(many...)
		r.finish(1)
		if len(r.dead) != 1 || string(r.dead[0].Raw) != large || r.dead[0].At.String() != "src/in@1" || r.dead[0].UID != "out" || !strings.Contains(r.dead[0].Reason, "MESSAGE_TOO_LARGE") {
			t.Fatalf("%d dead letters: %.300v", len(r.dead), r.dead)
		}
		c.wantVisible(topic, append([]string{"a", "b"}, many...)...)
		// The writer goes on.
		r.mustWrite("c")
		r.finish(2)
		if got := c.visible(topic); got[len(got)-1] != "c" {
			t.Fatalf("last visible record %.20q, want c", got[len(got)-1])
		}
	})
}

func TestK17OnlyRefusedRecordsLeaveNoTransaction(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1, "max.message.bytes=20000")
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		for id := int64(1); id <= 3; id++ {
			r.mustWrite(strings.Repeat("x", 30_000))
			if s := r.checkpoint(id); len(s.committables) != 0 {
				t.Fatalf("committable of a transaction without records: %v", s.committables)
			}
		}
		r.mustWrite("a")
		r.checkpoint(4)
		if len(r.dead) != 3 {
			t.Fatalf("%d dead letters, want 3", len(r.dead))
		}
		c.wantVisible(topic, "a")
	})
}

func TestK17NoConsumerOfDeadLettersFails(t *testing.T) {
	bothDeliveries(t, func(t *testing.T, c *cluster, d Delivery) {
		topic := c.topic(1, "max.message.bytes=20000")
		r := mustStart(t, stringSink(c, topic, d), 1, savedSink{})
		r.noDead = true
		r.mustWrite(strings.Repeat("x", 30_000))
		if _, err := r.prepare(1); err == nil || !strings.Contains(err.Error(), "src/in@0") || !strings.Contains(err.Error(), "no consumer") {
			t.Fatalf("refused record without a consumer of dead letters: %v", err)
		}
		if err := r.write("b"); err == nil {
			t.Fatal("the writer goes on after a failure")
		}
	})
}

func TestK17CompactedTopicAndTimestamps(t *testing.T) {
	bothDeliveries(t, func(t *testing.T, c *cluster, d Delivery) {
		topic := c.topic(1, "cleanup.policy=compact")
		o := stringSink(c, topic, d)
		o.Key = func(dst []byte, v string) ([]byte, error) {
			if v == "keyless" {
				return nil, nil
			}
			return append(dst, v[0]), nil
		}
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a1", "keyless", "b1")
		r.finish(1)
		if len(r.dead) != 1 || r.dead[0].At.Offset != 1 || !strings.Contains(r.dead[0].Reason, "compacted") {
			t.Fatalf("dead letters %+v", r.dead)
		}
		c.wantVisible(topic, "a1", "b1")
		if k := c.records(topic)[1].Key; string(k) != "b" {
			t.Fatalf("key %q, want b", k)
		}
		if c.fake != nil {
			return // knows no limits of timestamps
		}
		far := connectors.Meta{TimestampMS: time.Now().Add(24 * 365 * time.Hour).UnixMilli(), At: connectors.Coordinates{UID: "src", Split: "in", Offset: 77}}
		if err := r.writers[0].Write("c1", far); err != nil {
			t.Fatal(err)
		}
		if len(r.dead) != 2 || !strings.Contains(r.dead[1].Reason, "in the future") || r.dead[1].At.Offset != 77 {
			t.Fatalf("dead letters %+v", r.dead)
		}
	})
}

// TestK17BrokerRefusesBatch is a refusal that the writer could not foresee: each record of the batch is tried by itself.
func TestK17BrokerRefusesBatch(t *testing.T) {
	c := fakeCluster(t)
	topic := c.topic(1)
	refuseBad := func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		bad := false
		for _, rt := range req.Topics {
			for _, rp := range rt.Partitions {
				bad = bad || strings.Contains(string(rp.Records), "bad")
			}
		}
		if !bad {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.InvalidRecord.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	}
	c.fake.ControlKey(int16(kmsg.Produce), refuseBad)
	o := stringSink(c, topic, AtLeastOnce)
	o.Client = append(slices.Clone(o.Client), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(20*time.Millisecond))
	r := mustStart(t, o, 1, savedSink{})
	r.mustWrite("a", "b", "bad", "c")
	r.mustPrepare(1)
	if len(r.dead) != 1 || string(r.dead[0].Raw) != "bad" || r.dead[0].At.Offset != 2 {
		t.Fatalf("dead letters %+v", r.dead)
	}
	c.wantVisible(topic, "a", "b", "c")

	e := stringSink(c, topic, ExactlyOnce)
	e.Client = o.Client
	x := mustStart(t, e, 1, savedSink{})
	x.mustWrite("d", "bad", "e")
	x.checkpoint(1)
	if len(x.dead) != 1 || string(x.dead[0].Raw) != "bad" || x.dead[0].At.Offset != 1 {
		t.Fatalf("dead letters %+v", x.dead)
	}
	c.wantVisible(topic, "a", "b", "c", "d", "e")
}

func TestK17UnknownTopicAndDeniedAreNamed(t *testing.T) {
	bothDeliveries(t, func(t *testing.T, c *cluster, d Delivery) {
		o := stringSink(c, "absent-topic", d)
		r, err := startSink(t, o, 1, savedSink{})
		if err == nil || !strings.Contains(err.Error(), "absent-topic") || !strings.Contains(err.Error(), "sink out") {
			t.Fatalf("sink to a topic that does not exist: %v", err)
		}
		r.crash()
		o.Topic = ""
		o.TopicOf = func(v string) string { return "absent-" + v }
		r = mustStart(t, o, 1, savedSink{})
		if err := r.write("x"); err == nil || !strings.Contains(err.Error(), "absent-x") || !strings.Contains(err.Error(), "src/in@0") {
			t.Fatalf("record to a topic that does not exist: %v", err)
		}
	})
}

func TestTopicOfWritesToManyTopics(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		a, b := c.topic(1), c.topic(1)
		o := stringSink(c, "", ExactlyOnce)
		o.TopicOf = func(v string) string { return map[byte]string{'a': a, 'b': b}[v[0]] }
		o.Headers = func(v string) []kgo.RecordHeader { return []kgo.RecordHeader{{Key: "h", Value: []byte(v)}} }
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a1", "b1", "a2")
		s := r.mustPrepare(1)
		c.wantVisible(a)
		r.mustCommit(s)
		c.wantVisible(a, "a1", "a2")
		c.wantVisible(b, "b1")
		if h := c.records(b)[0].Headers; len(h) != 1 || string(h[0].Value) != "b1" {
			t.Fatalf("headers %v", h)
		}
	})
}

// virtualCluster is a fake cluster on an in-memory network, for tests in virtual time. It must be closed before the bubble ends.
func virtualCluster(t *testing.T, opts ...kfake.Opt) (*cluster, func()) {
	t.Helper()
	var vnet kfake.VirtualNetwork
	// The listener's default port is 0, which the in-memory network takes literally.
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(vnet.Listen)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	client := []kgo.Opt{kgo.Dialer(vnet.DialContext)}
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers("127.0.0.1:9092"), kgo.RecordPartitioner(kgo.ManualPartitioner())}, client...)...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, brokers: []string{"127.0.0.1:9092"}, client: client, fake: fake, dial: vnet.DialContext, cl: cl, adm: kadm.NewClient(cl)}
	return c, func() { cl.Close(); fake.Close() }
}

// stalled is the dialer of a virtual cluster whose requests of one kind go no further until release is closed.
func (c *cluster) stalled(key kmsg.Key, release chan struct{}) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := c.dial(ctx, network, addr)
		return stalledConn{conn, key, release}, err
	})
}

type stalledConn struct {
	net.Conn
	key     kmsg.Key
	release chan struct{}
}

func (c stalledConn) Write(p []byte) (int, error) {
	if len(p) > 6 && kmsg.Key(binary.BigEndian.Uint16(p[4:])) == c.key {
		<-c.release
	}
	return c.Conn.Write(p)
}

func TestBackpressureHonoursTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		topic := c.topic(1)
		release := make(chan struct{})
		o := stringSink(c, topic, AtLeastOnce)
		o.Client = []kgo.Opt{c.stalled(kmsg.Produce, release)}
		o.BufferRecords = 10
		r := mustStart(t, o, 1, savedSink{})
		wrote := make(chan error, 1)
		go func() { wrote <- r.write(numbers("v", 100)...) }()
		time.Sleep(30 * time.Second) // virtual
		synctest.Wait()
		select {
		case err := <-wrote:
			t.Fatalf("100 records went into a buffer of 10: %v", err)
		default:
		}
		if r.at != 10 {
			t.Fatalf("%d records were taken, want 10", r.at)
		}
		r.cancel()
		<-wrote // a task that is cancelled does not wait for the broker
		close(release)
		r.crash()
	})
}

func TestPrepareEndsWithItsDeadline(t *testing.T) {
	for name, d := range map[string]Delivery{"at-least-once": AtLeastOnce, "exactly-once": ExactlyOnce} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, end := virtualCluster(t)
				defer end()
				topic := c.topic(1)
				release := make(chan struct{})
				o := stringSink(c, topic, d)
				o.Client = []kgo.Opt{c.stalled(kmsg.Produce, release)}
				r := mustStart(t, o, 1, savedSink{})
				r.mustWrite("a", "b")
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				_, err := r.writers[0].Prepare(ctx, 1)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 records are still unacknowledged") || time.Since(start) != 3*time.Second {
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
				close(release)
				r.crash()
			})
		})
	}
}

func TestK6OutageInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		o.TransactionTimeout = 10 * time.Minute
		r := mustStart(t, o, 2, savedSink{})
		r.mustWrite("a", "b")
		s := r.mustPrepare(1)
		r.crash()
		time.Sleep(9 * time.Minute) // within the window
		r = mustStart(t, o, 2, s)
		allVisibleOnce(t, c, topic, []string{"a", "b"})
		r.mustWrite("c", "d")
		s = r.mustPrepare(2)
		r.crash()
		time.Sleep(11 * time.Minute)
		lost := wantLostAt(t, o, s)
		for _, l := range lost.Transactions {
			if !strings.Contains(l.Reason, "it is 11m0") || !strings.Contains(l.Reason, "its timeout was 10m0s") {
				t.Fatalf("reason %q does not tell the age", l.Reason)
			}
		}
		allVisibleOnce(t, c, topic, []string{"a", "b"})
	})
}

func wantLostAt(t testing.TB, o SinkOptions[string], s savedSink) *LostTransactionsError {
	t.Helper()
	r, err := startSink(t, o, 2, s)
	defer r.crash()
	var lost *LostTransactionsError
	if !errors.As(err, &lost) || len(lost.Transactions) != 2 || lost.Checkpoint != s.id {
		t.Fatalf("restore of lost transactions: %v", err)
	}
	return lost
}

func TestK6CheckpointIntervalAboveTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a")
		r.checkpoint(1)
		r.mustWrite("b")
		time.Sleep(2 * time.Minute)
		err := r.write("c")
		if err == nil {
			_, err = r.prepare(2)
		}
		if err == nil || !strings.Contains(err.Error(), "longer than SinkOptions.TransactionTimeout of 1m0s") || !strings.Contains(err.Error(), "make checkpoints more often") {
			t.Fatalf("transaction open for two minutes with a timeout of one: %v", err)
		}
		r.crash()
		c.wantVisible(topic, "a")
	})
}

func TestRemainingSecondsMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		reg := prometheus.NewRegistry()
		want := func(at string, value string) {
			t.Helper()
			text := ""
			if value != "" {
				text = fmt.Sprintf("# HELP millrace_kafka_sink_transaction_remaining_seconds Seconds until the broker aborts the oldest uncommitted transaction of this subtask; absent when there is none.\n"+
					"# TYPE millrace_kafka_sink_transaction_remaining_seconds gauge\nmillrace_kafka_sink_transaction_remaining_seconds %s\n", value)
			}
			if err := testutil.GatherAndCompare(reg, strings.NewReader(text), "millrace_kafka_sink_transaction_remaining_seconds"); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
		}
		wc := connectors.WriterContext{Context: testContext("out"), Ctx: t.Context()}
		wc.Metrics = reg
		w := must(NewSink(stringSink(c, c.topic(1), ExactlyOnce)).NewWriter(wc))
		defer w.Close()
		want("before the first record", "")
		if err := w.Write("a", connectors.Meta{TimestampMS: connectors.NoTimestamp}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		want("15 s after it", "45")
		if _, err := w.Prepare(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		want("prepared", "40")
	})
}

func TestTransactionTimeoutAboveBrokerLimit(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		o := stringSink(c, c.topic(1), ExactlyOnce)
		o.TransactionTimeout = time.Hour
		_, err := startSink(t, o, 1, savedSink{})
		if err == nil || !strings.Contains(err.Error(), "transaction.max.timeout.ms of 900000 ms") || !strings.Contains(err.Error(), "1h0m0s") {
			t.Fatalf("transaction timeout of one hour: %v", err)
		}
	})
}

// TestNewestCheckpointNeedsNoWitness is the rule about ids: those of the newest completed checkpoint are not used again before a newer one
// has completed, so that its commit can be repeated without a look at the log, which here is gone.
func TestNewestCheckpointNeedsNoWitness(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		saved := savedSink{}
		for id := int64(1); id <= 8; id++ {
			r.mustWrite("a")
			saved = r.checkpoint(id)
			r.mustWrite("never")
			r.mustPrepare(id + 1) // does not complete
			if id%2 == 0 {        // ... and the next attempt neither
				r.crash()
				r = mustStart(t, o, 1, saved)
				r.mustWrite("never")
				r.mustPrepare(id + 1)
			}
			r.crash()
			end := must(c.adm.ListEndOffsets(c.ctx(), topic))
			del := kadm.Offsets{}
			del.Add(kadm.Offset{Topic: topic, Partition: 0, At: end[topic][0].Offset})
			if _, err := c.adm.DeleteRecords(c.ctx(), del); err != nil {
				t.Fatal(err)
			}
			r = mustStart(t, o, 1, saved)
		}
	})
}

func TestUndecidedPolicy(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a")
		s := r.checkpoint(1)
		for id := int64(2); id < 6; id++ { // every id is used again
			r.mustWrite("b")
			r.checkpoint(id)
		}
		r.crash()
		del := kadm.Offsets{}
		del.Add(kadm.Offset{Topic: topic, Partition: 0, At: 2})
		if _, err := c.adm.DeleteRecords(c.ctx(), del); err != nil {
			t.Fatal(err)
		}
		_, err := startSink(t, o, 1, s)
		var lost *LostTransactionsError
		if !errors.As(err, &lost) || len(lost.Transactions) != 1 || !lost.Transactions[0].Undecided || !strings.Contains(err.Error(), "not in the log any more") {
			t.Fatalf("restore of a savepoint whose records retention has removed: %v", err)
		}
		o.OnUndecided = AssumeCommitted
		mustStart(t, o, 1, s)
	})
}

// TestK9TransactionVersion1 uses a client that speaks the protocol of before KIP-890, as with a cluster of transaction.version 1.
func TestK9TransactionVersion1(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(2)
		o := stringSink(c, topic, ExactlyOnce)
		o.Client = append(slices.Clone(o.Client), beforeKIP890())
		r := mustStart(t, o, 2, savedSink{})
		var want []string
		var last savedSink
		for id := int64(1); id <= 7; id++ {
			values := numbers(fmt.Sprintf("v%d-", id), 4)
			r.mustWrite(values...)
			if id > 1 { // a late duplicate of the commit before commits nothing of the open transaction
				r.mustCommit(last)
				allVisibleOnce(t, c, topic, want)
			}
			last = r.mustPrepare(id)
			if e := must(decodeCommittable(last.committables[0])); e.endTxn != 4 {
				t.Fatalf("EndTxn version %d is recorded, want 4", e.endTxn)
			}
			r.mustCommit(last)
			want = append(want, values...)
			allVisibleOnce(t, c, topic, want)
		}
		r.mustWrite("never")
		r.crash()
		again := mustStart(t, o, 2, last)
		again.mustWrite("once more")
		again.checkpoint(8)
		allVisibleOnce(t, c, topic, append(want, "once more"))
	})
}

func TestPreparedTwiceWithoutCommitFails(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		r := mustStart(t, stringSink(c, topic, ExactlyOnce), 1, savedSink{})
		var err error
		for id := int64(1); id < 6 && err == nil; id++ {
			if err = r.write("a"); err == nil {
				_, err = r.prepare(id)
			}
		}
		if err == nil || !strings.Contains(err.Error(), "is still open though a newer checkpoint has begun") {
			t.Fatalf("five checkpoints prepared and none committed: %v", err)
		}
		c.wantVisible(topic)
	})
}

func TestSinkValidate(t *testing.T) {
	err := SinkOptions[string]{Delivery: ExactlyOnce, TransactionTimeout: 1, OnUndecided: 9, BufferRecords: -1, BufferBytes: 1}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, name := range []string{"Brokers", "Topic", "Value", "TransactionalIDPrefix", "TransactionTimeout", "OnUndecided", "BufferRecords", "BufferBytes"} {
		if !strings.Contains(err.Error(), "SinkOptions."+name) {
			t.Errorf("no word of %s in %v", name, err)
		}
	}
	if err := (SinkOptions[string]{Delivery: 9}).Validate(); !strings.Contains(err.Error(), "SinkOptions.Delivery") {
		t.Errorf("no word of Delivery in %v", err)
	}
}

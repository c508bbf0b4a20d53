package kafka

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// seeds are those of the random histories of a run: MILLRACE_SEED repeats one, MILLRACE_HISTORIES makes more of them.
func seeds(t *testing.T, n int) []uint64 {
	if s := os.Getenv("MILLRACE_SEED"); s != "" {
		return []uint64{must(strconv.ParseUint(s, 10, 64))}
	}
	if s := os.Getenv("MILLRACE_HISTORIES"); s != "" {
		n = must(strconv.Atoi(s))
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = rand.Uint64()
	}
	return out
}

// TestExactlyOnceUnderRandomCrashes runs histories in which attempts of changing parallelism are cut off around random requests. Whatever
// happens, every record is visible once and no transaction stays open.
func TestExactlyOnceUnderRandomCrashes(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		for _, seed := range seeds(t, 12) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			topic := c.topic(3)
			o := stringSink(c, topic, ExactlyOnce)
			input := numbers("v", 40)
			var saved savedSink
			var before *wire
			crashes := 0
			for {
				w := newWire(t, 0, 0, requestLost)
				if crashes < 8 {
					w = randomWire(t, rnd)
				}
				w.before, before = before, w
				var err error
				saved, err = runAttempt(t, o, input, 1+rnd.IntN(6), 1+rnd.IntN(3), saved, w)
				if err == nil {
					break
				}
				if crashes++; crashes > 8 {
					t.Fatalf("seed %d (MILLRACE_SEED): does not recover: %v", seed, err)
				}
			}
			t.Logf("seed %d (MILLRACE_SEED): %d crashes", seed, crashes)
			allVisibleOnce(t, c, topic, input)
			last := mustStart(t, o, 1, saved)
			if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
				t.Fatalf("seed %d (MILLRACE_SEED): transactions left open: %v", seed, open)
			}
			last.crash()
		}
	})
}

func randomWire(t *testing.T, rnd *rand.Rand) *wire {
	keys := []kmsg.Key{kmsg.InitProducerID, kmsg.Produce, kmsg.Produce, kmsg.EndTxn, kmsg.EndTxn, kmsg.FindCoordinator, kmsg.Metadata,
		kmsg.DescribeTransactions, kmsg.ListTransactions, kmsg.ApiVersions}
	key, nth := keys[rnd.IntN(len(keys))], 1+rnd.IntN(12)
	l := []loss{requestLost, answerLost, requestLate}[rnd.IntN(3)]
	if key == kmsg.InitProducerID && l == requestLate {
		// It may take an id from the next attempt, as the package's documentation says: to the coordinator, whoever asks last is the
		// owner, and Kafka cannot tell that the request is of a dead process.
		l = requestLost
	}
	return newWire(t, int16(key), nth, l)
}

// TestK7LeadersAndCoordinatorsMove moves partitions and coordinators between three brokers before each step of a run.
func TestK7LeadersAndCoordinatorsMove(t *testing.T) {
	c := fakeCluster(t, kfake.NumBrokers(3))
	topic := c.topic(3)
	o := stringSink(c, topic, ExactlyOnce)
	r := mustStart(t, o, 3, savedSink{})
	move := func() {
		c.fake.ShufflePartitionLeaders()
		c.fake.RehashCoordinators()
		if id := c.fake.CoordinatorFor(transactionalID(o.TransactionalIDPrefix, 0, 0)); id < 0 {
			t.Fatal("no coordinator")
		}
	}
	var want []string
	var saved savedSink
	for id := int64(1); id <= 6; id++ {
		values := numbers(fmt.Sprintf("v%d-", id), 6)
		want = append(want, values...)
		move()
		r.mustWrite(values[:3]...)
		move()
		r.mustWrite(values[3:]...)
		move()
		saved = r.mustPrepare(id)
		move()
		r.mustCommit(saved)
		if id == 3 {
			r.crash()
			move()
			r = mustStart(t, o, 2, saved)
		}
	}
	allVisibleOnce(t, c, topic, want)

	// The source follows its partitions too.
	s := startSource(t, stringSource(c, topic), 2, nil)
	s.discover()
	for range 4 {
		move()
		n := len(s.emitted)
		s.wait("some records", func() bool { return len(s.emitted) > n || len(s.emitted) == len(want) })
	}
	s.waitEmitted(len(want))
	if len(s.emitted) != len(want) {
		t.Fatalf("%d records emitted, want %d", len(s.emitted), len(want))
	}
}

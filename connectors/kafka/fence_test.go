package kafka

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// beforeKIP890 lets a client speak as with a cluster of transaction.version 1.
func beforeKIP890() kgo.Opt {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.Produce), 11)
	v.SetMaxKeyVersion(int16(kmsg.EndTxn), 4)
	v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
	return kgo.MaxVersions(v)
}

// eachProtocol runs a test with both versions of transactions.
func eachProtocol(t *testing.T, f func(t *testing.T, c *cluster, client []kgo.Opt)) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		run := func(name string, client []kgo.Opt) {
			t.Run(name, func(t *testing.T) {
				own := *c
				own.t = t
				f(t, &own, client)
			})
		}
		run("transaction.version 1", append(slices.Clone(c.client), beforeKIP890()))
		run("transaction.version 2", c.client)
	})
}

// TestK10LateRequestOfRemovedSubtask: at parallelism 3 a request of subtask 2 is on its way when the job dies, and the brokers see it only
// when the job runs again at parallelism 1, in which nobody uses the ids of subtask 2. It must open no transaction, or consumers that
// read committed would wait for its timeout.
func TestK10LateRequestOfRemovedSubtask(t *testing.T) {
	eachProtocol(t, func(t *testing.T, c *cluster, client []kgo.Opt) {
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.AddPartitionsToTxn} {
			topic := c.topic(1)
			o := stringSink(c, topic, ExactlyOnce)
			o.Client = client
			w := newWire(t, int16(key), 1, requestLate)
			r, err := startSinkOn(t, w, o, 3, savedSink{})
			if err != nil {
				t.Fatal(err)
			}
			r.at = 2
			r.mustWrite("of subtask 2")
			if _, err := r.prepare(1); err == nil && key == kmsg.AddPartitionsToTxn {
				continue // transaction.version 2 has no such request
			} else if err == nil {
				t.Fatal("prepared though a request is late")
			}
			r.crash()
			again := mustStart(t, o, 1, savedSink{})
			w.deliver(t)
			again.mustWrite("visible")
			again.checkpoint(1)
			c.wantVisible(topic, "visible")
			if open := c.open(o.TransactionalIDPrefix + "-"); c.fake == nil && len(open) > 0 { // the fake opens one for a fenced request
				t.Fatalf("open: %v", open)
			}
		}
	})
}

// TestZombieDoesNotTakeItsIDsBack: a process is believed dead, another continues from the newest checkpoint, then the first wakes up with a
// barrier before it. It has a transaction to prepare and an id to make ready for the next, which is the other's now.
func TestZombieDoesNotTakeItsIDsBack(t *testing.T) {
	eachProtocol(t, func(t *testing.T, c *cluster, client []kgo.Opt) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		o.Client = client
		zombie := mustStart(t, o, 1, savedSink{})
		zombie.mustWrite("a")
		zombie.checkpoint(1)
		zombie.mustWrite("b")
		two := zombie.checkpoint(2)
		zombie.mustWrite("lost, and written again")
		z := zombie.writers[0].(*txnWriter[string])
		if err := z.ids[z.cur].cl.Flush(c.ctx()); err != nil { // else the brokers may refuse the record, and the zombie would know
			t.Fatal(err)
		}

		r := mustStart(t, o, 1, two)
		r.mustWrite("c")
		three := r.mustPrepare(3)

		ids := &z.ids
		before := [slots]chan struct{}{}
		for i := range ids {
			before[i] = ids[i].ready
		}
		_, _ = zombie.prepare(3) // whether it notices here is up to the brokers
		taken := 0
		for i := range ids {
			if ids[i].ready == before[i] {
				continue
			}
			<-ids[i].ready
			taken++
			if err := ids[i].err; !errors.Is(err, errTakenOver) {
				t.Errorf("id %s of the zombie is ready: %v", ids[i].id, err)
			}
		}
		if taken != 1 {
			t.Fatalf("the zombie prepared %d ids, want 1", taken)
		}
		r.mustCommit(three)
		c.wantVisible(topic, "a", "b", "c")
		r.mustWrite("d")
		r.checkpoint(4)
		r.mustWrite("e")
		r.checkpoint(5)
		c.wantVisible(topic, "a", "b", "c", "d", "e")
	})
}

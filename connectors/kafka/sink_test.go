package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
)

func stringSink(c *cluster, topic string, d Delivery) SinkOptions[string] {
	o := SinkOptions[string]{
		Brokers: c.brokers, Client: c.client, Topic: topic, Delivery: d,
		EncodeValue: func(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil },
	}
	if d == ExactlyOnce {
		o.TransactionalIDPrefix = unique("x")
		o.TransactionTimeout = time.Minute
		if c.fake == nil { // ids stay in the broker for a week: do not leave transactions open
			o.TransactionTimeout = 10 * time.Second
		}
	}
	return o
}

// savedSink is a completed checkpoint: the input written before it, and the committables.
type savedSink struct {
	id           int64
	position     int
	committables [][]byte
}

// sinkRun plays the runtime for one attempt of a sink. Its input is a list of values, of which subtask i of p takes those whose index is
// i modulo p.
type sinkRun struct {
	t         testing.TB
	o         SinkOptions[string]
	ctx       context.Context
	cancel    context.CancelFunc
	committer connectors.Committer // nil at least once
	writers   []connectors.Writer[string]
	at        int // next input
	dead      []connectors.DeadLetter
	noDead    bool // the job has no consumer of dead letters
	wire      *wire
}

// startSink begins an attempt from a checkpoint (id 0: none). The error is of a remote call that failed.
func startSink(t testing.TB, o SinkOptions[string], parallelism int, from savedSink) (*sinkRun, error) {
	t.Helper()
	if len(o.Client) > 0 { // options of a test may hold a network
		return startSinkOn(t, nil, o, parallelism, from)
	}
	return startSinkOn(t, newWire(t, 0, 0, requestLost), o, parallelism, from)
}

// startSinkOn is startSink on a given network; nil is the one that the options hold.
func startSinkOn(t testing.TB, w *wire, o SinkOptions[string], parallelism int, from savedSink) (*sinkRun, error) {
	t.Helper()
	if w != nil {
		o.Client = append(slices.Clone(o.Client), kgo.Dialer(w.dial))
	}
	s := NewSink(o)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &sinkRun{t: t, o: o, at: from.position, wire: w}
	r.ctx, r.cancel = context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(r.crash)
	if w != nil {
		context.AfterFunc(w.ctx, r.cancel) // a process that is dead waits for nothing
	}
	if cs, ok := s.(connectors.CommittingSink); ok {
		var err error
		if r.committer, err = cs.NewCommitter(testContext("out")); err != nil {
			return r, err
		}
		if from.id > 0 {
			if err := r.committer.Commit(r.ctx, from.id, from.committables); err != nil {
				return r, err
			}
		}
		if err := r.committer.Recover(r.ctx, from.id, from.committables); err != nil {
			return r, err
		}
	}
	for i := range parallelism {
		c := connectors.WriterContext{Context: testContext("out"), Ctx: r.ctx, Attempt: unique("attempt"), RestoredCheckpoint: from.id, Restored: from.committables}
		c.Subtask, c.Parallelism = i, parallelism
		c.DeadLetter = func(d connectors.DeadLetter) error {
			if r.noDead {
				return errors.New("no consumer of dead letters")
			}
			d.Raw, d.Key = slices.Clone(d.Raw), slices.Clone(d.Key)
			r.dead = append(r.dead, d)
			return nil
		}
		w, err := s.NewWriter(c)
		if err != nil {
			return r, err
		}
		r.writers = append(r.writers, w)
	}
	return r, nil
}

func mustStart(t testing.TB, o SinkOptions[string], parallelism int, from savedSink) *sinkRun {
	t.Helper()
	r, err := startSink(t, o, parallelism, from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// crash ends the attempt without ending its transactions, as the death of the process would.
func (r *sinkRun) crash() {
	r.cancel()
	for _, w := range r.writers {
		if err := w.Close(); err != nil {
			r.t.Error(err)
		}
	}
	if r.committer != nil {
		if err := r.committer.Close(); err != nil {
			r.t.Error(err)
		}
	}
	r.writers, r.committer = nil, nil
	if r.wire != nil {
		r.wire.drain(r.t)
	}
}

func (r *sinkRun) write(values ...string) error {
	for _, v := range values {
		at := connectors.Coordinates{UID: "src", Split: "in", Offset: int64(r.at)}
		m := connectors.Meta{TimestampMS: connectors.NoTimestamp, At: at}
		if err := r.writers[r.at%len(r.writers)].Write(v, m); err != nil {
			return err
		}
		r.at++
	}
	return nil
}

// prepare takes a checkpoint as far as its acknowledgements.
func (r *sinkRun) prepare(id int64) (savedSink, error) {
	s := savedSink{id: id, position: r.at}
	for _, w := range r.writers {
		c, err := w.Prepare(r.ctx, id)
		if err != nil {
			return s, err
		}
		s.committables = append(s.committables, c...)
	}
	return s, nil
}

func (r *sinkRun) mustWrite(values ...string) {
	r.t.Helper()
	if err := r.write(values...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *sinkRun) mustPrepare(id int64) savedSink {
	r.t.Helper()
	s, err := r.prepare(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *sinkRun) mustCommit(s savedSink) {
	r.t.Helper()
	if err := r.committer.Commit(r.ctx, s.id, s.committables); err != nil {
		r.t.Fatal(err)
	}
}

// checkpoint takes a whole one.
func (r *sinkRun) checkpoint(id int64) savedSink {
	r.t.Helper()
	s := r.mustPrepare(id)
	r.mustCommit(s)
	return s
}

// runAttempt writes input from a checkpoint on, with a checkpoint every step records, until it is all committed or the wire or a
// crash point ends the attempt. It returns the newest completed checkpoint. A nil wire is one that is never cut.
func runAttempt(t testing.TB, o SinkOptions[string], input []string, step, parallelism int, from savedSink, w *wire) (savedSink, error) {
	t.Helper()
	if w == nil {
		w = newWire(t, 0, 0, requestLost)
	}
	r, err := startSinkOn(t, w, o, parallelism, from)
	defer r.crash()
	if w.before != nil {
		w.before.deliver(t)
	}
	if err != nil {
		return from, err
	}
	done := from
	for r.at < len(input) || done.position < len(input) {
		if err := r.write(input[r.at:min(r.at+step, len(input))]...); err != nil {
			return done, err
		}
		s, err := r.prepare(done.id + 1)
		if err != nil {
			return done, err
		}
		done = s // the coordinator has written the completion
		if err := crash.At(crash.SinkBeforeCommit); err != nil {
			return done, err
		}
		if r.committer != nil {
			if err := r.committer.Commit(r.ctx, s.id, s.committables); err != nil {
				return done, err
			}
		}
		if err := crash.At(crash.SinkAfterCommit); err != nil {
			return done, err
		}
	}
	return done, nil
}

func allVisibleOnce(t testing.TB, c *cluster, topic string, input []string) {
	t.Helper()
	got := slices.Sorted(slices.Values(c.visible(topic)))
	want := slices.Sorted(slices.Values(input))
	if !slices.Equal(got, want) {
		t.Fatalf("visible %q, want each of %q once", got, want)
	}
}

// TestK1CrashAroundEveryRequest cuts the network before and after each request that a writer or committer sends, and restarts.
func TestK1CrashAroundEveryRequest(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.Produce, kmsg.EndTxn, kmsg.FindCoordinator, kmsg.ListTransactions, kmsg.DescribeConfigs} {
			for _, l := range []loss{requestLost, answerLost} {
				for nth := 1; nth <= 5; nth++ {
					topic := c.topic(2)
					o := stringSink(c, topic, ExactlyOnce)
					input := numbers("v", 16)
					w := newWire(t, int16(key), nth, l)
					saved, err := runAttempt(t, o, input, 4, 2, savedSink{}, w)
					if err == nil {
						break // fewer than nth such requests
					}
					for attempts := 0; err != nil; attempts++ {
						if attempts > 3 {
							t.Fatalf("%s %d loss %d: does not recover: %v", key.Name(), nth, l, err)
						}
						saved, err = runAttempt(t, o, input, 4, 2, saved, nil)
					}
					allVisibleOnce(t, c, topic, input)
					if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
						t.Fatalf("%s %d loss %d: transactions left open: %v", key.Name(), nth, l, open)
					}
				}
			}
		}
	})
}

// TestK2CrashAtEveryPoint crashes at each named point, at its first to third passing; K2 is the crash between completion and commit, and
// the one after the commit whose report is lost.
func TestK2CrashAtEveryPoint(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		for _, point := range []string{crash.SinkBeforeFlush, crash.SinkPrepared, crash.SinkBeforeCommit, crash.SinkAfterCommit} {
			for nth := 1; nth <= 3; nth++ {
				topic := c.topic(2)
				o := stringSink(c, topic, ExactlyOnce)
				input := numbers("v", 12)
				n := 0
				remove := crash.Set(func(p string) error {
					if p == point {
						if n++; n == nth {
							return errCut
						}
					}
					return nil
				})
				saved, err := runAttempt(t, o, input, 4, 1, savedSink{}, nil)
				if err == nil || n != nth {
					t.Fatalf("%s %d was not hit", point, nth)
				}
				// A second crash at the same point, in the attempt that recovers.
				n = nth - 1
				saved, _ = runAttempt(t, o, input, 4, 1, saved, nil)
				remove()
				if _, err = runAttempt(t, o, input, 4, 1, saved, nil); err != nil {
					t.Fatalf("%s %d: does not recover: %v", point, nth, err)
				}
				allVisibleOnce(t, c, topic, input)
			}
		}
	})
}

func TestK3CommitTwiceOutOfOrderFromTwoNodes(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a")
		one := r.mustPrepare(1)
		r.mustWrite("b") // written while one waits for its commit
		c.wantVisible(topic)
		other := must(NewSink(o).(connectors.CommittingSink).NewCommitter(testContext("out")))
		defer other.Close()
		if err := other.Commit(r.ctx, one.id, one.committables); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(one)
		c.wantVisible(topic, "a")
		two := r.mustPrepare(2)
		r.mustCommit(two)
		c.wantVisible(topic, "a", "b")
		// The newest checkpoint and the one before it can be committed again, in any order, by anyone, also after the writer has
		// gone on: nothing of the open transaction gets out.
		r.mustWrite("c", "d")
		for _, s := range []savedSink{two, one, two} {
			r.mustCommit(s)
			if err := other.Commit(r.ctx, s.id, s.committables); err != nil {
				t.Fatal(err)
			}
		}
		c.wantVisible(topic, "a", "b")
		three := r.checkpoint(3)
		c.wantVisible(topic, "a", "b", "c", "d")
		// A checkpoint whose id has been used again was committed: the log says so.
		r.mustWrite("e")
		r.checkpoint(4)
		r.mustWrite("f")
		for _, s := range []savedSink{one, two, three} {
			if err := other.Commit(r.ctx, s.id, s.committables); err != nil {
				t.Fatalf("commit of checkpoint %d after its id was used again: %v", s.id, err)
			}
		}
		c.wantVisible(topic, "a", "b", "c", "d", "e")
	})
}

func TestK6OutageLongerThanTimeout(t *testing.T) {
	c := realCluster(t)
	topic := c.topic(1)
	o := stringSink(c, topic, ExactlyOnce)
	o.TransactionTimeout = time.Second
	r := mustStart(t, o, 2, savedSink{})
	r.mustWrite("a", "b")
	s := r.mustPrepare(1)
	r.crash()
	c.waitAborted(o.TransactionalIDPrefix)
	wantLost(t, o, s, 2)
	c.wantVisible(topic)
}

// waitAborted waits until the broker's timeout has ended every transaction of the prefix.
func (c *cluster) waitAborted(prefix string) {
	c.t.Helper()
	for attempt := 0; len(c.open(prefix)) > 0; attempt++ {
		if !wait(c.ctx(), attempt) {
			c.t.Fatalf("transactions %v are still open", c.open(prefix))
		}
	}
}

// wantLost restores a checkpoint whose transactions are lost.
func wantLost(t testing.TB, o SinkOptions[string], s savedSink, subtasks int) *LostTransactionsError {
	t.Helper()
	_, err := startSink(t, o, subtasks, s)
	var lost *LostTransactionsError
	if !errors.As(err, &lost) || len(lost.Transactions) != len(s.committables) || lost.Checkpoint != s.id {
		t.Fatalf("restore of lost transactions: %v", err)
	}
	for i := range subtasks {
		if id := transactionalID(o.TransactionalIDPrefix, i, 0); !strings.Contains(err.Error(), id) {
			t.Fatalf("transaction %s is not named in: %v", id, err)
		}
	}
	for _, l := range lost.Transactions {
		if l.Undecided || !strings.Contains(l.Reason, "aborted by the marker") {
			t.Fatalf("lost transaction %+v: want it to be proven by its marker", l)
		}
	}
	return lost
}

// TestK6FencedIsLost is the loss that the broker answers with PRODUCER_FENCED: someone else has taken the id.
func TestK6FencedIsLost(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite("a")
		s := r.mustPrepare(1)
		r.crash()
		end := c.transaction(transactionalID(o.TransactionalIDPrefix, 0, 0), topic, 0, "foreign")
		wantLost(t, o, s, 1)
		end(kgo.TryCommit)
		wantLost(t, o, s, 1) // the other's commit is not ours
		c.wantVisible(topic, "foreign")
	})
}

func TestK10RescaleLeavesNoOpenTransaction(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(2)
		o := stringSink(c, topic, ExactlyOnce)
		input := numbers("v", 48)
		saved := savedSink{}
		for i, parallelism := range []int{8, 2, 8} {
			r := mustStart(t, o, parallelism, saved)
			if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
				t.Fatalf("parallelism %d starts with open transactions %v", parallelism, open)
			}
			r.mustWrite(input[16*i : 16*(i+1)]...)
			saved = r.mustPrepare(int64(i) + 1)
			if len(saved.committables) != parallelism {
				t.Fatalf("%d committables of %d subtasks", len(saved.committables), parallelism)
			}
			r.mustWrite(numbers("uncommitted", 16)...)
			if _, err := r.prepare(100 + int64(i)); err != nil { // never completes
				t.Fatal(err)
			}
			r.crash()
		}
		last := mustStart(t, o, 3, saved)
		defer last.crash()
		if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
			t.Fatalf("transactions left open: %v", open)
		}
		allVisibleOnce(t, c, topic, input)
	})
}

func TestK12PrefixesDoNotTouchEachOther(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		a := stringSink(c, topic, ExactlyOnce)
		b := a
		b.TransactionalIDPrefix = a.TransactionalIDPrefix + "-1"
		rb := mustStart(t, b, 1, savedSink{})
		rb.mustWrite("b")
		ra := mustStart(t, a, 2, savedSink{}) // its Recover must leave b's transaction alone
		ra.mustWrite("a0", "a1")
		sb := rb.checkpoint(1)
		rb.crash()
		rb2 := mustStart(t, b, 1, sb)
		defer rb2.crash()
		ra.checkpoint(1)
		allVisibleOnce(t, c, topic, []string{"a0", "a1", "b"})
	})
}

func TestK13StopWithSavepointIsVisibleWhenItReturns(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 2, savedSink{})
		r.mustWrite("a", "b", "c")
		s := r.checkpoint(1)
		r.crash() // an orderly end does the same
		allVisibleOnce(t, c, topic, []string{"a", "b", "c"})
		if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
			t.Fatalf("transactions left open: %v", open)
		}
		// The savepoint starts again, any number of times, and long after its ids were used by others.
		for i := range 4 {
			again := mustStart(t, o, 1, s)
			again.mustWrite(fmt.Sprintf("again%d", i))
			again.checkpoint(int64(10*i + 2))
			again.mustWrite(fmt.Sprintf("more%d", i))
			again.checkpoint(int64(10*i + 3))
			again.mustWrite("never")
			again.crash()
		}
		r3 := mustStart(t, o, 1, savedSink{})
		defer r3.crash()
		allVisibleOnce(t, c, topic, []string{"a", "b", "c", "again0", "again1", "again2", "again3", "more0", "more1", "more2", "more3"})
	})
}

func TestK14EndOfBoundedInputIsVisible(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		in, out := c.topic(2), c.topic(1)
		c.produce(in, 0, numbers("a", 5)...)
		c.produce(in, 1, numbers("b", 4)...)
		src := stringSource(c, in)
		src.Bounded = true
		o := stringSink(c, out, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		s := startSource(t, src, 1, nil)
		s.discover()
		s.waitFinished(2)
		for _, e := range s.emitted {
			r.mustWrite(e[strings.IndexByte(e, '=')+1:])
		}
		c.wantVisible(out)
		r.checkpoint(1) // the end of the input is a checkpoint like any other
		allVisibleOnce(t, c, out, append(numbers("a", 5), numbers("b", 4)...))
	})
}

func TestK15EmptyIntervals(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, ExactlyOnce)
		r := mustStart(t, o, 1, savedSink{})
		for id := int64(1); id <= 12; id++ {
			var want int
			if id%4 == 0 {
				r.mustWrite(fmt.Sprintf("v%d", id))
				want = 1
			}
			s := r.checkpoint(id)
			if len(s.committables) != want {
				t.Fatalf("checkpoint %d has %d committables, want %d", id, len(s.committables), want)
			}
			if open := c.open(o.TransactionalIDPrefix + "-"); len(open) > 0 {
				t.Fatalf("checkpoint %d leaves %v open", id, open)
			}
		}
		c.wantVisible(topic, "v4", "v8", "v12")
	})
}

func TestAtLeastOnceIsVisibleAfterPrepare(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSink(c, topic, AtLeastOnce)
		if _, ok := NewSink(o).(connectors.CommittingSink); ok {
			t.Fatal("an at-least-once sink has a committer")
		}
		r := mustStart(t, o, 1, savedSink{})
		r.mustWrite(numbers("v", 100)...)
		s := r.mustPrepare(1)
		if len(s.committables) != 0 {
			t.Fatal("an at-least-once sink has committables")
		}
		c.wantVisible(topic, numbers("v", 100)...)
		recs := c.records(topic)
		if h := recs[42].Headers; len(h) != 1 || h[0].Key != DedupeHeader || string(h[0].Value) != "src/in@42" {
			t.Fatalf("headers %v", h)
		}
	})
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// sourceRun plays the runtime for one attempt of a source: it discovers, gives splits out round robin and polls.
type sourceRun struct {
	t       testing.TB
	e       connectors.Enumerator
	readers []connectors.Reader[string]
	next    int // reader of the next split

	emitted  []string // "split@offset=value", in order of emission
	stamps   []int64
	dead     []connectors.DeadLetter
	finished []string
	idle     []string
}

// savedSource is what a checkpoint keeps of a source.
type savedSource struct {
	enumerator []byte
	splits     []connectors.Split
}

func stringSource(c *cluster, topics ...string) SourceOptions[string] {
	return SourceOptions[string]{
		Brokers: c.brokers, Client: append([]kgo.Opt{kgo.FetchMaxWait(50 * time.Millisecond)}, c.client...), Topics: topics,
		Decode: func(r *kgo.Record) (string, error) {
			if strings.HasPrefix(string(r.Value), "poison") {
				return "", errors.New("poisoned")
			}
			if r.Value == nil {
				return "<null>", nil
			}
			return string(r.Value), nil
		},
	}
}

func startSource(t testing.TB, o SourceOptions[string], parallelism int, from *savedSource) *sourceRun {
	t.Helper()
	s := NewSource(o)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &sourceRun{t: t}
	var restored []byte
	if from != nil {
		restored = from.enumerator
	}
	e, err := s.NewEnumerator(testContext("src"), restored)
	if err != nil {
		t.Fatal(err)
	}
	r.e = e
	t.Cleanup(func() { r.close() })
	for i := range parallelism {
		c := testContext("src")
		c.Subtask, c.Parallelism = i, parallelism
		rd, err := s.NewReader(c)
		if err != nil {
			t.Fatal(err)
		}
		r.readers = append(r.readers, rd)
	}
	if from != nil {
		for _, sp := range from.splits {
			r.give(sp)
		}
	}
	return r
}

func (r *sourceRun) close() {
	if r.e == nil {
		return
	}
	for _, rd := range r.readers {
		if err := rd.Close(); err != nil {
			r.t.Error(err)
		}
	}
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
	r.e = nil
}

func (r *sourceRun) give(s connectors.Split) {
	r.t.Helper()
	if err := r.readers[r.next%len(r.readers)].AddSplits([]connectors.Split{s}); err != nil {
		r.t.Fatal(err)
	}
	r.next++
}

func (r *sourceRun) discover() {
	r.t.Helper()
	if _, err := r.e.Discover(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	for _, s := range r.e.Assign() {
		r.give(s)
	}
}

// Emit implements connectors.Output.
func (r *sourceRun) Emit(v string, ts int64, at connectors.Coordinates) error {
	r.emitted = append(r.emitted, fmt.Sprintf("%s@%d=%s", at.Split, at.Offset, v))
	r.stamps = append(r.stamps, ts)
	return nil
}

// DeadLetter implements connectors.Output.
func (r *sourceRun) DeadLetter(d connectors.DeadLetter) error {
	r.dead = append(r.dead, d)
	return nil
}

// Finished implements connectors.Output.
func (r *sourceRun) Finished(split string) error {
	r.finished = append(r.finished, split)
	r.e.Finished(split)
	return nil
}

// SplitIdle implements connectors.Output.
func (r *sourceRun) SplitIdle(split string) { r.idle = append(r.idle, split) }

var errTimeout = errors.New("nothing more came")

// pollUntil polls all readers until the condition holds; the error is a reader's, or errTimeout.
func (r *sourceRun) pollUntil(limit time.Duration, ok func() bool) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	woken := make(chan struct{}, 1)
	for _, rd := range r.readers {
		go func() {
			for {
				select {
				case <-rd.Wake():
				case <-ctx.Done():
					return
				}
				select {
				case woken <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for {
		busy := false
		for _, rd := range r.readers {
			s, err := rd.Poll(r, 7)
			if err != nil {
				return err
			}
			busy = busy || s == connectors.More
		}
		if ok() {
			return nil
		}
		if busy {
			continue
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return errTimeout
		}
	}
}

func (r *sourceRun) wait(what string, ok func() bool) {
	r.t.Helper()
	if err := r.pollUntil(20*time.Second, ok); err != nil {
		r.t.Fatalf("waiting for %s: %v; emitted %q, finished %v", what, err, r.emitted, r.finished)
	}
}

func (r *sourceRun) waitEmitted(n int) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%d records", n), func() bool { return len(r.emitted) >= n })
}

// waitFinished reads a bounded source to its end.
func (r *sourceRun) waitFinished(n int) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%d finished splits", n), func() bool { return len(r.finished) >= n })
}

func (r *sourceRun) want(want ...string) {
	r.t.Helper()
	got := slices.Sorted(slices.Values(r.emitted))
	if slices.Sort(want); !slices.Equal(got, want) {
		r.t.Fatalf("emitted %q, want %q", got, want)
	}
}

func (r *sourceRun) save() *savedSource {
	r.t.Helper()
	s := &savedSource{}
	var err error
	if s.enumerator, err = r.e.Snapshot(); err != nil {
		r.t.Fatal(err)
	}
	for _, rd := range r.readers {
		sp, err := rd.Snapshot()
		if err != nil {
			r.t.Fatal(err)
		}
		s.splits = append(s.splits, sp...)
	}
	return s
}

func (s *savedSource) offset(t testing.TB, split string) int64 {
	t.Helper()
	for _, sp := range s.splits {
		if sp.ID == split {
			return must(decodePosition(sp.Position)).offset
		}
	}
	t.Fatalf("split %s is not in the snapshot", split)
	return 0
}

// expected is what a read of values from offset on gives.
func expected(split string, from int64, values ...string) []string {
	var out []string
	for i, v := range values {
		out = append(out, fmt.Sprintf("%s@%d=%s", split, from+int64(i), v))
	}
	return out
}

func TestReadFromStartAndRestoreInMidBatch(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		c.produce(topic, 0, numbers("a", 20)...)
		r := startSource(t, stringSource(c, topic), 1, nil)
		r.discover()
		// Polls of 7 leave the reader in the middle of the batch of 20.
		r.waitEmitted(7)
		n := len(r.emitted)
		saved := r.save()
		if got := saved.offset(t, split); got != int64(n) {
			t.Fatalf("position after %d records is %d", n, got)
		}
		if p := must(decodePosition(saved.splits[0].Position)); p.epoch < 0 || p.topicID == [16]byte{} {
			t.Fatalf("position %+v has no leader epoch or topic id", p)
		}
		if r.stamps[0] != 1_700_000_000_000 {
			t.Fatalf("timestamp is %d, want the record's", r.stamps[0])
		}
		r.close()
		c.produce(topic, 0, "b0")
		r2 := startSource(t, stringSource(c, topic), 1, saved)
		r2.discover()
		r2.waitEmitted(21 - n)
		all := expected(split, 0, append(numbers("a", 20), "b0")...)
		r2.want(all[n:]...)
	})
}

func TestP1PartitionsAddedAreReadFromTheirStart(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		c.produce(topic, 0, "old")
		o := stringSource(c, topic)
		o.Start, o.DiscoveryInterval = Latest(), 300*time.Millisecond
		r := startSource(t, o, 1, nil)
		r.discover()
		c.produce(topic, 0, "new")
		r.waitEmitted(1)
		if _, err := c.adm.CreatePartitions(c.ctx(), 1, topic); err != nil {
			t.Fatal(err)
		}
		// Written before the source knows the partition: with the job's start mode, Latest, it would be lost.
		c.produce(topic, 1, "first")
		next, err := r.e.Discover(t.Context())
		if err != nil || next != o.DiscoveryInterval {
			t.Fatalf("next discovery in %v (%v), want %v", next, err, o.DiscoveryInterval)
		}
		for _, s := range r.e.Assign() {
			r.give(s)
		}
		r.waitEmitted(2)
		r.want(topic+"-0@1=new", topic+"-1@0=first")
		// A restart between discovery and assignment hands the split over once.
		if _, err := c.adm.CreatePartitions(c.ctx(), 1, topic); err != nil {
			t.Fatal(err)
		}
		c.produce(topic, 2, "third")
		if _, err := r.e.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		saved := r.save()
		r.close()
		r2 := startSource(t, o, 1, saved)
		r2.discover()
		r2.waitEmitted(1)
		r2.want(topic + "-2@0=third")
	})
}

func TestP2TopicRecreatedFails(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := unique("t")
		c.createTopic(topic, 1)
		c.produce(topic, 0, "a", "b")
		o := stringSource(c, topic)
		o.OnDataLoss = ResumeOnDataLoss
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitEmitted(2)
		saved := r.save()
		if _, err := c.adm.DeleteTopics(c.ctx(), topic); err != nil {
			t.Fatal(err)
		}
		c.recreate(topic)
		var recreated *TopicRecreatedError
		_, err := r.e.Discover(t.Context())
		for attempt := 0; err == nil && attempt < 10; attempt++ { // the client asks for metadata at most every 250 ms
			wait(c.ctx(), attempt)
			_, err = r.e.Discover(t.Context())
		}
		if !errors.As(err, &recreated) || recreated.Topic != topic || !errors.Is(err, ErrDataLoss) {
			t.Fatalf("discovery after the topic was re-created: %v", err)
		}
		r.close()
		c.produce(topic, 0, "x", "y", "z")
		r2 := startSource(t, o, 1, saved)
		if err := r2.pollUntil(20*time.Second, func() bool { return len(r2.emitted) > 0 }); !errors.As(err, &recreated) {
			t.Fatalf("restore on the re-created topic: %v, emitted %q", err, r2.emitted)
		}
	})
}

// TestP2RunningReaderFails is in virtual time: the client tries for a while before it gives a topic up.
func TestP2RunningReaderFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		topic := c.topic(1)
		c.produce(topic, 0, "a", "b")
		o := stringSource(c, topic)
		o.OnDataLoss = ResumeOnDataLoss
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitEmitted(2)
		if err := c.fake.DeleteTopic(topic); err != nil {
			t.Fatal(err)
		}
		c.createTopic(topic, 1)
		c.produce(topic, 0, "x", "y", "z")
		var recreated *TopicRecreatedError
		if err := r.pollUntil(time.Minute, func() bool { return len(r.emitted) > 2 }); !errors.As(err, &recreated) {
			t.Fatalf("reader after the topic was re-created: %v, emitted %q", err, r.emitted)
		}
		r.close()
	})
}

// recreate creates a topic whose deletion may still be under way.
func (c *cluster) recreate(topic string) {
	c.t.Helper()
	for attempt := 0; ; attempt++ {
		r, err := c.adm.CreateTopic(c.ctx(), 1, 1, nil, topic)
		if err == nil && r.Err == nil {
			return
		}
		if attempt > 12 || !wait(c.ctx(), attempt) {
			c.t.Fatalf("re-create %s: %v %v", topic, err, r.Err)
		}
	}
}

func TestP3CompactedTailIsRead(t *testing.T) {
	c := fakeCluster(t)
	topic := c.topic(1, "cleanup.policy=compact")
	for i := range 6 {
		c.keyed(topic, "k", fmt.Sprintf("v%d", i))
	}
	// A transaction that is aborted takes the last offsets, and compaction removes its records and, in the fake, nothing else.
	c.keyed(topic, "other", "w")
	c.fake.Compact()
	o := stringSource(c, topic)
	o.Bounded = true
	r := startSource(t, o, 1, nil)
	r.discover()
	r.waitFinished(1)
	r.want(topic+"-0@5=v5", topic+"-0@6=w")
	if !r.e.Done() {
		t.Fatal("enumerator is not done")
	}
}

func (c *cluster) keyed(topic, key, value string) {
	c.t.Helper()
	if err := c.cl.ProduceSync(c.ctx(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

func TestP3BoundedEndsOnHoles(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(3)
		// Partition 0: aborted records and their marker are all there is before the end. Partition 1 is empty. Partition 2 has
		// lost its first records, and then all.
		c.transaction(unique("x"), topic, 0, "gone0", "gone1")(kgo.TryAbort)
		c.produce(topic, 2, numbers("d", 5)...)
		del := kadm.Offsets{}
		del.Add(kadm.Offset{Topic: topic, Partition: 2, At: 5})
		if _, err := c.adm.DeleteRecords(c.ctx(), del); err != nil {
			t.Fatal(err)
		}
		o := stringSource(c, topic)
		o.Bounded = true
		r := startSource(t, o, 2, nil)
		r.discover()
		c.produce(topic, 0, "after the end")
		c.produce(topic, 1, "after the end")
		r.waitFinished(3)
		r.want()
		if got := r.save().splits; len(got) != 0 {
			t.Fatalf("finished splits are in the snapshot: %v", got)
		}
	})
}

func TestP4AbortedAndOpenTransactions(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		c.produce(topic, 0, "a0", "a1")                               // 0 1
		aborted := c.transaction(unique("x"), topic, 0, "no0", "no1") // 2 3
		open := c.transaction(unique("y"), topic, 0, "open")          // 4
		aborted(kgo.TryAbort)                                         // marker at 5, behind the last stable offset 4
		o := stringSource(c, topic)
		o.Bounded = true
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitFinished(1)
		r.want(expected(split, 0, "a0", "a1")...)
		r.close()

		// Unbounded, the open transaction's record comes when it is committed, and the position passes the markers.
		u := startSource(t, stringSource(c, topic), 1, nil)
		u.discover()
		u.waitEmitted(2)
		open(kgo.TryCommit) // marker at 6
		u.waitEmitted(3)
		u.want(append(expected(split, 0, "a0", "a1"), split+"@4=open")...)
		u.wait("the position behind the markers", func() bool { return u.save().offset(t, split) == 7 })
		u.close()

		ru := stringSource(c, topic)
		ru.Isolation, ru.Bounded = ReadUncommitted, true
		all := startSource(t, ru, 1, nil)
		all.discover()
		all.waitFinished(1)
		all.want(append(expected(split, 0, "a0", "a1", "no0", "no1"), split+"@4=open")...)
	})
}

func TestP5PositionPassesControlRecords(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		r := startSource(t, stringSource(c, topic), 1, nil)
		r.discover()
		for range 5 {
			c.transaction(unique("x"), topic, 0, "no")(kgo.TryAbort)
		}
		r.wait("the position behind five aborted transactions", func() bool { return r.save().offset(t, split) == 10 })
		saved := r.save()
		r.want()
		r.close()
		c.produce(topic, 0, "yes")
		r2 := startSource(t, stringSource(c, topic), 1, saved)
		r2.waitEmitted(1)
		r2.want(split + "@10=yes")
	})
}

func TestP6RescaleAndMoreSubtasksThanPartitions(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(3)
		var want []string
		for p := range int32(3) {
			c.produce(topic, p, numbers("a", 10)...)
			want = append(want, expected(fmt.Sprintf("%s-%d", topic, p), 0, numbers("a", 10)...)...)
		}
		var got []string
		var saved *savedSource
		for step, parallelism := range []int{2, 5, 1} {
			r := startSource(t, stringSource(c, topic), parallelism, saved)
			r.discover()
			goal := 8
			if step == 2 {
				goal = 30 - len(got)
			}
			r.waitEmitted(goal)
			saved = r.save()
			got = append(got, r.emitted...)
			r.close()
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("emitted over three parallelisms %q, want %q", got, want)
		}
	})
}

func TestP7OutOfRange(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		c.produce(topic, 0, numbers("a", 3)...)
		r := startSource(t, stringSource(c, topic), 1, nil)
		r.discover()
		r.waitEmitted(3)
		saved := r.save()
		r.close()
		c.produce(topic, 0, numbers("b", 5)...)
		del := kadm.Offsets{}
		del.Add(kadm.Offset{Topic: topic, Partition: 0, At: 6})
		if _, err := c.adm.DeleteRecords(c.ctx(), del); err != nil {
			t.Fatal(err)
		}
		fail := startSource(t, stringSource(c, topic), 1, saved)
		err := fail.pollUntil(20*time.Second, func() bool { return len(fail.emitted) > 0 })
		var loss *DataLossError
		if !errors.As(err, &loss) || !errors.Is(err, ErrDataLoss) || loss.Position != 3 || loss.Resume != 6 || loss.Split != split {
			t.Fatalf("restore below the log start: %v", err)
		}
		fail.close()

		o := stringSource(c, topic)
		o.OnDataLoss = ResumeOnDataLoss
		resume := startSource(t, o, 1, saved)
		resume.waitEmitted(2)
		resume.want(expected(split, 6, "b3", "b4")...)
		if got := resume.save().offset(t, split); got != 8 {
			t.Fatalf("position is %d, want 8", got)
		}
	})
}

// TestP8PositionBehindTheEnd is a log that has lost what was read before (an unclean election): with the leader epoch the client finds out
// where the log diverged, without it the position is out of range.
func TestP8PositionBehindTheEnd(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		c.produce(topic, 0, numbers("a", 3)...)
		probe := startSource(t, stringSource(c, topic), 1, nil)
		probe.discover()
		probe.waitEmitted(3)
		saved := probe.save()
		probe.close()
		for _, x := range []struct {
			epoch       int32
			resume, end int64
		}{{0, 3, 3}, {-1, 0, 4}} {
			pos := must(decodePosition(saved.splits[0].Position))
			pos.offset, pos.epoch = 50, x.epoch
			at := &savedSource{enumerator: saved.enumerator, splits: []connectors.Split{{ID: split, Position: pos.encode()}}}
			fail := startSource(t, stringSource(c, topic), 1, at)
			err := fail.pollUntil(20*time.Second, func() bool { return len(fail.emitted) > 0 })
			var loss *DataLossError
			if !errors.As(err, &loss) || loss.Position != 50 || loss.Resume != x.resume {
				t.Fatalf("epoch %d: position 50 in a log of %d: %v", x.epoch, x.end, err)
			}
			fail.close()
			o := stringSource(c, topic)
			o.OnDataLoss = ResumeOnDataLoss
			r := startSource(t, o, 1, at)
			r.wait("the new position", func() bool { return r.save().offset(t, split) == x.end })
			c.produce(topic, 0, "next")
			r.waitEmitted(int(x.end-x.resume) + 1)
			want := append(numbers("a", 3), "next", "next")[x.resume : x.end+1]
			r.want(expected(split, x.resume, want...)...)
			r.close()
		}
	})
}

func TestP11PoisonAndNull(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		split := topic + "-0"
		c.produce(topic, 0, "a", "poison")
		if err := c.cl.ProduceSync(c.ctx(), &kgo.Record{Topic: topic, Key: []byte("k")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		c.produce(topic, 0, "z")
		fail := startSource(t, stringSource(c, topic), 1, nil)
		fail.discover()
		err := fail.pollUntil(20*time.Second, func() bool { return len(fail.emitted) > 1 })
		if err == nil || !strings.Contains(err.Error(), "src/"+split+"@1") || !strings.Contains(err.Error(), "poisoned") {
			t.Fatalf("poison: %v", err)
		}
		if got := fail.save().offset(t, split); got != 1 {
			t.Fatalf("position after the failure is %d, want 1: the record was not handed over", got)
		}
		fail.close()

		o := stringSource(c, topic)
		o.OnPoison = DeadLetterPoison
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitEmitted(3)
		r.want(split+"@0=a", split+"@2=<null>", split+"@3=z")
		if len(r.dead) != 1 || r.dead[0].At.String() != "src/"+split+"@1" || string(r.dead[0].Raw) != "poison" || r.dead[0].Reason != "poisoned" || r.dead[0].UID != "src" {
			t.Fatalf("dead letters %+v", r.dead)
		}
		saved := r.save()
		r.close()
		c.produce(topic, 0, "after")
		r2 := startSource(t, o, 1, saved)
		r2.waitEmitted(1)
		if len(r2.dead) != 0 {
			t.Fatalf("dead letter came twice: %+v", r2.dead)
		}
	})
}

// TestP11RegistryDown: a record that cannot be decoded only because the registry does not answer is no poison: it fails the task, and is read
// again by the next attempt.
func TestP11RegistryDown(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		c.produce(topic, 0, "a", "b")
		o := stringSource(c, topic)
		o.OnPoison = DeadLetterPoison
		decode, down := o.Decode, true
		o.Decode = func(r *kgo.Record) (string, error) {
			if down && string(r.Value) == "b" {
				return "", fmt.Errorf("schema 7: %w", serde.ErrUnavailable)
			}
			return decode(r)
		}
		r := startSource(t, o, 1, nil)
		r.discover()
		err := r.pollUntil(20*time.Second, func() bool { return len(r.emitted)+len(r.dead) > 1 })
		if !errors.Is(err, serde.ErrUnavailable) || !strings.Contains(err.Error(), "src/"+topic+"-0@1") {
			t.Fatalf("got %v", err)
		}
		saved := r.save()
		r.close()
		down = false
		again := startSource(t, o, 1, saved)
		again.waitEmitted(1)
		again.want(topic + "-0@1=b")
		if len(again.dead) != 0 {
			t.Fatalf("dead letters %+v", again.dead)
		}
	})
}

func TestP12GroupOffsetsOnlyAfterCompletion(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(1)
		o := stringSource(c, topic)
		o.GroupID = unique("g")
		c.produce(topic, 0, "a", "b")
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitEmitted(2)
		r.save() // checkpoint 1
		if got := c.groupOffset(o.GroupID, topic); got != -1 {
			t.Fatalf("group is at %d before any checkpoint has completed", got)
		}
		c.produce(topic, 0, "c")
		r.waitEmitted(3)
		r.save() // checkpoint 2, begun before the completion of 1 is told
		r.readers[0].CheckpointCompleted(1)
		c.waitGroup(o.GroupID, topic, 2)
		r.readers[0].CheckpointCompleted(2)
		c.waitGroup(o.GroupID, topic, 3)
	})
}

func (c *cluster) groupOffset(group, topic string) int64 {
	c.t.Helper()
	os, err := c.adm.FetchOffsets(c.ctx(), group)
	if err != nil {
		return -1
	}
	o, ok := os.Lookup(topic, 0)
	if !ok {
		return -1
	}
	return o.At
}

func (c *cluster) waitGroup(group, topic string, want int64) {
	c.t.Helper()
	got := int64(-1)
	for attempt := 0; attempt < 14; attempt++ {
		if got = c.groupOffset(group, topic); got >= want {
			break
		}
		wait(c.ctx(), attempt)
	}
	if got != want {
		c.t.Fatalf("group is at %d, want %d", got, want)
	}
}

func TestStartTimestampAndLatest(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(2)
		at := time.UnixMilli(1_700_000_000_000)
		for i := range 6 {
			r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "a%d", i), Timestamp: at.Add(time.Duration(i) * time.Second)}
			if err := c.cl.ProduceSync(c.ctx(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		c.produce(topic, 1, "early")
		o := stringSource(c, topic)
		o.Start, o.Bounded = FromTimestamp(at.Add(3*time.Second)), true
		r := startSource(t, o, 1, nil)
		r.discover()
		r.waitFinished(2)
		r.want(expected(topic+"-0", 3, "a3", "a4", "a5")...)
		r.close()

		// Latest is resolved once: what is written between the first checkpoint and a crash is read after the restore.
		o.Start, o.Bounded = Latest(), false
		l := startSource(t, o, 1, nil)
		l.discover()
		saved := l.save()
		l.close()
		c.produce(topic, 0, "while down")
		l2 := startSource(t, o, 1, saved)
		l2.discover()
		l2.waitEmitted(1)
		l2.want(topic + "-0@6=while down")
	})
}

func TestSourceMissingTopicIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := virtualCluster(t)
		defer end()
		e, err := NewSource(stringSource(c, "absent")).NewEnumerator(testContext("src"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if _, err := e.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "absent") {
			t.Fatalf("missing topic: %v", err)
		}
	})
}

func TestSourceValidate(t *testing.T) {
	err := SourceOptions[string]{DiscoveryInterval: time.Millisecond, IdleAfter: 1, Isolation: 7, OnDataLoss: 7, OnPoison: -1, Topics: []string{"a", "a"}}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, name := range []string{"Brokers", "Topics", "Decode", "DiscoveryInterval", "IdleAfter", "Isolation", "OnDataLoss", "OnPoison"} {
		if !strings.Contains(err.Error(), "SourceOptions."+name) {
			t.Errorf("no word of %s in %v", name, err)
		}
	}
}

func TestSplitIdleAfterEnd(t *testing.T) {
	c := fakeCluster(t)
	topic := c.topic(1)
	c.produce(topic, 0, "a")
	o := stringSource(c, topic)
	o.IdleAfter = 30 * time.Millisecond
	r := startSource(t, o, 1, nil)
	r.discover()
	r.wait("an idle split", func() bool { return len(r.idle) == 1 })
	r.want(topic + "-0@0=a")
	c.produce(topic, 0, "b")
	r.wait("another idle spell", func() bool { return len(r.idle) == 2 })
	r.want(expected(topic+"-0", 0, "a", "b")...)
}

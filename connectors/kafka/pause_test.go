package kafka

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// of counts the records that have been emitted of a split.
func (r *sourceRun) of(split string) (n int) {
	for _, e := range r.emitted {
		if strings.HasPrefix(e, split+"@") {
			n++
		}
	}
	return n
}

// TestPauseSplits: a paused partition emits nothing while the other is read to its end, also when the pause begins in the middle of a batch and
// when more comes meanwhile; resumed it goes on with the next record, and its position is right all the time.
func TestPauseSplits(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(2)
		a, b := topic+"-0", topic+"-1"
		c.produce(topic, 0, numbers("a", 500)...)
		c.produce(topic, 1, numbers("b", 500)...)
		r := startSource(t, stringSource(c, topic), 1, nil)
		p := r.readers[0].(connectors.SplitPauser)
		r.discover()
		r.wait("the first records of partition 0", func() bool { return r.of(a) > 0 })
		must(0, p.PauseSplits([]string{a, a, topic + "-7"}, nil))
		before := r.of(a)
		r.wait("all of partition 1", func() bool { return r.of(b) == 500 })
		for range 5 { // more comes: the client is stopped with the second part
			c.produce(topic, 0, numbers("more", 20)...)
			c.produce(topic, 1, "tick")
			n := r.of(b) + 1
			r.wait("a record of partition 1", func() bool { return r.of(b) == n })
		}
		if n := r.of(a); n != before {
			t.Fatalf("the paused partition has emitted %d records, had %d", n, before)
		}
		saved := r.save()
		if got := saved.offset(t, a); got != int64(before) {
			t.Errorf("the position of the paused partition is %d, want %d", got, before)
		}
		must(0, p.PauseSplits(nil, []string{a, b, topic + "-7"}))
		r.wait("all of partition 0", func() bool { return r.of(a) == 600 })
		want := slices.Concat(numbers("a", 500), numbers("more", 20), numbers("more", 20), numbers("more", 20), numbers("more", 20), numbers("more", 20))
		var got []string
		for _, e := range r.emitted {
			if strings.HasPrefix(e, a+"@") {
				got = append(got, e)
			}
		}
		if !slices.Equal(got, expected(a, 0, want...)) {
			t.Error("the records of the paused partition are not those that were produced, in order")
		}
		from := startSource(t, stringSource(c, topic), 1, saved)
		from.wait("the rest after a restore", func() bool { return from.of(a) == 600-before })
	})
}

// TestPauseInTheMiddle goes on for many short pauses, each after some records.
func TestPauseInTheMiddle(t *testing.T) {
	eachCluster(t, func(t *testing.T, c *cluster) {
		topic := c.topic(2)
		a, b := topic+"-0", topic+"-1"
		c.produce(topic, 0, numbers("a", 300)...)
		c.produce(topic, 1, numbers("b", 300)...)
		r := startSource(t, stringSource(c, topic), 1, nil)
		p := r.readers[0].(connectors.SplitPauser)
		r.discover()
		deadline := time.Now().Add(20 * time.Second)
		for i := 0; len(r.emitted) < 600 && time.Now().Before(deadline); i++ {
			pause, resume := a, b
			if i%2 == 1 {
				pause, resume = b, a
			}
			must(0, p.PauseSplits([]string{pause}, []string{resume}))
			before := r.of(pause)
			for range 3 {
				if _, err := r.readers[0].Poll(r, 7); err != nil {
					t.Fatal(err)
				}
			}
			if r.of(pause) != before {
				t.Fatalf("paused split %s has emitted %d records, had %d", pause, r.of(pause), before)
			}
		}
		for s, values := range map[string][]string{a: numbers("a", 300), b: numbers("b", 300)} {
			var got []string
			for _, e := range r.emitted {
				if strings.HasPrefix(e, s+"@") {
					got = append(got, e)
				}
			}
			if !slices.Equal(got, expected(s, 0, values...)) {
				t.Errorf("split %s: %d records, not those that were produced in order", s, len(got))
			}
		}
	})
}

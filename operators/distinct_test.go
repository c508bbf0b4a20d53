package operators_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// A key is passed on once; with a time to live it is passed on again after that time.
func ExampleDistinct() {
	stage := operators.Distinct(sensor, nil, state.EventTimeTTL(time.Minute))
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 1}, 0)
	h.Process(reading{Sensor: "a", Value: 2}, 30_000)
	h.Process(reading{Sensor: "b", Value: 3}, 40_000)
	h.Watermark(60_000)
	h.Process(reading{Sensor: "a", Value: 4}, 70_000)
	h.Process(reading{Sensor: "b", Value: 5}, 70_000)
	for _, r := range h.Records() {
		fmt.Println(r.Sensor, r.Value)
	}
	// Output:
	// a 1
	// b 3
	// a 4
}

// dedupHistory drives one of the operators of this file with random records, watermarks and restores, and compares what comes out of each step
// with what the model says: record and advance return it as text. Rapid prints the seed and the shrunk history of a failure.
func dedupHistory(t *rapid.T, stage operators.Stage[order, order], record func(o order, ts, watermark int64) []string, advance func(ms int64) []string) {
	g := newGroup(t, stage, who, operatortest.Options{MaxParallelism: 8})
	compare := func(what string, want []string) {
		t.Helper()
		var got []string
		for _, e := range g.outputs(byTimestamp) {
			if e.Kind == operatortest.Record {
				got = append(got, e.String())
			}
		}
		if a, b := sortedText(got), sortedText(want); a != b {
			t.Fatalf("%s: got %s, want %s", what, a, b)
		}
	}
	watermark, now, n := operators.NoWatermark, rapid.Int64Range(-1000, 1000).Draw(t, "from"), int64(0)
	step := func(ms int64) {
		watermark = max(watermark, ms)
		g.each(func(h *operatortest.Harness[order, order]) { h.Watermark(ms) })
		compare(fmt.Sprintf("watermark %d", ms), advance(ms))
	}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			g.restore(rapid.IntRange(1, 3).Draw(t, "parallelism"))
			g.outputs(byTimestamp) // the repeated watermark
		case 1, 2:
			now += rapid.Int64Range(0, 25).Draw(t, "forward")
			step(now)
		default:
			n++
			o := order{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), n}
			ts := now + rapid.Int64Range(-30, 30).Draw(t, "ts")
			g.process(o, ts)
			compare(fmt.Sprintf("record %v@%d at watermark %d", o, ts, watermark), record(o, ts, watermark))
		}
	}
	step(operators.EndOfTime)
}

func sortedText(parts []string) string {
	parts = append([]string(nil), parts...)
	for i := range parts { // insertion sort: there are few
		for j := i; j > 0 && parts[j] < parts[j-1]; j-- {
			parts[j], parts[j-1] = parts[j-1], parts[j]
		}
	}
	return strings.Join(parts, ", ")
}

func at(o order, ts int64) string { return fmt.Sprintf("%v@%d", o, ts) }

// TestDistinctAgainstTheModel: the model keeps every record and looks for one that is not forgotten yet.
func TestDistinctAgainstTheModel(t *testing.T) {
	type seen struct {
		key string
		ts  int64
	}
	rapid.Check(t, func(t *rapid.T) {
		ttl := rapid.SampledFrom([]int64{0, 20}).Draw(t, "ttl")
		var opts []state.Option
		if ttl > 0 {
			opts = append(opts, state.EventTimeTTL(ms(ttl)))
		}
		var passed []seen
		dedupHistory(t, operators.Distinct(who, nil, opts...), func(o order, ts, watermark int64) []string {
			for _, s := range passed {
				if s.key == o.Who && (ttl == 0 || s.ts+ttl > watermark) {
					return nil
				}
			}
			passed = append(passed, seen{o.Who, ts})
			return []string{at(o, ts)}
		}, func(int64) []string { return nil })
	})
}

// TestDistinctForgets: the wall clock bounds what is kept of a key, TTLOnRead from its last record.
func TestDistinctForgets(t *testing.T) {
	h := operatortest.New(t, operators.Distinct(who, nil, state.TTL(time.Second), state.TTLOnRead()), operatortest.Options{NowMS: 1}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 1)
	h.AdvanceProcessingTime(1000)
	h.Process(order{"a", 2}, 2)
	h.AdvanceProcessingTime(1999)
	h.Process(order{"a", 3}, 3)
	h.AdvanceProcessingTime(2999)
	h.Process(order{"a", 4}, 4)
	want(t, "records", h.Outputs(), "a1@1, a4@4")
	h.AdvanceProcessingTime(10_000)
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left in the snapshot when every key is forgotten", n)
	}
}

// BenchmarkDistinct is a record of a known key, over 100 000 keys.
func BenchmarkDistinct(b *testing.B) {
	for _, c := range []struct {
		name string
		opts []state.Option
	}{{"no TTL", nil}, {"event-time TTL", []state.Option{state.EventTimeTTL(time.Hour)}}} {
		b.Run(c.name, func(b *testing.B) {
			benchKnownKeys(b, operators.Distinct(benchKey, nil, c.opts...))
		})
	}
}

// benchKnownKeys is one record of a known key.
func benchKnownKeys[Out any](b *testing.B, stage operators.Stage[benchRecord, Out]) {
	h := operatortest.New(b, stage, operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	for n := range int64(2 * benchKeys) {
		h.Process(scattered(n), n)
	}
	b.ReportAllocs()
	for n := int64(2 * benchKeys); b.Loop(); n++ {
		h.Process(scattered(n), n)
	}
}

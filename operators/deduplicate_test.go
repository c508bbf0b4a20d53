package operators_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// The first record by event time passes when the watermark reaches it, whichever came first.
func ExampleDeduplicate() {
	stage := operators.Deduplicate(sensor, nil, operators.KeepFirst)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 1}, 3_000)
	h.Process(reading{Sensor: "a", Value: 2}, 2_000)
	h.Process(reading{Sensor: "a", Value: 3}, 4_000)
	fmt.Println(len(h.Records()), "before the watermark")
	h.Watermark(2_000)
	for _, r := range h.Records() {
		fmt.Println(r.Sensor, r.Value)
	}
	// Output:
	// 0 before the watermark
	// a 2
}

// Each record passes that is not older than those before: the last result of a key is its newest record.
func ExampleDeduplicate_keepLast() {
	stage := operators.Deduplicate(sensor, nil, operators.KeepLast)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(sensor, nil)
	h.Process(reading{Sensor: "a", Value: 1}, 3_000)
	h.Process(reading{Sensor: "a", Value: 2}, 2_000)
	h.Process(reading{Sensor: "a", Value: 3}, 4_000)
	for _, r := range h.Records() {
		fmt.Println(r.Sensor, r.Value)
	}
	// Output:
	// a 1
	// a 3
}

// TestKeepFirstAgainstTheModel: the model keeps every record and, at each watermark, looks for the first of each key among those since the key was
// last forgotten.
func TestKeepFirstAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := rapid.SampledFrom([]int64{0, 20}).Draw(t, "ttl")
		var opts []state.Option
		if ttl > 0 {
			opts = append(opts, state.EventTimeTTL(ms(ttl)))
		}
		type dated struct {
			o  order
			ts int64
		}
		var held []dated // of keys without result
		forgotten := map[string]int64{}
		decided := func(key string, watermark int64) bool {
			end, ok := forgotten[key]
			return ok && (ttl == 0 || end > watermark)
		}
		pass := func(d dated) string {
			held = slices.DeleteFunc(held, func(x dated) bool { return x.o.Who == d.o.Who })
			forgotten[d.o.Who] = d.ts + ttl
			return at(d.o, d.ts)
		}
		dedupHistory(t, operators.Deduplicate(who, nil, operators.KeepFirst, opts...), func(o order, ts, watermark int64) []string {
			switch {
			case decided(o.Who, watermark):
				return nil
			case ts <= watermark:
				return []string{pass(dated{o, ts})}
			}
			held = append(held, dated{o, ts})
			return nil
		}, func(watermark int64) (out []string) {
			slices.SortStableFunc(held, func(a, b dated) int { return int(a.ts - b.ts) })
			for len(held) > 0 && held[0].ts <= watermark {
				out = append(out, pass(held[0]))
			}
			return out
		})
	})
}

// TestKeepLastAgainstTheModel: the model looks through all records that have passed and are not forgotten.
func TestKeepLastAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := rapid.SampledFrom([]int64{0, 20}).Draw(t, "ttl")
		var opts []state.Option
		if ttl > 0 {
			opts = append(opts, state.EventTimeTTL(ms(ttl)))
		}
		passed := map[string][]int64{}
		dedupHistory(t, operators.Deduplicate(who, nil, operators.KeepLast, opts...), func(o order, ts, watermark int64) []string {
			for _, p := range passed[o.Who] {
				if ts < p && (ttl == 0 || p+ttl > watermark) {
					return nil
				}
			}
			passed[o.Who] = append(passed[o.Who], ts)
			return []string{at(o, ts)}
		}, func(int64) []string { return nil })
	})
}

// TestHeldRecordsDoNotExpire: the time to live counts from the result, not from the record that waits for it.
func TestHeldRecordsDoNotExpire(t *testing.T) {
	stage := operators.Deduplicate(who, nil, operators.KeepFirst, state.TTL(time.Second))
	h := operatortest.New(t, stage, operatortest.Options{NowMS: 1}).KeyBy(who, nil)
	h.Process(order{"a", 1}, 5_000)
	h.AdvanceProcessingTime(100_000)
	h.Watermark(5_000)
	h.Process(order{"a", 2}, 6_000)
	h.AdvanceProcessingTime(101_000)
	h.Process(order{"a", 3}, 7_000)
	h.Watermark(operators.EndOfTime)
	want(t, "records", h.Outputs(), "a1@5000, watermark 5000, a3@7000, watermark end")
}

func TestDeduplicateRefuses(t *testing.T) {
	for _, keep := range []operators.Keep{operators.KeepFirst, operators.KeepLast} {
		h := operatortest.New(t, operators.Deduplicate(who, nil, keep), operatortest.Options{DeadLetters: true}).KeyBy(who, nil)
		h.Process(order{"a", 1}, connectors.NoTimestamp)
		h.Process(order{"a", 2}, 1)
		h.EndInput()
		if d := h.DeadLetters(); len(d) != 1 || len(h.Records()) != 1 {
			t.Errorf("keep %d: dead letters %v", keep, d)
		}
	}
	refused := failureOf(t, operators.Deduplicate(who, nil, 7))
	wantError(t, refused, "Deduplicate is to keep 7", "KeepFirst")
	wantError(t, failureOf(t, operators.Deduplicate(who, nil, operators.KeepLast, state.TTLOnRead())), "TTLOnRead without TTL")
}

// failureOf is why the graph refuses the operator.
func failureOf[In, Out any](t *testing.T, stage operators.Stage[In, Out]) error {
	t.Helper()
	task := operators.NewTask(operators.TaskConfig{UID: "step", Name: "step", Check: true, MaxParallelism: 128, Parallelism: 1})
	_, err := stage(task, func(Out) error { return nil })
	if err == nil {
		err = task.Err()
	}
	return err
}

// BenchmarkKeepFirst is a record of a key that has its result.
func BenchmarkKeepFirst(b *testing.B) {
	stage := operators.Deduplicate(benchKey, nil, operators.KeepFirst)
	h := operatortest.New(b, stage, operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	for n := range int64(benchKeys) {
		h.Process(scattered(n), n)
	}
	h.Watermark(benchKeys)
	b.ReportAllocs()
	for n := int64(benchKeys); b.Loop(); n++ {
		h.Process(scattered(n), n)
	}
}

// BenchmarkKeepLast is a record that is newer than those before.
func BenchmarkKeepLast(b *testing.B) {
	benchKnownKeys(b, operators.Deduplicate(benchKey, nil, operators.KeepLast))
}

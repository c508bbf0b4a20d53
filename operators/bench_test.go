package operators_test

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// BenchmarkMaps is one record through a chain of five maps: each is a plain call of the next.
func BenchmarkMaps(b *testing.B) {
	inc := operators.Map(func(n int64) int64 { return n + 1 })
	chain := func(t *operators.Task, emit func(int64) error) (func(int64) error, error) {
		for range 5 {
			var err error
			if emit, err = inc(t, emit); err != nil {
				return nil, err
			}
		}
		return emit, nil
	}
	h := operatortest.New(b, chain, operatortest.Options{Discard: true})
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		h.Process(n, n)
	}
}

const benchKeys = 100_000

type benchRecord struct{ Key, N int64 }

func benchKey(r benchRecord) int64 { return r.Key }

// scattered is record n of a stream over benchKeys keys.
func scattered(n int64) benchRecord {
	return benchRecord{Key: int64(uint64(n) * 0x9E3779B97F4A7C15 % benchKeys), N: n}
}

// BenchmarkProcess is one Get and one Set of a record, over 100,000 keys in memory.
func BenchmarkProcess(b *testing.B) {
	h := operatortest.New(b, operators.Process(benchKey, nil, func(k *operators.Keyed[int64, benchRecord, int64]) {
		sum := k.Value[int64]("sum")
		k.OnRecord(func(c *operators.Ctx[int64, int64], r benchRecord) error {
			v, err := sum.Get()
			if err != nil {
				return err
			}
			if err := sum.Set(v + r.N); err != nil {
				return err
			}
			return c.Emit(v)
		})
	}), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	for n := range int64(benchKeys) {
		h.Process(scattered(n), 0)
	}
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		h.Process(scattered(n), 0)
	}
}

// BenchmarkTumblingCount counts over 1,000 keys in windows of one second, 100,000 records in each: 100 of every key.
func BenchmarkTumblingCount(b *testing.B) { benchWindow(b, operators.Tumbling(time.Second)) }

// BenchmarkSlidingCount is the same with windows of ten seconds that start every second.
func BenchmarkSlidingCount(b *testing.B) {
	benchWindow(b, operators.Sliding(10*time.Second, time.Second))
}

func benchWindow(b *testing.B, w operators.Windows) {
	h := operatortest.New(b, operators.WindowAggregate(benchKey, nil, w, operators.Count[benchRecord](),
		func(_ int64, _ operators.Window, n int64) int64 { return n }), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		r := scattered(n)
		r.Key %= 1000
		h.Process(r, n/100)
		if n%1000 == 999 {
			h.Watermark(n/100 - 1)
		}
	}
}

// BenchmarkTimers registers one event-time timer for each record, 10 s ahead, and fires one, with 100,000 pending on average.
func BenchmarkTimers(b *testing.B) {
	h := operatortest.New(b, operators.Process(benchKey, nil, func(k *operators.Keyed[int64, benchRecord, int64]) {
		k.OnRecord(func(c *operators.Ctx[int64, int64], r benchRecord) error {
			c.TimerAt(time.UnixMilli(r.N))
			return nil
		})
		k.OnTimer(func(c *operators.Ctx[int64, int64], at time.Time) error { return c.Emit(at.UnixMilli()) })
	}), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		r := scattered(n)
		r.N = n/10 + 10_000
		h.Process(r, n/10)
		if n%100 == 99 {
			h.Watermark(n / 10)
		}
	}
}

// TestRecordPathDoesNotAllocate holds the keyed record path at no allocation for a record of a key that is known.
func TestRecordPathDoesNotAllocate(t *testing.T) {
	process := operatortest.New(t, operators.Process(benchKey, nil, func(k *operators.Keyed[int64, benchRecord, int64]) {
		sum := k.Value[int64]("sum")
		k.OnRecord(func(c *operators.Ctx[int64, int64], r benchRecord) error {
			v, err := sum.Get()
			if err != nil {
				return err
			}
			c.TimerAt(time.UnixMilli(1000))
			if err := sum.Set(v + r.N); err != nil {
				return err
			}
			return c.Emit(v)
		})
	}), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	window := operatortest.New(t, operators.WindowAggregate(benchKey, nil, operators.Tumbling(time.Second), operators.Count[benchRecord](),
		func(_ int64, _ operators.Window, n int64) int64 { return n }), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	times := operatortest.New(t, operators.Timestamps(operators.Watermarks[int64]{Timestamp: time.UnixMilli}), operatortest.Options{Discard: true})
	for name, do := range map[string]func(){
		"Process":         func() { process.Process(benchRecord{7, 1}, 1) },
		"WindowAggregate": func() { window.Process(benchRecord{7, 1}, 1) },
		"Timestamps":      func() { times.Process(5, 1) },
	} {
		if n := testing.AllocsPerRun(1000, do); n != 0 {
			t.Errorf("%s allocates %v times a record", name, n)
		}
	}
}

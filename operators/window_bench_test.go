package operators_test

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// BenchmarkWindow is one record over 1,000 keys, 100,000 records and 100 of every key in one second of event time. The names are of the
// windows, then of what is asked of them beyond the default.
func BenchmarkWindow(b *testing.B) {
	type spec = operators.WindowSpec[benchRecord]
	count := operators.Count[benchRecord]()
	ordered := count
	ordered.Commutative = false
	tumbling, sliding := operators.Tumbling(time.Second), operators.Sliding(10*time.Second, time.Second)
	for _, c := range []struct {
		name string
		s    spec
		agg  state.Aggregate[benchRecord, int64, int64]
	}{
		{"tumbling", spec{Windows: tumbling}, count},
		{"tumbling/lateness", spec{Windows: tumbling, AllowedLateness: time.Second}, count},
		{"tumbling/processing", spec{Windows: tumbling.InProcessingTime()}, count},
		{"sliding", spec{Windows: sliding}, count},
		{"sliding/ordered", spec{Windows: sliding}, ordered},
		{"session", spec{Windows: operators.Session(time.Second)}, count},
		{"tumbling/count trigger", spec{Windows: tumbling, Trigger: operators.CountTrigger[benchRecord](10)}, count},
		{"tumbling/continuous trigger", spec{Windows: tumbling, Trigger: operators.ContinuousEventTimeTrigger[benchRecord](100 * time.Millisecond)}, count},
		{"tumbling/evictor", spec{Windows: tumbling, Evictor: operators.CountEvictor[benchRecord](10)}, count},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchSpec(b, operators.WindowAggregate(benchKey, nil, c.s, c.agg, func(_ int64, _ operators.Window, n int64) int64 { return n }))
		})
	}
	b.Run("tumbling/process", func(b *testing.B) {
		benchSpec(b, operators.WindowProcess(benchKey, nil, tumbling, func(f *operators.WindowFunc[int64, []benchRecord, int64]) {
			f.OnFire(func(c *operators.WindowCtx[int64, int64], rs []benchRecord) error { return c.Emit(int64(len(rs))) })
		}))
	})
}

func benchSpec(b *testing.B, stage operators.Stage[benchRecord, int64]) {
	h := operatortest.New(b, stage, operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		r := scattered(n)
		r.Key %= 1000
		h.Process(r, n/100)
		if n%1000 == 999 {
			h.Watermark(n/100 - 1)
			h.AdvanceProcessingTime(n / 100)
		}
	}
}

// TestWindowsDoNotAllocate holds the record path at no allocation for a record of a window that is known.
func TestWindowsDoNotAllocate(t *testing.T) {
	type spec = operators.WindowSpec[benchRecord]
	hour := operators.Tumbling(time.Hour)
	ordered := operators.Count[benchRecord]()
	ordered.Commutative = false
	for name, s := range map[string]spec{
		"tumbling":       {Windows: hour},
		"lateness":       {Windows: hour, AllowedLateness: time.Hour},
		"sliding":        {Windows: operators.Sliding(time.Hour, time.Minute)},
		"session":        {Windows: operators.Session(time.Hour)},
		"gaps":           operators.SessionBy(func(benchRecord) time.Duration { return time.Hour }),
		"processing":     {Windows: hour.InProcessingTime()},
		"count trigger":  {Windows: hour, Trigger: operators.CountTrigger[benchRecord](1000)},
		"continuous":     {Windows: hour, Trigger: operators.ContinuousEventTimeTrigger[benchRecord](time.Minute)},
		"timeout":        {Windows: hour, Trigger: operators.CountTrigger[benchRecord](10_000).WithTimeout(operators.Timeout{After: time.Hour})},
		"count windows":  operators.CountWindows[benchRecord](10_000),
		"purged by time": {Windows: hour, Trigger: operators.EventTimeTrigger[benchRecord]().Purging()},
	} {
		for _, agg := range []state.Aggregate[benchRecord, int64, int64]{operators.Count[benchRecord](), ordered} {
			h := operatortest.New(t, operators.WindowAggregate(benchKey, nil, s, agg,
				func(_ int64, _ operators.Window, n int64) int64 { return n }), operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
			if n := testing.AllocsPerRun(1000, func() { h.Process(benchRecord{7, 1}, 1) }); n != 0 {
				t.Errorf("%s, commutative %v: %v allocations a record", name, agg.Commutative, n)
			}
		}
	}
}

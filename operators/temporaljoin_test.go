package operators_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type temporalOptions = operators.TemporalOptions[order, order]

// rowText is a record with its row.
func rowText(v order, row *order) string {
	if row == nil {
		return fmt.Sprint(v, "|none")
	}
	return fmt.Sprint(v, "|", *row)
}

func ended(row order) bool { return row.N < 0 }

func TestTemporalJoinIsRefused(t *testing.T) {
	refused := func(stage operators.Stage2[order, order, string], part string) {
		t.Helper()
		wantError(t, operatortest.Check2(stage, operatortest.Options{}), part)
	}
	refused(operators.TemporalJoin[string, order, order, string](who, who, nil, temporalOptions{}, nil), "function")
	refused(operators.TemporalLeftJoin[string, order, order, string](who, who, nil, temporalOptions{}, nil), "function")
	refused(operators.TemporalLeftJoin(who, nil, nil, temporalOptions{}, rowText), "key function")
}

// TestTemporalJoin: the inner join has a side output for records without a row, and a record at the watermark is answered at once.
func TestTemporalJoin(t *testing.T) {
	stage := operators.TemporalJoin(who, who, nil, temporalOptions{}, pairText)
	h := operatortest.New2(t, stage, operatortest.Options{DeadLetters: true}).KeyBy(who, who, nil)
	h.ProcessA(order{"a", 1}, 5)
	h.ProcessA(order{"a", 2}, 15)
	h.ProcessA(order{"a", 3}, connectors.NoTimestamp)
	h.ProcessB(order{"a", 7}, 10)
	h.Watermark(0, 15)
	h.Watermark(1, 15)
	want(t, "results", h.Outputs(), "a2|a7@15, watermark 15")
	want(t, "unmatched", h.SideOutput(operators.UnmatchedLeft[order]()), "a1@5")
	h.ProcessA(order{"a", 4}, 15)
	h.ProcessA(order{"a", 5}, 14)
	want(t, "at the watermark", h.Outputs(), "a4|a7@15")
	want(t, "late", h.SideOutput(operators.LateLeft[order]()), "a5@14")
	if d := h.DeadLetters(); len(d) != 1 {
		t.Errorf("dead letters %v, want the record without timestamp", d)
	}
}

// temporalModel keeps everything for ever.
type temporalModel struct {
	versions []modelVersion
	waiting  []modelRow
}

type (
	modelVersion struct {
		o    order
		from int64
	}
	modelRow struct {
		o  order
		ts int64
	}
)

// answer is the result of a record from all versions so far: of those with its key that are not after it, the newest one, and of equal ones the last.
func (m *temporalModel) answer(r modelRow) string {
	var row *modelVersion
	for i, v := range m.versions {
		if v.o.Who == r.o.Who && v.from <= r.ts && (row == nil || v.from >= row.from) {
			row = &m.versions[i]
		}
	}
	if row == nil || ended(row.o) {
		return fmt.Sprintf("%v|none@%d", r.o, r.ts)
	}
	return fmt.Sprintf("%v|%v@%d", r.o, row.o, r.ts)
}

// forget drops the rows that are deleted at the watermark: the deletion is forgotten with what it ended.
func (m *temporalModel) forget(watermark int64) {
	newest := map[string]modelVersion{}
	for _, v := range m.versions {
		if n, ok := newest[v.o.Who]; v.from <= watermark && (!ok || v.from >= n.from) {
			newest[v.o.Who] = v
		}
	}
	m.versions = slices.DeleteFunc(m.versions, func(v modelVersion) bool { return v.from <= watermark && ended(newest[v.o.Who].o) })
}

// TestTemporalJoinAgainstTheModel compares random histories, with versions out of order and deletions, and restores at random parallelism.
func TestTemporalJoinAgainstTheModel(t *testing.T) {
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": tinyPebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { temporalHistory(t, backend()) })
		})
	}
}

func temporalHistory(t *rapid.T, backend state.Backend) {
	o := temporalOptions{Deleted: ended}
	if rapid.Bool().Draw(t, "codecs") {
		o.Codecs = orderCodecs{Left: serde.MustFor[order](), Right: serde.MustFor[order]()}
	}
	g := newPairGroup(t, operators.TemporalLeftJoin(who, who, nil, o, rowText), false, operatortest.Options{MaxParallelism: 8, State: backend})
	m, now, keys := &temporalModel{}, int64(0), []string{"a", "b", "c"}
	for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
		var expect []string
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); step {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1, 2:
			now += rapid.Int64Range(0, 20).Draw(t, "forward")
			g.watermark(step%2, now)
			expect = m.advance(g.current())
			m.forget(g.current())
		case 3, 4, 5, 6:
			v := order{rapid.SampledFrom(keys).Draw(t, "key"), int64(i + 1)}
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				v.N = -v.N
			}
			// A version below the watermark is taken for what comes later, unless a newer one is below the watermark, too.
			from := now + rapid.Int64Range(-10, 20).Draw(t, "from")
			g.process(1, v, from)
			m.versions = append(m.versions, modelVersion{v, from})
			m.forget(g.current())
		default:
			r := modelRow{order{rapid.SampledFrom(keys).Draw(t, "key"), int64(i + 1)}, now + rapid.Int64Range(-10, 20).Draw(t, "ts")}
			g.process(0, r.o, r.ts)
			switch late := g.side(operators.LateLeft[order]()); {
			case r.ts < g.current():
				if len(late) != 1 {
					t.Fatalf("record %v at %d, watermark %d: late %q", r.o, r.ts, g.current(), late)
				}
			case r.ts == g.current():
				expect = []string{m.answer(r)}
			default:
				m.waiting = append(m.waiting, r)
			}
		}
		if got := g.records(); !slices.Equal(got, expect) {
			t.Fatalf("watermark %d: got %q, want %q", g.current(), got, expect)
		}
	}
	for _, k := range keys { // without rows there is no state
		g.process(1, order{k, -1}, math.MaxInt64-1)
		m.versions = append(m.versions, modelVersion{order{k, -1}, math.MaxInt64 - 1})
	}
	g.watermark(0, operators.EndOfTime)
	g.watermark(1, operators.EndOfTime)
	if got, expect := g.records(), m.advance(math.MaxInt64); !slices.Equal(got, expect) {
		t.Fatalf("at the end: got %q, want %q", got, expect)
	}
	if n := g.bytes(); n != 0 {
		t.Fatalf("%d bytes of state are left at the end", n)
	}
}

func (m *temporalModel) advance(watermark int64) (expect []string) {
	for _, r := range m.waiting {
		if r.ts <= watermark {
			expect = append(expect, m.answer(r))
		}
	}
	m.waiting = slices.DeleteFunc(m.waiting, func(r modelRow) bool { return r.ts <= watermark })
	slices.Sort(expect)
	return expect
}

// BenchmarkTemporalJoin is three records for each version of a row, over 1,000 keys; the watermark follows.
func BenchmarkTemporalJoin(b *testing.B) {
	h := operatortest.New2(b, operators.TemporalJoin(benchKey, benchKey, nil, operators.TemporalOptions[benchRecord, benchRecord]{},
		func(v, row benchRecord) int64 { return v.N + row.N }), operatortest.Options{Discard: true}).KeyBy(benchKey, benchKey, nil)
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		r := benchRecord{Key: n / 4 % 1000, N: n}
		if n%4 == 0 {
			h.ProcessB(r, n)
		} else {
			h.ProcessA(r, n)
		}
		if n%10_000 == 0 {
			h.Watermark(0, n-1000)
			h.Watermark(1, n-1000)
		}
	}
}

// Orders in a foreign currency are converted at the rate of their own time, also where a newer rate is known already.
func ExampleTemporalJoin() {
	rated := operators.TemporalJoin(who, who, nil, operators.TemporalOptions[order, order]{},
		func(o, rate order) string { return fmt.Sprint(o.N, " ", o.Who, " at ", rate.N) })
	h := operatortest.New2(exampleTB{}, rated, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessB(order{"EUR", 110}, 0)
	h.ProcessB(order{"EUR", 115}, 60_000)
	h.ProcessA(order{"EUR", 5}, 70_000)
	h.ProcessA(order{"EUR", 3}, 59_999)
	h.ProcessA(order{"USD", 3}, 59_999)
	h.EndInput()
	fmt.Println(h.Records())
	fmt.Println(h.SideOutput(operators.UnmatchedLeft[order]()))
	// Output:
	// [3 EUR at 110 5 EUR at 115]
	// [USD3@59999]
}

// The join with the row as it is now, in processing time, is a CoProcess that keeps the row in a value state.
func ExampleCoProcess_currentRow() {
	type builder = operators.CoKeyed[string, order, order, string]
	current := operators.CoProcess(who, who, nil, func(b *builder) {
		row := b.Value[order]("row")
		b.OnFirst(func(c *operators.Ctx[string, string], o order) error {
			rate, ok, err := row.Lookup()
			if !ok || err != nil {
				return err
			}
			return c.Emit(fmt.Sprint(o.N, " ", o.Who, " at ", rate.N))
		})
		b.OnSecond(func(_ *operators.Ctx[string, string], rate order) error { return row.Set(rate) })
	})
	h := operatortest.New2(exampleTB{}, current, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"EUR", 1}, 0)
	h.ProcessB(order{"EUR", 110}, 0)
	h.ProcessA(order{"EUR", 2}, 0)
	fmt.Println(h.Records())
	// Output:
	// [2 EUR at 110]
}

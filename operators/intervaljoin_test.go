package operators_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type orderCodecs = operators.JoinCodecs[order, order]

func pairText(l, r order) string { return fmt.Sprint(l, "|", r) }

func intervalJoin(between operators.Interval) operators.Stage2[order, order, string] {
	return operators.IntervalJoin(who, who, nil, between, orderCodecs{}, pairText)
}

func TestIntervalJoinIsRefused(t *testing.T) {
	for _, c := range []struct {
		between operators.Interval
		part    string
	}{
		{operators.Between(time.Second, -time.Second), "reversed"},
		{operators.Between(time.Microsecond, time.Second), "lower bound"},
		{operators.Between(0, 1500*time.Microsecond), "upper bound"},
		{operators.Interval{Upper: time.Millisecond, ExclusiveLower: true, ExclusiveUpper: true}, "no whole ms"},
		{operators.Interval{ExclusiveLower: true}, "no whole ms"},
	} {
		wantError(t, operatortest.Check2(intervalJoin(c.between), operatortest.Options{}), c.part)
	}
	refused := func(stage operators.Stage2[order, order, string], part string) {
		t.Helper()
		wantError(t, operatortest.Check2(stage, operatortest.Options{}), part)
	}
	refused(operators.IntervalJoin[string, order, order, string](who, who, nil, operators.Between(0, 0), orderCodecs{}, nil), "function")
	refused(operators.IntervalJoin(nil, who, nil, operators.Between(0, 0), orderCodecs{}, pairText), "key function")
}

// TestIntervalJoinAtTheEndsOfTime: bounds saturate, nothing is lost or joined by an overflow.
func TestIntervalJoinAtTheEndsOfTime(t *testing.T) {
	h := operatortest.New2(t, intervalJoin(operators.Between(-time.Hour, time.Hour)), operatortest.Options{DeadLetters: true}).KeyBy(who, who, nil)
	h.ProcessA(order{"a", 1}, math.MaxInt64-1)
	h.ProcessA(order{"a", 2}, math.MinInt64+1)
	h.ProcessB(order{"a", 3}, math.MaxInt64-5)
	h.ProcessB(order{"a", 4}, math.MinInt64+5)
	h.ProcessB(order{"a", 5}, 0)
	h.ProcessB(order{"a", 6}, connectors.NoTimestamp)
	if got := fmt.Sprint(h.Records()); got != "[a1|a3 a2|a4]" {
		t.Errorf("got %s", got)
	}
	if d := h.DeadLetters(); len(d) != 1 {
		t.Errorf("dead letters %v, want the record without timestamp", d)
	}
	h.EndInput()
	want(t, "unmatched", h.SideOutput(operators.UnmatchedRight[order]()), "a5@3600000")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes of state are left at the end", n)
	}
}

// TestIntervalJoinFunction: the function sees key and times, emits what it likes, and a bad pair is a dead letter.
func TestIntervalJoinFunction(t *testing.T) {
	stage := operators.IntervalJoinProcess(who, who, nil, operators.Between(-time.Second, time.Second), orderCodecs{},
		func(c *operators.JoinCtx[string, string], l, r order) error {
			if l.N < 0 {
				return operators.BadRecord(errors.New("negative"))
			}
			return errors.Join(c.Emit(fmt.Sprint(c.Key(), " ", c.LeftMS(), " ", c.RightMS(), " ", c.TimestampMS())), c.Emit("again"))
		})
	h := operatortest.New2(t, stage, operatortest.Options{DeadLetters: true}).KeyBy(who, who, nil)
	h.ProcessB(order{"a", 1}, 10)
	h.ProcessA(order{"a", 1}, 5)
	h.ProcessA(order{"a", -1}, 5)
	want(t, "results", h.Outputs(), "a 5 10 10@10, again@10")
	if d := h.DeadLetters(); len(d) != 1 || d[0].Reason != "negative" {
		t.Errorf("dead letters %v, want one", d)
	}
}

// joinModel keeps every record for ever and computes what each one gives from scratch.
type joinModel struct {
	lower, upper int64
	records      [2][]*joinRecord
}

type joinRecord struct {
	o             order
	ts            int64
	matched, gone bool
}

func (r *joinRecord) String() string { return fmt.Sprint(r.o) }

// add takes a record that is not late, and returns its results.
func (m *joinModel) add(input int, o order, ts int64) (expect []string) {
	own := &joinRecord{o: o, ts: ts}
	for _, other := range m.records[1-input] {
		l, r := own, other
		if input == 1 {
			l, r = other, own
		}
		if other.gone || other.o.Who != o.Who || r.ts-l.ts < m.lower || r.ts-l.ts > m.upper {
			continue
		}
		l.matched, r.matched = true, true
		expect = append(expect, fmt.Sprintf("%v|%v@%d", l.o, r.o, max(l.ts, r.ts)))
	}
	m.records[input] = append(m.records[input], own)
	return expect
}

// advance drops what can have no partner any more, and returns what had none, by input.
func (m *joinModel) advance(watermark int64) (unmatched [2][]string) {
	keep := [2]int64{max(m.upper, 0), max(-m.lower, 0)}
	for input, rs := range m.records {
		for _, r := range rs {
			if !r.gone && r.ts+keep[input] <= watermark {
				r.gone = true
				if !r.matched {
					unmatched[input] = append(unmatched[input], fmt.Sprintf("%v@%d", r.o, r.ts+keep[input]))
				}
			}
		}
		slices.Sort(unmatched[input])
	}
	return unmatched
}

// TestIntervalJoinAgainstTheModel compares random histories with restores at random parallelism, on both backends, with and without codecs of the
// streams.
func TestIntervalJoinAgainstTheModel(t *testing.T) {
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": tinyPebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { intervalHistory(t, backend()) })
		})
	}
}

func intervalHistory(t *rapid.T, backend state.Backend) {
	m := &joinModel{lower: rapid.Int64Range(-20, 20).Draw(t, "lower")}
	m.upper = m.lower + rapid.Int64Range(0, 20).Draw(t, "span")
	between := operators.Between(ms(m.lower), ms(m.upper))
	if rapid.Bool().Draw(t, "exclusive") {
		between = operators.Interval{Lower: ms(m.lower - 1), Upper: ms(m.upper + 1), ExclusiveLower: true, ExclusiveUpper: true}
	}
	var codecs orderCodecs
	if rapid.Bool().Draw(t, "codecs") {
		codecs = orderCodecs{Left: serde.MustFor[order](), Right: serde.MustFor[order]()}
	}
	g := newPairGroup(t, operators.IntervalJoin(who, who, nil, between, codecs, pairText), false, operatortest.Options{MaxParallelism: 8, State: backend})
	now := rapid.Int64Range(-500, 500).Draw(t, "from")
	for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); step {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1:
			now += rapid.Int64Range(0, 25).Draw(t, "forward")
			before, unmatched := g.current(), [2][]string{}
			g.watermark(rapid.IntRange(0, 1).Draw(t, "input"), now)
			if g.current() > before { // a record at the watermark stays until the next one
				unmatched = m.advance(g.current())
			}
			checkUnmatched(t, g, unmatched)
		default:
			o := order{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), int64(i)}
			ts := now + rapid.Int64Range(-25, 25).Draw(t, "ts")
			var expect []string
			late := [2][]string{}
			if ts < g.current() {
				late[step%2] = []string{fmt.Sprintf("%v@%d", o, ts)}
			} else {
				expect = m.add(step%2, o, ts)
			}
			g.process(step%2, o, ts)
			slices.Sort(expect)
			if got := g.records(); !slices.Equal(got, expect) {
				t.Fatalf("record %v of input %d at %d, watermark %d: got %q, want %q", o, step%2, ts, g.current(), got, expect)
			}
			if l, r := g.side(operators.LateLeft[order]()), g.side(operators.LateRight[order]()); !slices.Equal(l, late[0]) || !slices.Equal(r, late[1]) {
				t.Fatalf("late: got %q and %q, want %q", l, r, late)
			}
		}
	}
	g.watermark(0, operators.EndOfTime)
	g.watermark(1, operators.EndOfTime)
	checkUnmatched(t, g, m.advance(math.MaxInt64))
	if n := g.bytes(); n != 0 {
		t.Fatalf("%d bytes of state are left at the end", n)
	}
}

func checkUnmatched(t *rapid.T, g *pairGroup[string], want [2][]string) {
	l, r := g.side(operators.UnmatchedLeft[order]()), g.side(operators.UnmatchedRight[order]())
	if !slices.Equal(l, want[0]) || !slices.Equal(r, want[1]) {
		t.Fatalf("unmatched at watermark %d: got %q and %q, want %q", g.current(), l, r, want)
	}
}

// BenchmarkIntervalJoin is one record of each input in turn over 1,000 keys, of which each finds some 8 partners; the watermark follows.
func BenchmarkIntervalJoin(b *testing.B) {
	sum := func(l, r benchRecord) int64 { return l.N + r.N }
	h := operatortest.New2(b, operators.IntervalJoin(benchKey, benchKey, nil, operators.Between(-8*time.Second, 8*time.Second),
		operators.JoinCodecs[benchRecord, benchRecord]{}, sum), operatortest.Options{Discard: true}).KeyBy(benchKey, benchKey, nil)
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		r := benchRecord{Key: n / 2 % 1000, N: n}
		if n%2 == 0 {
			h.ProcessA(r, n)
		} else {
			h.ProcessB(r, n)
		}
		if n%10_000 == 0 {
			h.Watermark(0, n-1000)
			h.Watermark(1, n-1000)
		}
	}
}

// Orders are joined with the payments of up to a minute later; orders without payment come out at the side, once none can come any more.
func ExampleIntervalJoin() {
	paid := operators.IntervalJoin(who, who, nil, operators.Between(0, time.Minute), operators.JoinCodecs[order, order]{},
		func(o, payment order) string { return fmt.Sprint(o.Who, " paid ", payment.N, " of ", o.N) })
	h := operatortest.New2(exampleTB{}, paid, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 0)
	h.ProcessA(order{"bob", 20}, 10_000)
	h.ProcessB(order{"ann", 30}, 45_000)
	h.ProcessB(order{"bob", 20}, 75_000)
	fmt.Println(h.Records())
	h.EndInput()
	fmt.Println(h.SideOutput(operators.UnmatchedLeft[order]()))
	// Output:
	// [ann paid 30 of 30]
	// [bob20@70000]
}

package operators_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type (
	orderEither = operators.Either[order, order]
	windowCtx   = operators.WindowCtx[string, string]
)

func groupsText(c *windowCtx, first, second []order) error {
	return c.Emit(fmt.Sprint(c.Key(), c.Window().StartMS, first, second))
}

func TestWindowJoinIsRefused(t *testing.T) {
	refused := func(stage operators.Stage2[order, order, string], parts ...string) {
		t.Helper()
		wantError(t, operatortest.Check2(stage, operatortest.Options{}), parts...)
	}
	w := operators.Tumbling(ms(10))
	refused(operators.WindowJoin[string, order, order, string](who, who, nil, w, nil), "function")
	refused(operators.WindowCoGroup[string, order, order, string](who, who, nil, w, nil), "function")
	refused(operators.WindowJoin(nil, who, nil, w, pairText), "key function")
	refused(operators.WindowJoin(who, who, nil, operators.Tumbling(0), pairText), "window size")
	refused(operators.WindowJoin(who, who, nil, operators.Global(), pairText), "trigger")
}

// TestWindowCoGroupWithTriggerAndEvictor: windows over two inputs take triggers and evictors over records of either.
func TestWindowCoGroupWithTriggerAndEvictor(t *testing.T) {
	spec := operators.SpecOf[orderEither](operators.Global())
	spec.Trigger = operators.CountTrigger[orderEither](2)
	spec.Evictor = operators.CountEvictor[orderEither](3)
	h := operatortest.New2(t, operators.WindowCoGroup(who, who, nil, spec, func(c *windowCtx, first, second []order) error {
		return c.Emit(fmt.Sprint(first, second))
	}), operatortest.Options{}).KeyBy(who, who, nil)
	for n := range int64(3) {
		h.ProcessA(order{"a", n}, 1)
		h.ProcessB(order{"a", -n}, 1)
	}
	if got := fmt.Sprint(h.Records()); got != "[[a0] [a0] [a1] [a0 a-1] [a2] [a-1 a-2]]" {
		t.Errorf("got %s", got)
	}
}

// TestWindowJoinLateRecords: a late record comes out as the input that it came by, and one without timestamp is a dead letter.
func TestWindowJoinLateRecords(t *testing.T) {
	h := operatortest.New2(t, operators.WindowJoin(who, who, nil, operators.Tumbling(ms(10)), pairText), operatortest.Options{DeadLetters: true}).KeyBy(who, who, nil)
	h.Watermark(0, 9)
	h.Watermark(1, 9)
	h.ProcessB(order{"a", 5}, 3)
	h.ProcessA(order{"a", 6}, -1<<63)
	late := h.SideOutput(operators.LateRecords[orderEither]())
	if len(late) != 1 || late[0].Value.First != nil || *late[0].Value.Second != (order{"a", 5}) {
		t.Errorf("late records %v, want the one of the second input", late)
	}
	if d := h.DeadLetters(); len(d) != 1 {
		t.Errorf("dead letters %v, want one", d)
	}
}

// TestWindowCoGroupAgainstTheModel compares tumbling windows with groups made from scratch, with restores at random parallelism.
func TestWindowCoGroupAgainstTheModel(t *testing.T) {
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": tinyPebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { coGroupHistory(t, backend()) })
		})
	}
}

func coGroupHistory(t *rapid.T, backend state.Backend) {
	size := rapid.Int64Range(1, 30).Draw(t, "size")
	spec := operators.SpecOf[orderEither](operators.Tumbling(ms(size)))
	if rapid.Bool().Draw(t, "codecs") {
		codec, err := operators.EitherCodec(orderCodecs{Left: serde.MustFor[order]()})
		if err != nil {
			t.Fatal(err)
		}
		spec.Codec = codec
	}
	g := newPairGroup(t, operators.WindowCoGroup(who, who, nil, spec, groupsText), false, operatortest.Options{MaxParallelism: 8, State: backend})
	type window struct {
		key   string
		start int64
	}
	live := map[window]*[2][]order{}
	now := int64(0)
	advance := func() (expect []string) {
		for w, groups := range live {
			if w.start+size-1 <= g.current() {
				expect = append(expect, fmt.Sprint(w.key, w.start, groups[0], groups[1], "@", w.start+size-1))
				delete(live, w)
			}
		}
		slices.Sort(expect)
		return expect
	}
	check := func(expect []string) {
		if got := g.records(); strings.Join(got, "; ") != strings.ReplaceAll(strings.Join(expect, "; "), " @ ", "@") && len(got)+len(expect) > 0 {
			t.Fatalf("watermark %d: got %q, want %q", g.current(), got, expect)
		}
	}
	for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); step {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1, 2:
			now += rapid.Int64Range(0, 20).Draw(t, "forward")
			g.watermark(step%2, now)
			check(advance())
		default:
			o := order{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), int64(i)}
			ts := now + rapid.Int64Range(1, 20).Draw(t, "ts") // above the watermark: nothing is late
			w := window{o.Who, ts - ts%size}
			if live[w] == nil {
				live[w] = &[2][]order{}
			}
			live[w][step%2] = append(live[w][step%2], o)
			g.process(step%2, o, ts)
			check(nil)
		}
	}
	g.watermark(0, operators.EndOfTime)
	g.watermark(1, operators.EndOfTime)
	check(advance())
	if n := g.bytes(); n != 0 {
		t.Fatalf("%d bytes of state are left at the end", n)
	}
}

func TestEitherCodecErrors(t *testing.T) {
	codec, err := operators.EitherCodec(orderCodecs{Left: serde.MustFor[order]()})
	if err != nil {
		t.Fatal(err)
	}
	var e orderEither
	for _, src := range [][]byte{nil, {2}, {0}} {
		if codec.Decode(src, &e) == nil {
			t.Errorf("%v is decoded as %+v", src, e)
		}
	}
	if _, err := operators.EitherCodec(operators.JoinCodecs[order, chan int]{}); err == nil {
		t.Error("there is a codec of channels")
	}
}

// BenchmarkWindowJoin is one record of each input in turn over 1,000 keys in tumbling windows with some 10 records of each, pairs included.
func BenchmarkWindowJoin(b *testing.B) {
	h := operatortest.New2(b, operators.WindowJoin(benchKey, benchKey, nil, operators.Tumbling(ms(20_000)),
		func(l, r benchRecord) int64 { return l.N + r.N }), operatortest.Options{Discard: true}).KeyBy(benchKey, benchKey, nil)
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

// Every pair of an order and a payment of one customer and hour.
func ExampleWindowJoin() {
	stage := operators.WindowJoin(who, who, nil, operators.Tumbling(ms(3_600_000)), func(o, payment order) string {
		return fmt.Sprint(o, " with ", payment)
	})
	h := operatortest.New2(exampleTB{}, stage, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 0)
	h.ProcessA(order{"ann", 20}, 10_000)
	h.ProcessB(order{"ann", 50}, 20_000)
	h.ProcessB(order{"ann", 10}, 3_600_000)
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// ann30 with ann50
	// ann20 with ann50
}

// A left outer join of windows: coGroup gives both sides, one of which may be empty.
func ExampleWindowCoGroup() {
	type ctx = operators.WindowCtx[string, string]
	stage := operators.WindowCoGroup(who, who, nil, operators.Tumbling(ms(1000)), func(c *ctx, orders, payments []order) error {
		for _, o := range orders {
			if len(payments) == 0 {
				if err := c.Emit(fmt.Sprint(o, " without payment")); err != nil {
					return err
				}
			}
			for _, p := range payments {
				if err := c.Emit(fmt.Sprint(o, " with ", p)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	h := operatortest.New2(exampleTB{}, stage, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 0)
	h.ProcessB(order{"bob", 20}, 1)
	h.EndInput()
	fmt.Println(h.Records())
	// Output:
	// [ann30 without payment]
}

package operators_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type (
	orderCo    = operators.CoKeyed[string, order, order, string]
	coBuild    = func(*orderCo)
	benchCo    = operators.CoKeyed[int64, benchRecord, benchRecord, int64]
	benchCoCtx = operators.Ctx[int64, int64]
)

func TestCoProcessIsRefused(t *testing.T) {
	refused := func(stage operators.Stage2[order, order, string], parts ...string) {
		t.Helper()
		wantError(t, operatortest.Check2(stage, operatortest.Options{}), parts...)
	}
	refused(operators.CoProcess(nil, who, nil, func(*orderCo) {}), "key function")
	refused(operators.CoProcess(who, nil, nil, func(*orderCo) {}), "key function")
	refused(operators.CoProcess(who, who, nil, coBuild(nil)), "build function")
	refused(operators.CoProcess(who, who, nil, func(b *orderCo) {
		b.Value[chan int]("channel")
	}), "OnFirst", "OnSecond", "channel")
	refused(operators.CoMap[order, order, string](nil, order.String), "CoMap")
	refused(operators.CoFlatMap[order, order, string](nil, nil), "CoFlatMap")
}

// TestCoProcessErrors: a bad record of either input becomes a dead letter, any other error fails the task with the step's name.
func TestCoProcessErrors(t *testing.T) {
	build := func(b *orderCo) {
		f := func(_ *orderCtx, o order) error {
			if o.N < 0 {
				return operators.BadRecord(errors.New("negative"))
			}
			return errors.New("no answer")
		}
		b.OnFirst(f)
		b.OnSecond(f)
	}
	h := operatortest.New2(t, operators.CoProcess(who, who, nil, build), operatortest.Options{DeadLetters: true}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", -1}, 1)
	h.ProcessB(order{"bob", -2}, 1)
	if d := h.DeadLetters(); len(d) != 2 || d[0].Reason != "negative" {
		t.Errorf("dead letters %+v, want both records", d)
	}
	err := h.TryProcess(operatortest.Either[order, order]{Input: 1, B: order{"ann", 1}}, 1)
	wantError(t, err, `step "operator"`, "no answer")
}

func TestCoMap(t *testing.T) {
	h := operatortest.New2(t, operators.CoMap(order.String, func(n int64) string { return fmt.Sprint("second ", n) }), operatortest.Options{})
	h.ProcessA(order{"ann", 3}, 1)
	h.ProcessB(7, 2)
	want(t, "both inputs", h.Outputs(), "ann3@1, second 7@2")
}

func TestCoFlatMap(t *testing.T) {
	twice := func(v int64, emit func(int64) error) error { return errors.Join(emit(v), emit(v)) }
	h := operatortest.New2(t, operators.CoFlatMap(twice, func(v order, emit func(int64) error) error {
		if v.N < 0 {
			return errors.New("negative")
		}
		return emit(v.N)
	}), operatortest.Options{})
	h.ProcessA(5, 1)
	h.ProcessB(order{"ann", 3}, 2)
	want(t, "both inputs", h.Outputs(), "5@1, 5@1, 3@2")
	wantError(t, h.TryProcess(operatortest.Either[int64, order]{Input: 1, B: order{"ann", -1}}, 1), `step "operator"`, "negative")
}

// sumUntilTimer sums the first input of each key; the second asks for the sum; it ends 10 ms after the key's newest record.
func sumUntilTimer(b *orderCo) {
	sum := b.Value[int64]("sum")
	newest := b.Map[int64, bool]("newest")
	b.OnFirst(func(c *orderCtx, o order) error {
		n, err := sum.Get()
		c.TimerAt(time.UnixMilli(c.TimestampMS() + 10))
		return errors.Join(err, sum.Set(n+o.N), newest.Put(c.TimestampMS(), true))
	})
	b.OnSecond(func(c *orderCtx, o order) error {
		n, ok, err := sum.Lookup()
		return errors.Join(err, c.Emit(fmt.Sprintf("%s %d: %d %v", c.Key(), o.N, n, ok)))
	})
	b.OnTimer(func(c *orderCtx, at time.Time) error {
		later := false
		err := newest.Range(func(ts int64, _ bool) error {
			later = later || ts+10 > at.UnixMilli()
			return nil
		})
		if later || err != nil {
			return err
		}
		n, err := sum.Get()
		return errors.Join(err, c.Emit(fmt.Sprint(c.Key(), " ends: ", n)), sum.Clear(), newest.Clear())
	})
}

// TestCoProcessAgainstTheModel compares random histories of both inputs with a model that keeps all records, with restores at random
// parallelism.
func TestCoProcessAgainstTheModel(t *testing.T) {
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": tinyPebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { coHistory(t, backend()) })
		})
	}
}

func coHistory(t *rapid.T, backend state.Backend) {
	g := newPairGroup(t, operators.CoProcess(who, who, nil, sumUntilTimer), false, operatortest.Options{MaxParallelism: 8, State: backend})
	type record struct{ ts, n int64 }
	live := map[string][]record{}
	now := int64(0)
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		var expect []string
		key := rapid.SampledFrom([]string{"a", "b", "c", "dd"}).Draw(t, "key")
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); step {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1, 2:
			now += rapid.Int64Range(0, 12).Draw(t, "forward")
			input := rapid.IntRange(0, 1).Draw(t, "input")
			before := g.current()
			g.watermark(input, now)
			for key, rs := range live {
				newest := slices.MaxFunc(rs, func(a, b record) int { return int(a.ts - b.ts) }).ts
				if newest+10 > g.current() || g.current() == before {
					continue
				}
				sum := int64(0)
				for _, r := range rs {
					sum += r.n
				}
				expect = append(expect, fmt.Sprintf("%s ends: %d@%d", key, sum, newest+10))
				delete(live, key)
			}
		default:
			ts, n := now+rapid.Int64Range(-15, 15).Draw(t, "ts"), rapid.Int64Range(1, 9).Draw(t, "n")
			g.process(step%2, order{key, n}, ts)
			if step%2 == 0 {
				live[key] = append(live[key], record{ts, n})
				break
			}
			sum := int64(0)
			for _, r := range live[key] {
				sum += r.n
			}
			expect = append(expect, fmt.Sprintf("%s %d: %d %v@%d", key, n, sum, len(live[key]) > 0, ts))
		}
		slices.Sort(expect)
		if got := g.records(); !slices.Equal(got, expect) {
			t.Fatalf("watermark %d: got %q, want %q", g.current(), got, expect)
		}
	}
	g.watermark(0, operators.EndOfTime)
	g.watermark(1, operators.EndOfTime)
	if n := g.bytes(); n != 0 {
		t.Fatalf("%d bytes of state are left after every timer has fired", n)
	}
}

// BenchmarkCoProcess is one record of each input in turn: one sums, the other reads the sum, over 100,000 keys in memory.
func BenchmarkCoProcess(b *testing.B) {
	h := operatortest.New2(b, operators.CoProcess(benchKey, benchKey, nil, func(k *benchCo) {
		sum := k.Value[int64]("sum")
		k.OnFirst(func(_ *benchCoCtx, r benchRecord) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			return sum.Set(n + r.N)
		})
		k.OnSecond(func(c *benchCoCtx, _ benchRecord) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			return c.Emit(n)
		})
	}), operatortest.Options{Discard: true}).KeyBy(benchKey, benchKey, nil)
	for n := range int64(benchKeys) {
		h.ProcessA(scattered(n), 0)
	}
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		if n%2 == 0 {
			h.ProcessA(scattered(n), n)
		} else {
			h.ProcessB(scattered(n), n)
		}
	}
}

// One input brings orders, the other payments; what one leaves in state the other finds. An order that nobody pays within an hour is
// reported.
func ExampleCoProcess() {
	type ctx = *operators.Ctx[string, string]
	type builder = operators.CoKeyed[string, order, order, string]
	unpaid := operators.CoProcess(who, who, nil, func(b *builder) {
		owed := b.Value[int64]("owed")
		b.OnFirst(func(c ctx, o order) error {
			c.TimerAt(c.Timestamp().Add(time.Hour))
			return owed.Set(o.N)
		})
		b.OnSecond(func(c ctx, payment order) error {
			n, err := owed.Get()
			if err != nil || n > payment.N {
				return err
			}
			return errors.Join(owed.Clear(), c.Emit(c.Key()+" has paid"))
		})
		b.OnTimer(func(c ctx, _ time.Time) error {
			n, ok, err := owed.Lookup()
			if !ok || err != nil {
				return err
			}
			return errors.Join(owed.Clear(), c.Emit(fmt.Sprint(c.Key(), " owes ", n)))
		})
	})
	h := operatortest.New2(exampleTB{}, unpaid, operatortest.Options{}).KeyBy(who, who, nil)
	h.ProcessA(order{"ann", 30}, 0)
	h.ProcessA(order{"bob", 20}, 0)
	h.ProcessB(order{"ann", 30}, 60_000)
	h.EndInput()
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// ann has paid
	// bob owes 20
}

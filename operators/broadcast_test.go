package operators_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

type (
	orderBroadcast    = operators.KeyedBroadcast[string, order, order, string]
	orderBroadcastCtx = operators.KeyedBroadcastCtx[string, string]
	plainBroadcast    = operators.PlainBroadcast[order, order, string]
)

func TestBroadcastIsRefused(t *testing.T) {
	refused := func(stage operators.Stage2[order, order, string], parts ...string) {
		t.Helper()
		wantError(t, operatortest.Check2(stage, operatortest.Options{}), parts...)
	}
	refused(operators.KeyedBroadcastProcess(nil, nil, func(*orderBroadcast) {}), "key function")
	refused(operators.KeyedBroadcastProcess[string, order, order, string](who, nil, nil), "build function")
	refused(operators.KeyedBroadcastProcess(who, nil, func(b *orderBroadcast) {}), "OnRecord", "OnBroadcast", "no broadcast state")
	refused(operators.KeyedBroadcastProcess(who, nil, func(b *orderBroadcast) {
		b.Value[int64]("same")
		b.Broadcast[string, int64]("same")
		b.Broadcast[string, chan int]("channel")
	}), `"same"`, `"channel"`)
	refused(operators.BroadcastProcess[order, order, string](nil), "build function")
	refused(operators.BroadcastProcess(func(b *plainBroadcast) {}), "OnRecord", "OnBroadcast", "no broadcast state")
}

// under keeps rules and sums: a record is passed on with all rules and its key's sum; rule 0 removes, rule -1 visits every key, doubles its sum
// and sets a timer.
func under(b *orderBroadcast) {
	sum := b.Value[int64]("sum")
	rules := b.Broadcast[string, int64]("rules")
	all := func() (string, error) {
		var text []string
		err := rules.Range(func(k string, v int64) error {
			text = append(text, fmt.Sprint(k, v))
			return nil
		})
		return strings.Join(text, " "), err
	}
	b.OnRecord(func(c *orderCtx, o order) error {
		n, err := sum.Get()
		text, err2 := all()
		return errors.Join(err, err2, sum.Set(n+o.N), c.Emit(fmt.Sprintf("%s=%d[%s]", o.Who, n+o.N, text)))
	})
	b.OnTimer(func(c *orderCtx, at time.Time) error {
		text, err := all()
		return errors.Join(err, sum.Clear(), c.Emit(fmt.Sprintf("%s ends[%s]", c.Key(), text)))
	})
	b.OnBroadcast(func(c *orderBroadcastCtx, o order) error {
		switch o.N {
		case 0:
			return rules.Remove(c, o.Who)
		case -1:
			return c.ForEachKey(sum, func(c *orderCtx) error {
				n, err := sum.Get()
				c.TimerAt(time.UnixMilli(c.TimestampMS() + 5))
				return errors.Join(err, sum.Set(2*n), c.Emit(fmt.Sprintf("%s doubled from %d", c.Key(), n)))
			})
		}
		return rules.Put(c, o.Who, o.N)
	})
}

// TestBroadcastAgainstTheModel compares random histories with plain maps, with restores at random parallelism, on both backends.
func TestBroadcastAgainstTheModel(t *testing.T) {
	for name, backend := range map[string]func() state.Backend{"memory": memstate.New, "pebble": tinyPebble} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { broadcastHistory(t, backend()) })
		})
	}
}

type broadcastModel struct {
	rules, sums map[string]int64
	timers      map[string][]int64
}

func (m *broadcastModel) text() string {
	var text []string
	for k, v := range m.rules {
		text = append(text, fmt.Sprint(k, v))
	}
	// The order of the encoded keys: by length, then by content. Each rule is one digit behind its key.
	slices.SortFunc(text, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	return strings.Join(text, " ")
}

// broadcast takes a rule and returns what the operator should put out.
func (m *broadcastModel) broadcast(o order, ts int64) (expect []string) {
	switch o.N {
	case 0:
		delete(m.rules, o.Who)
	case -1:
		for k, n := range m.sums {
			expect = append(expect, fmt.Sprintf("%s doubled from %d@%d", k, n, ts))
			m.sums[k] = 2 * n
			if !slices.Contains(m.timers[k], ts+5) {
				m.timers[k] = append(m.timers[k], ts+5)
			}
		}
	default:
		m.rules[o.Who] = o.N
	}
	return expect
}

func (m *broadcastModel) advance(ms int64) (expect []string) {
	for k, at := range m.timers {
		for _, ts := range at {
			if ts <= ms {
				expect = append(expect, fmt.Sprintf("%s ends[%s]@%d", k, m.text(), ts))
				delete(m.sums, k)
			}
		}
		m.timers[k] = slices.DeleteFunc(at, func(ts int64) bool { return ts <= ms })
	}
	return expect
}

func broadcastHistory(t *rapid.T, backend state.Backend) {
	g := newPairGroup(t, operators.KeyedBroadcastProcess(who, nil, under), true, operatortest.Options{MaxParallelism: 8, State: backend})
	m := &broadcastModel{map[string]int64{}, map[string]int64{}, map[string][]int64{}}
	for now := range int64(rapid.IntRange(1, 60).Draw(t, "steps")) {
		var expect []string
		key := rapid.SampledFrom([]string{"a", "b", "c", "dd", "eee", "ff"}).Draw(t, "key")
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1:
			g.watermark(0, now)
			g.watermark(1, now)
			expect = m.advance(now)
		case 2, 3, 4:
			rule := order{key, rapid.Int64Range(-1, 9).Draw(t, "rule")}
			expect = m.broadcast(rule, now)
			g.process(1, rule, now)
		default:
			n := rapid.Int64Range(1, 9).Draw(t, "n")
			m.sums[key] += n
			expect = append(expect, fmt.Sprintf("%s=%d[%s]@%d", key, m.sums[key], m.text(), now))
			g.process(0, order{key, n}, now)
		}
		slices.Sort(expect)
		if got := g.records(); !slices.Equal(got, expect) {
			t.Fatalf("at %d: got %q, want %q", now, got, expect)
		}
	}
}

// TestKeyedStateNeedsAKey: in the function of the broadcast input, outside of ForEachKey, no state of some other key can be reached.
func TestKeyedStateNeedsAKey(t *testing.T) {
	build := func(b *orderBroadcast) {
		b.Broadcast[string, int64]("rules")
		sum := b.Value[int64]("sum")
		b.OnRecord(func(_ *orderCtx, o order) error { return sum.Set(o.N) })
		b.OnBroadcast(func(*orderBroadcastCtx, order) error { return sum.Set(7) })
	}
	h := operatortest.New2(t, operators.KeyedBroadcastProcess(who, nil, build), operatortest.Options{}).KeyBy(who, nil, nil)
	h.ProcessA(order{"ann", 3}, 1)
	defer func() {
		if v := recover(); !strings.Contains(fmt.Sprint(v), "ForEachKey") {
			t.Errorf("a broadcast record reached the state of a key: %v", v)
		}
	}()
	h.ProcessB(order{"ann", 3}, 1)
}

// TestPlainBroadcast: broadcast state without key, with a side output, dead letters and a restore into more subtasks.
func TestPlainBroadcast(t *testing.T) {
	rejected := operators.NewTag[string]("rejected")
	stage := operators.BroadcastProcess(func(b *plainBroadcast) {
		limits := b.Broadcast[string, int64]("limits")
		side := b.Side(rejected)
		b.OnRecord(func(c *operators.RecordCtx[string], o order) error {
			limit, ok, err := limits.Get(o.Who)
			switch n, err2 := limits.Len(); {
			case err != nil || err2 != nil:
				return errors.Join(err, err2)
			case o.N < 0:
				return operators.BadRecord(errors.New("negative"))
			case ok && o.N > limit:
				return side(o.String())
			default:
				return c.Emit(fmt.Sprint(o, " of ", n, " limits at ", c.Timestamp().UnixMilli()))
			}
		})
		b.OnBroadcast(func(c *operators.BroadcastCtx[string], o order) error {
			if o.N == 0 {
				return limits.Clear(c)
			}
			return limits.Put(c, o.Who, o.N)
		})
	})
	h := operatortest.New2(t, stage, operatortest.Options{DeadLetters: true})
	h.ProcessB(order{"ann", 5}, 1)
	h.ProcessA(order{"ann", 6}, 2)
	h.ProcessA(order{"ann", 5}, 3)
	h.ProcessA(order{"ann", -1}, 4)
	want(t, "main", h.Outputs(), "ann5 of 1 limits at 3@3")
	want(t, "side", h.SideOutput(rejected), "ann6@2")
	if d := h.DeadLetters(); len(d) != 1 {
		t.Errorf("dead letters %v, want one", d)
	}
	snapshot := h.Snapshot()
	for i := range 3 {
		r := operatortest.New2(t, stage, operatortest.Options{Subtask: i, Parallelism: 3, From: []*operatortest.Snapshot{snapshot}})
		r.ProcessA(order{"ann", 6}, 2)
		want(t, "side of a restored subtask", r.SideOutput(rejected), "ann6@2")
		r.ProcessB(order{"", 0}, 1)
		r.ProcessA(order{"ann", 6}, 3)
		want(t, "main of a restored subtask", r.Outputs(), "ann6 of 0 limits at 3@3")
	}
}

// BenchmarkBroadcastState is one record that looks one rule up and counts, over 100,000 keys in memory.
func BenchmarkBroadcastState(b *testing.B) {
	type builder = operators.KeyedBroadcast[int64, benchRecord, benchRecord, int64]
	h := operatortest.New2(b, operators.KeyedBroadcastProcess(benchKey, nil, func(k *builder) {
		sum := k.Value[int64]("sum")
		rules := k.Broadcast[int64, int64]("rules")
		k.OnRecord(func(c *benchCoCtx, r benchRecord) error {
			rule, _, err := rules.Get(r.Key % 100)
			if err != nil {
				return err
			}
			n, err := sum.Get()
			if err != nil {
				return err
			}
			return errors.Join(sum.Set(n+rule), c.Emit(n))
		})
		k.OnBroadcast(func(c *operators.KeyedBroadcastCtx[int64, int64], r benchRecord) error {
			return rules.Put(c, r.Key, r.N)
		})
	}), operatortest.Options{Discard: true}).KeyBy(benchKey, nil, nil)
	for n := range int64(100) {
		h.ProcessB(benchRecord{n, n}, 0)
	}
	for n := range int64(benchKeys) {
		h.ProcessA(scattered(n), 0)
	}
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		h.ProcessA(scattered(n), n)
	}
}

// Limits are pushed while the job runs: every subtask keeps them, and checks its own keys against them.
func ExampleKeyedBroadcastProcess() {
	type builder = operators.KeyedBroadcast[string, order, int64, string]
	check := operators.KeyedBroadcastProcess(who, nil, func(b *builder) {
		sum := b.Value[int64]("sum")
		limits := b.Broadcast[string, int64]("limits")
		over := func(c *operators.Ctx[string, string]) error {
			limit, ok, err := limits.Get("limit")
			n, err2 := sum.Get()
			if !ok || n <= limit || err != nil || err2 != nil {
				return errors.Join(err, err2)
			}
			return c.Emit(fmt.Sprint(c.Key(), " is over the limit with ", n))
		}
		b.OnRecord(func(c *operators.Ctx[string, string], o order) error {
			n, err := sum.Get()
			return errors.Join(err, sum.Set(n+o.N), over(c))
		})
		b.OnBroadcast(func(c *operators.KeyedBroadcastCtx[string, string], limit int64) error {
			return errors.Join(limits.Put(c, "limit", limit), c.ForEachKey(sum, over))
		})
	})
	h := operatortest.New2(exampleTB{}, check, operatortest.Options{}).KeyBy(who, nil, nil)
	h.ProcessB(100, 0)
	h.ProcessA(order{"ann", 80}, 0)
	h.ProcessA(order{"ann", 40}, 0)
	h.ProcessA(order{"bob", 70}, 0)
	h.ProcessB(60, 0)
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Unordered output:
	// ann is over the limit with 120
	// ann is over the limit with 120
	// bob is over the limit with 70
}

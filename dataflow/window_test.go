package dataflow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// tap is the record of the window tests.
type tap struct {
	User string
	At   int64 // second
	N    int64
}

var tapTimes = operators.Watermarks[tap]{Timestamp: func(c tap) time.Time { return time.Unix(c.At, 0) }, OutOfOrderness: time.Hour}

func taps(g *dataflow.Graph) dataflow.Stream[tap] {
	return g.From("taps", memory.FromSlice([]tap{{"ann", 1, 1}, {"bob", 2, 2}, {"ann", 9, 3}, {"ann", 30, 4}, {"bob", 31, 5}})).Timestamps(tapTimes)
}

func sumTaps() state.Aggregate[tap, int64, int64] {
	return state.Aggregate[tap, int64, int64]{
		Add:         func(n int64, c tap) int64 { return n + c.N },
		Merge:       func(a, b int64) int64 { return a + b },
		Result:      func(n int64) int64 { return n },
		Commutative: true,
	}
}

// TestWindowedStreams runs every kind of window step in a job with two subtasks. The expected results are counted by hand.
func TestWindowedStreams(t *testing.T) {
	user := func(c tap) string { return c.User }
	line := func(k string, w operators.Window, n int64) string {
		return fmt.Sprint(k, w.StartMS/1000, "-", w.EndMS/1000, "=", n)
	}
	last := func(_, b tap) tap { return b }
	lastLine := func(k string, w operators.Window, c tap) string { return line(k, w, c.N) }
	session, ten := operators.Session(10*time.Second), operators.Tumbling(10*time.Second)
	for _, c := range []struct {
		name  string
		build func(s dataflow.Stream[tap]) dataflow.Stream[string]
		want  []string
	}{
		{"session", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).Window(session).Aggregate("w", sumTaps(), line)
		}, []string{"ann1-19=4", "ann30-40=4", "bob2-12=2", "bob31-41=5"}},
		{"sliding", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).Window(operators.Sliding(20*time.Second, 10*time.Second)).Aggregate("w", sumTaps(), line)
		}, []string{"ann-10-10=4", "ann0-20=4", "ann20-40=4", "ann30-50=4", "bob-10-10=2", "bob0-20=2", "bob20-40=5", "bob30-50=5"}},
		{"count", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).CountWindow(2).Reduce("w", last, func(k string, _ operators.Window, c tap) string { return fmt.Sprint(k, c.N) })
		}, []string{"ann3", "bob5"}},
		{"sliding count", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).SlidingCountWindow(2, 1).Aggregate("w", sumTaps(), func(k string, _ operators.Window, n int64) string { return fmt.Sprint(k, n) })
		}, []string{"ann1", "ann4", "ann7", "bob2", "bob7"}},
		{"triggered", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).Window(session).Trigger(operators.CountTrigger[tap](2)).AllowedLateness(time.Second).Reduce("w", last, lastLine)
		}, []string{"ann1-19=3"}},
		{"evicted", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.KeyBy(user).Window(ten).Evictor(operators.CountEvictor[tap](1)).Process("w", func(f *operators.WindowFunc[string, []tap, string]) {
				f.OnFire(func(c *operators.WindowCtx[string, string], cs []tap) error {
					return c.Emit(fmt.Sprint(c.Key(), len(cs), cs[0].N))
				})
			})
		}, []string{"ann1 3", "ann1 4", "bob1 2", "bob1 5"}},
		{"all", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.WindowAll(ten).Aggregate("w", sumTaps(), func(w operators.Window, n int64) string { return line("", w, n) })
		}, []string{"0-10=6", "30-40=9"}},
		{"all processed", func(s dataflow.Stream[tap]) dataflow.Stream[string] {
			return s.SlidingCountWindowAll(3, 5).ReduceProcess("w", last, func(f *operators.WindowFunc[operators.NoKey, tap, string]) {
				f.OnFire(func(c *operators.WindowCtx[operators.NoKey, string], v tap) error { return c.Emit(fmt.Sprint(v.N)) })
			})
		}, []string{"5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := dataflow.New(c.name)
			sink := memory.NewSink[string]()
			c.build(taps(g)).To("out", sink)
			if err := g.Run(t.Context(), dataflow.Options{Parallelism: 2}); err != nil {
				t.Fatal(err)
			}
			got := sink.Values()
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestWindowMisuse: what cannot give the right results is refused with the remedy before anything starts.
func TestWindowMisuse(t *testing.T) {
	g := dataflow.New("misuse")
	s := taps(g)
	result := func(operators.Window, int64) string { return "" }
	s.WindowAll(operators.Tumbling(time.Second)).Aggregate("parallel", sumTaps(), result).Parallelism(2)
	s.WindowAll(operators.Session(0)).Aggregate("gap", sumTaps(), result)
	s.WindowAll(operators.Sliding(time.Second, -time.Second)).Aggregate("slide", sumTaps(), result)
	s.WindowAll(operators.Session(time.Second)).Evictor(operators.CountEvictor[tap](1)).Aggregate("evictor", sumTaps(), result)
	s.WindowAll(operators.Global()).Aggregate("global", sumTaps(), result)
	g.From("timeless", memory.FromSlice([]tap{{}})).WindowAll(operators.Tumbling(time.Second)).Aggregate("no time", sumTaps(), result)
	err := g.Validate(dataflow.Options{Parallelism: 2})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`step "parallel"`, "this step has parallelism 2", `step "gap"`, "session gap is 0s", `step "slide"`, "window slide is -1s",
		`step "evictor"`, `evictor "count" needs`, `step "global"`, "give them a trigger", `"no time"`, "Timestamps"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
}

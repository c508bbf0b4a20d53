package dataflow_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// basket is a step with a state of each kind, timers included.
func basket(b *operators.Keyed[string, event, string]) {
	n := b.Value[int64]("count")
	seen := b.Map[int64, string]("seen")
	all := b.List[int64]("all")
	b.OnRecord(func(c *operators.Ctx[string, string], e event) error {
		k, err := n.Get()
		if err != nil {
			return err
		}
		c.TimerAt(c.Timestamp().Add(1 << 60)) // never due
		return errors.Join(n.Set(k+1), seen.Put(e.N%5, e.Key), all.Append(e.N), c.Emit(e.Key))
	})
	b.OnTimer(func(_ *operators.Ctx[string, string], _ time.Time) error { return nil })
}

// ledger is a step with one state.
func ledger(name string) func(b *operators.Keyed[string, string, string]) {
	return func(b *operators.Keyed[string, string, string]) {
		sum := b.Reducing(name, func(a, b int64) int64 { return a + b })
		b.OnRecord(func(c *operators.Ctx[string, string], v string) error {
			return errors.Join(sum.Add(int64(len(v))), c.Emit(v))
		})
	}
}

func identity(s string) string { return s }

func appA(src memory.Source[event], sink *memory.Sink[string]) *dataflow.Graph {
	g := dataflow.New("a")
	g.From("source", src).Timestamps(operators.Watermarks[event]{}).KeyBy(func(e event) string { return e.Key }).Process("basket", basket).
		KeyBy(identity).Process("ledger", ledger("sum")).To("sink", sink)
	return g
}

// appB has another name, one step more, one renamed and a renamed state.
func appB(src memory.Source[event], sink *memory.Sink[string]) *dataflow.Graph {
	g := dataflow.New("b")
	g.From("source", src).Timestamps(operators.Watermarks[event]{}).KeyBy(func(e event) string { return e.Key }).Process("basket-2", basket).
		KeyBy(identity).Process("extra", ledger("own")).KeyBy(identity).Process("ledger", ledger("total")).To("sink", sink)
	return g
}

// digests are those of every state of a savepoint, by "uid/state": over all entries without key group and number of the state.
func digests(t *testing.T, uri string) map[string]string {
	t.Helper()
	m, files, err := checkpoint.Load(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, op := range m.Operators {
		r := state.Restore{Files: files, States: op.States, MaxParallelism: m.MaxParallelism}
		for _, s := range op.Subtasks {
			r.Handles = append(r.Handles, s.Files...)
		}
		lines := map[string][]string{}
		_, err := state.ReadEntries(t.Context(), r, state.GroupRange{End: m.MaxParallelism}, func(states []state.Descriptor, e state.Entry) error {
			name := op.UID + "/" + states[e.State].Name
			lines[name] = append(lines[name], fmt.Sprintf("%x %x %x %x %d", e.Key, e.Sub, e.Value, e.Hash, e.ExpiresMS))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, l := range lines {
			slices.Sort(l)
			out[name] = fmt.Sprintf("%d entries, %x", len(l), sha256.Sum256([]byte(strings.Join(l, "\n"))))
		}
	}
	return out
}

// idle starts a graph from a savepoint, and stops it with another before it has read anything.
func idle(t *testing.T, g *dataflow.Graph, o dataflow.Options) string {
	t.Helper()
	j, err := g.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := j.Stop(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

// portable makes a portable savepoint of a native one.
func portable(t *testing.T, uri string) string {
	t.Helper()
	m, files, err := checkpoint.Load(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	out, err := savepoint.FromCheckpoint(t.Context(), m, files, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAppAStartsAppB: the savepoint of one application starts another with other names, parallelism and max parallelism, and back; every mapped state
// is the same all the way.
func TestAppAStartsAppB(t *testing.T) {
	backends := map[string]func() state.Backend{"memory": memstate.New, "pebble": func() state.Backend { return pebblestate.Dir(t.TempDir()) }}
	for name, backend := range backends {
		for form, convert := range map[string]func(*testing.T, string) string{"native": func(_ *testing.T, uri string) string { return uri }, "portable": portable} {
			t.Run(name+" "+form, func(t *testing.T) { roundTrip(t, backend, convert) })
		}
	}
}

func roundTrip(t *testing.T, backend func() state.Backend, convert func(*testing.T, string) string) {
	src, sink := events(2, 300, 25), memory.NewSink[string]()
	src.KeepOpen = true
	o := checkpointed(t)
	o.Parallelism, o.State = 2, backend()
	j, err := appA(src, sink).Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for sink.Len() < 600 {
		select {
		case <-sink.Arrived():
		case <-j.Done():
			t.Fatal(j.Wait())
		}
	}
	native, err := j.Stop(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	first := digests(t, native)
	if n := len(first); n != 5 { // count, seen, all and timers; sum
		t.Fatalf("%d states: %v", n, first)
	}
	from := convert(t, native)
	o = checkpointed(t)
	o.Parallelism, o.MaxParallelism, o.State = 3, 48, backend()
	o.Restore = dataflow.Restore{From: from, Rename: map[string]string{"basket": "basket-2", "ledger/sum": "ledger/total"}}
	report, err := appB(src, sink).Check(t.Context(), from, o)
	if err != nil || !strings.Contains(report.String(), "max parallelism 128 to 48") || !strings.Contains(report.String(), "basket-2 (was basket)") {
		t.Fatalf("check: %v\n%s", err, report)
	}
	there := idle(t, appB(src, sink), o)
	second := digests(t, there)
	for old, now := range map[string]string{"basket/count": "basket-2/count", "basket/seen": "basket-2/seen", "basket/all": "basket-2/all",
		"basket/timers": "basket-2/timers", "ledger/sum": "ledger/total"} {
		if first[old] != second[now] {
			t.Errorf("%s was %s and as %s is %s", old, first[old], now, second[now])
		}
	}
	o = checkpointed(t)
	o.Parallelism, o.State = 2, backend()
	o.Restore = dataflow.Restore{From: convert(t, there), Rename: map[string]string{"basket-2": "basket", "ledger/total": "ledger/sum"}, Drop: []string{"extra"}}
	back := digests(t, idle(t, appA(src, sink), o))
	for name, d := range first {
		if back[name] != d {
			t.Errorf("%s was %s and is %s after the way there and back", name, d, back[name])
		}
	}
	if sink.Len() != 600 {
		t.Errorf("%d records came out, want 600: something was read again", sink.Len())
	}
}

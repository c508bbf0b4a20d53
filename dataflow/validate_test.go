package dataflow_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// TestAllFaultsAreReportedTogether builds a graph with one fault of each kind: the one error must name each with uid and remedy.
func TestAllFaultsAreReportedTogether(t *testing.T) {
	g := dataflow.New("faulty")
	src := g.From("in", memory.FromSlice([]int64{1}))
	g.From("", memory.FromSlice([]int64{1}))
	src.To("twice", memory.NewSink[int64]())
	src.To("twice", memory.NewSink[int64]())
	src.To("zero-sink", &memory.Sink[int64]{})
	src.To("", memory.NewSink[int64]())
	src.Map(func(v int64) chan int { return nil }).KeyBy(func(chan int) string { return "" }).Reduce("channels", func(a, _ chan int) chan int { return a })
	src.KeyBy(func(v int64) string { return "" }).Process("no-record", func(*operators.Keyed[string, int64, int64]) {})
	src.KeyBy(func(v int64) string { return "" }).Process("states", func(b *operators.Keyed[string, int64, int64]) {
		b.Value[int64]("same")
		b.Value[int64]("same")
		b.Value[int64]("ttl", state.TTL(-time.Second))
		b.OnRecord(func(*operators.Ctx[string, int64], int64) error { return nil })
	})
	src.SideOutput(operators.NewTag[int64]("nowhere")).To("reads-nothing", memory.NewSink[int64]())
	src.KeyBy(func(v int64) int64 { return v }).Window(operators.Tumbling(0)).
		Aggregate("window", operators.Count[int64](), func(int64, operators.Window, int64) int64 { return 0 })
	src.Timestamps(operators.Watermarks[int64]{OutOfOrderness: -1})
	src.Map(func(v int64) int64 { return v }).Parallelism(500)
	o := dataflow.Options{Parallelism: 300, Checkpoint: checkpoint.Config{Interval: time.Millisecond}}
	err := g.Validate(o)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`a source has no uid`, `a sink has no uid`, `the uid "twice" is given to two steps`, `"zero-sink"`, `make one with NewSink`,
		`"channels"`, `without codec`, `WithCodec`, `step "no-record"`, `OnRecord`, `"same" is declared twice`, `TTL -1s`,
		`no side output "nowhere"`, `"reads-nothing"`, `window size is 0s`, `OutOfOrderness -1ns`, `parallelism 500, want at most 128`,
		`Options.Parallelism is 300, want 1…128`, `Interval is 1ms, want at least 10ms`, `Storage is nil`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q", want)
		}
	}
	if t.Failed() {
		t.Logf("the error:\n%v", err)
	}
	if err := g.Run(t.Context(), o); err == nil {
		t.Error("Run took the faulty graph")
	}
}

func TestStatefulStepWithoutUID(t *testing.T) {
	g := dataflow.New("x")
	g.From("in", memory.FromSlice([]string{"a"})).
		Transform("", operators.Process(func(s string) string { return s }, nil, func(b *operators.Keyed[string, string, string]) {
			b.Value[int64]("n")
			b.OnRecord(func(*operators.Ctx[string, string], string) error { return nil })
		}))
	if err := g.Validate(dataflow.Options{}); err == nil || !strings.Contains(err.Error(), "keeps state and has no uid") {
		t.Errorf("got %v", err)
	}
}

func TestEmptyGraph(t *testing.T) {
	if err := dataflow.New("x").Validate(dataflow.Options{}); err == nil || !strings.Contains(err.Error(), "the graph is empty") {
		t.Errorf("got %v", err)
	}
}

// failing runs a job that never restarts and returns its error.
func failing(t *testing.T, build func(s dataflow.Stream[int64])) *dataflow.TaskError {
	t.Helper()
	g := dataflow.New("failing")
	build(g.From("numbers", memory.FromSlice([]int64{10, 11, 12, 13})))
	err := g.Run(t.Context(), dataflow.Options{Restart: dataflow.Restart{Never: true}})
	var te *dataflow.TaskError
	if !errors.As(err, &te) {
		t.Fatalf("got %v, want a TaskError", err)
	}
	return te
}

func TestPanicNamesStepSubtaskAndPosition(t *testing.T) {
	explode := func(v int64) int64 {
		if v == 12 {
			panic("boom")
		}
		return v
	}
	te := failing(t, func(s dataflow.Stream[int64]) {
		s.Map(func(v int64) int64 { return v }).Map(explode).To("out", memory.NewSink[int64]())
	})
	if !strings.HasPrefix(te.UID, "transform@validate_test.go:") {
		t.Errorf("UID is %q, want the place of the Map in this file", te.UID)
	}
	if want := (connectors.Coordinates{UID: "numbers", Split: "0", Offset: 2}); te.At != want {
		t.Errorf("at %v, want %v", te.At, want)
	}
	if !strings.Contains(te.Error(), "panic: boom") || te.Stack == "" {
		t.Errorf("error %q, stack of %d bytes", te, len(te.Stack))
	}
}

func TestPanicBehindTheExchange(t *testing.T) {
	te := failing(t, func(s dataflow.Stream[int64]) {
		s.KeyBy(func(v int64) int64 { return v % 2 }).Process("keyed", func(b *operators.Keyed[int64, int64, int64]) {
			b.OnRecord(func(c *operators.Ctx[int64, int64], v int64) error {
				few := make([]int64, 1)
				few[v] = v // out of range: a runtime error, not a value given to panic
				return nil
			})
		}).To("out", memory.NewSink[int64]())
	})
	if te.UID != "keyed" || te.At.UID != "numbers" || te.At.Split != "0" {
		t.Errorf("got step %q at %v", te.UID, te.At)
	}
}

func TestErrorNamesStepAndPosition(t *testing.T) {
	boom := errors.New("boom")
	te := failing(t, func(s dataflow.Stream[int64]) {
		s.KeyBy(func(v int64) int64 { return 0 }).Process("keyed", func(b *operators.Keyed[int64, int64, int64]) {
			b.OnRecord(func(*operators.Ctx[int64, int64], int64) error { return boom })
		}).To("out", memory.NewSink[int64]())
	})
	if te.UID != "keyed" || !errors.Is(te, boom) {
		t.Errorf("got %v", te)
	}
}

// TestErrorInMidChainNamesItsStep: not the head of the chain, which calls it.
func TestErrorInMidChainNamesItsStep(t *testing.T) {
	boom := errors.New("boom")
	te := failing(t, func(s dataflow.Stream[int64]) {
		s.Filter(func(int64) bool { return true }).Transform("middle", operators.TryMap(func(v int64) (int64, error) {
			if v == 11 {
				return 0, boom
			}
			return v, nil
		})).To("out", memory.NewSink[int64]())
	})
	if te.UID != "middle" || !errors.Is(te, boom) || te.At.Offset != 1 {
		t.Errorf("got %v at %v", te, te.At)
	}
}

// TestLookupFailureIsNoDeadLetter: an error that a keyed function does not mark as the record's fault fails the task though dead letters are
// consumed; after the restart the record is processed.
func TestLookupFailureIsNoDeadLetter(t *testing.T) {
	good, dead := memory.NewSink[int64](), memory.NewSink[connectors.DeadLetter]()
	var asked atomic.Int64
	g := dataflow.New("lookup")
	s := g.From("numbers", memory.FromSlice([]int64{10, 11, 12})).
		KeyBy(func(v int64) int64 { return v }).
		Process("enrich", func(b *operators.Keyed[int64, int64, int64]) {
			b.OnRecord(func(c *operators.Ctx[int64, int64], v int64) error {
				if v == 11 && asked.Add(1) == 1 {
					return errors.New("the profile service does not answer")
				}
				if v == 12 {
					return operators.BadRecord(errors.New("twelve"))
				}
				return c.Emit(v)
			})
		})
	s.To("good", good)
	s.DeadLetters().To("dead", dead)
	o := dataflow.Options{Restart: dataflow.Restart{InitialDelay: time.Millisecond}}
	if err := g.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := good.Values(); len(got) != 2 || got[0] != 10 || got[1] != 11 {
		t.Errorf("good: %v", got)
	}
	if got := dead.Values(); len(got) != 1 || got[0].Reason != "twelve" || got[0].UID != "enrich" {
		t.Errorf("dead: %v", got)
	}
}

// TestDeadLetters sends what a step cannot process to its own sink, once, with reason, origin and bytes; the job goes on.
func TestDeadLetters(t *testing.T) {
	good, dead := memory.NewSink[int64](), memory.NewSink[connectors.DeadLetter]()
	g := dataflow.New("dead")
	s := g.From("numbers", memory.FromSlice([]int64{10, 11, 12, 13})).
		TryMap(func(v int64) (int64, error) {
			if v%2 == 1 {
				return 0, errors.New("odd")
			}
			return v * 10, nil
		})
	s.To("good", good)
	s.DeadLetters().To("dead", dead)
	if err := g.Run(t.Context(), dataflow.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := good.Values(); len(got) != 2 || got[0] != 100 || got[1] != 120 {
		t.Errorf("good: %v", got)
	}
	got := dead.Values()
	if len(got) != 2 {
		t.Fatalf("dead: %v", got)
	}
	// 11 in Avro is the zig-zag varint 22 = 0x16.
	if d := got[0]; d.Reason != "odd" || d.At.Offset != 1 || d.At.UID != "numbers" || string(d.Raw) != "\x16" {
		t.Errorf("first dead letter: %+v", d)
	}
}

package dataflow_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
)

// TestTransportNeedsCodecs: all edges between tasks whose records have no codec are named at once, with the type; those within a task need none.
func TestTransportNeedsCodecs(t *testing.T) {
	type opaque struct{ F func() }
	graph := func() *dataflow.Graph {
		g := dataflow.New("codecs")
		s := g.From("source", events(1, 1, 1)).Map(func(event) opaque { return opaque{} })
		s.To("first", memory.NewSink[opaque]()).NewChain()
		s.Map(func(o opaque) opaque { return o }).To("second", memory.NewSink[opaque]()).NewChain()
		return g
	}
	if err := graph().Validate(dataflow.Options{}); err != nil {
		t.Errorf("in process: %v", err)
	}
	err := graph().Validate(dataflow.Options{Transport: dataflow.TCP(dataflow.TCPOptions{})})
	for _, want := range []string{`to "first" carries records of dataflow_test.opaque without codec`, `to "second" carries records of dataflow_test.opaque`, "WithCodec"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err != nil && strings.Count(err.Error(), "without codec") != 2 {
		t.Errorf("%v: want two edges", err)
	}
}

// TestTransport runs a job with all its edges over the loopback interface.
func TestTransport(t *testing.T) {
	src, sink := events(3, 5000, 40), memory.NewSink[total]()
	g := dataflow.New("tcp")
	g.From("source", src).KeyBy(func(e event) string { return e.Key }).Process("count", count).To("sink", sink)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	o := dataflow.Options{Parallelism: 3, Restart: dataflow.Restart{Never: true}, Transport: dataflow.TCP(dataflow.TCPOptions{})}
	if err := g.Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	verify(t, src, sink.Values())
}

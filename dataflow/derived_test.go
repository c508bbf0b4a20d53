package dataflow_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
)

// TestDerivedCodecsAreReported: a job that may have to encode the records of an edge says at its start, once, where the codec is derived by
// reflection. Neither an edge within a task, nor one of strings, nor a job that encodes nothing, is part of that.
func TestDerivedCodecsAreReported(t *testing.T) {
	run := func(alignment time.Duration) []observer.LoggedEntry {
		core, log := observer.New(zap.InfoLevel)
		g := dataflow.New("derived")
		g.From("source", events(2, 50, 5)).
			Map(func(e event) event { return e }).
			KeyBy(func(e event) string { return e.Key }).
			Process("count", count).
			Map(func(v total) string { return v.Key }).
			Rebalance().
			To("sink", memory.NewSink[string]())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		config := checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir()))
		config.AlignmentTimeout = alignment
		if err := g.Run(ctx, dataflow.Options{Parallelism: 2, Logger: zap.New(core), Checkpoint: config}); err != nil {
			t.Fatal(err)
		}
		return log.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "derived codecs") }).All()
	}
	got := run(time.Second)
	if len(got) != 1 {
		t.Fatalf("%d messages, want one: %v", len(got), got)
	}
	if edges, want := got[0].ContextMap()["edges"], []any{"source/0 → count by key"}; !slices.Equal(edges.([]any), want) {
		t.Errorf("edges %q, want %q", edges, want)
	}
	if got := run(0); len(got) != 0 {
		t.Errorf("a job that encodes no records reports %v", got)
	}
}

package dataflow_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// TestStartFromAnotherStorage: a job that was started from a native savepoint of another storage does not need that storage any more once it has
// completed a checkpoint of its own.
func TestStartFromAnotherStorage(t *testing.T) {
	src, sink := events(2, 4000, 64), memory.NewSink[total]()
	src.PerCheckpoint = 250
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	start := func(store checkpoint.Storage, from string) *dataflow.Job {
		j, err := countGraph(src, sink, "count").Start(ctx, dataflow.Options{State: pebblestate.Dir(t.TempDir()), Restore: dataflow.Restore{From: from},
			Checkpoint: checkpoint.Every(10*time.Millisecond, store)})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	stop := func(j *dataflow.Job) string {
		for have := sink.Len(); sink.Len() < have+1000; {
			select {
			case <-sink.Arrived():
			case <-j.Done():
				t.Fatalf("the job ended early: %v", j.Wait())
			}
		}
		uri, err := j.Stop(ctx, false, dataflow.NativeSavepoint())
		if err != nil {
			t.Fatal(err)
		}
		return uri
	}
	foreign, own := t.TempDir(), checkpoint.Dir(t.TempDir())
	uri := stop(start(checkpoint.Dir(foreign), ""))
	if tables(t, uri) == 0 {
		t.Fatal("the savepoint holds no tables: the test shows nothing")
	}
	stop(start(own, uri))
	if err := os.RemoveAll(foreign); err != nil {
		t.Fatal(err)
	}
	if err := start(own, uri).Wait(); err != nil {
		t.Fatal(err)
	}
	verify(t, src, sink.Values())
}

// tables is the number of tables that a savepoint names.
func tables(t *testing.T, uri string) (n int) {
	t.Helper()
	m, _, err := checkpoint.Load(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			for _, f := range s.Files {
				if f.Kind == state.FileBase || f.Kind == state.FileDelta {
					n++
				}
			}
		}
	}
	return n
}

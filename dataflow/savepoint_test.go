package dataflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

func countGraph(src memory.Source[event], sink *memory.Sink[total], uid string) *dataflow.Graph {
	g := dataflow.New("count")
	g.From("source", src).
		KeyBy(func(e event) string { return e.Key }).
		Process(uid, count).
		To("sink", sink)
	return g
}

// TestStopWithSavepointAndRescale stops a job in mid stream with a savepoint and starts it again from there with another parallelism, state
// backend and storage, three times; the output is that of one run. From a portable savepoint the number of key groups is another one too.
func TestStopWithSavepointAndRescale(t *testing.T) {
	t.Run("portable", func(t *testing.T) { stopAndRescale(t, [3]int{128, 60, 200}) })
	t.Run("native", func(t *testing.T) { stopAndRescale(t, [3]int{128, 128, 128}, dataflow.NativeSavepoint()) })
}

func stopAndRescale(t *testing.T, maxParallelism [3]int, form ...dataflow.SavepointOption) {
	src, sink := events(4, 4000, 64), memory.NewSink[total]()
	src.PerCheckpoint = 250
	from := ""
	runs := []struct {
		parallelism int
		backend     state.Backend
		last        bool
	}{
		{1, memstate.New(), false},
		{3, pebblestate.Dir(t.TempDir()), false},
		{2, memstate.New(), true},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i, r := range runs {
		j, err := countGraph(src, sink, "count").Start(ctx, dataflow.Options{
			Parallelism: r.parallelism, MaxParallelism: maxParallelism[i], State: r.backend, Restore: dataflow.Restore{From: from},
			Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir())),
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.last {
			if err := j.Wait(); err != nil {
				t.Fatal(err)
			}
			break
		}
		have := sink.Len()
		for sink.Len() < have+3000 {
			select {
			case <-sink.Arrived():
			case <-j.Done():
				t.Fatalf("run %d ended early: %v", i, j.Wait())
			}
		}
		if from, err = j.Stop(ctx, false, form...); err != nil {
			t.Fatal(err)
		}
		if sink.Len() == 16000 {
			t.Fatalf("run %d had no work left: the test shows nothing", i)
		}
		stopped := sink.Len()
		select {
		case <-j.Done():
		default:
			t.Fatal("Stop returned before the job had ended")
		}
		t.Logf("run %d stopped with %d records visible, savepoint %s", i, stopped, from)
	}
	verify(t, src, sink.Values())
}

// TestOrphanedState refuses a checkpoint that holds state of a uid the graph does not have, unless it is dropped by name.
func TestOrphanedState(t *testing.T) {
	src := events(1, 100, 5)
	store := checkpoint.Dir(t.TempDir())
	o := dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, store)}
	sink := memory.NewSink[total]()
	if err := countGraph(src, sink, "count").Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	renamed := countGraph(src, sink, "renamed")
	err := renamed.Run(t.Context(), o)
	var unmatched *checkpoint.UnmatchedStateError
	if !errors.As(err, &unmatched) || fmt.Sprint(unmatched.UIDs) != "[count]" {
		t.Fatalf("got %v", err)
	}
	o.Restore.Drop = []string{"count"}
	for range 2 { // the second start finds a checkpoint without the dropped state: the option may stay set
		if err := renamed.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSavepointOfARunningJob(t *testing.T) {
	src, sink := events(2, 1000, 5), memory.NewSink[total]()
	src.KeepOpen = true
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	store := checkpoint.Dir(t.TempDir())
	j, err := countGraph(src, sink, "count").Start(ctx, dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(10*time.Millisecond, store)})
	if err != nil {
		t.Fatal(err)
	}
	for sink.Len() < 2000 {
		<-sink.Arrived()
	}
	uri, err := j.Savepoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := savepoint.Open(ctx, uri)
	if err != nil || !s.Portable() || len(s.Manifest().Operators) != 3 {
		t.Fatalf("savepoint %s: %+v, %v", uri, s, err)
	}
	if _, pins, err := checkpoint.List(ctx, store); err != nil || len(pins) != 0 {
		t.Errorf("pinned savepoints %v, %v, want none: the portable form needs none", pins, err)
	}
	elsewhere := t.TempDir()
	if uri, err = j.Savepoint(ctx, dataflow.SavepointTo(checkpoint.Dir(elsewhere)), dataflow.SavepointAs(savepoint.Options{Codec: state.RowsDeflate})); err != nil || !strings.HasSuffix(uri, elsewhere) {
		t.Errorf("savepoint %s, %v, want it in %s", uri, err, elsewhere)
	}
	if uri, err = j.Savepoint(ctx, dataflow.SavepointTo(checkpoint.Dir(elsewhere))); !errors.Is(err, checkpoint.ErrExists) || !strings.Contains(err.Error(), "native form") {
		t.Errorf("a savepoint in the place of another: %s, %v, want an error that names the native form", uri, err)
	}
	if uri, err = j.Savepoint(ctx, dataflow.NativeSavepoint()); err != nil {
		t.Fatal(err)
	}
	m, _, err := checkpoint.Load(ctx, uri)
	if _, pins, perr := checkpoint.List(ctx, store); err != nil || perr != nil || !m.Savepoint || len(pins) != 2 {
		t.Errorf("native savepoint %s: %+v, %v with %d pins, %v, want 2: that of the failed one is kept", uri, m, err, len(pins), perr)
	}
	if _, err := j.Stop(ctx, true); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Savepoint(ctx); !errors.Is(err, checkpoint.ErrJobFinished) {
		t.Errorf("savepoint of an ended job: %v", err)
	}
	verify(t, src, sink.Values())
}

func TestSavepointNeedsStorage(t *testing.T) {
	src := events(1, 10, 1)
	src.KeepOpen = true
	j, err := countGraph(src, memory.NewSink[total](), "count").Start(t.Context(), dataflow.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Savepoint(t.Context()); !errors.Is(err, checkpoint.ErrNoStorage) {
		t.Errorf("got %v", err)
	}
}

// TestDrainFiresTimersAndWindows: with drain the windows that are open fire before the savepoint; without, they do not.
func TestDrainFiresTimersAndWindows(t *testing.T) {
	for _, drain := range []bool{false, true} {
		src, sink := events(1, 100, 1), memory.NewSink[string]()
		src.KeepOpen = true
		g := dataflow.New("windows")
		g.From("source", src).
			Timestamps(operators.Watermarks[event]{}).
			KeyBy(func(e event) string { return e.Key }).
			Window(operators.Tumbling(300*time.Millisecond)).
			Aggregate("per-300ms", operators.Count[event](), func(k string, w operators.Window, n int64) string {
				return fmt.Sprintf("%s [%d,%d) %d", k, w.StartMS, w.EndMS, n)
			}).
			To("sink", sink)
		j, err := g.Start(t.Context(), dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(t.TempDir()))})
		if err != nil {
			t.Fatal(err)
		}
		for sink.Len() < 3 {
			<-sink.Arrived()
		}
		if _, err := j.Stop(t.Context(), drain); err != nil {
			t.Fatal(err)
		}
		// Records every 10 ms from 0 to 990: 30 in each whole window, 10 in the last, which only the end of time closes.
		want := "key-0 [0,300) 30, key-0 [300,600) 30, key-0 [600,900) 30"
		if drain {
			want += ", key-0 [900,1200) 10"
		}
		if got := strings.Join(sink.Values(), ", "); got != want {
			t.Errorf("drain %v: got %s, want %s", drain, got, want)
		}
	}
}

// TestDamagedStateIsRefused flips one bit in each state file of a checkpoint in turn, and cuts it short: the job names the file and does not
// start, and it does not try again.
func TestDamagedStateIsRefused(t *testing.T) {
	// So many keys that their state is not kept in the manifest, which has a checksum of its own.
	src, sink := events(2, 3000, 3000), memory.NewSink[total]()
	dir := t.TempDir()
	o := dataflow.Options{Parallelism: 2, Checkpoint: checkpoint.Every(10*time.Millisecond, checkpoint.Dir(dir), checkpoint.Retain(1))}
	if err := countGraph(src, sink, "count").Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	m, _, err := checkpoint.LoadFrom(t.Context(), checkpoint.Dir(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, op := range m.Operators {
		for _, sub := range op.Subtasks {
			for _, f := range sub.Files {
				damaged++
				path := filepath.Join(dir, f.Name)
				whole, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				flipped := slices.Clone(whole)
				flipped[len(flipped)/2] ^= 1
				for what, bytes := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)-1], "empty": nil} {
					if err := os.WriteFile(path, bytes, 0o644); err != nil {
						t.Fatal(err)
					}
					err := countGraph(src, sink, "count").Run(t.Context(), o)
					if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), f.Name) {
						t.Errorf("%s: got %v, want an error that names %s", what, err, f.Name)
					}
				}
				if err := os.WriteFile(path, whole, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if damaged < 2 {
		t.Fatalf("%d state files, want one a subtask", damaged)
	}
	if err := countGraph(src, sink, "count").Run(t.Context(), o); err != nil {
		t.Errorf("with the files as they were: %v", err)
	}
}

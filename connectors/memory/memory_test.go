package memory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/connectors/memory"
)

// row is the record of the tests.
type row struct {
	Split int
	N     int64
}

func (r row) id() string { return fmt.Sprint(r.Split, "/", r.N) }

func source(splits int, records int64) memory.Source[row] {
	return memory.Source[row]{Splits: splits, Records: records, Value: func(split int, i int64) row { return row{split, i} }}
}

// TestConformanceSource runs the suite that every source passes.
func TestConformanceSource(t *testing.T) {
	var want []string
	for split := range 5 {
		for i := range int64(60) {
			want = append(want, row{split, i}.id())
		}
	}
	connectortest.TestSource(t, connectortest.SourceSuite[row]{
		New:  func(*testing.T) connectors.Source[row] { return source(5, 60) },
		Want: want, ID: row.id, Key: func(r row) string { return fmt.Sprint(r.Split) }, Bubble: true,
	})
}

// TestConformanceSink runs the suite that every sink passes. The sink is the target: all attempts share it.
func TestConformanceSink(t *testing.T) {
	connectortest.TestSink(t, connectortest.SinkSuite[row]{
		New: func(*testing.T) (func() connectors.Sink[row], func() []string) {
			s := memory.NewSink[row]()
			return func() connectors.Sink[row] { return s }, func() (ids []string) {
				for _, r := range s.Values() {
					ids = append(ids, r.id())
				}
				return ids
			}
		},
		Record: func(i int) row { return row{0, int64(i)} }, ID: row.id, ExactlyOnce: true, Bubble: true,
	})
}

// collector is an Output that keeps what a reader says.
type collector struct{ said []string }

func (c *collector) Emit(r row, ts int64, at connectors.Coordinates) error {
	c.said = append(c.said, fmt.Sprint(r.id(), " ", ts, " ", at))
	return nil
}
func (c *collector) DeadLetter(connectors.DeadLetter) error { return nil }
func (c *collector) Finished(id string) error               { c.said = append(c.said, "finished "+id); return nil }
func (c *collector) SplitIdle(id string)                    { c.said = append(c.said, "idle "+id) }

func open(t *testing.T, s memory.Source[row], splits ...connectors.Split) connectors.Reader[row] {
	t.Helper()
	r, err := s.NewReader(connectors.Context{UID: "uid"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.AddSplits(splits); err != nil {
		t.Fatal(err)
	}
	return r
}

// poll polls until the reader is idle.
func poll(t *testing.T, r connectors.Reader[row]) []string {
	t.Helper()
	var c collector
	for {
		status, err := r.Poll(&c, 2)
		if err != nil {
			t.Fatal(err)
		}
		if status == connectors.Idle {
			return c.said
		}
	}
}

func TestRecordsCarryTimeAndPosition(t *testing.T) {
	s := source(1, 2)
	s.Timestamp = func(r row) time.Time { return time.UnixMilli(100 + r.N) }
	got := poll(t, open(t, s, connectors.Split{ID: "3", Position: []byte{0}}))
	want := []string{"3/0 100 uid/3@0", "3/1 101 uid/3@1", "finished 3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeepOpenGoesIdle(t *testing.T) {
	s := source(2, 1)
	s.KeepOpen = true
	r := open(t, s, connectors.Split{ID: "0", Position: []byte{0}}, connectors.Split{ID: "1", Position: []byte{1}})
	got := strings.Join(poll(t, r), ", ")
	if want := fmt.Sprintf("idle 1, 0/0 %d uid/0@0, idle 0", int64(connectors.NoTimestamp)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	splits, err := r.Snapshot()
	if err != nil || len(splits) != 2 || splits[0].Position[0] != 1 || splits[1].Position[0] != 1 {
		t.Errorf("snapshot %v, %v", splits, err)
	}
}

// TestPerCheckpoint: between two checkpoints a split gives so many records and no more, then the reader is woken.
func TestPerCheckpoint(t *testing.T) {
	s := source(1, 7)
	s.PerCheckpoint = 3
	r := open(t, s, connectors.Split{ID: "0", Position: []byte{0}})
	<-r.Wake()
	for i, want := range []int{3, 3, 2} { // the last one is Finished with the seventh record
		if got := poll(t, r); len(got) != want {
			t.Errorf("checkpoint %d: %q, want %d", i, got, want)
		}
		if got := poll(t, r); len(got) != 0 {
			t.Errorf("checkpoint %d: more without a checkpoint: %q", i, got)
		}
		r.CheckpointCompleted(int64(i))
		<-r.Wake()
	}
}

func TestFaultsOfTheSource(t *testing.T) {
	err := memory.Source[row]{Splits: -1, Records: -2}.Validate()
	if err == nil || !strings.Contains(err.Error(), "Splits -1, Records -2") || !strings.Contains(err.Error(), "Value is nil") {
		t.Errorf("got %v", err)
	}
	r := open(t, source(1, 1))
	for _, s := range []connectors.Split{{ID: "x", Position: []byte{0}}, {ID: "0"}, {ID: "0", Position: []byte{0, 0}}, {ID: "0", Position: []byte{0xff}}} {
		if err := r.AddSplits([]connectors.Split{s}); err == nil || !strings.Contains(err.Error(), "is not one of this source") {
			t.Errorf("split %v: %v", s, err)
		}
	}
	for _, state := range [][]byte{{}, {2}, {0, 1}} {
		if _, err := source(1, 1).NewEnumerator(connectors.Context{}, state); err == nil || !strings.Contains(err.Error(), "is not one of this source") {
			t.Errorf("state %v: %v", state, err)
		}
	}
}

func TestFaultsOfTheSink(t *testing.T) {
	if err := (&memory.Sink[row]{}).Validate(); err == nil || !strings.Contains(err.Error(), "NewSink") {
		t.Errorf("got %v", err)
	}
	c, err := memory.NewSink[row]().NewCommitter(connectors.Context{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(context.Background(), 5, [][]byte{[]byte("elsewhere")}); err == nil || !strings.Contains(err.Error(), `checkpoint 5 commits "elsewhere"`) {
		t.Errorf("got %v", err)
	}
}

func TestArrivedHoldsOneToken(t *testing.T) {
	s := memory.NewSink[row]()
	w, err := s.NewWriter(connectors.WriterContext{Attempt: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.NewCommitter(connectors.Context{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(3) {
		if err := w.Write(row{0, id}, connectors.Meta{}); err != nil {
			t.Fatal(err)
		}
		if s.Len() != int(id) {
			t.Errorf("%d visible before commit %d", s.Len(), id)
		}
		prepared, err := w.Prepare(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // committed again after a restore
			if err := c.Commit(t.Context(), id, prepared); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(s.Arrived()) != 1 || s.Len() != 3 {
		t.Errorf("%d tokens, %d records, want 1 and 3", len(s.Arrived()), s.Len())
	}
}

package dataflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// carried is a record with the subtasks that sent and took it, and its number among those of its sender.
type carried struct{ N, Sender, Seq, Receiver int64 }

// sent notes the sender.
func sent(t *operators.Task, emit func(carried) error) (func(int64) error, error) {
	seq := int64(-1)
	return func(n int64) error {
		seq++
		return emit(carried{N: n, Sender: int64(t.Subtask()), Seq: seq})
	}, nil
}

// taken notes the receiver.
func taken(t *operators.Task, emit func(carried) error) (func(carried) error, error) {
	return func(c carried) error {
		c.Receiver = int64(t.Subtask())
		return emit(c)
	}, nil
}

// ways are all partitionings with what each promises: may is whether the receiver is right for a record, given the widths of both sides.
var ways = []struct {
	name   string
	apply  func(s dataflow.Stream[carried]) dataflow.Stream[carried]
	copies func(to int64) int64
	may    func(c carried, from, to int64) bool
}{
	{"Rebalance", dataflow.Stream[carried].Rebalance, once, func(c carried, _, to int64) bool { return c.Receiver == (c.Sender+c.Seq)%to }},
	{"Rescale", dataflow.Stream[carried].Rescale, once, func(c carried, from, to int64) bool {
		if from >= to { // the receiver whose run of senders holds this one
			return c.Receiver*from/to <= c.Sender && c.Sender < (c.Receiver+1)*from/to
		}
		first, end := (c.Sender*to+from-1)/from, ((c.Sender+1)*to+from-1)/from
		return c.Receiver == first+(c.Sender+c.Seq)%(end-first)
	}},
	{"Broadcast", dataflow.Stream[carried].Broadcast, func(to int64) int64 { return to }, func(carried, int64, int64) bool { return true }},
	{"Global", dataflow.Stream[carried].Global, once, func(c carried, _, _ int64) bool { return c.Receiver == 0 }},
	{"Shuffle", func(s dataflow.Stream[carried]) dataflow.Stream[carried] { return s.Shuffle(7) }, once, func(carried, int64, int64) bool { return true }},
	{"PartitionBy", func(s dataflow.Stream[carried]) dataflow.Stream[carried] {
		return s.PartitionBy(func(c carried, n int) int { return int(c.N*7) % n })
	}, once, func(c carried, _, to int64) bool { return c.Receiver == c.N*7%to }},
}

func once(int64) int64 { return 1 }

// TestPartitionings for every pair of widths: each record arrives where it should, as often as it should, in the order of its sender; and watermarks
// pass, so that a window behind closes with all of them.
func TestPartitionings(t *testing.T) {
	const splits, records = 8, 40
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			for from := int64(1); from <= 4; from++ {
				for to := int64(1); to <= 4; to++ {
					got, counts, senders := runPartitioning(t, w.apply, splits, records, from, to)
					seen, last := map[int64]int64{}, map[[2]int64]int64{}
					for _, c := range got {
						seen[c.N]++
						if !w.may(c, from, to) {
							t.Errorf("%d to %d: %+v came to the wrong subtask", from, to, c)
						}
						way := [2]int64{c.Sender, c.Receiver}
						if before, ok := last[way]; ok && before >= c.Seq {
							t.Errorf("%d to %d: %+v came behind record %d of its sender", from, to, c, before)
						}
						last[way] = c.Seq
					}
					for n, times := range seen {
						if times != w.copies(to) {
							t.Errorf("%d to %d: record %d came %d times", from, to, n, times)
						}
					}
					if want := splits * records * w.copies(to); int64(len(got)) != want || len(counts) != 1 || counts[0] != want || senders != from {
						t.Errorf("%d to %d: %d records of %d senders, windows of %v, want %d", from, to, len(got), senders, counts, want)
					}
				}
			}
		})
	}
}

func runPartitioning(t *testing.T, apply func(dataflow.Stream[carried]) dataflow.Stream[carried], splits, records int, from, to int64) (got []carried, counts []int64, senders int64) {
	t.Helper()
	sink, windows := memory.NewSink[carried](), memory.NewSink[int64]()
	g := dataflow.New("partition")
	s := g.From("source", memory.Source[int64]{Splits: splits, Records: int64(records), Value: func(split int, i int64) int64 { return int64(split)*int64(records) + i }}).
		Timestamps(operators.Watermarks[int64]{Timestamp: func(int64) time.Time { return time.UnixMilli(1) }}).Transform("", sent).Parallelism(int(from))
	s.Parallelism(int(from))
	out := apply(s).Transform("", taken).Parallelism(int(to))
	out.To("sink", sink).Parallelism(int(to)) // of the same width, so that the order stays
	out.KeyBy(func(carried) string { return "all" }).Window(operators.Tumbling(time.Second)).
		Aggregate("windows", operators.Count[carried](), func(_ string, _ operators.Window, n int64) int64 { return n }).To("counts", windows)
	if err := g.Run(t.Context(), dataflow.Options{Parallelism: int(from)}); err != nil {
		t.Fatal(err)
	}
	got = sink.Values()
	seen := map[int64]bool{}
	for _, c := range got {
		seen[c.Sender] = true
	}
	return got, windows.Values(), int64(len(seen))
}

// TestPartitioningsUnderCrashes: no record is lost or doubled by a restart, and none by a chain that a partitioning cuts.
func TestPartitioningsUnderCrashes(t *testing.T) {
	apply := map[string]func(s dataflow.Stream[rec]) dataflow.Stream[rec]{
		"Rebalance": dataflow.Stream[rec].Rebalance, "Rescale": dataflow.Stream[rec].Rescale, "Global": dataflow.Stream[rec].Global,
		"Broadcast": dataflow.Stream[rec].Broadcast,
		"Shuffle":   func(s dataflow.Stream[rec]) dataflow.Stream[rec] { return s.Shuffle(1) },
		"PartitionBy": func(s dataflow.Stream[rec]) dataflow.Stream[rec] {
			return s.PartitionBy(func(r rec, n int) int { return int(r.N) % n })
		},
	}
	for name, f := range apply {
		t.Run(name, func(t *testing.T) {
			for i, seed := range seeds(t, 2) {
				p := newTopology()
				l := p.source(3, 300)
				l.s = f(l.s)
				width := 2 + i
				if name == "Broadcast" {
					l.want = slices.Concat(slices.Repeat(l.want, width))
				}
				l = p.parallel(p.mapped(l, 1), width)
				p.sink(p.counted(l, 7), 0)
				p.run(t, seed, 2, 2)
			}
		})
	}
}

func TestPartitionByOutOfRange(t *testing.T) {
	for _, r := range []int{-1, 3} {
		g := dataflow.New("range")
		g.From("source", memory.FromSlice([]int64{1})).PartitionBy(func(int64, int) int { return r }).
			Map(func(v int64) int64 { return v }).Parallelism(3).To("sink", memory.NewSink[int64]())
		err := g.Run(t.Context(), dataflow.Options{Restart: dataflow.Restart{Never: true}})
		for _, part := range []string{`behind step "source"`, fmt.Sprintf("gives subtask %d", r), "[0,3)"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%d: got %v, want an error that says %q", r, err, part)
			}
		}
	}
}

func TestPartitioningMisuse(t *testing.T) {
	g := dataflow.New("misuse")
	s := g.From("source", memory.FromSlice([]int64{1}))
	s.Rebalance().Rescale().To("twice", memory.NewSink[int64]())
	s.Rebalance().KeyBy(func(v int64) int64 { return v }).Reduce("keyed", func(a, b int64) int64 { return a + b })
	s.Broadcast().Parallelism(3).To("parallelism", memory.NewSink[int64]())
	s.Global().NewChain().To("chain", memory.NewSink[int64]())
	s.Rescale().DeadLetters()
	s.PartitionBy(nil).To("nil", memory.NewSink[int64]())
	s.Map(func(v int64) chan int { return nil }).Rebalance().Map(func(chan int) int { return 0 })
	err := g.Validate(dataflow.Options{})
	for _, part := range []string{`Rescale behind Rebalance of step "source"`, `Rebalance of step "source" has no effect on step "keyed"`,
		`Parallelism behind Broadcast`, `NewChain behind Global`, `SideOutput behind Rescale`, `PartitionBy of step "source" has no function`, `carries records without codec`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want an error that says %q", err, part)
		}
	}
}

// A custom partitioning: records of one region go to one subtask, whatever their key.
func ExampleStream_PartitionBy() {
	type parcel struct {
		Region int
		ID     string
	}
	parcels := []parcel{{0, "a"}, {1, "b"}, {3, "c"}, {1, "d"}, {4, "e"}}
	lines := memory.NewSink[string]()
	g := dataflow.New("parcels")
	g.From("parcels", memory.FromSlice(parcels)).
		PartitionBy(func(p parcel, subtasks int) int { return p.Region % subtasks }).
		Transform("", func(t *operators.Task, emit func(string) error) (func(parcel) error, error) {
			return func(p parcel) error { return emit(fmt.Sprintf("%s in subtask %d", p.ID, t.Subtask())) }, nil
		}).Parallelism(3).
		To("lines", lines)
	if err := g.Run(context.Background(), dataflow.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	got := lines.Values()
	slices.Sort(got)
	fmt.Println(strings.Join(got, "\n"))
	// Output:
	// a in subtask 0
	// b in subtask 1
	// c in subtask 0
	// d in subtask 1
	// e in subtask 1
}

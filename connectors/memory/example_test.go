package memory_test

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/memory"
)

// printer is an output that prints what a reader emits.
type printer struct{}

func (printer) Emit(v string, timestampMS int64, at connectors.Coordinates) error {
	fmt.Println(v, timestampMS, at)
	return nil
}
func (printer) DeadLetter(connectors.DeadLetter) error { return nil }
func (printer) Finished(split string) error {
	fmt.Println("split", split, "is finished")
	return nil
}
func (printer) SplitIdle(string) {}

// A source makes its records by number, here with a timestamp of one second each. In a job it is given to dataflow.Graph.From.
func ExampleSource() {
	src := memory.Source[string]{
		Records:   3,
		Value:     func(split int, i int64) string { return fmt.Sprintf("record %d of split %d", i, split) },
		Timestamp: func(string) time.Time { return time.UnixMilli(1000) },
	}
	r, err := src.NewReader(connectors.Context{UID: "numbers"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// What the job does: it assigns the split, here from its second record on, and polls.
	if err := r.AddSplits([]connectors.Split{{ID: "0", Position: []byte{1}}}); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := r.Poll(printer{}, 100); err != nil {
		fmt.Println(err)
	}
	// Output:
	// record 1 of split 0 1000 numbers/0@1
	// record 2 of split 0 1000 numbers/0@2
	// split 0 is finished
}

// A sink shows what was written once the checkpoint behind it is committed. In a job it is given to dataflow.Stream.To.
func ExampleSink() {
	sink := memory.NewSink[string]()
	w, err := sink.NewWriter(connectors.WriterContext{Attempt: "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := sink.NewCommitter(connectors.Context{})
	if err != nil {
		fmt.Println(err)
		return
	}
	// What the job does: write, prepare at the barrier of checkpoint 1, commit when it is complete.
	ctx := context.Background()
	if err := w.Write("hello", connectors.Meta{}); err != nil {
		fmt.Println(err)
		return
	}
	committables, err := w.Prepare(ctx, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Values())
	if err := c.Commit(ctx, 1, committables); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sink.Values())
	// Output:
	// []
	// [hello]
}

// Command first counts page views per user and hour and archives the counts as Avro files below ./first-out. Kill it and start it
// again: it goes on from its last checkpoint, and no view is counted twice.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors/file"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

type view struct {
	User string
	At   time.Time
}

type hourly struct {
	User  string
	Hour  time.Time
	Views int64
}

func main() {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	views := memory.Source[view]{Splits: 2, Records: 5_000_000, Value: func(split int, i int64) view { // stands for kafka.NewSource
		return view{User: fmt.Sprintf("user-%d", (i*7+int64(split))%100), At: start.Add(time.Duration(i) * 100 * time.Millisecond)}
	}}
	g := dataflow.New("first")
	g.From("views", views).
		Timestamps(operators.Watermarks[view]{Timestamp: func(v view) time.Time { return v.At }, OutOfOrderness: time.Minute}).
		KeyBy(func(v view) string { return v.User }).
		Window(operators.Tumbling(time.Hour)).
		Aggregate("per-hour", operators.Count[view](), func(user string, w operators.Window, n int64) hourly {
			return hourly{User: user, Hour: w.Start(), Views: n}
		}).
		To("archive", file.NewSink(file.Options[hourly]{URL: "first-out/archive"}))
	err := g.Run(context.Background(), dataflow.Options{
		Parallelism: 2,
		Checkpoint:  checkpoint.Every(time.Second, checkpoint.Dir("first-out/checkpoints")),
	})
	if err != nil {
		log.Fatal(err)
	}
}

package kafka_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/kafka"
	"github.com/millrace-io/millrace/connectors/kafka/kafkatest"
)

func ExampleNewSource() {
	source := kafka.NewSource(kafka.SourceOptions[string]{
		Brokers:  []string{"127.0.0.1:9092"},
		Topics:   []string{"decisions"},
		Decode:   func(r *kgo.Record) (string, error) { return string(r.Value), nil },
		Start:    kafka.Earliest(),
		OnPoison: kafka.DeadLetterPoison,
	})
	fmt.Println(source.Validate())
	// Output: <nil>
}

func ExampleSourceOptions_Validate() {
	err := kafka.SourceOptions[string]{Topics: []string{"decisions"}, IdleAfter: time.Millisecond}.Validate()
	fmt.Println(err)
	// Output:
	// kafka: SourceOptions.Brokers is empty, want at least one host:port
	// kafka: SourceOptions.Decode and Value: want exactly one of them
	// kafka: SourceOptions.IdleAfter is 1ms, want 0 or at least 10ms
}

// The runtime writes, prepares at the barrier, and commits when the checkpoint has completed; only then consumers see the records.
func ExampleNewSink() {
	cluster, err := kafkatest.Start(kafkatest.Options{Topics: map[string]int32{"enriched": 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	sink := kafka.NewSink(kafka.SinkOptions[string]{
		Brokers:               cluster.Brokers(),
		Topic:                 "enriched",
		EncodeValue:           func(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil },
		Delivery:              kafka.ExactlyOnce,
		TransactionalIDPrefix: "decisions-enriched",
	})
	ctx := context.Background()
	c := connectors.Context{UID: "enriched", Parallelism: 1, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Now: time.Now}
	committer, err := sink.(connectors.CommittingSink).NewCommitter(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer committer.Close()
	writer, err := sink.NewWriter(connectors.WriterContext{Context: c, Ctx: ctx})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer writer.Close()
	if err := writer.Write("approved", connectors.Meta{TimestampMS: connectors.NoTimestamp}); err != nil {
		fmt.Println(err)
		return
	}
	committables, err := writer.Prepare(ctx, 1)
	before, _ := kafkatest.ReadCommitted(ctx, cluster.Brokers(), "enriched")
	fmt.Println(len(committables), err, len(before))
	err = committer.Commit(ctx, 1, committables)
	after, _ := kafkatest.ReadCommitted(ctx, cluster.Brokers(), "enriched")
	fmt.Println(err, len(after), string(after[0].Value))
	// Output:
	// 1 <nil> 0
	// <nil> 1 approved
}

package pipeline

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodb"
	"github.com/millrace-io/millrace/connectors/dynamodbstreams"
	"github.com/millrace-io/millrace/connectors/file"
	"github.com/millrace-io/millrace/connectors/kafka"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// The names under which state stands in checkpoints. They never change.
const (
	uidSource     = "decisions"
	uidEnrich     = "enrich"
	uidPublish    = "publish"
	uidArchive    = "archive"
	uidVariables  = "variables"
	uidDeadLetter = "dead-letter"
)

// profileTTL is how long the profile of a customer is believed before it is looked up again.
const profileTTL = time.Hour

// lookup returns the profile of a customer.
type lookup func(ctx context.Context, customer string) (model.Profile, error)

// enriched is what the keyed step makes of a decision: its event, and the customer's variable.
type enriched struct {
	Event    Event
	Variable model.Variable
}

// parts are what the graph is wired from; tests put others in.
type parts struct {
	source     connectors.Source[decided]
	profiles   lookup
	publish    connectors.Sink[Event]
	archive    connectors.Sink[Event]
	variables  connectors.Sink[model.Variable]
	deadLetter connectors.Sink[connectors.DeadLetter]
}

// graph is the whole pipeline:
//
//	decisions ─ KeyBy customer ─ enrich ─┬─ publish    (Kafka, topic decisions)
//	    │                                ├─ archive    (files by hour)
//	    │                                └─ variables  (DynamoDB, newer versions only)
//	    └─ what does not conform ───────── dead-letter (Kafka, topic decisions.dead-letter)
func graph(p parts) *dataflow.Graph {
	g := dataflow.New("decision-pipeline")
	decisions := g.From(uidSource, p.source)
	out := decisions.
		KeyBy(func(d decided) string { return d.Customer }).
		Process(uidEnrich, enrich(p.profiles))
	events := out.Map(func(e enriched) Event { return e.Event })
	published := events.To(uidPublish, p.publish)
	archived := events.To(uidArchive, p.archive).NewChain() // storing files at a checkpoint must not hold up the topic
	stored := out.Map(func(e enriched) model.Variable { return e.Variable }).To(uidVariables, p.variables)
	decisions.DeadLetters().
		Union(out.DeadLetters(), published.DeadLetters(), archived.DeadLetters(), stored.DeadLetters()).
		To(uidDeadLetter, p.deadLetter)
	return g
}

// enrich counts the decisions of each customer.
func enrich(profiles lookup) func(*operators.Keyed[string, decided, enriched]) {
	return func(b *operators.Keyed[string, decided, enriched]) {
		all := b.Value[totals]("totals")
		day := b.Map[string, entry]("day")
		profile := b.Value[model.Profile]("profile", state.TTL(profileTTL))
		var ctx context.Context
		b.OnOpen(func(c context.Context) error { ctx = c; return nil })
		b.OnRecord(func(c *operators.Ctx[string, enriched], d decided) error {
			p, known, err := profile.Lookup()
			if err != nil {
				return err
			}
			if !known {
				if p, err = profiles(ctx, d.Customer); err != nil {
					return err
				}
				if err := profile.Set(p); err != nil {
					return err
				}
			}
			t, err := all.Get()
			if err != nil {
				return err
			}
			if err := t.apply(day, d); err != nil {
				return err
			}
			if err := all.Set(t); err != nil {
				return err
			}
			v := t.variable(d.Customer)
			e, err := event(d, v, p)
			if err != nil {
				return err
			}
			return c.Emit(enriched{e, v})
		})
	}
}

// sourceOf reads the stream of the decisions table; what does not conform becomes a dead letter.
func (o Options) sourceOf() connectors.Source[decided] {
	start := dynamodbstreams.TrimHorizon()
	if o.StartMS > 0 {
		start = dynamodbstreams.AtTimestamp(time.UnixMilli(o.StartMS))
	}
	return dynamodbstreams.NewSource(dynamodbstreams.Options[decided]{
		Client: o.Endpoints.Streams(), StreamARN: o.StreamARN, Start: start,
		Decode: conform, OnPoison: dynamodbstreams.DeadLetterPoison,
		Timestamp:    func(d decided, _ dynamodbstreams.Change) int64 { return d.DecidedAt.UnixMilli() },
		PollInterval: o.Poll,
	})
}

func (o Options) publishSink() (connectors.Sink[Event], error) {
	registry, err := serde.NewRegistry(serde.RegistryOptions{URLs: []string{o.Endpoints.Registry}})
	if err != nil {
		return nil, err
	}
	value, err := serde.Confluent[Event](registry, model.Subject, serde.ConfluentOptions{})
	if err != nil {
		return nil, err
	}
	return kafka.NewSink(kafka.SinkOptions[Event]{
		Brokers: o.Endpoints.Brokers, Topic: model.DecisionsTopic, Value: value,
		// Versions of one decision share a key, so that they stay in one partition and in order.
		Key:      func(dst []byte, e Event) ([]byte, error) { return append(dst, e.ID...), nil },
		Delivery: o.kafkaDelivery(), TransactionalIDPrefix: o.TransactionPrefix + "-" + uidPublish, TransactionTimeout: transactionTimeout,
	}), nil
}

// transactionTimeout is far longer than a checkpoint interval and a restart, and below what brokers allow by default (15 min).
const transactionTimeout = 10 * time.Minute

func (o Options) deadLetterSink() connectors.Sink[connectors.DeadLetter] {
	return kafka.NewSink(kafka.SinkOptions[connectors.DeadLetter]{
		Brokers: o.Endpoints.Brokers, Topic: model.DeadLetterTopic, Key: deadLetterKey, EncodeValue: deadLetterValue,
		Delivery: o.kafkaDelivery(), TransactionalIDPrefix: o.TransactionPrefix + "-" + uidDeadLetter, TransactionTimeout: transactionTimeout,
	})
}

func (o Options) kafkaDelivery() kafka.Delivery {
	if o.AtLeastOnce {
		return kafka.AtLeastOnce
	}
	return kafka.ExactlyOnce
}

func (o Options) archiveSink() connectors.Sink[Event] {
	return file.NewSink(file.Options[Event]{URL: o.Endpoints.Archive, S3: file.S3Options{Client: o.Endpoints.Buckets()}, BufferBytes: 8 << 20})
}

// variablesSink keeps the newest version of each variable; what a replay writes again, or late, changes nothing.
func (o Options) variablesSink() connectors.Sink[model.Variable] {
	return dynamodb.NewSink(dynamodb.Options[model.Variable]{
		Client: o.Endpoints.Tables(), Table: model.VariablesTable, Key: []string{"customer"}, Version: "version",
		Item: func(v model.Variable) (map[string]types.AttributeValue, error) { return v.Item(), nil },
	})
}

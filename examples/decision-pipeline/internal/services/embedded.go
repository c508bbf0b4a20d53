package services

import (
	"fmt"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	"github.com/millrace-io/millrace/connectors/kafka/kafkatest"
	"github.com/millrace-io/millrace/serde/registrytest"
)

// Embed starts inside this process, on ports of 127.0.0.1, every service that e leaves empty, and fills in where it is. partitions
// is the number of shards that an embedded table's stream has. close ends what was started; it is never nil.
func (e *Endpoints) Embed(partitions int) (close func(), err error) {
	var closers []func()
	close = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	if e.DynamoDB == "" {
		s := dynamodbtest.Start(dynamodbtest.Options{Partitions: partitions, CallLogMax: 1})
		closers = append(closers, s.Close)
		e.DynamoDB, e.direct = s.URL(), s.Transport()
	}
	if len(e.Brokers) == 0 {
		k, err := kafkatest.Start(kafkatest.Options{})
		if err != nil {
			return close, fmt.Errorf("services: embedded Kafka: %w", err)
		}
		closers = append(closers, k.Close)
		e.Brokers = k.Brokers()
	}
	if e.Registry == "" {
		registry, err := registrytest.Start(registrytest.Options{})
		if err != nil {
			return close, fmt.Errorf("services: embedded schema registry: %w", err)
		}
		closers = append(closers, func() { registry.Close() }) //nolint:errcheck // the process ends
		e.Registry = registry.URL()
	}
	return close, nil
}

// Package kafkatest runs a Kafka cluster inside the process, for tests, examples and trying out. It is franz-go's kfake: it speaks the real
// protocol over TCP, with transactions, and keeps everything in memory unless it is given a directory. Its answers differ from Apache
// Kafka's in places (for instance about fenced producers), so it replaces no test against a real broker.
package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors/kafka/internal/rawfetch"
)

// Options describe a cluster. The zero value is one broker on a free port of 127.0.0.1 without topics.
type Options struct {
	// Addr is the address of the first broker, on 127.0.0.1. Default: a free port. Further brokers take the ports that follow, or
	// free ones too.
	Addr string
	// Brokers is their number. Default 1.
	Brokers int
	// Topics are created at the start: name → number of partitions, at least 1.
	Topics map[string]int32
	// Dir keeps the cluster's data over a restart. Default: memory only.
	Dir string
	// Configs are broker settings, for instance transaction.max.timeout.ms (default 900000).
	Configs map[string]string
	// Kfake are more options of the cluster; they win over the others.
	Kfake []kfake.Opt
}

// Validate reports every fault of the options at once.
func (o Options) Validate() error {
	var errs []error
	if o.Addr != "" {
		if _, err := port(o.Addr); err != nil {
			errs = append(errs, err)
		}
	}
	if o.Brokers < 0 {
		errs = append(errs, fmt.Errorf("kafkatest: Options.Brokers is %d, want at least 1, or 0 for the default", o.Brokers))
	}
	for t, n := range o.Topics {
		if n < 1 {
			errs = append(errs, fmt.Errorf("kafkatest: Options.Topics has %d partitions for %q, want at least 1", n, t))
		}
	}
	return errors.Join(errs...)
}

func port(addr string) (int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err == nil && host != "127.0.0.1" && host != "localhost" {
		err = errors.New("the cluster listens on 127.0.0.1 only")
	}
	if err != nil {
		return 0, fmt.Errorf("kafkatest: Options.Addr is %q, want 127.0.0.1:port: %w", addr, err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("kafkatest: Options.Addr is %q, want 127.0.0.1:port: %w", addr, err)
	}
	return int(n), nil
}

// Cluster is a running cluster.
type Cluster struct {
	// Fake is the cluster itself, to move partitions, inject faults or create topics.
	Fake    *kfake.Cluster
	brokers []string
}

// Start starts a cluster; the caller closes it.
func Start(o Options) (*Cluster, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	n := max(o.Brokers, 1)
	opts := []kfake.Opt{kfake.NumBrokers(n)}
	if o.Addr != "" {
		first, err := port(o.Addr)
		if err != nil {
			return nil, err
		}
		ports := make([]int, n)
		for i := range ports {
			if first != 0 {
				ports[i] = first + i
			}
		}
		opts = append(opts, kfake.Ports(ports...))
	}
	for t, parts := range o.Topics {
		opts = append(opts, kfake.SeedTopics(parts, t))
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	if len(o.Configs) > 0 {
		opts = append(opts, kfake.BrokerConfigs(o.Configs))
	}
	c, err := kfake.NewCluster(append(opts, o.Kfake...)...)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: start: %w", err)
	}
	return &Cluster{Fake: c, brokers: c.ListenAddrs()}, nil
}

// Run starts a cluster for a test and closes it when the test ends.
func Run(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Brokers are the addresses of the brokers; the slice belongs to the caller.
func (c *Cluster) Brokers() []string { return slices.Clone(c.brokers) }

// Close stops the cluster. Without Options.Dir its data is gone.
func (c *Cluster) Close() { c.Fake.Close() }

// ReadCommitted reads a topic as a consumer that reads committed sees it now: each partition from its log start to its last stable
// offset, in order, partitions in ascending order. It works against any cluster, and an error means that something may be missing.
// Open transactions are not waited for.
func ReadCommitted(ctx context.Context, brokers []string, topic string, opts ...kgo.Opt) ([]*kgo.Record, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	m, err := adm.Metadata(ctx, topic)
	if err == nil {
		err = m.Topics[topic].Err
	}
	if err != nil {
		return nil, fmt.Errorf("kafkatest: describe %q: %w", topic, err)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("kafkatest: start offsets of %q: %w", topic, err)
	}
	var out []*kgo.Record
	for _, p := range m.Topics[topic].Partitions.Sorted() {
		start, ok := starts.Lookup(topic, p.Partition)
		if p.Err != nil || !ok {
			return nil, fmt.Errorf("kafkatest: partition %s-%d cannot be read: %w", topic, p.Partition, errors.Join(p.Err, start.Err))
		}
		from := rawfetch.Partition{Topic: topic, TopicID: m.Topics[topic].ID, Partition: p.Partition, Leader: p.Leader, Committed: true}
		for offset := start.Offset; ; {
			c, err := rawfetch.Once(ctx, cl, from, offset)
			if err != nil {
				return nil, fmt.Errorf("kafkatest: read %s-%d at offset %d: %w", topic, p.Partition, offset, err)
			}
			for _, r := range c.Records {
				if !r.Attrs.IsControl() {
					out = append(out, r)
				}
			}
			if c.Next == offset || c.Next >= c.Readable {
				break
			}
			offset = c.Next
		}
	}
	return out, nil
}

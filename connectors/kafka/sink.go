package kafka

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// Delivery is the guarantee of a sink.
type Delivery int

const (
	// AtLeastOnce makes records visible at once; after a restart those since the last completed checkpoint are written again. The
	// default.
	AtLeastOnce Delivery = iota
	// ExactlyOnce makes records visible, once, when the checkpoint that holds them has completed, to consumers that read committed.
	ExactlyOnce
)

// UndecidedPolicy says what to do about a transaction of a restored checkpoint that can no longer be told to be committed or aborted.
type UndecidedPolicy int

const (
	// FailUndecided fails the job with a LostTransactionsError that names the transaction. The default.
	FailUndecided UndecidedPolicy = iota
	// AssumeCommitted takes it for committed, with a warning. Right for an old savepoint whose records retention has removed.
	AssumeCommitted
)

// DedupeHeader is the header of an at-least-once sink that says where a record comes from: the source's uid, split and position, as
// "uid/split@position". A record written again after a restart carries the same value, if its place in the input is the
// same. Behind an exchange the coordinates are those of a whole batch: use SinkOptions.DedupeID there.
const DedupeHeader = "millrace-dedupe-id"

// SinkOptions describe a sink. Brokers or Client, one of Topic and TopicOf, and one of Value and EncodeValue are needed; ExactlyOnce
// also needs TransactionalIDPrefix.
type SinkOptions[T any] struct {
	// Brokers are the addresses (host:port) to learn the cluster from.
	Brokers []string
	// Client are more options of the client: TLS, SASL, a dialer, compression, a partitioner, a linger. The default partitioner puts
	// equal keys where the Java client puts them. The sink overrides everything about acknowledgements and transactions.
	Client []kgo.Opt
	// Topic is where all records go; it must exist.
	Topic string
	// TopicOf names the topic of each record, when Topic is empty. Topics must exist.
	TopicOf func(v T) string
	// Key appends the record's key to dst and returns it; nil means no key. Default: no key.
	Key func(dst []byte, v T) ([]byte, error)
	// Value encodes the record's value.
	Value serde.Serde[T]
	// EncodeValue appends the record's value to dst and returns it, when Value is nil; a nil result is a tombstone.
	EncodeValue func(dst []byte, v T) ([]byte, error)
	// Headers of each record, before the DedupeHeader. Default: none.
	Headers func(v T) []kgo.RecordHeader

	Delivery Delivery
	// DedupeID is the value of DedupeHeader. Default: the coordinates of the record. Not used by ExactlyOnce.
	DedupeID func(v T, m connectors.Meta) string
	// TransactionalIDPrefix begins every transactional id of this sink: <prefix>-<subtask>-<slot>. It must be the same after every
	// restart and belong to this sink of this job alone: when the job starts, every id under the prefix is taken over, which fences
	// whoever still writes under it and aborts its open transaction, unless that is in the restored checkpoint. "a" and "a-1" do
	// not touch each other.
	TransactionalIDPrefix string
	// TransactionTimeout is how long a transaction may stay open, from its first record to its commit; afterwards the broker aborts it
	// and its records are lost, which is reported. It must exceed checkpoint interval + longest outage + restore, and not exceed the
	// brokers' transaction.max.timeout.ms (15 min by default). Open transactions hold consumers that read committed back. Default
	// 10 min, at least 1 s.
	TransactionTimeout time.Duration
	// OnUndecided is about restored transactions of which the cluster remembers nothing.
	OnUndecided UndecidedPolicy

	// BufferRecords is how many records may wait for their acknowledgement before Write waits. Default 10 000.
	BufferRecords int
	// BufferBytes is the same in bytes of keys, values and headers. A record that is larger becomes a dead letter. Default 64 MiB.
	BufferBytes int
}

const (
	defaultTransactionTimeout = 10 * time.Minute
	defaultBufferRecords      = 10_000
	defaultBufferBytes        = 64 << 20
)

// withDefaults returns the options with every zero value replaced by its default.
func (o SinkOptions[T]) withDefaults() SinkOptions[T] {
	if o.TransactionTimeout == 0 {
		o.TransactionTimeout = defaultTransactionTimeout
	}
	if o.BufferRecords == 0 {
		o.BufferRecords = defaultBufferRecords
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = defaultBufferBytes
	}
	return o
}

// Validate reports every fault of the options at once.
func (o SinkOptions[T]) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("kafka: SinkOptions."+format, args...))
	}
	if len(o.Brokers) == 0 && len(o.Client) == 0 {
		fault("Brokers is empty, want at least one host:port")
	}
	if (o.Topic == "") == (o.TopicOf == nil) {
		fault("Topic and TopicOf: want exactly one of them")
	}
	if (o.Value == nil) == (o.EncodeValue == nil) {
		fault("Value and EncodeValue: want exactly one of them")
	}
	switch o.Delivery {
	case AtLeastOnce:
	case ExactlyOnce:
		if o.TransactionalIDPrefix == "" {
			fault("TransactionalIDPrefix is empty, want a name that stays the same after restarts and that no other sink uses")
		}
	default:
		fault("Delivery is %d, want AtLeastOnce or ExactlyOnce", o.Delivery)
	}
	if t := o.TransactionTimeout; t != 0 && (t < time.Second || t > math.MaxInt32*time.Millisecond) {
		fault("TransactionTimeout is %v, want 1s to 596h", t)
	}
	if o.OnUndecided < FailUndecided || o.OnUndecided > AssumeCommitted {
		fault("OnUndecided is %d, want FailUndecided or AssumeCommitted", o.OnUndecided)
	}
	if o.BufferRecords < 0 {
		fault("BufferRecords is %d, want at least 1, or 0 for the default", o.BufferRecords)
	}
	if o.BufferBytes != 0 && o.BufferBytes < 64<<10 {
		fault("BufferBytes is %d, want at least 65536, or 0 for the default", o.BufferBytes)
	}
	return errors.Join(errs...)
}

type sink[T any] struct{ o SinkOptions[T] }

// txnSink is a sink that also commits: only an exactly-once sink may look like one.
type txnSink[T any] struct{ sink[T] }

// NewSink describes a sink that writes to Kafka. With Delivery ExactlyOnce the result is also a connectors.CommittingSink. Nothing is
// connected before the job starts.
func NewSink[T any](o SinkOptions[T]) connectors.Sink[T] {
	s := sink[T]{o.withDefaults()}
	if o.Delivery == ExactlyOnce {
		return txnSink[T]{s}
	}
	return s
}

func (s sink[T]) Validate() error { return s.o.Validate() }

func (s sink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	return newPlainWriter(s.o, c)
}

func (s txnSink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	return newTxnWriter(s.o, c)
}

// NewCommitter implements connectors.CommittingSink.
func (s txnSink[T]) NewCommitter(c connectors.Context) (connectors.Committer, error) {
	return newCommitter(committerConfig{
		brokers: s.o.Brokers, client: s.o.Client, prefix: s.o.TransactionalIDPrefix, timeout: s.o.TransactionTimeout,
		assumeCommitted: s.o.OnUndecided == AssumeCommitted,
	}, c)
}

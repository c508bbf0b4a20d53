package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// Start says where a source begins that has no checkpoint. The zero value is Earliest.
type Start struct {
	mode startMode
	at   time.Time
}

type startMode int

const (
	startEarliest startMode = iota
	startLatest
	startTimestamp
)

// Earliest begins at the first record that the log still has.
func Earliest() Start { return Start{} }

// Latest begins behind the records that can be read now; with ReadCommitted that is the first open transaction, so that records which
// become visible after the start are read. It is resolved to offsets once, when the job starts for the first time; they are kept in
// the checkpoint; a job that dies before its first checkpoint resolves them anew. Give FromTimestamp where that matters.
func Latest() Start { return Start{mode: startLatest} }

// FromTimestamp begins at the first record whose timestamp is t (to the millisecond) or later, and like Latest in a partition that has
// none.
func FromTimestamp(t time.Time) Start { return Start{mode: startTimestamp, at: t} }

// DataLossPolicy says what to do when records that were to be read are gone.
type DataLossPolicy int

const (
	// FailOnDataLoss fails the job with a DataLossError. The default.
	FailOnDataLoss DataLossPolicy = iota
	// ResumeOnDataLoss goes on at the log start when the position is out of the log, and where the log diverged when it was truncated;
	// each case is logged and counted in millrace_kafka_source_data_loss_total. After a truncation that left the position beyond
	// the end of the log, records may be read twice.
	ResumeOnDataLoss
)

// PoisonPolicy says what to do with a record that cannot be decoded.
type PoisonPolicy int

const (
	// FailOnPoison fails the job. The default: after the restart it fails again, at the same record.
	FailOnPoison PoisonPolicy = iota
	// DeadLetterPoison hands the record over as a dead letter with its bytes and coordinates and goes on behind it.
	DeadLetterPoison
)

// SourceOptions describe a source. Brokers or Client, Topics, and one of Decode and Value are needed.
type SourceOptions[T any] struct {
	// Brokers are the addresses (host:port) to learn the cluster from.
	Brokers []string
	// Client are more options of the client: TLS, SASL, a dialer, fetch sizes (for instance kgo.FetchMaxWait). The source overrides the
	// isolation level and everything about groups, offsets and control records.
	Client []kgo.Opt
	// Topics to read, all partitions of each.
	Topics []string
	// Decode makes a value of a record. It is called by the task's goroutine. The record and its bytes belong to Decode, which may keep
	// them (they keep their whole batch in memory). A nil Value is a tombstone, not an error.
	Decode func(r *kgo.Record) (T, error)
	// Value decodes the record's value, when Decode is nil. A record whose value is null cannot be decoded by it and is poison.
	Value serde.Serde[T]
	// Start is where to begin without a checkpoint. Partitions that are created later are always read from their first record.
	Start Start
	// Bounded ends the source at the end that each partition has when the job starts for the first time: its end offset, and with
	// ReadCommitted its last stable offset. The ends are kept in the checkpoint. Partitions created later are not read.
	Bounded   bool
	Isolation Isolation
	// DiscoveryInterval is the time between two looks for new partitions and for topics that were re-created. Default 1 min; negative
	// means never again after the start. At least 100 ms.
	DiscoveryInterval time.Duration
	OnDataLoss        DataLossPolicy
	OnPoison          PoisonPolicy
	// IdleAfter reports a split as idle, so that it does not hold the watermark back, when it has had no record for this long and has
	// been read to its end. Default 0: never, the idleness of the watermark strategy decides. At least 10 ms.
	IdleAfter time.Duration
	// GroupID commits positions to this consumer group after the checkpoint that holds them has completed, so that tools can show the
	// lag. The group is never read and must have no members. After a declined checkpoint the group may be one checkpoint behind.
	GroupID string
}

// Validate reports every fault of the options at once.
func (o SourceOptions[T]) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("kafka: SourceOptions."+format, args...))
	}
	if len(o.Brokers) == 0 && len(o.Client) == 0 {
		fault("Brokers is empty, want at least one host:port")
	}
	if len(o.Topics) == 0 {
		fault("Topics is empty, want at least one topic")
	}
	seen := map[string]bool{}
	for _, t := range o.Topics {
		if t == "" || seen[t] {
			fault("Topics has %q, want names that are not empty and not repeated", t)
		}
		seen[t] = true
	}
	if (o.Decode == nil) == (o.Value == nil) {
		fault("Decode and Value: want exactly one of them")
	}
	if o.DiscoveryInterval > 0 && o.DiscoveryInterval < 100*time.Millisecond {
		fault("DiscoveryInterval is %v, want at least 100ms, 0 for the default, or negative for never", o.DiscoveryInterval)
	}
	if o.IdleAfter != 0 && o.IdleAfter < 10*time.Millisecond {
		fault("IdleAfter is %v, want 0 or at least 10ms", o.IdleAfter)
	}
	if o.Isolation < ReadCommitted || o.Isolation > ReadUncommitted {
		fault("Isolation is %d, want ReadCommitted or ReadUncommitted", o.Isolation)
	}
	if o.OnDataLoss < FailOnDataLoss || o.OnDataLoss > ResumeOnDataLoss {
		fault("OnDataLoss is %d, want FailOnDataLoss or ResumeOnDataLoss", o.OnDataLoss)
	}
	if o.OnPoison < FailOnPoison || o.OnPoison > DeadLetterPoison {
		fault("OnPoison is %d, want FailOnPoison or DeadLetterPoison", o.OnPoison)
	}
	return errors.Join(errs...)
}

func (o SourceOptions[T]) discoveryInterval() time.Duration {
	switch {
	case o.Bounded || o.DiscoveryInterval < 0:
		return 0
	case o.DiscoveryInterval == 0:
		return time.Minute
	}
	return o.DiscoveryInterval
}

type source[T any] struct{ o SourceOptions[T] }

// NewSource describes a source that reads the given topics. Nothing is connected before the job starts.
func NewSource[T any](o SourceOptions[T]) connectors.Source[T] { return source[T]{o} }

func (s source[T]) Validate() error { return s.o.Validate() }

func (s source[T]) NewEnumerator(c connectors.Context, restored []byte) (connectors.Enumerator, error) {
	return newEnumerator(s.o, c, restored)
}

func (s source[T]) NewReader(c connectors.Context) (connectors.Reader[T], error) {
	return newReader(s.o, c)
}

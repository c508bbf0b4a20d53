package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors"
)

// Client is the part of *dynamodb.Client that the sink uses. Each call makes one attempt whatever retryer the client has: the sink
// must see every throttle to pace itself.
type Client interface {
	// BatchWriteItem writes without versions.
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	// PutItem writes with versions.
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
}

// Options of a sink. Client, Table and Key are required.
type Options[T any] struct {
	Client Client
	// Table is the name or ARN of an existing table.
	Table string
	// Key names the key attributes of the table: the hash key, and the range key if it has one.
	Key []string
	// Item makes the item of a record. It is called by the task's goroutine, and the sink owns the result. An error makes the record a
	// dead letter. Default: Marshal, by struct tags.
	Item func(T) (map[string]types.AttributeValue, error)
	// Version names a number attribute that rises with each change of an item, e.g. a sequence number or an event time. With it, each
	// write is conditional (attribute_not_exists(v) OR v < :v): an older or equal version never overwrites a newer one, however
	// often and late it comes. A failed condition counts as done. It costs one call for each item.
	//
	// Default none: items are written in batches, and the last write of the stream wins. After a restore older values are then
	// visible for a moment while the stream is replayed, and a request that the network delivers after its time-out can
	// overwrite a newer one.
	Version string
	// Delete reports records that delete their item; Item must then give at least the key (and the version). With Version, the item
	// is not removed but replaced by its key, its version and the attribute Tombstone = true, so that a late older put does not bring
	// it back. Let the table's Time to Live remove tombstones. Default: no record deletes.
	Delete func(T) bool
	// Tombstone is the attribute that marks deleted items. Default "deleted". Used with Version and Delete only.
	Tombstone string
	// Raw gives the bytes of a record for a dead letter. Default: the item as JSON in DynamoDB's notation.
	Raw func(T) ([]byte, error)
	// Capacity is how the sink paces itself. Default OnDemand.
	Capacity Capacity
	// BufferBytesMax bounds the bytes (of requests, an upper estimate) that a writer holds, waiting or in flight. Beyond it Write
	// waits. Default 8 MiB, at least 1 MiB.
	BufferBytesMax int
	// CallsMax bounds the calls of a writer that run at once. Default 32, at most 1024. With OnDemand it bounds the window.
	CallsMax int
	// CallTimeout bounds one call; after it the outcome is unknown and the write is tried again. Default 5 s.
	CallTimeout time.Duration
	// PrepareTimeout bounds the wait of a checkpoint for the writes before it; after it the checkpoint fails with an error that says
	// what is stuck and why. Default 60 s. The context of the checkpoint may end it earlier.
	PrepareTimeout time.Duration
}

// Capacity is how a sink paces itself. The zero value is OnDemand.
type Capacity struct {
	provisioned bool
	wcu         float64
}

// OnDemand lets the table say how fast it is: the number of concurrent calls grows by one after each window of clean calls and is
// halved by a throttle.
func OnDemand() Capacity { return Capacity{} }

// Provisioned paces the whole sink to this many write units a second (1 unit for each started KB of an item). All subtasks share it
// evenly. What the service counts corrects the estimate.
func Provisioned(wcu float64) Capacity { return Capacity{provisioned: true, wcu: wcu} }

// String is "on demand" or "provisioned(n)".
func (c Capacity) String() string {
	if !c.provisioned {
		return "on demand"
	}
	return fmt.Sprintf("provisioned(%g)", c.wcu)
}

func (o Options[T]) withDefaults() Options[T] {
	if o.Item == nil {
		e := encoder{} // of this writer alone
		o.Item = func(v T) (map[string]types.AttributeValue, error) { return e.item(v) }
	}
	if o.Tombstone == "" {
		o.Tombstone = "deleted"
	}
	if o.BufferBytesMax == 0 {
		o.BufferBytesMax = 8 << 20
	}
	if o.CallsMax == 0 {
		o.CallsMax = 32
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 5 * time.Second
	}
	if o.PrepareTimeout == 0 {
		o.PrepareTimeout = time.Minute
	}
	return o
}

// Validate reports every fault of the options at once.
func (o Options[T]) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("dynamodb: Options."+format, args...))
	}
	if o.Client == nil {
		fault("Client is nil, want a *dynamodb.Client")
	}
	if o.Table == "" {
		fault("Table is empty, want the name of the table to write to")
	}
	if len(o.Key) < 1 || len(o.Key) > 2 || slices.Contains(o.Key, "") || len(o.Key) == 2 && o.Key[0] == o.Key[1] {
		fault("Key is %q, want the name of the hash key, and of the range key if the table has one", o.Key)
	}
	if o.Version != "" && slices.Contains(o.Key, o.Version) {
		fault("Version is %q, which is part of the key; want another attribute", o.Version)
	}
	if o.Tombstone != "" && (o.Tombstone == o.Version || slices.Contains(o.Key, o.Tombstone)) {
		fault("Tombstone is %q, which is the version or part of the key; want another attribute", o.Tombstone)
	}
	if o.Item == nil {
		if err := checkType[T](); err != nil {
			fault("Item is nil and the record type cannot be marshalled: %w", err)
		}
	}
	if o.Capacity.provisioned && !(o.Capacity.wcu > 0 && o.Capacity.wcu < math.Inf(1)) {
		fault("Capacity is %v, want more than 0 write units a second", o.Capacity)
	}
	if o.BufferBytesMax != 0 && o.BufferBytesMax < 1<<20 {
		fault("BufferBytesMax is %d, want at least 1 MiB", o.BufferBytesMax)
	}
	if o.CallsMax < 0 || o.CallsMax > 1024 {
		fault("CallsMax is %d, want 1 to 1024 (0 means 32)", o.CallsMax)
	}
	if o.CallTimeout < 0 || o.PrepareTimeout < 0 {
		fault("CallTimeout is %v and PrepareTimeout %v, want positive durations (0 means the default)", o.CallTimeout, o.PrepareTimeout)
	}
	return errors.Join(errs...)
}

// Sink writes records as items of a table.
type Sink[T any] struct{ o Options[T] }

// NewSink makes a sink. It starts nothing; faults of the options are reported by Validate.
func NewSink[T any](o Options[T]) *Sink[T] { return &Sink[T]{o: o} }

// Validate reports every fault of the options at once.
func (s *Sink[T]) Validate() error { return s.o.Validate() }

// NewWriter makes the writer of one subtask. It makes no call: a missing table shows at the first write.
func (s *Sink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	if err := s.o.Validate(); err != nil {
		return nil, err
	}
	return newWriter(s.o.withDefaults(), c), nil
}

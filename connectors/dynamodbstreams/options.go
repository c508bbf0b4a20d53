// Package dynamodbstreams is a source that reads the changes of a DynamoDB table from its stream: every change once, and those of one
// item in their order, through shard splits and roll-overs, restarts and changed parallelism.
//
// # How it works
//
// A stream is a tree of shards; a shard is closed after some hours or by volume and goes on in its children. The enumerator lists the
// shards and hands a shard over when its parent was read to the end. A reader reads its shards by one goroutine each and keeps for each
// the sequence number of the last record it has emitted. Both are in the checkpoint, so that a restored job reads on exactly where the
// checkpoint was taken.
//
// # What it promises, and where that ends
//
//   - Every change of the last 24 hours is emitted once with respect to checkpoints. Records older than that are deleted by the service: a job
//     that was down for longer, or reads too slowly, has lost data. The source then fails with a DataLossError, unless
//     Options.OnDataLoss says otherwise.
//   - Changes of one item come in order. Changes of two items have no order.
//   - A write that changes nothing has no record, by DynamoDB's own rule.
//   - The time of a record (Change.CreatedMS) is coarse: good for watermarks, useless as an order.
package dynamodbstreams

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// Options of the source. Client, Decode and one of StreamARN and Table must be set; the zero value of everything else works.
type Options[T any] struct {
	// Client is usually a *dynamodbstreams.Client. Its retryer is not used.
	Client Client
	// StreamARN names the stream. A restored job goes on with the stream of its checkpoint; another ARN here is an error then.
	StreamARN string
	// Table names the table instead; its latest stream is looked up through Tables on a fresh start.
	Table  string
	Tables TableClient

	// Decode makes a record of a change. It must not keep the maps of the change beyond the record it returns unless it alone uses
	// them. It is called by the task's goroutine. An error or panic makes the change a poison record: see OnPoison.
	Decode func(c Change) (T, error)
	// Timestamp is the event time of a record, Unix ms. Default: the time of the change as the service gives it (Change.CreatedMS).
	Timestamp func(v T, c Change) int64

	// Start is where a fresh start begins. Default TrimHorizon. A restored job goes on where its checkpoint was taken.
	Start Start
	// OnDataLoss says what happens when records were deleted before they were read. Default FailOnLoss.
	OnDataLoss LossPolicy
	// OnPoison says what happens to a change that Decode refuses. Default FailOnPoison.
	OnPoison PoisonPolicy

	// PollInterval is the least time between two reads of one shard. It bounds how late a change is seen, and is the price: the service
	// allows 5 reads a second for each shard, for all its readers together. Default 250 ms. Below 200 ms the real service throttles; an emulator
	// does not.
	PollInterval time.Duration
	// IdleTimeout is how long a shard must have answered without records before it stops holding the watermark back. A shard that
	// cannot be read is never idle. Shorter: windows close earlier, and records that come after a long row of empty pages may be late.
	// Default 5 s.
	IdleTimeout time.Duration
	// DiscoveryInterval is the time between two complete listings of the stream. Children of a shard that was read to its end are
	// asked for at once, whatever the interval. Default 60 s, at least 1 s.
	DiscoveryInterval time.Duration
	// RequestTimeout bounds each call. Default 10 s.
	RequestTimeout time.Duration
	// FailAfter is how long a shard, or the listing, may fail without a single answer before the job fails. Throttling does not
	// count. Default 10 min.
	FailAfter time.Duration
	// PageBuffer is the number of pages, over all shards of a subtask, that are being fetched or wait to be emitted. A page has at
	// most 1000 records and 1 MB on the wire, and several times that in memory. Default 32.
	PageBuffer int
	// PageRecords is the largest number of records asked for in one read, at most 1000. Default 1000.
	PageRecords int
}

// Start says where a fresh start begins. The zero value is TrimHorizon.
type Start struct {
	latest bool
	atMS   int64
	timed  bool
}

// TrimHorizon starts with the oldest record that the stream still has.
func TrimHorizon() Start { return Start{} }

// Latest starts with the changes made from now on. "Now" is taken once, on the first start, rounded down to the second (times
// of records may be), and kept in the checkpoint: changes made while the job is down are never skipped. A few changes of that very
// second may be older than the start. Before the first checkpoint has completed there is nothing to keep it in: a job that dies by then takes a
// new "now". Give AtTimestamp where that matters.
func Latest() Start { return Start{latest: true} }

// AtTimestamp starts with the changes made at t or later. The service rounds the times of records down to the second, and so is t: no
// change made since t is left out, and a few of that very second may be older. A time older than 24 hours is the same as TrimHorizon; one
// in the future is waited for.
func AtTimestamp(t time.Time) Start { return Start{timed: true, atMS: t.UnixMilli()} }

// fromMS is the time before which records are not wanted, for a job that starts now; 0 for none.
func (s Start) fromMS(now time.Time) int64 {
	switch {
	case s.latest:
		return now.Truncate(time.Second).UnixMilli()
	case s.timed:
		return s.atMS - s.atMS%1000
	}
	return 0
}

// LossPolicy says what happens when records were deleted before they were read.
type LossPolicy int

// The policies for lost data.
const (
	// FailOnLoss fails the job with a DataLossError that names shard, position and gap.
	FailOnLoss LossPolicy = iota
	// SkipLoss logs and counts the loss (millrace_dynamodbstreams_data_loss_skips_total) and goes on with the oldest record there is.
	SkipLoss
)

// PoisonPolicy says what happens to a change that Decode refuses.
type PoisonPolicy int

// The policies for poison records.
const (
	// FailOnPoison fails the job with the coordinates of the record; it fails again at the same record after a restart.
	FailOnPoison PoisonPolicy = iota
	// DeadLetterPoison hands the record over as a dead letter, its raw form being the record in DynamoDB JSON, and goes on.
	DeadLetterPoison
)

// withDefaults fills in what was left out.
func (o Options[T]) withDefaults() Options[T] {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.PollInterval, 250*time.Millisecond)
	def(&o.IdleTimeout, 5*time.Second)
	def(&o.DiscoveryInterval, time.Minute)
	def(&o.RequestTimeout, 10*time.Second)
	def(&o.FailAfter, 10*time.Minute)
	if o.PageBuffer == 0 {
		o.PageBuffer = 32
	}
	if o.PageRecords == 0 {
		o.PageRecords = 1000
	}
	return o
}

// Validate reports every fault of the options at once.
func (o Options[T]) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("dynamodbstreams: Options."+format, args...))
		}
	}
	d := o.withDefaults()
	fault(o.Client == nil, "Client is nil, want a *dynamodbstreams.Client")
	fault(o.Decode == nil, "Decode is nil, want a function that makes a record of a change")
	fault((o.StreamARN == "") == (o.Table == ""), "StreamARN is %q and Table is %q, want exactly one of them", o.StreamARN, o.Table)
	fault(o.Table != "" && o.Tables == nil, "Tables is nil, want a *dynamodb.Client to find the stream of table %q", o.Table)
	fault(o.OnDataLoss < FailOnLoss || o.OnDataLoss > SkipLoss, "OnDataLoss is %d, want FailOnLoss or SkipLoss", o.OnDataLoss)
	fault(o.OnPoison < FailOnPoison || o.OnPoison > DeadLetterPoison, "OnPoison is %d, want FailOnPoison or DeadLetterPoison", o.OnPoison)
	fault(o.Start.timed && o.Start.atMS <= 0, "Start is AtTimestamp of %v, want a time after 1970", time.UnixMilli(o.Start.atMS).UTC())
	fault(d.PollInterval < time.Millisecond, "PollInterval is %v, want at least 1ms", o.PollInterval)
	fault(d.IdleTimeout < 0, "IdleTimeout is %v, want more than 0", o.IdleTimeout)
	fault(d.DiscoveryInterval < time.Second, "DiscoveryInterval is %v, want at least 1s", o.DiscoveryInterval)
	fault(d.RequestTimeout < 0, "RequestTimeout is %v, want more than 0", o.RequestTimeout)
	fault(d.FailAfter < 0, "FailAfter is %v, want more than 0", o.FailAfter)
	fault(d.PageBuffer < 1, "PageBuffer is %d, want at least 1", o.PageBuffer)
	fault(d.PageRecords < 1 || d.PageRecords > 1000, "PageRecords is %d, want 1 to 1000", o.PageRecords)
	return errors.Join(errs...)
}

func (o Options[T]) limits() limits { return limits{request: o.RequestTimeout, failAfter: o.FailAfter} }

// source is the description; its options have their defaults.
type source[T any] struct {
	given Options[T]
	o     Options[T]
}

// NewSource describes a source over one stream. Nothing is called before the job starts.
func NewSource[T any](o Options[T]) connectors.Source[T] {
	return source[T]{given: o, o: o.withDefaults()}
}

// Validate implements connectors.Source.
func (s source[T]) Validate() error { return s.given.Validate() }

// NewEnumerator implements connectors.Source.
func (s source[T]) NewEnumerator(c connectors.Context, restored []byte) (connectors.Enumerator, error) {
	return newEnumerator(c, s.o.stream(), restored)
}

// NewReader implements connectors.Source.
func (s source[T]) NewReader(c connectors.Context) (connectors.Reader[T], error) {
	return newReader(c, s.o)
}

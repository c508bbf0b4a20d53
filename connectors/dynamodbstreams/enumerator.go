package dynamodbstreams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// describeSpacing keeps DescribeStream below its limit of 10 calls a second.
const describeSpacing = 110 * time.Millisecond

// streamOptions are the options that do not depend on the record type.
type streamOptions struct {
	client    Client
	arn       string
	table     string
	tables    TableClient
	start     Start
	loss      LossPolicy
	discovery time.Duration
	limits    limits
}

func (o Options[T]) stream() streamOptions {
	return streamOptions{
		client: o.Client, arn: o.StreamARN, table: o.Table, tables: o.Tables, start: o.Start, loss: o.OnDataLoss, discovery: o.DiscoveryInterval, limits: o.limits(),
	}
}

// enumerator does the I/O for the lineage. Discover runs beside the other methods; mu guards the lineage and is never held over a call.
type enumerator struct {
	c       connectors.Context
	o       streamOptions
	metrics *metrics

	mu       sync.Mutex
	l        *lineage
	snapshot []byte // of a lineage that has not changed since

	// used by Discover only
	described time.Time // last DescribeStream
	disabled  bool      // warned that the stream is disabled
}

func newEnumerator(c connectors.Context, o streamOptions, restored []byte) (*enumerator, error) {
	e := &enumerator{c: c, o: o, metrics: newMetrics(c.Metrics, true)}
	if restored == nil {
		now := c.Now()
		e.l = newLineage(o.arn, now.UnixMilli(), o.start.fromMS(now), o.discovery)
		return e, nil
	}
	var err error
	if e.l, err = decodeLineage(restored, o.discovery); err != nil {
		return nil, err
	}
	if o.arn != "" && e.l.arn != "" && o.arn != e.l.arn {
		return nil, fmt.Errorf("dynamodbstreams: the checkpoint of %q reads stream %q, Options.StreamARN is %q; use the stream of the checkpoint, or a new uid for the other stream", c.UID, e.l.arn, o.arn)
	}
	return e, nil
}

// Discover implements connectors.Enumerator.
func (e *enumerator) Discover(ctx context.Context) (time.Duration, error) {
	if err := e.resolve(ctx); err != nil {
		return 0, err
	}
	now := e.c.Now().UnixMilli()
	e.mu.Lock()
	w := e.l.due(now)
	e.mu.Unlock()
	for _, id := range w.ask {
		known, err := e.children(ctx, id)
		if err != nil {
			return 0, err
		}
		if !known {
			w.list = true
			break
		}
	}
	if w.list {
		if err := e.list(ctx); err != nil {
			return 0, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.metrics.phases(e.l.counts)
	return e.l.next(e.c.Now().UnixMilli()), nil
}

// resolve finds the stream of the table, once in the life of a job: the checkpoint keeps it.
func (e *enumerator) resolve(ctx context.Context) error {
	if e.l.arn != "" {
		return nil
	}
	var out *dynamodb.DescribeTableOutput
	err := repeat(ctx, "DescribeTable", e.o.limits, e.metrics, func(ctx context.Context) (err error) {
		out, err = e.o.tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &e.o.table}, oneTableAttempt)
		return err
	})
	if err != nil {
		return fmt.Errorf("dynamodbstreams: find the stream of table %q: %w", e.o.table, err)
	}
	if out.Table == nil || value(out.Table.LatestStreamArn) == "" {
		return fmt.Errorf("dynamodbstreams: table %q has no stream; enable one (StreamSpecification, NEW_AND_OLD_IMAGES shows most)", e.o.table)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.l.arn, e.l.dirty = *out.Table.LatestStreamArn, true
	return nil
}

// list makes one complete listing. Shards of each page are known as soon as it is there.
func (e *enumerator) list(ctx context.Context) error {
	var from *string
	seen := map[string]bool{}
	for {
		d, err := e.describe(ctx, &dynamodbstreams.DescribeStreamInput{ExclusiveStartShardId: from})
		if err != nil {
			if from == nil || faultOf(err) != invalid {
				return err
			}
			// The shard to go on from has expired since: this listing is not complete, the next one begins anew.
			e.c.Logger.Warn("listing of shards broken off", zap.String("uid", e.c.UID), zap.Error(err))
			return e.brokenOff()
		}
		now := e.c.Now().UnixMilli()
		e.mu.Lock()
		e.l.page(now, shardsOf(d))
		e.mu.Unlock()
		from = d.LastEvaluatedShardId
		if value(from) == "" {
			e.warnDisabled(d)
			return e.listed(now)
		}
		if seen[*from] {
			return fmt.Errorf("dynamodbstreams: DescribeStream of %q turns in a circle at shard %q: the server breaks the protocol", e.l.arn, *from)
		}
		seen[*from] = true
	}
}

// listed closes a complete listing and decides on what is lost.
func (e *enumerator) listed(now int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.l.listed(now)
	e.l.asked(now, e.l.dueLeaves(now))
	for _, s := range e.l.lost {
		err := lossAt(s.parent, position{ARN: e.l.arn, SinceMS: max(e.l.startedMS-retention.Milliseconds(), e.l.fromMS)}, now,
			fmt.Sprintf("the shard is gone, its child %q is listed", s.id))
		err.ToMS = max(err.FromMS, s.createdMS)
		if e.o.loss == FailOnLoss {
			return err
		}
		e.metrics.losses.Inc()
		e.c.Logger.Error("skipping lost records", zap.String("uid", e.c.UID), zap.Error(err))
	}
	e.l.giveUp()
	return nil
}

// brokenOff makes the next listing due soon.
func (e *enumerator) brokenOff() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.c.Now().UnixMilli()
	e.l.nextListing = now + orphanDelay.Milliseconds()
	e.l.asked(now, e.l.dueLeaves(now))
	return nil
}

// children asks for the children of one shard, and reports false when the server cannot tell them: then a listing must.
func (e *enumerator) children(ctx context.Context, parent string) (known bool, err error) {
	var from *string
	for range 100 {
		d, err := e.describe(ctx, &dynamodbstreams.DescribeStreamInput{
			ExclusiveStartShardId: from, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeChildShards, ShardId: &parent},
		})
		if err != nil {
			if f := faultOf(err); f != invalid && f != gone {
				return false, err
			}
			// It does not know the filter, or not the shard any more.
			return false, e.unfiltered(faultOf(err) == invalid)
		}
		shards := shardsOf(d)
		now := e.c.Now().UnixMilli()
		e.mu.Lock()
		e.l.page(now, shards)
		e.mu.Unlock()
		for _, s := range shards {
			if s.parent != parent {
				return false, e.unfiltered(true) // it ignores the filter
			}
		}
		if from = d.LastEvaluatedShardId; value(from) == "" {
			e.mu.Lock()
			e.l.asked(now, []string{parent})
			e.mu.Unlock()
			return true, nil
		}
	}
	return false, nil
}

// unfiltered remembers, if so, that the server knows no filter.
func (e *enumerator) unfiltered(forGood bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if forGood {
		e.l.filtered = false
	}
	return nil
}

// describe calls DescribeStream, paced.
func (e *enumerator) describe(ctx context.Context, in *dynamodbstreams.DescribeStreamInput) (*types.StreamDescription, error) {
	in.StreamArn = &e.l.arn
	var out *dynamodbstreams.DescribeStreamOutput
	err := repeat(ctx, "DescribeStream", e.o.limits, e.metrics, func(callCtx context.Context) (err error) {
		if !wait(ctx, time.Until(e.described.Add(describeSpacing))) {
			return ctx.Err()
		}
		e.described = time.Now()
		out, err = e.o.client.DescribeStream(callCtx, in, oneAttempt)
		return err
	})
	switch {
	case err != nil && in.ShardFilter == nil && faultOf(err) == gone:
		return nil, fmt.Errorf("dynamodbstreams: stream %q does not exist (any more); was the table deleted, or its stream disabled more than 24 h ago? %w", e.l.arn, err)
	case err != nil:
		return nil, fmt.Errorf("dynamodbstreams: DescribeStream of %q: %w", e.l.arn, err)
	case out.StreamDescription == nil:
		return nil, errors.New("dynamodbstreams: DescribeStream answered without a description: the server breaks the protocol")
	}
	return out.StreamDescription, nil
}

func shardsOf(d *types.StreamDescription) []listed {
	var out []listed
	for _, s := range d.Shards {
		if id := value(s.ShardId); id != "" {
			out = append(out, listed{id: id, parent: value(s.ParentShardId)})
		}
	}
	return out
}

// warnDisabled says once that nothing will come any more.
func (e *enumerator) warnDisabled(d *types.StreamDescription) {
	if d.StreamStatus != types.StreamStatusDisabled || e.disabled {
		return
	}
	e.disabled = true
	e.c.Logger.Error("the stream is disabled: what it holds is read, new changes of the table are not; a stream enabled again has another ARN and needs a source with a new uid",
		zap.String("uid", e.c.UID), zap.String("stream", e.l.arn))
}

// Assign implements connectors.Enumerator.
func (e *enumerator) Assign() []connectors.Split {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []connectors.Split
	for _, s := range e.l.assign() {
		pos, err := e.l.start(s).encode()
		if err != nil {
			panic(err) // strings and integers only
		}
		out = append(out, connectors.Split{ID: s.id, Position: pos, After: s.parent})
	}
	if len(out) > 0 {
		e.metrics.phases(e.l.counts)
	}
	return out
}

// Finished implements connectors.Enumerator.
func (e *enumerator) Finished(split string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.l.finished(e.c.Now().UnixMilli(), split)
	e.metrics.phases(e.l.counts)
}

// Done implements connectors.Enumerator: a stream has no end.
func (e *enumerator) Done() bool { return false }

// Snapshot implements connectors.Enumerator.
func (e *enumerator) Snapshot() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.l.dirty || e.snapshot == nil {
		b, err := e.l.encode()
		if err != nil {
			return nil, fmt.Errorf("dynamodbstreams: encode the enumerator's state: %w", err)
		}
		e.snapshot, e.l.dirty = b, false
	}
	return append([]byte(nil), e.snapshot...), nil
}

// Close implements connectors.Enumerator. Discover has ended by its context.
func (e *enumerator) Close() error { return nil }

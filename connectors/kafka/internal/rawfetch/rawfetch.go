// Package rawfetch reads one partition by single Fetch requests, without the state of a consuming client. Unlike a consumer it tells
// where it got to also when there was nothing to return: compacted, aborted and control records move it on.
package rawfetch

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Partition is what to read and where from.
type Partition struct {
	Topic     string
	TopicID   [16]byte // needed by brokers that know topic ids
	Partition int32
	Leader    int32
	Committed bool // read committed
}

// Chunk is what one request brought.
type Chunk struct {
	Records []*kgo.Record // with control records
	// Next is where the next request goes on; the requested offset when there was nothing at all.
	Next int64
	// Readable is the first offset that cannot be read yet: the last stable offset, or the end of the partition.
	Readable int64
}

const maxBytes = 4 << 20

// Once reads what the leader has at offset, and waits for nothing. Errors of the broker are kerr errors.
func Once(ctx context.Context, cl *kgo.Client, p Partition, offset int64) (Chunk, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 0, maxBytes, -1
	level := kgo.ReadUncommitted()
	if p.Committed {
		level, req.IsolationLevel = kgo.ReadCommitted(), 1
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = p.Topic, p.TopicID
	tp := kmsg.NewFetchRequestTopicPartition()
	tp.Partition, tp.FetchOffset, tp.PartitionMaxBytes = p.Partition, offset, maxBytes
	t.Partitions = append(t.Partitions, tp)
	req.Topics = append(req.Topics, t)
	kresp, err := cl.Broker(int(p.Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return Chunk{}, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return Chunk{}, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return Chunk{}, fmt.Errorf("broker %d answered a fetch of %s-%d without that partition", p.Leader, p.Topic, p.Partition)
	}
	rp := resp.Topics[0].Partitions[0]
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: offset, IsolationLevel: level, Topic: p.Topic, Partition: p.Partition,
	}, &rp, kgo.DefaultDecompressor(), nil)
	c := Chunk{Records: fp.Records, Next: next, Readable: rp.HighWatermark}
	if p.Committed && rp.LastStableOffset >= 0 {
		c.Readable = rp.LastStableOffset
	}
	return c, fp.Err
}

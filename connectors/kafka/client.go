package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
)

// Isolation says which records of transactions a source reads.
type Isolation int

const (
	// ReadCommitted reads committed records only, in the order of offsets, up to the first open transaction. The default.
	ReadCommitted Isolation = iota
	// ReadUncommitted reads every record, also of open and aborted transactions.
	ReadUncommitted
)

func (i Isolation) level() kgo.IsolationLevel {
	if i == ReadUncommitted {
		return kgo.ReadUncommitted()
	}
	return kgo.ReadCommitted()
}

// making guards kgo.NewClient, which sorts the codecs of a kgo.ProducerBatchCompression option in place (seen in v1.22.2): clients made at
// the same time from the same user options would race, and those options may be shared by all sinks and sources of a program.
var making sync.Mutex

// newClient makes a client of which user options override defaults, and fixed options override both.
func newClient(brokers []string, user []kgo.Opt, log *zap.Logger, defaults, fixed []kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.ClientID("millrace"),
		kgo.DisableClientMetrics(),
		kgo.WithLogger(logAdapter{log}),
		// The metadata of a topic that moved is asked for at once, not after the default of 5 s: a leader change should cost a
		// fraction of a second.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if len(brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(brokers...))
	}
	opts = append(opts, defaults...)
	opts = append(opts, user...)
	opts = append(opts, fixed...)
	making.Lock()
	defer making.Unlock()
	return kgo.NewClient(opts...)
}

// logAdapter passes warnings and errors of the client on; its information level repeats what the connector reports itself.
type logAdapter struct{ log *zap.Logger }

func (l logAdapter) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logAdapter) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	fields := make([]zap.Field, 0, len(keyvals)/2)
	for i := 0; i+1 < len(keyvals); i += 2 {
		if k, ok := keyvals[i].(string); ok {
			fields = append(fields, zap.Any(k, keyvals[i+1]))
		}
	}
	if level == kgo.LogLevelError {
		l.log.Error("kafka client: "+msg, fields...)
		return
	}
	l.log.Warn("kafka client: "+msg, fields...)
}

// wait sleeps for the delay of the given attempt (10 ms doubling to 1 s), or until ctx ends, and reports whether it slept.
func wait(ctx context.Context, attempt int) bool {
	return pause(ctx, min(10*time.Millisecond<<min(attempt, 10), time.Second))
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// isTransient reports whether the same request may succeed later. What is no answer of a broker is trouble on the way to it.
func isTransient(err error) bool {
	if err == nil || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Retriable || ke.Code == kerr.ConcurrentTransactions.Code || ke.Code == kerr.UnknownServerError.Code
	}
	return true
}

// topicInfo is what the cluster says of a topic.
type topicInfo struct {
	id      [16]byte
	leaders map[int32]int32 // by partition
	err     error
}

// describeTopics asks the cluster itself: the client's cache would hide a topic re-created or grown a moment ago. A topic of which
// the cluster says nothing is an unknown one.
func describeTopics(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]topicInfo, error) {
	req := kmsg.NewPtrMetadataRequest()
	out := map[string]topicInfo{}
	for _, t := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, rt)
		out[t] = topicInfo{err: kerr.UnknownTopicOrPartition}
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		info := topicInfo{id: t.TopicID, leaders: map[int32]int32{}, err: kerr.ErrorForCode(t.ErrorCode)}
		for _, p := range t.Partitions {
			info.leaders[p.Partition] = p.Leader
		}
		out[*t.Topic] = info
	}
	return out, nil
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
)

// defaultBatchBytes is the broker's default of max.message.bytes less the overhead that the client does not count.
const defaultBatchBytes = 1_000_012

// topicLimits are what a broker refuses a record of a topic for. They are asked for once per writer, so that a record that can
// never be written is found before it is sent: a refused batch takes its neighbours along and, in a transaction, the transaction.
type topicLimits struct {
	batchBytes int32
	keyNeeded  bool          // a compacted topic refuses records without key
	before     time.Duration // how far a timestamp may lie in the past; MaxInt64 without limit
	after      time.Duration // and in the future
}

var noLimits = topicLimits{batchBytes: defaultBatchBytes, before: math.MaxInt64, after: math.MaxInt64}

// limitTable is filled by the task's goroutine and read by the client's.
type limitTable struct {
	log *zap.Logger
	m   sync.Map // topic → topicLimits
}

// batchBytes is the client's question for the largest batch of a topic.
func (t *limitTable) batchBytes(topic string) int32 {
	if l, ok := t.m.Load(topic); ok {
		return l.(topicLimits).batchBytes
	}
	return defaultBatchBytes
}

// of returns the limits of a topic, asking the cluster the first time. A cluster that does not let itself be asked has none.
func (t *limitTable) of(ctx context.Context, cl *kgo.Client, topic string) (topicLimits, error) {
	if l, ok := t.m.Load(topic); ok {
		return l.(topicLimits), nil
	}
	l, err := describeLimits(ctx, kadm.NewClient(cl), topic)
	if _, denied := errors.AsType[*kadm.AuthError](err); denied || errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.UnsupportedVersion) {
		t.log.Warn("kafka sink may not describe its topic's configuration: a record that is too large is found only when the broker refuses it",
			zap.String("topic", topic), zap.Error(err))
		l, err = noLimits, nil
	}
	if err != nil {
		return noLimits, fmt.Errorf("kafka: topic %q cannot be described: %w; create it, or check name and rights", topic, err)
	}
	t.m.Store(topic, l)
	return l, nil
}

func describeLimits(ctx context.Context, adm *kadm.Client, topic string) (topicLimits, error) {
	for attempt := 0; ; attempt++ {
		rs, err := adm.DescribeTopicConfigs(ctx, topic)
		if err == nil {
			var r kadm.ResourceConfig
			if r, err = rs.On(topic, nil); err == nil {
				err = r.Err
			}
			if err == nil {
				return parseLimits(r), nil
			}
		}
		if !isTransient(err) || attempt >= 6 || !wait(ctx, attempt) {
			return noLimits, err
		}
	}
}

func parseLimits(r kadm.ResourceConfig) topicLimits {
	l := noLimits
	for _, c := range r.Configs {
		if c.Value == nil {
			continue
		}
		switch c.Key {
		case "max.message.bytes":
			if n, err := strconv.ParseInt(*c.Value, 10, 32); err == nil {
				l.batchBytes = int32(max(n-batchOverhead, 512))
			}
		case "cleanup.policy":
			l.keyNeeded = strings.Contains(*c.Value, "compact")
		case "message.timestamp.before.max.ms":
			l.before = parseMillis(*c.Value)
		case "message.timestamp.after.max.ms":
			l.after = parseMillis(*c.Value)
		case "message.timestamp.type":
			if *c.Value == "LogAppendTime" { // the broker stamps the record itself
				l.before, l.after = math.MaxInt64, math.MaxInt64
				return withoutTimes(l, r)
			}
		}
	}
	return l
}

// batchOverhead is what max.message.bytes counts and the client's limit does not: the offset and length before a batch.
const batchOverhead = 12

// withoutTimes parses the rest of the configuration that has nothing to do with timestamps.
func withoutTimes(l topicLimits, r kadm.ResourceConfig) topicLimits {
	kept := r
	kept.Configs = nil
	for _, c := range r.Configs {
		if !strings.HasPrefix(c.Key, "message.timestamp.") {
			kept.Configs = append(kept.Configs, c)
		}
	}
	return parseLimits(kept)
}

func parseMillis(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// refuse says why a record can never be written to the topic, or "".
func (l topicLimits) refuse(topic string, r *kgo.Record, now time.Time) string {
	if l.keyNeeded && r.Key == nil {
		return fmt.Sprintf("topic %q is compacted and takes no record without key", topic)
	}
	if r.Timestamp.IsZero() {
		return ""
	}
	if d := now.Sub(r.Timestamp); d > l.before {
		return fmt.Sprintf("timestamp %v is %v old, topic %q takes at most %v", r.Timestamp.UTC().Format(time.RFC3339Nano), d, topic, l.before)
	} else if -d > l.after {
		return fmt.Sprintf("timestamp %v is %v in the future, topic %q takes at most %v", r.Timestamp.UTC().Format(time.RFC3339Nano), -d, topic, l.after)
	}
	return ""
}

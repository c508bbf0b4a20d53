package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/connectors/kafka/internal/rawfetch"
)

type outcome int

const (
	undecided outcome = iota
	committed
	aborted
)

// fate is what the log tells about a transaction.
type fate struct {
	outcome outcome
	why     string
}

// fateOf reads the log from the transaction's witness on: a producer has one transaction at a time, so the first marker of its id
// behind the witness ends that transaction. What the coordinator remembers is no evidence, because the id may have moved on.
func (c *committer) fateOf(ctx context.Context, t committable) (fate, error) {
	w := t.witness
	if w.offset < 0 {
		return fate{undecided, "no record of it is known by its offset"}, nil
	}
	topics, err := describeTopics(ctx, c.cl, w.topic)
	if err != nil {
		return fate{}, err
	}
	d := topics[w.topic]
	if isMissingTopic(d.err) {
		return fate{undecided, fmt.Sprintf("topic %q is gone", w.topic)}, nil
	}
	if d.err != nil {
		return fate{}, d.err
	}
	from := rawfetch.Partition{Topic: w.topic, TopicID: d.id, Partition: w.partition, Leader: d.leaders[w.partition]}
	seen := false
	for offset := w.offset; ; {
		chunk, err := rawfetch.Once(ctx, c.cl, from, offset)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			return fate{undecided, fmt.Sprintf("its records at %s-%d@%d are not in the log any more", w.topic, w.partition, w.offset)}, nil
		}
		if err != nil {
			return fate{}, err
		}
		for _, r := range chunk.Records {
			if !seen && (r.Offset != w.offset || r.ProducerID != t.producerID) {
				return fate{undecided, fmt.Sprintf("its record at %s-%d@%d was removed by compaction, or the topic was re-created", w.topic, w.partition, w.offset)}, nil
			}
			seen = true
			if r.ProducerID == t.producerID && r.Attrs.IsControl() {
				return markerFate(r, w), nil
			}
		}
		if chunk.Next == offset {
			return fate{undecided, fmt.Sprintf("it has no marker behind %s-%d@%d", w.topic, w.partition, w.offset)}, nil
		}
		offset = chunk.Next
	}
}

func markerFate(r *kgo.Record, w witness) fate {
	var key kmsg.ControlRecordKey
	if err := key.ReadFrom(r.Key); err != nil {
		return fate{undecided, fmt.Sprintf("its marker at %s-%d@%d cannot be read: %v", w.topic, w.partition, r.Offset, err)}
	}
	switch key.Type {
	case kmsg.ControlRecordKeyTypeCommit:
		return fate{committed, fmt.Sprintf("committed by the marker at %s-%d@%d", w.topic, w.partition, r.Offset)}
	case kmsg.ControlRecordKeyTypeAbort:
		return fate{aborted, fmt.Sprintf("aborted by the marker at %s-%d@%d", w.topic, w.partition, r.Offset)}
	}
	return fate{undecided, fmt.Sprintf("its marker at %s-%d@%d is of unknown type %d", w.topic, w.partition, r.Offset, key.Type)}
}

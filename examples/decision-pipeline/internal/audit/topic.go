package audit

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// row is the part of a published or archived decision that the audit compares; it names the fixed fields of the subject.
type row struct {
	ID        string    `avro:"id"`
	Customer  string    `avro:"customer"`
	Version   int64     `avro:"version"`
	Outcome   string    `avro:"outcome"`
	Amount    *big.Rat  `avro:"amount"`
	DecidedAt time.Time `avro:"decided_at"`
}

func (r row) decision() (model.Decision, error) {
	amount, ok := model.MoneyOfRat(r.Amount)
	if !ok {
		return model.Decision{}, fmt.Errorf("amount of %q is %v, no whole number of minor units", r.ID, r.Amount)
	}
	return model.Decision{ID: r.ID, Customer: r.Customer, Version: r.Version, Outcome: model.Outcome(r.Outcome), Amount: amount, DecidedAt: r.DecidedAt.UTC()}, nil
}

// Decoder decodes the values of the decisions topic with the schemas of the registry. It is safe for use by many goroutines.
type Decoder struct {
	Registry *sr.Client

	mu      sync.Mutex
	schemas map[uint32]avro.Schema
}

// Decode reads a value in the Confluent wire format: a zero byte, the schema's id in four bytes, Avro.
func (d *Decoder) Decode(ctx context.Context, value []byte) (model.Decision, error) {
	if len(value) < 5 || value[0] != 0 {
		return model.Decision{}, errors.New("value is not in the Confluent wire format")
	}
	schema, err := d.schema(ctx, binary.BigEndian.Uint32(value[1:5]))
	if err != nil {
		return model.Decision{}, err
	}
	var r row
	if err := avro.Unmarshal(schema, value[5:], &r); err != nil {
		return model.Decision{}, err
	}
	return r.decision()
}

func (d *Decoder) schema(ctx context.Context, id uint32) (avro.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.schemas[id]; ok {
		return s, nil
	}
	text, err := d.Registry.SchemaByID(ctx, int(id))
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	// A cache of its own: names are not shared between versions of the subject.
	s, err := avro.ParseWithCache(text.Schema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	if d.schemas == nil {
		d.schemas = map[uint32]avro.Schema{}
	}
	d.schemas[id] = s
	return s, nil
}

// readTopic reads the decisions topic.
func (s Sources) readTopic(ctx context.Context, e *Evidence) error {
	decoder := &Decoder{Registry: s.Registry}
	return s.consume(ctx, model.DecisionsTopic, func(r *kgo.Record) {
		where := fmt.Sprintf("%s-%d@%d", r.Topic, r.Partition, r.Offset)
		d, err := decoder.Decode(ctx, r.Value)
		if err != nil {
			e.Unreadable = append(e.Unreadable, where+": "+err.Error())
		} else if s.Belongs(d.ID) {
			e.Topic = append(e.Topic, Record{Decision: d, Where: where, Order: int(r.Partition), Offset: r.Offset})
		}
	})
}

// DeadLetterValue is the JSON of a record of the dead-letter topic; its key is the id of the item, if it has one.
type DeadLetterValue struct {
	Reason string          `json:"reason"`
	Step   string          `json:"step"`
	Source json.RawMessage `json:"source"`
	Raw    []byte          `json:"raw"` // base64 in JSON
}

// readDeadLetters reads the dead-letter topic. A record without reason, coordinates or raw bytes is unreadable: nobody could replay it.
func (s Sources) readDeadLetters(ctx context.Context, e *Evidence) error {
	return s.consume(ctx, model.DeadLetterTopic, func(r *kgo.Record) {
		if !s.Belongs(string(r.Key)) {
			return
		}
		var v DeadLetterValue
		err := json.Unmarshal(r.Value, &v)
		if err == nil && (v.Reason == "" || len(v.Source) == 0 || len(v.Raw) == 0) {
			err = errors.New("no reason, no source or no raw bytes")
		}
		if err != nil {
			e.Unreadable = append(e.Unreadable, fmt.Sprintf("%s-%d@%d: %v", r.Topic, r.Partition, r.Offset, err))
			return
		}
		e.DeadLetters = append(e.DeadLetters, string(r.Key))
	})
}

// consume calls each with every committed record of a topic, up to the end that the topic has at the call. Transactions that are
// still open then are an error: what they hold is neither there nor gone.
func (s Sources) consume(ctx context.Context, topic string, each func(*kgo.Record)) error {
	// Control records are kept because the last record of a partition is often one, and tells that the end is reached.
	cl, err := s.Kafka(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxBytes(8<<20), kgo.MaxConcurrentFetches(1))
	if err != nil {
		return fmt.Errorf("audit: kafka client: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	start, errStart := adm.ListStartOffsets(ctx, topic)
	end, errEnd := adm.ListEndOffsets(ctx, topic)
	stable, errStable := adm.ListCommittedOffsets(ctx, topic)
	if err := errors.Join(errStart, errEnd, errStable, start.Error(), end.Error(), stable.Error()); err != nil {
		return fmt.Errorf("audit: offsets of topic %q: %w", topic, err)
	}
	want, open := map[int32]int64{}, []int32{}
	from := map[int32]kgo.Offset{}
	end.Each(func(o kadm.ListedOffset) {
		first, _ := start.Lookup(topic, o.Partition)
		if lso, _ := stable.Lookup(topic, o.Partition); lso.Offset < o.Offset {
			open = append(open, o.Partition)
		}
		if o.Offset > first.Offset {
			want[o.Partition] = o.Offset
			from[o.Partition] = kgo.NewOffset().At(first.Offset)
		}
	})
	if len(open) > 0 {
		return fmt.Errorf("audit: partitions %v of topic %q hold open transactions", open, topic)
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	return poll(ctx, cl, topic, want, each)
}

// poll reads until every partition has come to the offset in want.
func poll(ctx context.Context, cl *kgo.Client, topic string, want map[int32]int64, each func(*kgo.Record)) error {
	for len(want) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("audit: read topic %q, waiting for offsets %v: %w", topic, want, err)
		}
		for _, fe := range fetches.Errors() {
			return fmt.Errorf("audit: read %s-%d: %w", fe.Topic, fe.Partition, fe.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, ok := want[r.Partition]
			if !ok || r.Offset >= end {
				return
			}
			if !r.Attrs.IsControl() {
				each(r)
			}
			if r.Offset == end-1 {
				delete(want, r.Partition)
			}
		})
	}
	return nil
}

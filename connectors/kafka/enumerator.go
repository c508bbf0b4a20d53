package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

const enumeratorVersion = 1

// enumeratorState is what the checkpoint keeps of an enumerator.
type enumeratorState struct {
	Version int `json:"version"`
	// Resolved says that the start positions (and ends) of the first partitions have been fixed: everything found later starts at its
	// first record.
	Resolved bool                   `json:"resolved"`
	Topics   map[string]*topicState `json:"topics"`
	// Pending are splits not handed over yet.
	Pending []connectors.Split `json:"pending,omitempty"`
}

type topicState struct {
	ID []byte `json:"id"` // 16 bytes; all zero from a broker too old to tell
	// Known are the partitions that were found, pending or handed over. Kafka never removes one.
	Known []int32 `json:"known"`
}

type enumerator struct {
	topics    []string
	start     Start
	bounded   bool
	isolation Isolation
	interval  time.Duration

	c   connectors.Context
	cl  *kgo.Client
	adm *kadm.Client

	mu sync.Mutex // guards s: Discover runs beside the other methods
	s  enumeratorState
}

func newEnumerator[T any](o SourceOptions[T], c connectors.Context, restored []byte) (*enumerator, error) {
	e := &enumerator{
		topics: o.Topics, start: o.Start, bounded: o.Bounded, isolation: o.Isolation, interval: o.discoveryInterval(), c: c,
		s: enumeratorState{Version: enumeratorVersion, Topics: map[string]*topicState{}},
	}
	if restored != nil {
		s, err := decodeEnumerator(restored)
		if err != nil {
			return nil, err
		}
		e.s = s
	}
	cl, err := newClient(o.Brokers, o.Client, c.Logger, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("kafka: source %s: %w", c.UID, err)
	}
	e.cl, e.adm = cl, kadm.NewClient(cl)
	return e, nil
}

func decodeEnumerator(b []byte) (enumeratorState, error) {
	var s enumeratorState
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("kafka: state of the enumerator cannot be read: %w", err)
	}
	if s.Version != enumeratorVersion {
		return s, fmt.Errorf("kafka: state of the enumerator has version %d, this release reads %d", s.Version, enumeratorVersion)
	}
	if s.Topics == nil {
		s.Topics = map[string]*topicState{}
	}
	for name, t := range s.Topics {
		if t == nil || len(t.ID) != 16 {
			return s, fmt.Errorf("kafka: state of the enumerator has no topic id of 16 bytes for topic %q", name)
		}
	}
	for _, p := range s.Pending {
		if _, err := parsePartition(p.ID); err != nil {
			return s, err
		}
		if _, err := decodePosition(p.Position); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Discover looks for partitions that are not known yet.
func (e *enumerator) Discover(ctx context.Context) (time.Duration, error) {
	e.mu.Lock()
	fixed := e.s.Resolved && e.bounded
	e.mu.Unlock()
	if fixed {
		return 0, nil
	}
	topics, err := e.describe(ctx)
	if err != nil {
		return 0, err
	}
	found, err := e.unknown(topics)
	if err != nil || len(found) == 0 {
		return e.interval, err
	}
	e.mu.Lock()
	first := !e.s.Resolved
	e.mu.Unlock()
	var at map[partition]position
	if first {
		if at, err = e.resolve(ctx, found); err != nil {
			return 0, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range found {
		t := e.s.Topics[p.topic]
		if t == nil {
			id := topics[p.topic].id
			t = &topicState{ID: id[:]}
			e.s.Topics[p.topic] = t
		}
		t.Known = append(t.Known, p.id)
		pos := position{offset: fromStart, epoch: -1, end: noEnd}
		if first {
			pos = at[p]
		}
		copy(pos.topicID[:], t.ID)
		e.s.Pending = append(e.s.Pending, connectors.Split{ID: p.String(), Position: pos.encode()})
	}
	e.s.Resolved = true
	e.c.Logger.Info("kafka source found partitions", zap.Int("new", len(found)), zap.Bool("first", first))
	return e.interval, nil
}

// describe asks for the topics until every one is known with all its partitions: a topic just created may be unknown to a broker for
// a moment.
func (e *enumerator) describe(ctx context.Context) (map[string]topicInfo, error) {
	for attempt := 0; ; attempt++ {
		topics, err := describeTopics(ctx, e.cl, e.topics...)
		for _, t := range e.topics {
			if err == nil && topics[t].err != nil {
				err = fmt.Errorf("topic %q: %w", t, topics[t].err)
			}
		}
		if err == nil {
			return topics, nil
		}
		patience := 8
		if !isMissingTopic(err) {
			patience = 30
		}
		if !isTransient(err) || attempt >= patience || !wait(ctx, attempt) {
			if gone := e.gone(topics, err); gone != nil {
				return nil, gone
			}
			return nil, fmt.Errorf("kafka: source %s cannot describe its topics %v: %w; create them, or check names and rights", e.c.UID, e.topics, err)
		}
	}
}

func isMissingTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}

// gone says which topic of a running job has vanished.
func (e *enumerator) gone(topics map[string]topicInfo, cause error) error {
	if !isMissingTopic(cause) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.topics {
		if e.s.Topics[t] != nil && topics[t].err != nil {
			return &TopicRecreatedError{Topic: t, Cause: cause}
		}
	}
	return nil
}

// unknown returns the partitions that are not known, sorted, and checks that topics are still what they were.
func (e *enumerator) unknown(topics map[string]topicInfo) ([]partition, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []partition
	for _, name := range e.topics {
		d, known := topics[name], e.s.Topics[name]
		if known != nil && !bytes.Equal(known.ID, make([]byte, 16)) && !bytes.Equal(known.ID, d.id[:]) {
			return nil, &TopicRecreatedError{Topic: name}
		}
		for id := range d.leaders {
			if known == nil || !slices.Contains(known.Known, id) {
				found = append(found, partition{name, id})
			}
		}
	}
	slices.SortFunc(found, func(a, b partition) int {
		if a.topic != b.topic {
			return slices.Index(e.topics, a.topic) - slices.Index(e.topics, b.topic)
		}
		return int(a.id - b.id)
	})
	return found, nil
}

// resolve fixes start and end of the partitions the job starts with.
func (e *enumerator) resolve(ctx context.Context, parts []partition) (map[partition]position, error) {
	end := func(ctx context.Context) (kadm.ListedOffsets, error) {
		if e.isolation == ReadCommitted {
			return e.adm.ListCommittedOffsets(ctx, e.topics...)
		}
		return e.adm.ListEndOffsets(ctx, e.topics...)
	}
	var starts, ends kadm.ListedOffsets
	var err error
	switch e.start.mode {
	case startLatest:
		starts, err = e.list(ctx, parts, end)
	case startTimestamp:
		starts, err = e.list(ctx, parts, func(ctx context.Context) (kadm.ListedOffsets, error) {
			return e.adm.ListOffsetsAfterMilli(ctx, e.start.at.UnixMilli(), e.topics...)
		})
	}
	if err == nil && (e.bounded || e.start.mode == startTimestamp) {
		ends, err = e.list(ctx, parts, end)
	}
	if err != nil {
		return nil, err
	}
	at := make(map[partition]position, len(parts))
	for _, p := range parts {
		pos := position{offset: fromStart, epoch: -1, end: noEnd}
		if starts != nil {
			// A partition without a record that late is read from its present end. An answer above the last stable offset belongs to
			// an open transaction, where an earlier record may follow: begin at the stable offset.
			pos.offset = starts[p.topic][p.id].Offset
			if e.start.mode == startTimestamp {
				if last := ends[p.topic][p.id].Offset; pos.offset < 0 || pos.offset > last {
					pos.offset = last
				}
			}
		}
		if e.bounded {
			pos.end = ends[p.topic][p.id].Offset
		}
		at[p] = pos
	}
	return at, nil
}

// list asks for offsets until it has one of each partition.
func (e *enumerator) list(ctx context.Context, parts []partition, ask func(context.Context) (kadm.ListedOffsets, error)) (kadm.ListedOffsets, error) {
	for attempt := 0; ; attempt++ {
		l, err := ask(ctx)
		if err == nil {
			for _, p := range parts {
				if o, ok := l[p.topic][p.id]; !ok {
					err = fmt.Errorf("%w: no offset of %s", kerr.UnknownTopicOrPartition, p)
				} else if o.Err != nil {
					err = fmt.Errorf("%s: %w", p, o.Err)
				}
			}
		}
		if err == nil {
			return l, nil
		}
		if !isTransient(err) || attempt >= 30 || !wait(ctx, attempt) {
			return nil, fmt.Errorf("kafka: source %s cannot list offsets of %v: %w", e.c.UID, e.topics, err)
		}
	}
}

// Assign hands over every split that waits: partitions do not depend on each other.
func (e *enumerator) Assign() []connectors.Split {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.s.Pending
	e.s.Pending = nil
	return s
}

// Finished changes nothing: what a finished split was is known from its end.
func (e *enumerator) Finished(string) {}

func (e *enumerator) Done() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bounded && e.s.Resolved && len(e.s.Pending) == 0
}

func (e *enumerator) Snapshot() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := json.Marshal(e.s)
	if err != nil {
		return nil, fmt.Errorf("kafka: encode the enumerator's state: %w", err)
	}
	return b, nil
}

func (e *enumerator) Close() error {
	e.cl.Close()
	return nil
}

package observe

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// Tail follows the topics as any consumer would, reading committed records only, and tells when a decision has become visible.
type Tail struct {
	client   *kgo.Client
	decode   func(ctx context.Context, value []byte) (model.Decision, error)
	idPrefix string
	visible  Latency

	mu      sync.Mutex
	pending map[key]time.Time // accepted, not yet seen
	early   map[key]time.Time // seen before Accepted was called
	dead    map[string]bool   // ids seen in the dead-letter topic
	seen    int64             // records of the run, both topics
	changed time.Time
}

type key struct {
	id      string
	version int64
}

// earlyMax bounds what is remembered of records that nobody announces.
const earlyMax = 100_000

// NewTail returns a tail over client, which consumes both topics with isolation level read_committed. Records whose id does not
// begin with idPrefix are passed over.
func NewTail(client *kgo.Client, idPrefix string, decode func(ctx context.Context, value []byte) (model.Decision, error)) *Tail {
	return &Tail{client: client, decode: decode, idPrefix: idPrefix, changed: time.Now(),
		pending: map[key]time.Time{}, early: map[key]time.Time{}, dead: map[string]bool{}}
}

// Run consumes until ctx ends.
func (t *Tail) Run(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := t.client.PollFetches(ctx)
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { t.record(ctx, r, now) })
	}
}

func (t *Tail) record(ctx context.Context, r *kgo.Record, now time.Time) {
	if r.Topic == model.DeadLetterTopic {
		if id := string(r.Key); strings.HasPrefix(id, t.idPrefix) {
			t.mu.Lock()
			t.dead[id], t.changed = true, now
			t.seen++
			t.mu.Unlock()
		}
		return
	}
	// What cannot be decoded is for the audit to find.
	if d, err := t.decode(ctx, r.Value); err == nil && strings.HasPrefix(d.ID, t.idPrefix) {
		t.saw(key{d.ID, d.Version}, now)
	}
}

func (t *Tail) saw(k key, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen++
	t.changed = now
	if at, ok := t.pending[k]; ok {
		t.visible.Add(now.Sub(at))
		delete(t.pending, k)
	} else if len(t.early) < earlyMax {
		t.early[k] = now
	}
}

// Accepted says that a version of a decision was stored, and so accepted, at the given time. It is called once for
// each. An id without the prefix is passed over.
func (t *Tail) Accepted(id string, version int64, at time.Time) {
	if !strings.HasPrefix(id, t.idPrefix) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := key{id, version}
	if seen, ok := t.early[k]; ok {
		t.visible.Add(seen.Sub(at))
		delete(t.early, k)
		return
	}
	t.pending[k] = at
}

// Progress is what the tail knows now.
type Progress struct {
	Seen        int64         // records of both topics
	Pending     int           // accepted versions not yet visible
	DeadLetters int           // distinct ids in the dead-letter topic
	Quiet       time.Duration // since the last record of the run
}

// Progress returns what the tail knows now.
func (t *Tail) Progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Progress{Seen: t.seen, Pending: len(t.pending), DeadLetters: len(t.dead), Quiet: time.Since(t.changed)}
}

// Visible is the time from acceptance to first sight.
func (t *Tail) Visible() *Latency { return &t.visible }

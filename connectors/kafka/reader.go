package kafka

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/serde"
)

// reader emits the records of its splits. All its fields belong to the task's goroutine; the fetcher's goroutine hands batches over.
type reader[T any] struct {
	o       SourceOptions[T]
	c       connectors.Context
	f       *fetcher
	commits *groupCommitter // nil without GroupID
	m       sourceMetrics

	splits map[partition]*split
	// ended are splits that had nothing to read when they were added.
	ended []*split
	cur   []part // what is left of the batch in work
	at    int    // next record of cur[0]
	// paused are the splits that are not to be emitted now.
	paused map[partition]*heldSplit
}

type split struct {
	partition
	name string
	position
	hasData  time.Time // when the last record came, or the split
	readable int64     // first offset that could not be read at the last fetch; -1 unknown
	idle     bool
	lag      prometheus.Gauge
}

func newReader[T any](o SourceOptions[T], c connectors.Context) (*reader[T], error) {
	m := newSourceMetrics(c.Metrics)
	f, err := newFetcher(fetcherConfig{
		brokers: o.Brokers, client: o.Client, isolation: o.Isolation, resume: o.OnDataLoss == ResumeOnDataLoss, idleAfter: o.IdleAfter,
	}, c, m)
	if err != nil {
		return nil, err
	}
	r := &reader[T]{o: o, c: c, f: f, m: m, splits: map[partition]*split{}, paused: map[partition]*heldSplit{}}
	if o.GroupID != "" {
		r.commits = newGroupCommitter(f.cl, o.GroupID, c.Logger)
	}
	f.start()
	return r, nil
}

func (r *reader[T]) AddSplits(splits []connectors.Split) error {
	added := make([]assignment, 0, len(splits))
	for _, s := range splits {
		p, err := parsePartition(s.ID)
		if err != nil {
			return err
		}
		pos, err := decodePosition(s.Position)
		if err != nil {
			return fmt.Errorf("split %s: %w", s.ID, err)
		}
		if r.splits[p] != nil {
			return fmt.Errorf("kafka: split %s was given to subtask %d of %s twice", s.ID, r.c.Subtask, r.c.UID)
		}
		sp := &split{partition: p, name: s.ID, position: pos, hasData: r.c.Now(), readable: -1, lag: r.m.lag.WithLabelValues(s.ID)}
		r.splits[p] = sp
		if pos.end != noEnd && (pos.end == 0 || pos.offset >= pos.end) {
			r.ended = append(r.ended, sp)
			continue
		}
		added = append(added, assignment{partition: p, position: pos})
	}
	if len(r.ended) > 0 {
		r.f.signal()
	}
	r.f.add(added)
	return nil
}

func (r *reader[T]) Wake() <-chan struct{} { return r.f.wake }

func (r *reader[T]) Poll(out connectors.Output[T], limit int) (connectors.Status, error) {
	for _, sp := range r.ended {
		if err := r.finish(out, sp); err != nil {
			return connectors.Idle, err
		}
	}
	r.ended = nil
	for n := 0; n < limit; {
		if len(r.cur) == 0 && !r.next() {
			r.reportIdle(out)
			return connectors.Idle, r.f.failure()
		}
		if r.at == 0 {
			if err := crash.At(crash.SourceFetched); err != nil {
				return connectors.Idle, err
			}
		}
		k, err := r.emit(out, limit-n)
		if err != nil {
			return connectors.Idle, err
		}
		n += k
	}
	if len(r.cur) == 0 && len(r.f.batches) == 0 {
		r.reportIdle(out)
		return connectors.Idle, r.f.failure()
	}
	return connectors.More, nil
}

// next takes the next batch that the fetcher has ready.
func (r *reader[T]) next() bool {
	select {
	case b := <-r.f.batches:
		r.cur, r.at = b, 0
		return len(b) > 0
	default:
		return false
	}
}

// emit hands over up to limit records of the first part of the batch in work and drops the part when it is done.
func (r *reader[T]) emit(out connectors.Output[T], limit int) (int, error) {
	p := &r.cur[0]
	sp := r.splits[p.partition]
	if sp == nil { // finished in an earlier batch
		r.cur, r.at = r.cur[1:], 0
		return 0, nil
	}
	if r.hold() {
		return 0, nil
	}
	n := 0
	for ; r.at < len(p.records) && n < limit; r.at++ {
		rec := p.records[r.at]
		if sp.end != noEnd && rec.Offset >= sp.end {
			r.at = len(p.records)
			sp.offset = sp.end
			break
		}
		if !rec.Attrs.IsControl() {
			if err := r.emitRecord(out, sp, rec); err != nil {
				return n, err
			}
			n++
		}
		sp.offset, sp.epoch = rec.Offset+1, rec.LeaderEpoch
	}
	if r.at < len(p.records) {
		return n, nil
	}
	if p.moved && (p.from == sp.offset || p.lost) {
		sp.offset = p.to
		if p.lost {
			sp.epoch = -1
		}
	}
	sp.readable = p.readable
	if p.readable >= 0 && sp.offset >= 0 {
		sp.lag.Set(float64(max(p.high-sp.offset, 0)))
	}
	r.cur, r.at = r.cur[1:], 0
	if sp.end != noEnd && sp.offset >= sp.end {
		return n, r.finish(out, sp)
	}
	return n, nil
}

func (r *reader[T]) emitRecord(out connectors.Output[T], sp *split, rec *kgo.Record) error {
	at := connectors.Coordinates{UID: r.c.UID, Split: sp.name, Offset: rec.Offset}
	ts := int64(connectors.NoTimestamp)
	if ms := rec.Timestamp.UnixMilli(); ms >= 0 {
		ts = ms
	}
	sp.hasData, sp.idle = r.now(), false
	v, err := r.decode(rec)
	if err == nil {
		r.m.records.Inc()
		return out.Emit(v, ts, at)
	}
	if errors.Is(err, serde.ErrUnavailable) {
		// The registry is to blame, not the record: the job starts again with back-off and reads the record once more.
		return fmt.Errorf("kafka: record %s cannot be decoded for now: %w", at, err)
	}
	if r.o.OnPoison == FailOnPoison {
		return fmt.Errorf("kafka: record %s cannot be decoded: %w; set SourceOptions.OnPoison to DeadLetterPoison to put such records aside", at, err)
	}
	r.m.poison.Inc()
	sp.offset, sp.epoch = rec.Offset+1, rec.LeaderEpoch
	return out.DeadLetter(connectors.DeadLetter{
		UID: r.c.UID, Reason: err.Error(), At: at, TimestampMS: ts, Key: rec.Key, Raw: rec.Value,
	})
}

// now is the clock where it is needed; reading it for every record would cost more than the record.
func (r *reader[T]) now() time.Time {
	if r.o.IdleAfter == 0 {
		return time.Time{}
	}
	return r.c.Now()
}

func (r *reader[T]) decode(rec *kgo.Record) (v T, err error) {
	if r.o.Decode != nil {
		return r.o.Decode(rec)
	}
	if rec.Value == nil {
		return v, fmt.Errorf("the value is null (a tombstone), which SourceOptions.Value cannot decode; use SourceOptions.Decode")
	}
	err = r.o.Value.Decode(rec.Value, &v)
	return v, err
}

func (r *reader[T]) finish(out connectors.Output[T], sp *split) error {
	delete(r.splits, sp.partition)
	delete(r.paused, sp.partition)
	r.m.lag.DeleteLabelValues(sp.name)
	return out.Finished(sp.name)
}

// reportIdle tells which splits have been read to their end and have had no record for a while.
func (r *reader[T]) reportIdle(out connectors.Output[T]) {
	if r.o.IdleAfter == 0 {
		return
	}
	now := r.c.Now()
	for _, sp := range r.splits {
		if !sp.idle && r.paused[sp.partition] == nil && sp.readable >= 0 && sp.offset >= sp.readable && now.Sub(sp.hasData) >= r.o.IdleAfter {
			sp.idle = true
			out.SplitIdle(sp.name)
		}
	}
}

// Snapshot returns the position of every split held, sorted by split.
func (r *reader[T]) Snapshot() ([]connectors.Split, error) {
	out := make([]connectors.Split, 0, len(r.splits))
	for _, sp := range r.splits {
		out = append(out, connectors.Split{ID: sp.name, Position: sp.encode()})
	}
	slices.SortFunc(out, func(a, b connectors.Split) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if r.commits != nil {
		r.commits.snapshot(r.splits)
	}
	return out, nil
}

func (r *reader[T]) CheckpointCompleted(int64) {
	if r.commits != nil {
		r.commits.completed()
	}
}

func (r *reader[T]) Close() error {
	if r.commits != nil {
		r.commits.close()
	}
	for _, sp := range r.splits { // another subtask may have it next
		r.m.lag.DeleteLabelValues(sp.name)
	}
	r.f.close()
	return nil
}

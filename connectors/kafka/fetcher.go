package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/kafka/internal/rawfetch"
)

// probeInterval is how long a bounded source waits for records before it asks whether there are any left.
const probeInterval = 100 * time.Millisecond

// part is what one fetch brought of one partition.
type part struct {
	partition
	records []*kgo.Record // with control records
	// high is the end of the partition; readable the first offset that could not be read yet, -1 unknown.
	high, readable int64
	// moved says that after the records the position goes from from to to without a record: there is none in between, or it is lost.
	moved, lost bool
	from, to    int64
}

type assignment struct {
	partition
	position
}

type fetcherConfig struct {
	brokers   []string
	client    []kgo.Opt
	isolation Isolation
	resume    bool
	idleAfter time.Duration
}

// fetcher reads the partitions of one reader in a goroutine of its own and hands batches over one at a time: what it holds is bounded
// by the client's fetch buffer (one fetch a broker) and two batches.
type fetcher struct {
	cfg fetcherConfig
	c   connectors.Context
	m   sourceMetrics
	cl  *kgo.Client
	adm *kadm.Client

	batches chan []part
	wake    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu        sync.Mutex
	added     []assignment       // not yet seen by the goroutine
	interrupt context.CancelFunc // ends the poll under way
	err       error              // why the goroutine has ended

	// The rest belongs to the goroutine. next is behind what was handed over.
	next map[partition]*cursor
	ids  map[string][16]byte
}

type cursor struct {
	offset int64 // or fromStart
	end    int64
}

func newFetcher(cfg fetcherConfig, c connectors.Context, m sourceMetrics) (*fetcher, error) {
	cl, err := newClient(cfg.brokers, cfg.client, c.Logger,
		[]kgo.Opt{kgo.FetchMaxBytes(16 << 20), kgo.FetchMaxWait(500 * time.Millisecond)},
		[]kgo.Opt{
			kgo.FetchIsolationLevel(cfg.isolation.level()),
			kgo.ConsumeResetOffset(kgo.NoResetOffset()),
			// Markers of transactions take offsets too: only with them does the position pass a log that holds nothing else.
			kgo.KeepControlRecords(),
			// An empty set of partitions makes the client a direct consumer, to which partitions can be added.
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{}),
		})
	if err != nil {
		return nil, fmt.Errorf("kafka: source %s: %w", c.UID, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &fetcher{
		cfg: cfg, c: c, m: m, cl: cl, adm: kadm.NewClient(cl), batches: make(chan []part, 1), wake: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel, next: map[partition]*cursor{}, ids: map[string][16]byte{}, interrupt: func() {},
	}, nil
}

func (f *fetcher) start() {
	f.done.Go(func() {
		err := f.run()
		if f.ctx.Err() == nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			f.signal()
		}
	})
}

func (f *fetcher) close() {
	f.cancel()
	f.done.Wait()
	f.cl.Close()
}

func (f *fetcher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// failure returns why the fetcher has ended, once everything it handed over before has been taken.
func (f *fetcher) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) > 0 {
		return nil
	}
	return f.err
}

func (f *fetcher) add(a []assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.added = append(f.added, a...)
	f.interrupt()
}

// poll waits for records, an added split, or the time to look at something else.
func (f *fetcher) poll() ([]assignment, kgo.Fetches) {
	ctx, cancel := context.WithCancel(f.ctx)
	if d := f.patience(); d > 0 {
		ctx, cancel = context.WithTimeout(f.ctx, d)
	}
	defer cancel()
	f.mu.Lock()
	if len(f.added) > 0 {
		a := f.added
		f.added = nil
		f.mu.Unlock()
		return a, nil
	}
	f.interrupt = cancel
	f.mu.Unlock()
	if len(f.next) == 0 { // nothing to read: the client would return an empty poll at once or never
		<-ctx.Done()
		return nil, nil
	}
	return nil, f.cl.PollRecords(ctx, 0)
}

// patience is how long a poll may wait; 0 means as long as it takes.
func (f *fetcher) patience() time.Duration {
	for _, c := range f.next {
		if c.end != noEnd {
			return probeInterval
		}
	}
	return f.cfg.idleAfter
}

func (f *fetcher) run() error {
	for f.ctx.Err() == nil {
		added, fetches := f.poll()
		if len(added) > 0 {
			if err := f.assign(added); err != nil {
				return err
			}
			continue
		}
		batch, err := f.take(fetches)
		if err == nil && len(batch) == 0 {
			batch, err = f.probe()
		}
		if len(batch) > 0 {
			select {
			case f.batches <- batch:
				f.signal()
			case <-f.ctx.Done():
				return nil
			}
		} else if f.cfg.idleAfter > 0 {
			f.signal()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// assign checks that the topics are those of the positions, then begins to read.
func (f *fetcher) assign(added []assignment) error {
	topics := map[string]bool{}
	for _, a := range added {
		topics[a.topic] = true
	}
	for t := range topics {
		id, err := f.topicID(t)
		if err != nil {
			return err
		}
		f.ids[t] = id
	}
	parts := map[string]map[int32]kgo.Offset{}
	for _, a := range added {
		if a.topicID != ([16]byte{}) && f.ids[a.topic] != a.topicID {
			return &TopicRecreatedError{Topic: a.topic}
		}
		if parts[a.topic] == nil {
			parts[a.topic] = map[int32]kgo.Offset{}
		}
		o := kgo.NewOffset().AtStart()
		if a.offset >= 0 {
			o = kgo.NewOffset().At(a.offset).WithEpoch(a.epoch)
		}
		parts[a.topic][a.id] = o
		f.next[a.partition] = &cursor{offset: a.offset, end: a.end}
	}
	f.cl.AddConsumePartitions(parts)
	return nil
}

func (f *fetcher) topicID(topic string) ([16]byte, error) {
	for attempt := 0; ; attempt++ {
		topics, err := describeTopics(f.ctx, f.cl, topic)
		if err == nil {
			err = topics[topic].err
		}
		if err == nil {
			return topics[topic].id, nil
		}
		if isMissingTopic(err) && attempt >= 8 {
			return [16]byte{}, &TopicRecreatedError{Topic: topic, Cause: err}
		}
		if !isTransient(err) || attempt >= 30 || !wait(f.ctx, attempt) {
			return [16]byte{}, fmt.Errorf("kafka: source %s cannot describe topic %q: %w", f.c.UID, topic, err)
		}
	}
}

// take turns what the client returned into parts, in order, and acts on errors of partitions.
func (f *fetcher) take(fetches kgo.Fetches) ([]part, error) {
	var batch []part
	var failed error
	fetches.EachPartition(func(ft kgo.FetchTopicPartition) {
		p := partition{ft.Topic, ft.Partition}
		c := f.next[p]
		if c == nil || failed != nil {
			// Also the client's words about a poll that was interrupted, which name no topic.
			if ft.Topic == "" && ft.Err != nil && !errors.Is(ft.Err, context.Canceled) && !errors.Is(ft.Err, context.DeadlineExceeded) && failed == nil {
				failed = fmt.Errorf("kafka: source %s: %w", f.c.UID, ft.Err)
			}
			return
		}
		pt := part{partition: p, records: ft.Records, high: ft.HighWatermark, readable: ft.HighWatermark}
		if f.cfg.isolation == ReadCommitted && ft.LastStableOffset >= 0 {
			pt.readable = ft.LastStableOffset
		}
		if ft.Err != nil {
			pt.high, pt.readable = -1, -1
			failed = f.recover(&pt, c, ft.Err)
		}
		if n := len(ft.Records); n > 0 {
			c.offset = ft.Records[n-1].Offset + 1
		}
		f.retire(p, c)
		if len(pt.records) > 0 || pt.moved || pt.readable >= 0 {
			batch = append(batch, pt)
		}
	})
	return batch, failed
}

// retire stops reading a partition that has been read to its end.
func (f *fetcher) retire(p partition, c *cursor) {
	if c.end != noEnd && c.offset >= c.end {
		f.cl.PauseFetchPartitions(map[string][]int32{p.topic: {p.id}})
		delete(f.next, p)
	}
}

// recover decides about the error of one partition: nil when reading goes on.
func (f *fetcher) recover(pt *part, c *cursor, cause error) error {
	loss := &DataLossError{Split: pt.String(), Position: c.offset, Resume: -1, Cause: cause}
	diverged, truncated := errors.AsType[*kgo.ErrDataLoss](cause)
	switch {
	case isMissingTopic(cause):
		return &TopicRecreatedError{Topic: pt.topic, Cause: cause}
	case truncated:
		loss.Position, loss.Resume = diverged.ConsumedTo, diverged.ResetTo
	case errors.Is(cause, kerr.OffsetOutOfRange):
		if start, err := f.logStart(pt.partition); err == nil {
			loss.Resume = start
		}
	default:
		return fmt.Errorf("kafka: source %s cannot read split %s at offset %d: %w", f.c.UID, pt.partition, c.offset, cause)
	}
	if !f.cfg.resume || loss.Resume < 0 {
		return loss
	}
	f.m.dataLoss.Inc()
	f.c.Logger.Warn("kafka source goes on behind lost records", zap.String("split", pt.String()), zap.Int64("position", loss.Position),
		zap.Int64("resume", loss.Resume), zap.Error(cause))
	if !truncated { // after a truncation the client has already gone to where the log diverged
		f.cl.RemoveConsumePartitions(map[string][]int32{pt.topic: {pt.id}})
		f.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{pt.topic: {pt.id: kgo.NewOffset().At(loss.Resume)}})
	}
	pt.moved, pt.lost, pt.from, pt.to = true, true, c.offset, loss.Resume
	c.offset = loss.Resume
	return nil
}

func (f *fetcher) logStart(p partition) (int64, error) {
	l, err := f.adm.ListStartOffsets(f.ctx, p.topic)
	if err != nil {
		return 0, err
	}
	o := l[p.topic][p.id]
	return o.Offset, o.Err
}

// probe looks, when a bounded source waits in vain, whether its partitions have anything before their end. Offsets may hold nothing
// that the client would return: compacted records, and aborted ones whose marker lies behind the end.
func (f *fetcher) probe() ([]part, error) {
	var batch []part
	for p, c := range f.next {
		if c.end == noEnd {
			continue
		}
		from := c.offset
		next, err := f.holeEnd(p, c)
		if err != nil {
			if isTransient(err) || f.ctx.Err() != nil {
				continue // the client itself sees the same trouble, and says so when it is more than that
			}
			return batch, fmt.Errorf("kafka: source %s cannot see the end of split %s: %w", f.c.UID, p, err)
		}
		if next > from {
			c.offset = next
			batch = append(batch, part{partition: p, high: -1, readable: -1, moved: true, from: from, to: next})
			f.retire(p, c)
		}
	}
	return batch, nil
}

// holeEnd returns the end of a bounded partition when nothing is left to be read before it, and else where it was.
func (f *fetcher) holeEnd(p partition, c *cursor) (int64, error) {
	offset := c.offset
	if offset == fromStart {
		start, err := f.logStart(p)
		if err != nil {
			return c.offset, err
		}
		offset = start
	}
	leader, _, err := f.cl.PartitionLeader(p.topic, p.id)
	if err != nil {
		return c.offset, err
	}
	from := rawfetch.Partition{Topic: p.topic, TopicID: f.ids[p.topic], Partition: p.id, Leader: leader, Committed: f.cfg.isolation == ReadCommitted}
	for offset < c.end {
		chunk, err := rawfetch.Once(f.ctx, f.cl, from, offset)
		switch {
		case err != nil:
			return c.offset, err
		case len(chunk.Records) > 0 && chunk.Records[0].Offset < c.end:
			return c.offset, nil // the client will bring it
		case len(chunk.Records) > 0, chunk.Next == offset && chunk.Readable >= c.end:
			offset = c.end
		case chunk.Next == offset:
			return c.offset, nil // not readable yet
		default:
			offset = chunk.Next
		}
	}
	return c.end, nil
}

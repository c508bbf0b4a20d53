package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/millrace-io/millrace/connectors"
)

// LostTransaction is a transaction of a completed checkpoint whose records did not become visible.
type LostTransaction struct {
	TransactionalID string
	ProducerID      int64
	ProducerEpoch   int16
	Records         int64
	// Undecided says that the cluster no longer knows whether it was committed.
	Undecided bool
	// Reason is the broker's answer and what was found out about it.
	Reason string
}

// LostTransactionsError says that output of a completed checkpoint is not in Kafka and will not come. Restarting does not help: restore
// an older checkpoint or savepoint whose inputs can be read again, or accept the loss and start without the sink's committables.
type LostTransactionsError struct {
	Checkpoint   int64
	Transactions []LostTransaction
}

// Error implements error.
func (e *LostTransactionsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kafka: checkpoint %d: %d transactions cannot be committed:", e.Checkpoint, len(e.Transactions))
	for _, t := range e.Transactions {
		state := "lost"
		if t.Undecided {
			state = "undecided"
		}
		fmt.Fprintf(&b, " %s (%s, producer %d/%d, %d records: %s);", t.TransactionalID, state, t.ProducerID, t.ProducerEpoch, t.Records, t.Reason)
	}
	b.WriteString(" restore an older savepoint to write these records again; SinkOptions.TransactionTimeout must exceed checkpoint interval + outage + restore")
	return b.String()
}

type committerConfig struct {
	brokers         []string
	client          []kgo.Opt
	prefix          string
	timeout         time.Duration
	assumeCommitted bool
}

// committer commits transactions by bare EndTxn requests: it needs nothing of the client that wrote them.
type committer struct {
	cfg     committerConfig
	c       connectors.Context
	cl      *kgo.Client
	adm     *kadm.Client
	retries prometheus.Counter

	mu     sync.Mutex
	pinned map[int16]*kgo.Client // by version of EndTxn
}

func newCommitter(cfg committerConfig, c connectors.Context) (*committer, error) {
	cl, err := newClient(cfg.brokers, cfg.client, c.Logger, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("kafka: sink %s: %w", c.UID, err)
	}
	return &committer{
		cfg: cfg, c: c, cl: cl, adm: kadm.NewClient(cl), pinned: map[int16]*kgo.Client{},
		retries: counter(c.Metrics, "millrace_kafka_sink_commit_retries_total", "Requests about transactions that were repeated."),
	}, nil
}

// client returns a client that sends EndTxn in exactly this version, or below it when the broker knows no better.
func (c *committer) client(version int16) (*kgo.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.pinned[version]; cl != nil {
		return cl, nil
	}
	capped := kversion.Stable()
	capped.SetMaxKeyVersion(int16(kmsg.EndTxn), version)
	cl, err := newClient(c.cfg.brokers, c.cfg.client, c.c.Logger, nil, []kgo.Opt{kgo.MaxVersions(capped)})
	if err != nil {
		return nil, fmt.Errorf("kafka: sink %s: %w", c.c.UID, err)
	}
	c.pinned[version] = cl
	return cl, nil
}

// Commit commits every transaction that can be, then reports those that cannot.
func (c *committer) Commit(ctx context.Context, id int64, committables [][]byte) error {
	txns := make([]committable, len(committables))
	for i, b := range committables {
		t, err := decodeCommittable(b)
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", id, err)
		}
		txns[i] = t
	}
	var mu sync.Mutex
	lost := &LostTransactionsError{Checkpoint: id}
	var g errgroup.Group
	g.SetLimit(16)
	var errs []error
	for _, t := range txns {
		g.Go(func() error {
			l, err := c.commit(ctx, t)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("kafka: sink %s: checkpoint %d: transaction %q is not known to be committed: %w", c.c.UID, id, t.txnID, err))
			} else if l != nil {
				lost.Transactions = append(lost.Transactions, *l)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions report by errs
	if len(errs) == 0 && len(lost.Transactions) == 0 {
		return c.settled(ctx, txns)
	}
	if len(lost.Transactions) > 0 {
		errs = append(errs, lost)
	}
	return errors.Join(errs...)
}

// settled waits until the markers of the transactions are written: a coordinator answers as soon as its decision is durable, and whoever
// read the topic to its end a moment later would miss the last records. A cluster that does not let itself be asked is not waited for.
func (c *committer) settled(ctx context.Context, txns []committable) error {
	ids := make([]string, len(txns))
	for i, t := range txns {
		ids[i] = t.txnID
	}
	for attempt := 0; len(ids) > 0; attempt++ {
		described, err := c.adm.DescribeTransactions(ctx, ids...)
		if err != nil && !isTransient(shardError(err)) {
			break
		}
		pending := ids[:0]
		for _, id := range ids {
			if d, ok := described[id]; ok && d.Err == nil && d.State == "PrepareCommit" {
				pending = append(pending, id)
			}
		}
		ids = pending
		if len(ids) > 0 && !pause(ctx, min(time.Millisecond<<min(attempt, 10), 200*time.Millisecond)) {
			return fmt.Errorf("kafka: sink %s: transactions %v are committed, but not all markers are written yet: %w", c.c.UID, ids, ctx.Err())
		}
	}
	return nil
}

// commit ends one transaction. The result is nil when it is committed, also if it was before.
func (c *committer) commit(ctx context.Context, t committable) (*LostTransaction, error) {
	cl, err := c.client(t.endTxn)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = t.txnID, t.producerID, t.epoch, true
	err = c.retry(ctx, func() error {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	switch {
	case err == nil:
		return nil, nil
	case isFinalAnswer(err):
		return c.judge(ctx, t, err)
	}
	return nil, err
}

// isFinalAnswer reports whether the coordinator says that this transaction is not open any more (or never was).
func isFinalAnswer(err error) bool {
	for _, final := range []error{kerr.InvalidTxnState, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping,
		kerr.TransactionAbortable, kerr.TransactionalIDNotFound, kerr.UnknownProducerID} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// retry repeats f while its error is transient, until ctx ends.
func (c *committer) retry(ctx context.Context, f func() error) error {
	for attempt := 0; ; attempt++ {
		err := f()
		if err == nil || !isTransient(err) {
			return err
		}
		c.retries.Inc()
		if !wait(ctx, attempt) {
			return fmt.Errorf("%w (given up: %w)", err, ctx.Err())
		}
	}
}

// judge finds out what became of a transaction that the coordinator refuses to commit: it was committed before and its id has moved on,
// or it was aborted by its timeout, by another producer under the same id, or by hand.
func (c *committer) judge(ctx context.Context, t committable, answer error) (*LostTransaction, error) {
	var f fate
	err := c.retry(ctx, func() (err error) {
		f, err = c.fateOf(ctx, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the coordinator answered %v, and the log cannot be read to find out more: %w", answer, err)
	}
	reason := fmt.Sprintf("%s; %s", codeName(answer), f.why)
	if d, err := c.adm.DescribeTransactions(ctx, t.txnID); err == nil {
		if s := d[t.txnID]; s.Err == nil {
			reason += fmt.Sprintf("; the id is now in state %s of producer %d/%d", s.State, s.ProducerID, s.ProducerEpoch)
		}
	}
	if age := c.c.Now().UnixMilli() - t.startedMS; f.outcome == aborted && age > t.timeoutMS {
		reason += fmt.Sprintf("; it is %v old, its timeout was %v", time.Duration(age)*time.Millisecond, time.Duration(t.timeoutMS)*time.Millisecond)
	}
	log := c.c.Logger.With(zap.String("transactional_id", t.txnID), zap.Int64("checkpoint", t.checkpoint), zap.String("reason", reason))
	switch {
	case f.outcome == committed:
		log.Info("kafka sink: transaction was committed before")
		return nil, nil
	case f.outcome == undecided && c.cfg.assumeCommitted:
		log.Warn("kafka sink: transaction is assumed to be committed, as SinkOptions.OnUndecided says")
		return nil, nil
	}
	return &LostTransaction{
		TransactionalID: t.txnID, ProducerID: t.producerID, ProducerEpoch: t.epoch, Records: t.records, Undecided: f.outcome == undecided, Reason: reason,
	}, nil
}

func codeName(err error) string {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Message
	}
	return err.Error()
}

// Recover takes every transactional id of the prefix over, also those of subtasks of a larger former parallelism, save those whose
// transactions the restored checkpoint holds. That aborts what earlier attempts left open, and fences what of theirs is still on its way: a
// broker that deals with a record of a dead attempt only after this would otherwise open a transaction that nobody ends before its
// timeout, and every consumer that reads committed would wait for it.
func (c *committer) Recover(ctx context.Context, restored int64, committables [][]byte) error {
	keep := map[string]committable{}
	for _, b := range committables {
		t, err := decodeCommittable(b)
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", restored, err)
		}
		keep[t.txnID] = t
	}
	if err := c.checkTimeout(ctx); err != nil {
		return err
	}
	var ids map[string]bool
	err := c.retry(ctx, func() (err error) {
		ids, err = c.leftBehind(ctx, keep)
		return err
	})
	if err != nil {
		return fmt.Errorf("kafka: sink %s cannot list the transactional ids of prefix %q: %w", c.c.UID, c.cfg.prefix, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for id, open := range ids {
		g.Go(func() error {
			if err := c.takeOver(ctx, id); err != nil {
				return fmt.Errorf("kafka: sink %s cannot take the transactional id %q of an earlier attempt over; what is open under it holds consumers that read committed back: %w", c.c.UID, id, err)
			}
			if open {
				c.c.Logger.Info("kafka sink aborted a transaction of an earlier attempt", zap.String("transactional_id", id))
			}
			return nil
		})
	}
	return g.Wait()
}

// leftBehind lists the ids of the prefix that no transaction of keep needs, and whether a transaction is open under each.
func (c *committer) leftBehind(ctx context.Context, keep map[string]committable) (map[string]bool, error) {
	pattern := "^" + regexp.QuoteMeta(c.cfg.prefix) + "-[0-9]+-[0-9]+$"
	listed, err := c.adm.ListTransactionsByTxPattern(ctx, nil, nil, pattern)
	if err != nil {
		return nil, shardError(err)
	}
	ids := map[string]bool{}
	var kept []string
	for id, l := range listed {
		if _, _, ok := parseTransactionalID(c.cfg.prefix, id); !ok {
			continue // older brokers know no pattern
		}
		ids[id] = isOpen(l.State)
		if _, ok := keep[id]; ok {
			kept = append(kept, id)
		}
	}
	if len(kept) == 0 {
		return ids, nil
	}
	described, err := c.adm.DescribeTransactions(ctx, kept...)
	if err != nil {
		return nil, shardError(err)
	}
	for _, id := range kept {
		d := described[id]
		if d.Err != nil && !errors.Is(d.Err, kerr.TransactionalIDNotFound) {
			return nil, d.Err
		}
		if keep[id].isLastOf(d) {
			delete(ids, id)
		}
	}
	return ids, nil
}

func isOpen(state string) bool { return state == "Ongoing" || state == "PrepareEpochFence" }

// isLastOf reports whether t is the newest transaction of its id, which must not be taken over then: its commit must stay repeatable.
// Under transaction.version 2 the end of a transaction counts the epoch up.
func (t committable) isLastOf(d kadm.DescribedTransaction) bool {
	if d.ProducerID != t.producerID {
		return false
	}
	return d.ProducerEpoch == t.epoch || d.ProducerEpoch == t.epoch+1 && t.endTxn >= 5 && !isOpen(d.State)
}

// shardError picks the first broker's error, so that it can be told whether a repetition may help.
func shardError(err error) error {
	if se, ok := errors.AsType[*kadm.ShardErrors](err); ok && len(se.Errs) > 0 {
		return fmt.Errorf("broker %d: %w", se.Errs[0].Broker.NodeID, se.Errs[0].Err)
	}
	return err
}

// takeOver counts the epoch of the id up, whereupon the coordinator aborts what is open under it.
func (c *committer) takeOver(ctx context.Context, id string) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &id
	req.TransactionTimeoutMillis = int32(c.cfg.timeout.Milliseconds())
	req.ProducerID, req.ProducerEpoch = -1, -1
	return c.retry(ctx, func() error {
		resp, err := req.RequestWith(ctx, c.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// checkTimeout compares the transaction timeout with the brokers' limit. Brokers that do not let themselves be asked refuse a timeout
// that is too long when the first writer starts.
func (c *committer) checkTimeout(ctx context.Context) error {
	const key = "transaction.max.timeout.ms"
	m, err := c.adm.BrokerMetadata(ctx)
	if err != nil || len(m.Brokers) == 0 {
		return nil
	}
	rs, err := c.adm.DescribeBrokerConfigs(ctx, m.Brokers[0].NodeID)
	if err != nil {
		return nil
	}
	for _, r := range rs {
		for _, cf := range r.Configs {
			if cf.Key != key || cf.Value == nil {
				continue
			}
			if limit, err := strconv.ParseInt(*cf.Value, 10, 64); err == nil && c.cfg.timeout.Milliseconds() > limit {
				return timeoutTooLong(c.cfg.timeout, *cf.Value, kerr.InvalidTransactionTimeout)
			}
		}
	}
	return nil
}

func (c *committer) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cl := range c.pinned {
		cl.Close()
	}
	c.cl.Close()
	return nil
}

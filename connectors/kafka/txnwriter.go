package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
)

// txnWriter writes exactly once. The transaction of checkpoint n is written under one id while that of n-1 waits for its commit under
// another; the third id is made ready meanwhile.
type txnWriter[T any] struct {
	*producer[T]
	ids [slots]txnSlot
	cur int // slot that is written, or will be with the next record

	// held are the slots of the transactions of the last two checkpoints, newest first; -1 none. The newest may be uncommitted, and
	// the one before belongs to the newest completed checkpoint until Prepare is called again: neither may be used.
	held [2]int
	// last is the time of the last Prepare, period the time between the last two, for messages.
	last   time.Time
	period time.Duration

	clock sync.Mutex // guards what the metric's reader sees: open and prepared
	open  openTxn
	// prepared is when the newest transaction handed over was begun; zero when it is known to be committed.
	prepared time.Time
}

// txnSlot is one transactional id with its client.
type txnSlot struct {
	id    string
	cl    *kgo.Client
	v2    bool          // the cluster has transaction.version 2
	used  bool          // since the last preparation
	ready chan struct{} // closed when the preparation has ended; nil before it began
	err   error         // valid after ready
	pid   int64
	epoch int16
}

type openTxn struct {
	begun   bool
	started time.Time
}

func newTxnWriter[T any](o SinkOptions[T], c connectors.WriterContext) (*txnWriter[T], error) {
	w := &txnWriter[T]{producer: newProducer(o, c), held: [2]int{-1, -1}}
	for i := range w.ids {
		w.ids[i].id = transactionalID(o.TransactionalIDPrefix, c.Subtask, i)
	}
	// A transaction of the restored checkpoint keeps its id until a newer checkpoint has completed: should this attempt crash
	// before, the commit must be repeatable.
	for _, b := range c.Restored {
		r, err := decodeCommittable(b)
		if err != nil {
			return nil, err
		}
		if subtask, slot, ok := parseTransactionalID(o.TransactionalIDPrefix, r.txnID); ok && subtask == c.Subtask && slot < slots {
			w.held[0] = slot
		}
	}
	w.cur = w.freeSlot()
	newRemaining(c.Metrics, w.remaining)
	// All free ids are taken over now, not when they are first needed: whatever still writes under them, of an attempt that is believed
	// dead, is fenced before this one writes its first record.
	for i := range w.ids {
		if i != w.held[0] {
			w.ready(i)
		}
	}
	if o.Topic != "" {
		s, err := w.slot()
		if err == nil {
			_, err = w.limits.of(c.Ctx, s.cl, o.Topic)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("kafka: sink %s: %w", c.UID, err), w.Close())
		}
	}
	return w, nil
}

func (w *txnWriter[T]) freeSlot() int {
	for i := range w.ids {
		if i != w.held[0] && i != w.held[1] {
			return i
		}
	}
	panic("kafka: three slots, two held, none free")
}

// ready starts to make slot i usable for a new transaction. Its last transaction must have been committed, and a newer checkpoint
// completed.
func (w *txnWriter[T]) ready(i int) {
	s, before, done := &w.ids[i], w.ids[i].ready, make(chan struct{})
	s.ready = done
	go func() {
		defer close(done)
		if before != nil { // two at once would take the id from each other
			<-before
		}
		if s.err == nil {
			s.err = w.renew(s)
		}
	}()
}

// renew gives the id of s a state in which a transaction can begin.
//
// Under transaction.version 2 the commit, though sent by another client, has counted the epoch up; repeating it from the slot's own
// client is answered with the new epoch, which costs one request. Under version 1 epochs stay as they are, and a late duplicate of
// the old commit would commit the new transaction: there a new client takes a new epoch for every transaction.
func (w *txnWriter[T]) renew(s *txnSlot) error {
	ctx := w.c.Ctx
	if s.cl != nil && !s.used {
		return nil
	}
	s.used = false
	if s.cl != nil {
		if err := w.ended(ctx, s); err != nil {
			return err
		}
	}
	if s.cl != nil && s.v2 {
		err := s.cl.EndTransaction(ctx, kgo.TryCommit)
		switch {
		case err == nil:
			return w.identify(ctx, s)
		case errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch):
			return s.takenOver(err)
		}
	}
	if s.cl != nil {
		s.cl.Close()
		s.cl = nil
	}
	defaults, fixed := w.clientOptions(kgo.TransactionalID(s.id), kgo.TransactionTimeout(w.o.TransactionTimeout))
	cl, err := newClient(w.o.Brokers, w.o.Client, w.c.Logger, defaults, fixed)
	if err != nil {
		return err
	}
	s.cl = cl
	if err := w.identify(ctx, s); err != nil {
		return err
	}
	s.v2, err = usesTransactionV2(ctx, cl)
	return err
}

var errTakenOver = errors.New("taken over by another producer, a newer attempt of this job or another job with the same SinkOptions.TransactionalIDPrefix")

// takenOver is the end of a writer that is not the owner of its id any more. Taking the id back would abort a transaction of the new
// owner, maybe one of a checkpoint that has completed: a process that was believed dead and wakes up must not do that.
func (s *txnSlot) takenOver(cause error) error {
	return fmt.Errorf("the transactional id %q (producer %d/%d) was %w: %w", s.id, s.pid, s.epoch, errTakenOver, cause)
}

// ended makes sure that the last transaction of s has ended: repeating the commit of one that is still open would publish records of a
// checkpoint that has not completed, and taking its id over would drop them. Under transaction.version 1 it also finds out whether the
// id has another owner now; under version 2 the repeated commit does.
func (w *txnWriter[T]) ended(ctx context.Context, s *txnSlot) error {
	described, err := kadm.NewClient(s.cl).DescribeTransactions(ctx, s.id)
	if err != nil {
		return nil // not allowed to ask: the contract of Prepare is all there is
	}
	d := described[s.id]
	same := d.ProducerID == s.pid && d.ProducerEpoch == s.epoch
	switch {
	case d.Err != nil:
		return nil
	case !same && !s.v2:
		return s.takenOver(fmt.Errorf("its producer is now %d/%d", d.ProducerID, d.ProducerEpoch))
	case same && d.State == "Ongoing":
		return fmt.Errorf("transaction %q (producer %d/%d) is still open though a newer checkpoint has begun: a checkpoint was prepared before the one before it was committed", s.id, s.pid, s.epoch)
	}
	return nil
}

// identify takes the producer id and epoch the next transaction will have.
func (w *txnWriter[T]) identify(ctx context.Context, s *txnSlot) error {
	for attempt := 0; ; attempt++ {
		pid, epoch, err := s.cl.ProducerID(ctx)
		switch {
		case err == nil:
			s.pid, s.epoch = pid, epoch
			return nil
		case errors.Is(err, kerr.InvalidTransactionTimeout):
			return timeoutTooLong(w.o.TransactionTimeout, "", err)
		case !isTransient(err) || attempt >= 30 || !wait(ctx, attempt):
			return fmt.Errorf("no producer id for the transactional id %q: %w", s.id, err)
		}
	}
}

func timeoutTooLong(timeout time.Duration, limit string, cause error) error {
	if limit != "" {
		limit = " of " + limit + " ms"
	}
	return fmt.Errorf("kafka: SinkOptions.TransactionTimeout of %v is above the brokers' transaction.max.timeout.ms%s; lower it, or raise the brokers' limit: %w", timeout, limit, cause)
}

// usesTransactionV2 asks the cluster, as the client does, whether transactions follow KIP-890 part 2.
func usesTransactionV2(ctx context.Context, cl *kgo.Client) (bool, error) {
	if mv, ok := cl.OptValue(kgo.MaxVersions).(*kversion.Versions); ok && mv != nil {
		if v, ok := mv.LookupMaxKeyVersion(int16(kmsg.EndTxn)); !ok || v < 5 {
			return false, nil
		}
		if v, ok := mv.LookupMaxKeyVersion(int16(kmsg.Produce)); !ok || v < 12 {
			return false, nil
		}
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "millrace", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return false, fmt.Errorf("the cluster does not tell its features: %w", err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			return f.MaxVersionLevel >= 2, nil
		}
	}
	return false, nil
}

// slot returns the current slot once it is usable.
func (w *txnWriter[T]) slot() (*txnSlot, error) {
	s := &w.ids[w.cur]
	select {
	case <-s.ready:
	case <-w.c.Ctx.Done():
		return nil, w.c.Ctx.Err()
	}
	if s.err != nil {
		return nil, w.fail(fmt.Errorf("kafka: sink %s: %w", w.c.UID, s.err))
	}
	return s, nil
}

func (w *txnWriter[T]) Write(v T, m connectors.Meta) error {
	if w.attention.Load() {
		if err := w.settle(w.c.Ctx); err != nil {
			return err
		}
	}
	s, err := w.slot()
	if err != nil {
		return err
	}
	r, err := w.record(s.cl, v, m)
	if r == nil || err != nil {
		return err
	}
	if !w.open.begun {
		if err := s.cl.BeginTransaction(); err != nil {
			return w.fail(fmt.Errorf("kafka: sink %s cannot begin transaction %q: %w", w.c.UID, s.id, err))
		}
		s.used = true
		w.locked(func() { w.open.begun, w.open.started = true, w.c.Now() })
	}
	s.cl.Produce(w.c.Ctx, &r.rec, r.promise)
	return nil
}

// settle deals with refused records, if the transaction has survived the refusal: the client may have taken a new epoch, which drops
// what was written before.
func (w *txnWriter[T]) settle(ctx context.Context) error {
	if err := w.failure(); err != nil {
		return w.explain(err)
	}
	refused := w.takeRefused()
	if len(refused) == 0 {
		return nil
	}
	if err := w.intact(ctx); err != nil {
		return w.fail(fmt.Errorf("%w; before, a broker refused the records of %s: %v", err, names(refused), refused[0].err))
	}
	return w.retry(ctx, w.ids[w.cur].cl, refused)
}

// names lists where the first 20 records come from.
func names[T any](rs []*pending[T]) string {
	var b strings.Builder
	for i, r := range rs {
		if i == 20 {
			fmt.Fprintf(&b, " and %d more", len(rs)-i)
			break
		}
		fmt.Fprintf(&b, " %s", r.at)
	}
	return strings.TrimSpace(b.String())
}

// intact checks that the open transaction is still the one that was begun: a client that has run into trouble may take a new epoch by
// itself, whereupon the broker drops what was written before.
func (w *txnWriter[T]) intact(ctx context.Context) error {
	s := &w.ids[w.cur]
	pid, epoch, err := s.cl.ProducerID(ctx)
	if err == nil && (pid != s.pid || epoch != s.epoch) {
		err = fmt.Errorf("its producer is now %d/%d", pid, epoch)
	}
	if err != nil {
		err = fmt.Errorf("kafka: sink %s: transaction %q (producer %d/%d) was lost while it was written: %w", w.c.UID, s.id, s.pid, s.epoch, err)
		if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
			err = fmt.Errorf("%w; another producer has taken the id, or the broker has ended the transaction: does a second job use SinkOptions.TransactionalIDPrefix %q?", err, w.o.TransactionalIDPrefix)
		}
		return w.explain(err)
	}
	return nil
}

// explain adds what usually is behind a lost transaction.
func (w *txnWriter[T]) explain(err error) error {
	if age := w.c.Now().Sub(w.open.started); w.open.begun && age > w.o.TransactionTimeout {
		return fmt.Errorf("%w; the transaction has been open for %v, longer than SinkOptions.TransactionTimeout of %v: make checkpoints more often (the last interval was %v), or raise it",
			err, age, w.o.TransactionTimeout, w.period)
	}
	return err
}

// Idle has nothing to send: nothing waits for company.
func (w *txnWriter[T]) Idle() error {
	if err := w.failure(); err != nil {
		return w.explain(err)
	}
	return nil
}

func (w *txnWriter[T]) Prepare(ctx context.Context, id int64) ([][]byte, error) {
	if err := crash.At(crash.SinkBeforeFlush); err != nil {
		return nil, err
	}
	now := w.c.Now()
	if !w.last.IsZero() {
		w.period = now.Sub(w.last)
	}
	w.last = now
	if err := w.failure(); err != nil {
		return nil, w.explain(err)
	}
	w.locked(func() { w.prepared = time.Time{} }) // by the contract, what was prepared before is committed
	if !w.open.begun {
		w.held = [2]int{-1, w.held[0]}
		return nil, crash.At(crash.SinkPrepared)
	}
	s := &w.ids[w.cur]
	w.held = [2]int{w.cur, w.held[0]}
	next := w.freeSlot()
	w.ready(next) // while the flush is under way
	out, err := w.prepare(ctx, s, id)
	if err != nil {
		return nil, err
	}
	w.cur = next
	if age := w.c.Now().Sub(w.open.started); age > w.o.TransactionTimeout/2 {
		w.c.Logger.Warn("kafka sink: more than half of the transaction timeout has gone before the commit: make checkpoints more often, or raise SinkOptions.TransactionTimeout",
			zap.Duration("age", age), zap.Duration("timeout", w.o.TransactionTimeout), zap.Duration("interval", w.period))
	}
	w.locked(func() {
		if len(out) > 0 {
			w.prepared = w.open.started
		}
		w.open.begun = false
	})
	return out, crash.At(crash.SinkPrepared)
}

// prepare flushes the open transaction and describes it.
func (w *txnWriter[T]) prepare(ctx context.Context, s *txnSlot, id int64) ([][]byte, error) {
	if err := s.cl.Flush(ctx); err != nil {
		return nil, w.fail(w.explain(fmt.Errorf("kafka: sink %s: checkpoint %d: %d records are still unacknowledged: %w", w.c.UID, id, s.cl.BufferedProduceRecords(), err)))
	}
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	if err := w.intact(ctx); err != nil {
		return nil, w.fail(err)
	}
	w.mu.Lock()
	records, wit := w.acked, w.witness
	w.acked, w.witness = 0, witness{offset: -1}
	w.mu.Unlock()
	if records == 0 {
		// Every record became a dead letter. Under transaction.version 2 an attempt alone may have opened the transaction.
		if err := s.cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
			return nil, w.fail(fmt.Errorf("kafka: sink %s cannot end the empty transaction %q: %w", w.c.UID, s.id, err))
		}
		return nil, nil
	}
	c := committable{
		txnID: s.id, producerID: s.pid, epoch: s.epoch, endTxn: 4, checkpoint: id, startedMS: w.open.started.UnixMilli(),
		timeoutMS: w.o.TransactionTimeout.Milliseconds(), records: records, witness: wit,
	}
	if s.v2 {
		c.endTxn = 5
	}
	return [][]byte{c.encode()}, nil
}

func (w *txnWriter[T]) locked(f func()) {
	w.clock.Lock()
	defer w.clock.Unlock()
	f()
}

// remaining is the time until the broker aborts the oldest uncommitted transaction.
func (w *txnWriter[T]) remaining() (seconds float64, any bool) {
	w.locked(func() {
		started := w.prepared
		if started.IsZero() && w.open.begun {
			started = w.open.started
		}
		if !started.IsZero() {
			seconds, any = (w.o.TransactionTimeout - w.c.Now().Sub(started)).Seconds(), true
		}
	})
	return seconds, any
}

// Close leaves open transactions as they are: what was prepared must stay committable, and what was not is aborted by the committer of
// the next attempt, or by its timeout.
func (w *txnWriter[T]) Close() error {
	for i := range w.ids {
		if s := &w.ids[i]; s.ready != nil {
			<-s.ready
			if s.cl != nil {
				s.cl.Close()
			}
		}
	}
	return nil
}

package dynamodbstreams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/internal/crash"
)

const (
	// futureStart is how far a start time may lie ahead of the service's clock before the service's refusal is taken for something else.
	futureStart = 10 * time.Second
	// untimedAfter is how often in a row the first read by time may fail before the shard is read without it: emulators answer a start
	// by time with all sorts of errors.
	untimedAfter = 6
	// quietAfter and quietPages are how long, and with how many empty pages, a shard must answer before its reader is sure to be at the
	// end of it: pages before data may be empty, but not so many for so long.
	quietAfter = 10 * time.Minute
	quietPages = 200
)

// fetcher reads one shard ahead of what is emitted. Everything here belongs to its goroutine.
type fetcher[T any] struct {
	r *reader[T]
	h *heldShard
	// pos is after the last record fetched.
	pos      position
	iterator string
	// untimed says that the server does not start by time: read from the oldest record, Poll passes over what is too old.
	untimed  bool
	opened   bool // a read has succeeded
	reopened bool // the next page is from the oldest record on

	last    time.Time // start of the last read
	trouble trouble
	quiet   time.Time // first of the empty pages in a row; zero: none
	empties int       // their number
	marked  bool      // idle was told
}

// run reads until the shard ends, the reader closes or reading fails for good.
func (f *fetcher[T]) run() {
	for wait(f.r.ctx, time.Until(f.last.Add(f.r.o.PollInterval))) {
		select {
		case f.r.slots <- struct{}{}:
		case <-f.r.ctx.Done():
			return
		}
		f.last = time.Now()
		out, err := f.read()
		if err == nil && len(out.Records) > 0 {
			err = crash.At(crash.SourceFetched)
			if err != nil {
				<-f.r.slots
				f.r.fail(err)
				return
			}
		}
		end, err := f.settle(out, err)
		if err != nil {
			if f.r.ctx.Err() == nil {
				f.r.fail(err)
			}
			return
		}
		if end {
			return
		}
	}
}

// settle hands over what a read gave, or does what its error asks for. It gives the slot back unless a page keeps it.
func (f *fetcher[T]) settle(out *dynamodbstreams.GetRecordsOutput, err error) (end bool, fail error) {
	if err != nil {
		<-f.r.slots
		return f.recover(err)
	}
	f.trouble.clear()
	f.opened = true
	f.iterator = value(out.NextShardIterator)
	p := &page{records: out.Records, last: f.iterator == "", slot: true, reopened: f.reopened}
	if len(p.records) == 0 && !p.last {
		<-f.r.slots
		f.empty()
		return false, nil
	}
	f.reopened, f.marked, f.quiet, f.empties = false, false, time.Time{}, 0
	for i := len(p.records) - 1; i >= 0; i-- {
		if d := p.records[i].Dynamodb; d != nil && value(d.SequenceNumber) != "" {
			f.pos.After, f.pos.Reopen = *d.SequenceNumber, false
			if d.ApproximateCreationDateTime != nil {
				f.pos.SinceMS = f.pos.sinceAfter(d.ApproximateCreationDateTime.UnixMilli())
			}
			break
		}
	}
	return p.last, f.hand(p)
}

// hand gives a page to Poll, after the one before was emitted.
func (f *fetcher[T]) hand(p *page) error {
	r := f.r
	if f.h.handed {
		select {
		case <-f.h.taken:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	f.h.handed = true
	r.mu.Lock()
	f.h.page, f.h.idle = p, false
	r.offer(f.h)
	r.mu.Unlock()
	r.ping()
	return nil
}

// empty takes note of a page without records: after IdleTimeout of them the shard is idle.
func (f *fetcher[T]) empty() {
	now := time.Now()
	if f.quiet.IsZero() {
		f.quiet = now
	}
	f.empties++
	idle := !f.marked && now.Sub(f.quiet) >= f.r.o.IdleTimeout
	settled := now.Sub(f.quiet) >= quietAfter && f.empties >= quietPages
	if !idle && !settled {
		return
	}
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if settled {
		f.h.quietMS = r.c.Now().Add(-quietAfter).UnixMilli()
		f.pos.SinceMS = max(f.pos.SinceMS, f.h.quietMS)
	}
	if idle {
		f.marked, f.h.idle = true, true
		r.offer(f.h)
		r.ping()
	}
}

// read makes one GetRecords, with an iterator of the position when there is none.
func (f *fetcher[T]) read() (*dynamodbstreams.GetRecordsOutput, error) {
	ctx, cancel := context.WithTimeout(f.r.ctx, f.r.o.RequestTimeout)
	defer cancel()
	if f.iterator == "" {
		if (f.pos.After == "" || f.pos.Reopen) && f.pos.outlived(f.r.c.Now().UnixMilli()) {
			return nil, errOutlived
		}
		out, err := f.r.o.Client.GetShardIterator(ctx, f.open(), oneAttempt)
		if err != nil {
			return nil, callError{"GetShardIterator", err}
		}
		if f.iterator = value(out.ShardIterator); f.iterator == "" {
			return nil, callError{"GetShardIterator", errors.New("the answer holds no iterator")}
		}
	}
	out, err := f.r.o.Client.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &f.iterator, Limit: pointer(int32(f.r.o.PageRecords))}, oneAttempt)
	if err != nil {
		return nil, callError{"GetRecords", err}
	}
	return out, nil
}

// open is the request for an iterator at the position.
func (f *fetcher[T]) open() *dynamodbstreams.GetShardIteratorInput {
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &f.pos.ARN, ShardId: &f.h.id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}
	switch {
	case f.pos.Reopen:
	case f.pos.After != "":
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, pointer(f.pos.After)
	case f.pos.FromMS > 0 && !f.untimed:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, pointer(time.UnixMilli(f.pos.FromMS).UTC())
	}
	return in
}

// errOutlived stands for a trimmed position that the service would not report.
var errOutlived = errors.New("its first records may have been deleted before the first read")

// callError names the call that failed.
type callError struct {
	call string
	err  error
}

func (e callError) Error() string { return e.call + ": " + e.err.Error() }
func (e callError) Unwrap() error { return e.err }

// recover does what a failed read asks for, waits, and reports whether the shard is over or reading has failed for good.
func (f *fetcher[T]) recover(err error) (end bool, fail error) {
	r := f.r
	if r.ctx.Err() != nil {
		return true, nil
	}
	f.quiet, f.empties = time.Time{}, 0 // a shard that cannot be read is not idle
	what := faultOf(err)
	if errors.Is(err, errOutlived) {
		what = trimmed
	}
	switch what {
	case throttled:
		var c callError
		errors.As(err, &c)
		r.metrics.throttle(c.call)
	case expired:
		f.iterator = ""
		return false, nil
	case trimmed, gone:
		return f.missing(what, err)
	case fatal:
		return false, fmt.Errorf("dynamodbstreams: shard %q: %w", f.h.id, err)
	default:
		// The server may have moved on without us: never trust the iterator, always the position.
		f.iterator = ""
		if fail := f.again(what, err); fail != nil {
			return false, fail
		}
	}
	wait(r.ctx, f.trouble.delay())
	return false, nil
}

// again decides whether an unanswered or refused read may be tried once more.
func (f *fetcher[T]) again(what fault, err error) error {
	timed := f.pos.After == "" && f.pos.FromMS > 0 && !f.untimed && !f.opened
	if timed && what == invalid && f.r.c.Now().Sub(time.UnixMilli(f.pos.FromMS)) < futureStart {
		wait(f.r.ctx, time.Second) // the start has not come yet by the service's clock
		return nil
	}
	if what == invalid {
		f.trouble.invalid++
	}
	switch {
	case timed && (f.trouble.invalid > 0 || f.trouble.tries >= untimedAfter):
		f.untimed = true
		f.trouble.clear()
		f.r.c.Logger.Warn("the server does not start by time; reading the shard from its oldest record and passing over what is too old",
			zap.String("uid", f.r.c.UID), zap.String("shard", f.h.id), zap.Error(err))
		return nil
	case what == invalid && f.trouble.invalid > invalidMax:
		return fmt.Errorf("dynamodbstreams: shard %q: the server refuses to read at the position %+v: %w", f.h.id, f.pos, err)
	case f.trouble.lasting(f.r.o.FailAfter):
		return fmt.Errorf("dynamodbstreams: shard %q could not be read for %v: %w", f.h.id, f.r.o.FailAfter, err)
	}
	return nil
}

// missing decides on records or a shard that the service has no more.
func (f *fetcher[T]) missing(what fault, cause error) (end bool, fail error) {
	now := f.r.c.Now().UnixMilli()
	f.iterator = ""
	v := judge(f.pos, what, now)
	if v == lost {
		loss := lossAt(f.h.id, f.pos, now, cause.Error())
		if err := f.r.accept(loss); err != nil {
			return false, err
		}
		f.pos.SinceMS = now
		if what == gone {
			v = finish
		}
	}
	if v != finish {
		f.reopened = true
		f.pos.Reopen = f.pos.After != ""
		wait(f.r.ctx, f.trouble.delay())
		return false, nil
	}
	return true, f.hand(&page{last: true})
}

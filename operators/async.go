package operators

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// asyncCapacity is the default of AsyncOptions.Capacity. Source: Flink AsyncDataStream.
const asyncCapacity = 100

// AsyncOptions say how an asynchronous step treats its calls. The zero value gives the results in the order of the records, of at most 100 at a
// time, without timeout and without retries.
type AsyncOptions[In, Out any] struct {
	// Capacity is the largest number of records that are in the step at a time: being called for, or done and held back by earlier ones. With
	// so many the step takes no more records until one is out, which is the backpressure. A blocking function runs on at most so many
	// goroutines in each subtask. Default 100.
	Capacity int
	// Unordered gives results as soon as they are there. They still never cross a watermark, in either direction. Default: in the order of the
	// records, where a slow call holds back those behind it. A keyed step is always unordered between keys.
	Unordered bool
	// Timeout bounds the time from the first call for a record to its result, retries and the delays before them included. It is processing
	// time, rounded up to whole milliseconds. When it is over the call's context is cancelled and what it still gives is ignored. Default: none.
	Timeout time.Duration
	// OnTimeout gives the results of a record that has timed out, on the task's goroutine. Default: an error that wraps
	// context.DeadlineExceeded, which fails the task; BadRecord of it makes the record a dead letter.
	OnTimeout func(v In) ([]Out, error)
	// Retry says when a call is made again. Default: never.
	Retry AsyncRetry[Out]
	// Codec encodes the records that are in the step at a checkpoint. Default: the codec that package serde derives.
	Codec serde.Serde[In]
}

// AsyncRetry says when a call is made again. Its functions are called on the task's goroutine.
// Source: Flink AsyncRetryStrategies.
type AsyncRetry[Out any] struct {
	// Attempts is the largest number of calls for one record, the first included. 0 and 1: no retry.
	Attempts int
	// Delay between the end of the first call and the second one, rounded up to whole milliseconds. Default: none.
	Delay time.Duration
	// Factor by which the delay grows with each further call, at least 1. Default 1, a fixed delay.
	Factor float64
	// MaxDelay bounds the grown delay. Default: no bound.
	MaxDelay time.Duration
	// Jitter is the part of each delay, in [0,1], that is left to chance: the delay is drawn from [(1-Jitter)·d, d]. Default 0. Without it,
	// calls that have failed together come again together.
	Jitter float64
	// Rand is where chance comes from: numbers in [0,1). Default: math/rand/v2.
	Rand func() float64
	// OnError reports whether a call that has failed with err is made again. Default: all but those marked by BadRecord. A panic is never
	// tried again.
	OnError func(err error) bool
	// OnResult reports whether a call with these results is made again, as one that has come too early. Default: none. The results
	// of the last attempt are passed on whatever it says.
	OnResult func(out []Out) bool
}

// Validate reports every fault.
func (o AsyncOptions[In, Out]) Validate() error {
	var errs []error
	if o.Capacity < 0 {
		errs = append(errs, fmt.Errorf("operators: AsyncOptions.Capacity is %d, want at least 1, or 0 for %d", o.Capacity, asyncCapacity))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("operators: AsyncOptions.Timeout is %v, want at least 1ms, or 0 for none", o.Timeout))
	}
	if o.OnTimeout != nil && o.Timeout == 0 {
		errs = append(errs, errors.New("operators: AsyncOptions.OnTimeout is set without a Timeout; set one"))
	}
	if o.Codec == nil {
		if _, err := serde.For[In](); err != nil {
			errs = append(errs, fmt.Errorf("operators: records of an asynchronous step are in its checkpoints: %w; give AsyncOptions.Codec", err))
		}
	}
	return errors.Join(append(errs, o.Retry.validate()...)...)
}

func (r AsyncRetry[Out]) validate() (errs []error) {
	if r.Attempts < 0 {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry.Attempts is %d, want at least 1, or 0 for no retry", r.Attempts))
	}
	if r.Attempts < 2 && (r.Delay != 0 || r.OnError != nil || r.OnResult != nil) {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry says how to try again, but Attempts is %d; set it to 2 or more", r.Attempts))
	}
	if r.Delay < 0 {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry.Delay is %v, want 0 or more", r.Delay))
	}
	if r.MaxDelay != 0 && r.MaxDelay < r.Delay {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry.MaxDelay is %v, want at least the Delay of %v, or 0 for no bound", r.MaxDelay, r.Delay))
	}
	if r.Factor != 0 && !(r.Factor >= 1 && r.Factor <= math.MaxFloat64) {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry.Factor is %v, want at least 1, or 0 for 1", r.Factor))
	}
	if !(r.Jitter >= 0 && r.Jitter <= 1) {
		errs = append(errs, fmt.Errorf("operators: AsyncRetry.Jitter is %v, want a number in [0,1]", r.Jitter))
	}
	return errs
}

// delayMS is the delay after the given number of calls, at least 1, in ms.
func (r AsyncRetry[Out]) delayMS(calls int) int64 {
	d := float64(r.Delay)
	if r.Factor > 1 {
		d *= math.Pow(r.Factor, float64(calls-1))
	}
	if r.MaxDelay > 0 {
		d = min(d, float64(r.MaxDelay))
	}
	d = min(d, float64(math.MaxInt64/2)) // growth without bound ends at infinity
	if r.Jitter > 0 {
		random := r.Rand
		if random == nil {
			random = rand.Float64
		}
		d -= d * r.Jitter * random()
	}
	return roundUpMS(time.Duration(d))
}

// again reports whether a call that has ended in this way is made again.
func (r AsyncRetry[Out]) again(calls int, out []Out, err error) bool {
	if calls >= r.Attempts {
		return false
	}
	if err == nil {
		return r.OnResult != nil && r.OnResult(out)
	}
	var p *asyncPanic
	if errors.As(err, &p) {
		return false
	}
	if r.OnError != nil {
		return r.OnError(err)
	}
	return !isBadRecord(err)
}

// roundUpMS is d in whole milliseconds, rounded up.
func roundUpMS(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

// Async calls f for each record and passes on its results, with the record's timestamp and key hash. f may wait for an outside system: it runs on
// goroutines beside the task, which goes on meanwhile; the slice it returns belongs to the step then. f gets a context that ends with the task and when the record times out, and must come back
// soon then: the task does not end before f has. f must not touch what the task uses; several calls run at once.
//
// Results come in the order of the records, or as they are there with AsyncOptions.Unordered, but then never across a watermark. A watermark goes out
// once everything before it is out. When the input ends, or becomes idle, so does the output once all results are out.
//
// A call that fails is made again as AsyncOptions.Retry says. If it still fails the task fails, and its records are tried again after the restart;
// an error marked by BadRecord makes the record a dead letter, if the graph consumes the step's dead letters.
//
// State: every record whose results are not yet out, and the watermarks between them. After a restore all are called for again, in order and with a
// new timeout: the outside system sees calls of a time between two checkpoints twice. At another parallelism the records of each former subtask go to one
// new one. State is gone when the results are out. Time domain: processing time for timeouts and retries; results keep the event time of
// their record.
//
// Timestamps belong in front of it where watermarks are to be made for each split: a result has none.
//
// Source: Flink AsyncWaitOperator with OrderedStreamElementQueue and UnorderedStreamElementQueue. Unlike there, watermarks take no capacity, and an
// idle input makes the output idle only when no result is outstanding.
func Async[In, Out any](o AsyncOptions[In, Out], f func(ctx context.Context, v In) ([]Out, error)) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		if f == nil {
			return nil, errors.New("an asynchronous step needs a function")
		}
		t.UserFuncs(f)
		return unkeyedAsync(t, emit, o, asyncFuncs[In, Out]{blocking: f})
	}
}

// AsyncCallback is Async for clients that call back: f starts a call, on the task's goroutine, and returns at once; done is called with the results or
// the error, from any goroutine, also before f returns. Only the first call of done counts, and none once the record has timed out or the task has ended.
// out belongs to the step from then on. A call whose done is never called ends with the timeout, and without one never.
func AsyncCallback[In, Out any](o AsyncOptions[In, Out], f func(ctx context.Context, v In, done func(out []Out, err error))) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		if f == nil {
			return nil, errors.New("an asynchronous step needs a function")
		}
		t.UserFuncs(f)
		return unkeyedAsync(t, emit, o, asyncFuncs[In, Out]{callback: f})
	}
}

// asyncFuncs is the user's function, in one of two forms.
type asyncFuncs[In, Out any] struct {
	// known gives results that are there without a call, if ok. It runs on the task's goroutine. nil: there are none.
	known    func(v In) (out []Out, ok bool)
	blocking func(ctx context.Context, v In) ([]Out, error)
	callback func(ctx context.Context, v In, done func([]Out, error))
}

// unkeyedAsync keeps the records that are in the step as raw state.
func unkeyedAsync[In, Out any](t *Task, emit func(Out) error, o AsyncOptions[In, Out], f asyncFuncs[In, Out]) (func(In) error, error) {
	a, err := newAsync(t, emit, o, f)
	if err != nil {
		return nil, err
	}
	t.UseRaw(
		func() ([][]byte, error) { return a.save(true) },
		func(blobs [][]byte) error { return a.restore(blobs) })
	return a.push, nil
}

package dataflow

import (
	"context"

	"github.com/millrace-io/millrace/operators"
)

// Async calls f for each record, on goroutines beside the task, and passes on its results: in the order of the records, or as they come with
// AsyncOptions.Unordered. Timeout, retries and the number of calls at a time are AsyncOptions; records whose results are not out are state, and called for
// again after a restart. While the step is full its whole task waits: give what must not wait with it, another asynchronous step above all, a task of its own
// by NewChain. See operators.Async.
func (s Stream[T]) Async[U any](uid string, o operators.AsyncOptions[T, U], f func(ctx context.Context, v T) ([]U, error)) Stream[U] {
	out := s.Transform(uid, operators.Async(o, f))
	s.g.needUID(out.node, "an asynchronous step")
	return out
}

// AsyncCallback is Async for clients that call back: f starts a call and returns at once, and done is called with what comes of it.
func (s Stream[T]) AsyncCallback[U any](uid string, o operators.AsyncOptions[T, U], f func(ctx context.Context, v T, done func([]U, error))) Stream[U] {
	out := s.Transform(uid, operators.AsyncCallback(o, f))
	s.g.needUID(out.node, "an asynchronous step")
	return out
}

// Async calls f for each record on goroutines beside the task, those of one key one after the other. Results of a key come in the order of its records,
// between keys as they are there; records in the step go with their key when the job is rescaled. See operators.AsyncKeyed.
func (k KeyedStream[T, K]) Async[U any](uid string, o operators.AsyncOptions[T, U], f func(ctx context.Context, v T) ([]U, error)) Stream[U] {
	return k.Transform(uid, operators.AsyncKeyed(k.key, k.codec, o, f))
}

// AsyncCallback is Async for clients that call back.
func (k KeyedStream[T, K]) AsyncCallback[U any](uid string, o operators.AsyncOptions[T, U], f func(ctx context.Context, v T, done func([]U, error))) Stream[U] {
	return k.Transform(uid, operators.AsyncKeyedCallback(k.key, k.codec, o, f))
}

package operators

import (
	"context"

	"github.com/millrace-io/millrace/connectors"
)

// asyncKind is what an element of an asyncQueue is.
type asyncKind uint8

const (
	asyncRecord asyncKind = iota
	asyncWatermark
	asyncIdle
	asyncActive
)

// asyncElement is a record or a control element that has come and is not yet out. Elements are used again; token tells the calls for different
// records apart.
type asyncElement[In, Out any] struct {
	kind asyncKind
	ms   int64 // of a watermark

	value In
	ts    int64
	hash  uint64
	at    connectors.Coordinates

	// token is the number of the call that is awaited. Guarded by asyncStep.mu.
	token uint64
	begun uint64 // token of the first call
	calls int
	out   []Out
	err   error
	done  bool
	// ctx belongs to one call at a time; uses counts them.
	ctx    context.Context
	cancel context.CancelFunc
	uses   int

	deadlineMS int64 // noDeadline: none
	retryMS    int64
	waits      bool // for the next attempt
	timer      int  // place in the heap, -1: none
	dueMS      int64

	prev, next *asyncElement[In, Out] // in the order of arrival
	// segment is the number of control elements before it, and behind the last of them.
	segment  int64
	behind   *asyncElement[In, Out]
	held     *asyncElement[In, Out] // of a control element: records behind it that are done, in the order in which they were
	heldLast *asyncElement[In, Out]
	heldNext *asyncElement[In, Out]
	// sameKey is the next record of the same key, which is called for when this one is done.
	sameKey *asyncElement[In, Out]
}

// asyncQueue holds the elements of a step in the order of arrival, and says which may go out. It calls out for each, once.
//
// Ordered: the first element goes when it is done. Unordered: control elements part the queue into segments; a record of the first segment goes when
// it is done, one of another segment is held until its segment is the first; a control element goes when its segment is the first and empty.
type asyncQueue[In, Out any] struct {
	unordered   bool
	first, last *asyncElement[In, Out]
	records     int // how many of the elements are records
	controls    int
	lastControl *asyncElement[In, Out]
	segment     int64 // of the first element
	segments    int64 // of the last one
	out         func(e *asyncElement[In, Out]) error
	free        *asyncElement[In, Out] // linked by next
}

// new returns an element that is not in the queue. It is all zero but for what a further call may use again.
func (q *asyncQueue[In, Out]) new(kind asyncKind) *asyncElement[In, Out] {
	e := q.free
	if e == nil {
		return &asyncElement[In, Out]{kind: kind, timer: -1, deadlineMS: noDeadline}
	}
	q.free = e.next
	e.kind, e.next = kind, nil
	return e
}

// recycle clears e for its next use.
func (q *asyncQueue[In, Out]) recycle(e *asyncElement[In, Out]) {
	var zero In
	e.value, e.at, e.out, e.err = zero, connectors.Coordinates{}, nil, nil
	e.done, e.waits, e.calls, e.deadlineMS = false, false, 0, noDeadline
	e.prev, e.behind, e.held, e.heldLast, e.heldNext, e.sameKey = nil, nil, nil, nil, nil, nil
	e.next, q.free = q.free, e
}

// append puts e at the end.
func (q *asyncQueue[In, Out]) append(e *asyncElement[In, Out]) {
	e.prev = q.last
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	if e.kind == asyncRecord {
		q.records++
		e.segment, e.behind = q.segments, q.lastControl
		return
	}
	q.segments++
	q.controls++
	q.lastControl = e
}

func (q *asyncQueue[In, Out]) remove(e *asyncElement[In, Out]) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	if e.kind == asyncRecord {
		q.records--
		return
	}
	q.controls--
	if q.lastControl == e {
		q.lastControl = nil
	}
}

// finish marks e, a record, as done, and lets out what may go now.
func (q *asyncQueue[In, Out]) finish(e *asyncElement[In, Out]) error {
	e.done = true
	if q.unordered {
		if e.segment > q.segment {
			if c := e.behind; c.held == nil {
				c.held, c.heldLast = e, e
			} else {
				c.heldLast.heldNext, c.heldLast = e, e
			}
			return nil
		}
		if err := q.pass(e); err != nil {
			return err
		}
	}
	return q.advance()
}

// pass lets e out.
func (q *asyncQueue[In, Out]) pass(e *asyncElement[In, Out]) error {
	q.remove(e)
	err := q.out(e)
	q.recycle(e)
	return err
}

// advance lets the first elements out, as far as they may go.
func (q *asyncQueue[In, Out]) advance() error {
	for e := q.first; e != nil; e = q.first {
		if e.kind == asyncRecord && !e.done {
			return nil
		}
		held := e.held
		if e.kind != asyncRecord {
			q.segment++
		}
		if err := q.pass(e); err != nil {
			return err
		}
		for held != nil {
			e, held = held, held.heldNext
			if err := q.pass(e); err != nil {
				return err
			}
		}
	}
	return nil
}

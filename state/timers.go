package state

import (
	"encoding/binary"
	"fmt"
)

// Domain is the clock that a timer waits for.
type Domain uint8

// The domains of timers.
const (
	EventTime      Domain = iota // the watermark
	ProcessingTime               // the wall clock
	domains
)

// String is "event time" or "processing time".
func (d Domain) String() string {
	switch d {
	case EventTime:
		return "event time"
	case ProcessingTime:
		return "processing time"
	}
	return fmt.Sprintf("domain %d", uint8(d))
}

// Timers is the handle of the timers of one operator. A timer is a (domain, key, time) that is pending once, however often it is
// registered. In memory it takes 40 bytes plus the key. Without a store beneath all of them are in memory; above a store those that are due
// first are, and the others are in the store.
//
// Timers in memory wait in a radix heap, see timerQueue.
type Timers[K comparable] struct {
	k      *Keyed[K]
	id     int
	desc   Descriptor
	queues [domains]timerQueue[K]
	tail   *timerTail[K] // nil on the memory backend
}

// Timers declares the timers of the operator.
func (s *Keyed[K]) Timers(name string) *Timers[K] {
	t := &Timers[K]{k: s}
	s.declare(name, KindTimers, nil, func(id int, d Descriptor, _ *options) (member[K], error) {
		t.id, t.desc = id, d
		return (*timerMember[K])(t), nil
	})
	return t
}

// Register adds a timer of the current key at tsMS (Unix ms, any sign). A time that has passed already fires at the next PopDue
// that reaches it.
func (t *Timers[K]) Register(d Domain, tsMS int64) {
	e := timer[K]{at: biased(tsMS), hash: t.k.hash, key: t.k.key, domain: d}
	if t.tail != nil {
		t.registerAbove(e, t.k.group)
		return
	}
	if q := &t.queues[d]; !q.known(&e) {
		q.append(e)
	}
}

// Delete removes the current key's timer at tsMS; one that does not exist is no error.
func (t *Timers[K]) Delete(d Domain, tsMS int64) {
	e := timer[K]{at: biased(tsMS), hash: t.k.hash, key: t.k.key, domain: d, gone: true}
	if t.tail != nil {
		t.deleteAbove(e, t.k.group)
		return
	}
	t.queues[d].remove(e, t)
}

// Next is the time of the earliest pending timer; ok is false when there is none, or when Err says so.
func (t *Timers[K]) Next(d Domain) (tsMS int64, ok bool) {
	var at uint64
	if t.tail != nil {
		at, ok = t.nextAbove(d)
	} else {
		at, ok = t.queues[d].next(t)
	}
	if !ok {
		return 0, false
	}
	return unbiased(at), true
}

// PopDue removes and returns the earliest pending timer with a time ≤ upToMS: in the order of time, then of encoded key, whatever the
// order of registration was and across a restore. ok is false when none is due, or when Err says so.
func (t *Timers[K]) PopDue(d Domain, upToMS int64) (key K, hash uint64, tsMS int64, ok bool) {
	var e timer[K]
	if t.tail != nil {
		e, ok = t.popAbove(d, biased(upToMS))
	} else if f := t.queues[d].front(biased(upToMS), t); f != nil {
		e, ok = f.timer, true
		t.queues[d].popped(f)
	}
	if !ok {
		return key, 0, 0, false
	}
	return e.key, e.hash, unbiased(e.at), true
}

// Err is the error of the store beneath that an earlier call met: from then on no timer is due, and what is registered and deleted is lost.
// It is to be asked when PopDue has said that nothing is due any more. Snapshots fail with it too. Always nil without a store.
func (t *Timers[K]) Err() error {
	if t.tail == nil {
		return nil
	}
	return t.tail.err
}

// biased maps times to unsigned integers in the same order.
func biased(tsMS int64) uint64 { return uint64(tsMS) ^ 1<<63 }

func unbiased(at uint64) int64 { return int64(at ^ 1<<63) }

// encoded appends the encoding of key. A key that cannot be encoded fails every snapshot; here it only loses its place in the order.
func (t *Timers[K]) encoded(dst []byte, key K) []byte {
	out, err := t.k.codec.Append(dst, key)
	if err != nil {
		return dst
	}
	return out
}

// timerMember is Timers as one of the declared states.
type timerMember[K comparable] Timers[K]

func (m *timerMember[K]) descriptor() Descriptor { return m.desc }

func (m *timerMember[K]) open() {
	m.queues, m.tail = [domains]timerQueue[K]{}, nil
	if m.k.store != nil {
		(*Timers[K])(m).openTail()
	}
}

// timerSub is the length of a timer's sub key in a state file: domain and biased time.
const timerSub = 9

func (m *timerMember[K]) load(e *loaded[K]) error {
	if len(e.Sub) != timerSub || e.Sub[0] >= byte(domains) {
		return fmt.Errorf("%w: timer sub key %x", errCorrupt, e.Sub)
	}
	d := timer[K]{at: binary.BigEndian.Uint64(e.Sub[1:]), hash: e.Hash, key: e.key, domain: Domain(e.Sub[0])}
	t := (*Timers[K])(m)
	if t.tail != nil {
		t.registerAbove(d, e.Group-t.k.groups.Start)
		return t.tail.err
	}
	if q := &t.queues[d.domain]; !q.known(&d) {
		q.append(d)
	}
	return nil
}

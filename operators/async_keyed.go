package operators

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// AsyncKeyed is Async that keeps the order of each key: a record is called for when the results of the record of the same key before it are there, so at
// most one call of a key runs, and its results come in the order of its records. Between keys it is unordered. The timeout of a record begins with its
// first call; while it waits for that it takes capacity. codec encodes keys; nil takes the one that package serde derives. The input must be partitioned by key.
//
// The records that are in the step at a checkpoint are keyed state: at another parallelism they go with their key.
func AsyncKeyed[K comparable, In, Out any](key func(In) K, codec serde.Serde[K], o AsyncOptions[In, Out], f func(ctx context.Context, v In) ([]Out, error)) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		if key == nil || f == nil {
			return nil, errors.New("a keyed asynchronous step needs a key function and a function")
		}
		t.UserFuncs(key, f)
		return keyedAsync(t, emit, key, codec, o, asyncFuncs[In, Out]{blocking: f})
	}
}

// AsyncKeyedCallback is AsyncKeyed for clients that call back, see AsyncCallback.
func AsyncKeyedCallback[K comparable, In, Out any](key func(In) K, codec serde.Serde[K], o AsyncOptions[In, Out], f func(ctx context.Context, v In, done func(out []Out, err error))) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		if key == nil || f == nil {
			return nil, errors.New("a keyed asynchronous step needs a key function and a function")
		}
		t.UserFuncs(key, f)
		return keyedAsync(t, emit, key, codec, o, asyncFuncs[In, Out]{callback: f})
	}
}

// asyncOrigin is what stands beside a record in the keyed state.
type asyncOrigin struct {
	// Place among all records of the subtask.
	Place       int64
	TimestampMS int64
	Source      string
	Split       string
	Offset      int64
}

// asyncByKey keeps the order of each key, and the records in keyed state.
type asyncByKey[K comparable, In, Out any] struct {
	a    *asyncStep[In, Out]
	key  func(In) K
	last map[K]*asyncElement[In, Out] // of each key with a record in the step

	s       *state.Keyed[K]
	records *state.List[In]
	origins *state.List[asyncOrigin]
	// index has a timer for each key with records in the state. None is ever fired: a timer is the form in which keys can be listed.
	index *state.Timers[K]
}

func keyedAsync[K comparable, In, Out any](t *Task, emit func(Out) error, key func(In) K, codec serde.Serde[K], o AsyncOptions[In, Out], f asyncFuncs[In, Out]) (func(In) error, error) {
	o.Unordered = true
	s := state.NewKeyed(codec, state.Config{MaxParallelism: t.cfg.MaxParallelism, Now: t.cfg.Now})
	k := &asyncByKey[K, In, Out]{key: key, last: map[K]*asyncElement[In, Out]{}, s: s, index: s.Timers("in-flight-keys")}
	var opts []state.Option
	if o.Codec != nil {
		opts = append(opts, state.Codec(o.Codec))
	}
	k.records = s.List[In]("in-flight", opts...)
	k.origins = s.List[asyncOrigin]("in-flight-origins")
	if err := s.Err(); err != nil {
		return nil, err
	}
	t.UseState(s)
	var marks []asyncMark
	t.OnOpen(func(context.Context) error { return k.load(marks) })
	var err error
	if k.a, err = newAsync(t, emit, o, f); err != nil {
		return nil, err
	}
	k.a.ready, k.a.after = k.ready, k.after
	t.OnBarrier(func(context.Context, int64) error { return k.store() })
	t.UseRaw(
		func() ([][]byte, error) { return k.a.save(false) },
		func(blobs [][]byte) error {
			for _, b := range blobs {
				more, _, err := k.a.decode(b)
				if err != nil {
					return err
				}
				marks = append(marks, more...)
			}
			return nil
		})
	return k.a.push, nil
}

// ready puts e behind the records of its key.
func (k *asyncByKey[K, In, Out]) ready(e *asyncElement[In, Out]) bool {
	key := k.key(e.value)
	before := k.last[key]
	k.last[key] = e
	if before == nil {
		return true
	}
	before.sameKey = e
	return false
}

// after is the record of the same key behind e.
func (k *asyncByKey[K, In, Out]) after(e *asyncElement[In, Out]) *asyncElement[In, Out] {
	next := e.sameKey
	if next == nil {
		delete(k.last, k.key(e.value))
	}
	return next
}

// store makes the keyed state what the queue holds.
func (k *asyncByKey[K, In, Out]) store() error {
	if err := k.eachKey(func(uint64) error { return errors.Join(k.records.Clear(), k.origins.Clear()) }); err != nil {
		return err
	}
	place := int64(0)
	for e := k.a.q.first; e != nil; e = e.next {
		if e.kind != asyncRecord {
			continue
		}
		k.s.SetCurrent(k.key(e.value), e.hash)
		k.index.Register(state.EventTime, 0)
		o := asyncOrigin{place, e.ts, e.at.UID, e.at.Split, e.at.Offset}
		if err := errors.Join(k.records.Append(e.value), k.origins.Append(o)); err != nil {
			return err
		}
		place++
	}
	return nil
}

// eachKey calls f with the hash of each key that has records in the state, which is the current one then; afterwards none is listed any more.
func (k *asyncByKey[K, In, Out]) eachKey(f func(hash uint64) error) error {
	for {
		key, hash, _, ok := k.index.PopDue(state.EventTime, math.MaxInt64)
		if !ok {
			return k.index.Err()
		}
		k.s.SetCurrent(key, hash)
		if err := f(hash); err != nil {
			return err
		}
	}
}

// load puts what a restore has brought into the queue. The order between keys is that of the subtask which had them.
func (k *asyncByKey[K, In, Out]) load(marks []asyncMark) error {
	type placed struct {
		place int64
		e     *asyncElement[In, Out]
	}
	var all []placed
	err := k.eachKey(func(hash uint64) error {
		records, err := k.records.Values()
		if err != nil {
			return err
		}
		origins, err := k.origins.Values()
		if err != nil {
			return err
		}
		if len(records) != len(origins) {
			return fmt.Errorf("operators: the state of the asynchronous step is damaged: a key has %d records and %d origins; restore from another checkpoint", len(records), len(origins))
		}
		for i, v := range records {
			e, o := k.a.q.new(asyncRecord), origins[i]
			e.value, e.ts, e.hash = v, o.TimestampMS, hash
			e.at = connectors.Coordinates{UID: o.Source, Split: o.Split, Offset: o.Offset}
			all = append(all, placed{o.Place, e})
		}
		return errors.Join(k.records.Clear(), k.origins.Clear())
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(x, y placed) int { return cmp.Compare(x.place, y.place) })
	var elements []*asyncElement[In, Out]
	for _, p := range all {
		elements = append(elements, p.e)
	}
	k.a.enqueue(elements, marks)
	return nil
}

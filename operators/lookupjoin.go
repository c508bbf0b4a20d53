package operators

import (
	"context"
	"errors"

	"github.com/millrace-io/millrace/serde"
)

// LookupOptions say how a look-up join calls and what it keeps of the answers. The zero value gives the results in the order of the records, of at
// most 100 at a time, and asks for each.
type LookupOptions[In, Out any] struct {
	// Async are capacity, order, timeout and retries of the calls.
	Async AsyncOptions[In, Out]
	// Cache keeps answers in memory. Default: none.
	Cache LookupCache
	// Inner drops the records for which nothing is found. Default: they are passed on, too.
	Inner bool
}

// Validate reports every fault.
func (o LookupOptions[In, Out]) Validate() error {
	return errors.Join(o.Async.Validate(), o.Cache.Validate())
}

// LookupJoin enriches each record by a row of an outside system: lookup is asked for the row of the record's key, on goroutines beside the task, and f
// makes the result; found is false, and row the zero value, where there is none, see LookupOptions.Inner. f is pure and may run on any goroutine.
//
// The row is the one of the moment of the call, or of the cache: a repeated run may find another. Calls, their failures, order, timeout and state are
// those of Async, which this is; records answered from the cache cost no goroutine. The cache belongs to a subtask and begins empty after every
// start. Time domain: processing time.
// Source: Flink AsyncLookupJoinRunner, LookupCache.
func LookupJoin[In any, LK comparable, Row, Out any](o LookupOptions[In, Out], key func(In) LK, lookup func(ctx context.Context, key LK) (row Row, found bool, err error), f func(v In, row Row, found bool) Out) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		funcs, err := lookupFuncs(t, o, key, lookup, f)
		if err != nil {
			return nil, err
		}
		return unkeyedAsync(t, emit, o.Async, funcs)
	}
}

// LookupJoinKeyed is LookupJoin on an input that is partitioned by the key that is looked up: the row of a key is asked for and kept in one subtask
// alone, and results of one key come in the order of its records, see AsyncKeyed. codec encodes keys; nil takes the one that package serde
// derives.
func LookupJoinKeyed[K comparable, In, Row, Out any](key func(In) K, codec serde.Serde[K], o LookupOptions[In, Out], lookup func(ctx context.Context, key K) (row Row, found bool, err error), f func(v In, row Row, found bool) Out) Stage[In, Out] {
	return func(t *Task, emit func(Out) error) (func(In) error, error) {
		funcs, err := lookupFuncs(t, o, key, lookup, f)
		if err != nil {
			return nil, err
		}
		return keyedAsync(t, emit, key, codec, o.Async, funcs)
	}
}

// lookupFuncs are the calls of a look-up join.
func lookupFuncs[In any, LK comparable, Row, Out any](t *Task, o LookupOptions[In, Out], key func(In) LK, lookup func(ctx context.Context, key LK) (Row, bool, error), f func(v In, row Row, found bool) Out) (funcs asyncFuncs[In, Out], err error) {
	if key == nil || lookup == nil || f == nil {
		return funcs, errors.New("a look-up join needs a key function, a look-up function and one that makes results")
	}
	if err := o.Validate(); err != nil {
		return funcs, err
	}
	t.UserFuncs(key, lookup, f)
	result := func(v In, row Row, found bool) []Out {
		if !found && o.Inner {
			return nil
		}
		if !found {
			var none Row
			row = none
		}
		return []Out{f(v, row, found)}
	}
	if o.Cache.Rows == 0 {
		funcs.blocking = func(ctx context.Context, v In) ([]Out, error) {
			row, found, err := lookup(ctx, key(v))
			if err != nil {
				return nil, err
			}
			return result(v, row, found), nil
		}
		return funcs, nil
	}
	cache := newLookupRows[LK, Row](o.Cache)
	funcs.known = func(v In) ([]Out, bool) {
		row, found, ok := cache.get(key(v), t.Now())
		if !ok {
			return nil, false
		}
		return result(v, row, found), true
	}
	funcs.blocking = func(ctx context.Context, v In) ([]Out, error) {
		k := key(v)
		row, found, err := lookup(ctx, k)
		if err != nil {
			return nil, err
		}
		cache.put(k, row, found)
		return result(v, row, found), nil
	}
	return funcs, nil
}

package operators

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"time"
)

// LookupCache says which answers a look-up join keeps in memory, in each subtask.
// Source: Flink DefaultLookupCache.
type LookupCache struct {
	// Rows is the largest number of answers that are kept; the one used least lately goes first. Default 0: no cache.
	Rows int
	// ExpireAfterWrite is how long an answer is used after it came. Default: for ever.
	ExpireAfterWrite time.Duration
	// ExpireAfterRead is how long an answer is kept since it was last used. Default: for ever.
	ExpireAfterRead time.Duration
	// SkipAbsent does not keep that there is no row. Default: it is kept as any answer.
	SkipAbsent bool
}

// Validate reports every fault.
func (c LookupCache) Validate() error {
	var errs []error
	if c.Rows < 0 {
		errs = append(errs, fmt.Errorf("operators: LookupCache.Rows is %d, want 0 for no cache, or more", c.Rows))
	}
	if c.ExpireAfterWrite < 0 || c.ExpireAfterRead < 0 {
		errs = append(errs, fmt.Errorf("operators: LookupCache has ExpireAfterWrite %v and ExpireAfterRead %v, want 0 for never, or more", c.ExpireAfterWrite, c.ExpireAfterRead))
	}
	if c.Rows == 0 && c != (LookupCache{}) {
		errs = append(errs, errors.New("operators: LookupCache says how to keep answers, but Rows is 0; set it to the number of answers to keep"))
	}
	return errors.Join(errs...)
}

// lookupRows is the cache of one subtask. The task asks, and the goroutines of calls put; the lock is held for the moment of either.
type lookupRows[LK comparable, Row any] struct {
	o     LookupCache
	mu    sync.Mutex
	rows  map[LK]*list.Element
	order list.List // of *lookupRow, the one used last in front
	now   time.Time // when the task asked last: the clock belongs to its goroutine
}

type lookupRow[LK comparable, Row any] struct {
	key           LK
	row           Row
	found         bool
	written, read time.Time
}

func newLookupRows[LK comparable, Row any](o LookupCache) *lookupRows[LK, Row] {
	return &lookupRows[LK, Row]{o: o, rows: map[LK]*list.Element{}}
}

// get is what is kept for key, if ok.
func (c *lookupRows[LK, Row]) get(key LK, now time.Time) (row Row, found, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
	e := c.rows[key]
	if e == nil {
		return row, false, false
	}
	r := e.Value.(*lookupRow[LK, Row])
	if expired(now, r.written, c.o.ExpireAfterWrite) || expired(now, r.read, c.o.ExpireAfterRead) {
		c.remove(e)
		return row, false, false
	}
	r.read = now
	c.order.MoveToFront(e)
	return r.row, r.found, true
}

// expired reports whether d has passed since at; 0 never has.
func expired(now, at time.Time, d time.Duration) bool { return d > 0 && now.Sub(at) >= d }

// put keeps an answer.
func (c *lookupRows[LK, Row]) put(key LK, row Row, found bool) {
	if !found && c.o.SkipAbsent {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.rows[key]; e != nil {
		c.remove(e)
	}
	c.rows[key] = c.order.PushFront(&lookupRow[LK, Row]{key, row, found, c.now, c.now})
	if c.order.Len() > c.o.Rows {
		c.remove(c.order.Back())
	}
}

func (c *lookupRows[LK, Row]) remove(e *list.Element) {
	delete(c.rows, e.Value.(*lookupRow[LK, Row]).key)
	c.order.Remove(e)
}

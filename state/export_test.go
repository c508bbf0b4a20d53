package state

import "time"

// Step is Background for as long as it takes to work on n entries.
func (s *Keyed[K]) Step(n int) (more bool, err error) {
	if s.history == nil {
		return false, nil
	}
	start := time.Time{}
	return s.background(&allowance{until: start.Add(time.Duration(n)), every: 1, now: func() time.Time {
		n--
		return start.Add(time.Duration(max(0, 1-n)) * time.Hour)
	}})
}

// RequestBase makes the next Background begin a base, whatever there is of deltas, unless one is being made. It reports whether it did.
func (s *Keyed[K]) RequestBase() bool {
	h := s.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.making || h.later == nil || s.work.sweeping {
		return false
	}
	h.wantBase.Store(true)
	return true
}

// AwaitBase waits until no base is being made.
func (s *Keyed[K]) AwaitBase() error {
	return s.history.await(s.history.ctx, func() bool { return !s.history.making })
}

// SetRunBytesMax is how much is encoded before it becomes a table; it returns the value before.
func SetRunBytesMax(n int64) (before int64) {
	before, runBytesMax = runBytesMax, n
	return before
}

// Footprint is how many keys and records of expiry the decoded tables of s hold, for tests of what goes away by itself.
func (s *Keyed[K]) Footprint() (keys, records int) {
	for _, m := range s.members {
		if f, ok := m.(interface{ footprint() (int, int) }); ok {
			k, r := f.footprint()
			keys, records = keys+k, records+r
		}
	}
	return keys, records
}

func (c *cells[K, V]) footprint() (int, int)   { return c.live(), c.wheel.records }
func (t *objects[K, O]) footprint() (int, int) { return t.live(), t.wheel.records }

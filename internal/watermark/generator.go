package watermark

// Bounded makes watermarks for records that come out of order by a bounded time: the newest timestamp − the bound − 1 ms. It belongs to one
// split, or to one input that is not split.
//
// Source: Flink BoundedOutOfOrdernessWatermarks.
type Bounded struct{ newest, delay int64 }

// NewBounded makes the generator; 0 ≤ boundMS < math.MaxInt64.
func NewBounded(boundMS int64) Bounded {
	return Bounded{newest: None + boundMS + 1, delay: boundMS + 1}
}

// See takes the timestamp of a record. One so near the beginning of time that its watermark would wrap round counts as the beginning.
func (b *Bounded) See(ms int64) {
	if ms > b.newest {
		b.newest = ms
	}
}

// Watermark is the current one, None before the first record.
func (b *Bounded) Watermark() int64 { return b.newest - b.delay }

// IdleTimer says, at periodic looks, whether records have stopped coming. A look that finds a record since the last one starts it anew; the
// first look that finds none starts the time; a look more than the timeout later finds the split idle. So a split is idle no sooner than the
// timeout after its last record, and at most the timeout and three periods after it.
//
// Source: Flink WatermarksWithIdleness.IdlenessTimer.
type IdleTimer struct {
	fresh   bool // a record has come since the last look
	silent  bool // a look has found no record, at sinceMS
	sinceMS int64
}

// Seen takes a record.
func (t *IdleTimer) Seen() { t.fresh = true }

// Restart lets the time begin anew, at the look after the next.
func (t *IdleTimer) Restart() { t.fresh = true }

// Idle is one look, at nowMS of a clock that stands still while records could not have come.
func (t *IdleTimer) Idle(nowMS, timeoutMS int64) bool {
	switch {
	case t.fresh:
		t.fresh, t.silent = false, false
		return false
	case !t.silent:
		t.silent, t.sinceMS = true, nowMS
		return false
	}
	return nowMS-t.sinceMS > timeoutMS
}

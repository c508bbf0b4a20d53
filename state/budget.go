package state

import "sync/atomic"

// Budget is an amount of memory that several stores share: those of one backend, in all tasks of a process. What stands above a store, decoded tables
// and timers, tells its Share what it uses now and then, and makes room when the share says so. All methods may be called from many
// goroutines.
type Budget struct {
	bytes  int64
	used   atomic.Int64
	shares atomic.Int64
}

// NewBudget is a budget of the given bytes, at least 1.
func NewBudget(bytes int64) *Budget { return &Budget{bytes: max(1, bytes)} }

// Bytes is the size of the budget.
func (b *Budget) Bytes() int64 { return b.bytes }

// Used is what all shares together said last, in bytes. It may be above Bytes for a while: a store that holds more than its part makes
// room only when its task gets to it, with the next record, watermark or barrier.
func (b *Budget) Used() int64 { return b.used.Load() }

// Share opens the part of one more store.
func (b *Budget) Share() *Share {
	b.shares.Add(1)
	return &Share{b: b}
}

// Share is the part of one store in a Budget. One goroutine uses it.
type Share struct {
	b    *Budget
	told int64
	gone bool
}

// overdraft is the part of a budget by which it may be exceeded for the sake of stores that have less than their share: an eighth.
const overdraft = 8

// Fair is the budget divided by the number of stores: what this one may use whatever the others do.
func (s *Share) Fair() int64 { return s.b.bytes / max(1, s.b.shares.Load()) }

// Excess says that the store uses the given bytes now, and returns how many of them it has to free. A store may use all that the others
// leave. When the whole is over the budget, those above their fair share make room. Until they get to it the others may go on, by up to an eighth
// of the budget; then everybody who grows makes room, down to an eighth of a fair share.
func (s *Share) Excess(used int64) int64 {
	b := s.b
	total := b.used.Add(used - s.told)
	s.told = used
	over := total - b.bytes
	if over <= 0 {
		return 0
	}
	fair := s.Fair()
	free := min(over, used-fair)
	if beyond := over - b.bytes/overdraft; beyond > 0 {
		free = max(free, min(beyond, used-fair/overdraft))
	}
	return max(0, free)
}

// Close gives everything back.
func (s *Share) Close() {
	if s.gone {
		return
	}
	s.gone = true
	s.b.used.Add(-s.told)
	s.b.shares.Add(-1)
	s.told = 0
}

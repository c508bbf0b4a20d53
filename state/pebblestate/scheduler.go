package pebblestate

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets one compaction run at a time, and none after a failure. Unlike Pebble's own it has no goroutine.
type scheduler struct {
	h  *health
	db pebble.DBForCompaction

	mu       sync.Mutex
	idle     sync.Cond // granting has become 0
	running  bool
	refused  bool // TrySchedule has refused since the last offer: the store waits for one
	granting int  // calls of db under way
	gone     bool
}

func newScheduler(h *health) *scheduler {
	s := &scheduler{h: h}
	s.idle.L = &s.mu
	return s
}

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister waits for the calls of the database that are under way; there are no more of them afterwards.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for s.granting > 0 {
		s.idle.Wait()
	}
}

// TrySchedule grants a compaction if none is running.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.ended() {
		s.refused = true
		return false, nil
	}
	s.running = true
	return true, s
}

func (s *scheduler) ended() bool { return s.gone || s.h.ended.Load() || s.h.shut.Load() }

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler: the number never changes.
func (s *scheduler) UpdateGetAllowedWithoutPermission() {}

// Done offers the place of a compaction that has ended to the next one. A refusal during the offer brings another one.
func (s *scheduler) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	for s.refused && !s.running && !s.ended() {
		s.refused, s.running = false, true
		s.granting++
		s.mu.Unlock()
		waiting, _ := s.db.GetWaitingCompaction()
		accepted := waiting && s.db.Schedule(s)
		s.mu.Lock()
		s.granting--
		if accepted { // it may have ended by now; and it may leave another one waiting
			s.refused = true
		} else {
			s.running = false
		}
		s.idle.Broadcast()
	}
}

// Started implements pebble.CompactionGrantHandle.
func (s *scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

package state

import "math"

// Time to live is measured in stamps. A stamp of processing time is Unix ms; one of event time is Unix ms plus eventBias, so that times
// before 1970 have positive stamps too. An entry is stamped with the time at which it expires; 0 is never.

const (
	eventBias = 1 << 54
	stampMax  = 1<<55 - 1 // what a slot and a state file hold

	// noTime is an absent timestamp or watermark in Config.EventTime.
	noTime = math.MinInt64
)

// eventStamp is the stamp of an event time: exact within 570 000 years of 1970, and saturated beyond.
func eventStamp(ms int64) int64 { return min(max(ms, 1-eventBias), eventBias-1) + eventBias }

// clocks number the clocks of times to live.
const (
	processingClock = iota
	eventClock
	clockCount
)

// lifetime says how long the entries of one state live.
type lifetime struct {
	ttlMS  int64 // 0: for ever
	event  bool  // measured in event time
	onRead bool  // reads renew it
	shown  bool  // what has expired is returned until it is removed
	kept   bool  // nothing is removed in the background
}

func (l *lifetime) clock() int {
	if l.event {
		return eventClock
	}
	return processingClock
}

// bucketsPerTTL is how many buckets one time to live is divided into: what has expired is removed at the latest that part of it later.
// More of them cost more visits to lists and maps whose elements expire one by one, and more stale records in the index of a store.
const bucketsPerTTL = 16

// bucket is the end of the bucket of stamp: the first multiple of the width at which everything in the bucket has expired.
func (l *lifetime) bucket(stamp int64) int64 {
	w := l.width()
	return (stamp + w - 1) / w * w
}

func (l *lifetime) width() int64 { return max(1, l.ttlMS/bucketsPerTTL) }

// now is the clock of l as a stamp; 0 while there is no event time.
func (s *Keyed[K]) now(l *lifetime) int64 {
	if !l.event {
		return s.nowMS()
	}
	_, ms := s.cfg.EventTime()
	if ms == noTime {
		return 0
	}
	return eventStamp(ms)
}

// touchedAt is the stamp of an entry that is touched now and had the stamp before (0 for a new one). Event time never takes life away; while
// there is none, the stamp stays.
func (s *Keyed[K]) touchedAt(l *lifetime, before int64) int64 {
	if !l.event {
		return max(1, s.nowMS()+l.ttlMS)
	}
	at, watermark := s.cfg.EventTime()
	if at == noTime {
		at = watermark
	}
	if at == noTime {
		return before
	}
	return max(before, min(eventStamp(at)+l.ttlMS, stampMax))
}

// nowMS is the wall clock in Unix ms, read once for each record or timer: it stands still while one of them is processed.
func (s *Keyed[K]) nowMS() int64 {
	if s.clockGen != s.gen {
		s.clockGen, s.clockMS = s.gen, s.cfg.Now().UnixMilli()
	}
	return s.clockMS
}

// past reports whether stamp has passed at now.
func past(stamp, now int64) bool { return stamp != 0 && stamp <= now }

// imageTime is the time by which an image leaves out what has expired; 0 when it leaves nothing out.
func (s *Keyed[K]) imageTime(l *lifetime) int64 {
	if l.ttlMS == 0 || l.kept {
		return 0
	}
	return s.now(l)
}

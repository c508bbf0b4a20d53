package watermark

// Multiplexer merges the watermarks of the splits of one source subtask. The merged one is the least over the splits that are not idle; when
// every split is idle, the newest of all. It never goes back. A new split begins without watermark, active, and so holds the merged one where
// it is. A watermark makes its split active.
//
// What a split says takes effect at once (Watermark, SetIdle), or, by the Later methods, with the next update: that of Update or of another
// split. In what an update returns Idle says whether every split is idle, also when that has not Changed; an update without any split
// changes nothing.
//
// Splits have numbers ≥ 0, which may be given again after Unregister. What it keeps is bounded by the highest number.
//
// Source: Flink WatermarkOutputMultiplexer and CombinedWatermarkStatus, of version 2.3.
type Multiplexer struct {
	splits []muxSplit
	live   int
	out    int64
	idle   bool
}

type muxSplit struct {
	mark        int64
	known, idle bool
}

// NewMultiplexer makes a multiplexer without splits.
func NewMultiplexer() *Multiplexer { return &Multiplexer{out: None} }

// Register adds a split. One that is there already begins again.
func (m *Multiplexer) Register(split int) {
	for len(m.splits) <= split {
		m.splits = append(m.splits, muxSplit{})
	}
	if !m.splits[split].known {
		m.live++
	}
	m.splits[split] = muxSplit{mark: None, known: true}
}

// Unregister removes a split. It counts no more from the next update on.
func (m *Multiplexer) Unregister(split int) {
	if m.Registered(split) {
		m.live--
		m.splits[split] = muxSplit{}
	}
}

// Registered reports whether the split is there.
func (m *Multiplexer) Registered(split int) bool {
	return split < len(m.splits) && m.splits[split].known
}

// Len is the number of splits.
func (m *Multiplexer) Len() int { return m.live }

// IsIdle reports whether the split is idle.
func (m *Multiplexer) IsIdle(split int) bool { return m.splits[split].idle }

// Mark is the highest watermark of the split, None before the first.
func (m *Multiplexer) Mark(split int) int64 { return m.splits[split].mark }

// Watermark takes a watermark of a split at once. Without an update, because it is not above the split's last and the merged one, the result is
// zero.
func (m *Multiplexer) Watermark(split int, mark int64) Merged {
	rose := mark > m.splits[split].mark
	m.WatermarkLater(split, mark)
	if rose && mark > m.out {
		return m.Update()
	}
	return Merged{}
}

// WatermarkLater takes a watermark of a split, which the next update merges.
func (m *Multiplexer) WatermarkLater(split int, mark int64) {
	s := &m.splits[split]
	s.idle = false
	s.mark = max(s.mark, mark)
}

// SetIdle takes the idleness of a split at once.
func (m *Multiplexer) SetIdle(split int, idle bool) Merged {
	m.SetIdleLater(split, idle)
	return m.Update()
}

// SetIdleLater takes the idleness of a split, which the next update merges.
func (m *Multiplexer) SetIdleLater(split int, idle bool) { m.splits[split].idle = idle }

// Update merges what the splits have said.
func (m *Multiplexer) Update() Merged {
	if m.live == 0 {
		return Merged{Idle: m.idle}
	}
	low, high, idle := EndOfTime, None, true
	for i := range m.splits {
		s := &m.splits[i]
		if !s.known {
			continue
		}
		high = max(high, s.mark)
		if !s.idle {
			low, idle = min(low, s.mark), false
		}
	}
	if idle {
		low = high
	}
	merged := Merged{Idle: idle, Changed: idle != m.idle}
	m.idle = idle
	if low > m.out {
		m.out = low
		merged.MS, merged.Rose = low, true
	}
	return merged
}

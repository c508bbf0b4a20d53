package pattern

import "time"

// Match is the events of a complete match, or of a partial one that has timed out, by stage. It is the receiver's to keep.
type Match[T any] struct {
	// Stages are the stages that took events, in the order of the pattern; a stage without events is left out.
	Stages []StageEvents[T]
	// StartMS and EndMS are the timestamps of the first and the last event, Unix ms.
	StartMS, EndMS int64
}

// StageEvents is the events that one stage took, in the order in which it took them; at least one.
type StageEvents[T any] struct {
	Stage  string
	Events []T
}

// Events is the events that the named stage took, or nil.
func (m Match[T]) Events(stage string) []T {
	for _, s := range m.Stages {
		if s.Stage == stage {
			return s.Events
		}
	}
	return nil
}

// First is the first event that the named stage took; ok is false when it took none.
func (m Match[T]) First(stage string) (v T, ok bool) {
	if e := m.Events(stage); len(e) > 0 {
		return e[0], true
	}
	return v, false
}

// Last is the last event that the named stage took; ok is false when it took none.
func (m Match[T]) Last(stage string) (v T, ok bool) {
	if e := m.Events(stage); len(e) > 0 {
		return e[len(e)-1], true
	}
	return v, false
}

// Duration is the time from the first to the last event.
func (m Match[T]) Duration() time.Duration {
	return time.UnixMilli(m.EndMS).Sub(time.UnixMilli(m.StartMS))
}

// Partial is what an iterative condition sees of the partial match that it decides about. It is valid during the call only.
type Partial[T any] struct{ m *matcher[T] }

// Events is the events that the named stage has taken so far, in order. The slice is valid until the next call of Events, and is not to be
// changed.
func (p *Partial[T]) Events(stage string) []T { return p.m.eventsOf(stage) }

// Timestamp is the time of the event that is decided about.
func (p *Partial[T]) Timestamp() time.Time { return time.UnixMilli(p.m.tsMS) }

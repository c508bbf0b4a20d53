package pattern

import "slices"

// noLink stands for no link and no event.
const noLink = -1

// keyState is all that the operator holds of one key. It is kept decoded and changed in place; the derived codec writes it.
//
// Events that partial matches have taken stand once in Events. A partial match is a chain of links from its newest event to its first; chains
// share their beginnings, and links and events are counted references: what no partial match leads to any more is free at once. This is the
// shared buffer of Flink without its version numbers, which tell apart the paths through a node there; here each path is a chain of its own.
type keyState[T any] struct {
	// Queue holds records that wait for the watermark, by timestamp, then arrival.
	Queue []waiting[T] `avro:"queue"`
	// Partials is a heap, by first event: the partial matches, and the start of the automaton at the end of all. Empty: the start alone.
	Partials []partialMatch `avro:"partials"`
	// Completed is a heap: matches that a skip strategy holds back until no partial match began before them.
	Completed []partialMatch  `avro:"completed"`
	Links     []chainLink     `avro:"links"`
	Events    []takenEvent[T] `avro:"events"`
	// FreeLink and FreeEvent begin the lists of free places in Links and Events.
	FreeLink  int32 `avro:"free_link"`
	FreeEvent int32 `avro:"free_event"`
	// UsedLinks and UsedEvents are the numbers of places that are not free.
	UsedLinks  int32 `avro:"used_links"`
	UsedEvents int32 `avro:"used_events"`
	// Next is the number of the next event: it tells apart events with one timestamp.
	Next int64 `avro:"next"`
	// SeenMS is the time of the last event that was compared.
	SeenMS int64 `avro:"seen"`
	// TimerMS is a pending timer at which this key is looked at, if Armed.
	TimerMS int64 `avro:"timer"`
	Armed   bool  `avro:"armed"`
}

// waiting is a record that the watermark has not reached.
type waiting[T any] struct {
	TimestampMS int64 `avro:"timestamp"`
	Value       T     `avro:"value"`
}

// takenEvent is an event that links refer to.
type takenEvent[T any] struct {
	TimestampMS int64 `avro:"timestamp"`
	ID          int64 `avro:"id"` // its number: events with one timestamp are in its order
	Value       T     `avro:"value"`
	Refs        int32 `avro:"refs"` // in a free place: the next free one
}

// chainLink is one event of a partial match, in the stage that took it.
type chainLink struct {
	Event int32 `avro:"event"`
	Stage int32 `avro:"stage"`
	Prev  int32 `avro:"prev"` // the link before, noLink for the first; in a free place: the next free one
	Refs  int32 `avro:"refs"`
}

// partialMatch is a state of the automaton with the events that led to it.
type partialMatch struct {
	State   int32 `avro:"state"`
	Link    int32 `avro:"link"`     // newest event, noLink for the start
	StartMS int64 `avro:"start"`    // of the first event
	StartID int64 `avro:"start_id"` // number of the first event, noLink for the start
	LastMS  int64 `avro:"last"`     // of the newest event
}

func (p *partialMatch) isStart() bool { return p.StartID == noLink }

// reset makes s the state of a key without records, keeping the memory.
func (s *keyState[T]) reset() {
	clear(s.Queue)
	clear(s.Events)
	*s = keyState[T]{Queue: s.Queue[:0], Partials: s.Partials[:0], Completed: s.Completed[:0], Links: s.Links[:0], Events: s.Events[:0],
		FreeLink: noLink, FreeEvent: noLink}
}

// idle reports whether s holds nothing.
func (s *keyState[T]) idle() bool {
	return len(s.Queue) == 0 && len(s.Completed) == 0 && len(s.Partials) <= 1
}

// enqueue puts a record behind those of its time and before later ones.
func (s *keyState[T]) enqueue(v T, tsMS int64) {
	i := len(s.Queue)
	for i > 0 && s.Queue[i-1].TimestampMS > tsMS {
		i--
	}
	s.Queue = slices.Insert(s.Queue, i, waiting[T]{tsMS, v})
}

// dequeue drops the first n records.
func (s *keyState[T]) dequeue(n int) {
	if n == 0 {
		return
	}
	left := copy(s.Queue, s.Queue[n:])
	clear(s.Queue[left:])
	s.Queue = s.Queue[:left]
}

// register stores an event with one reference, of the caller.
func (s *keyState[T]) register(v T, tsMS int64) int32 {
	s.UsedEvents++
	e := takenEvent[T]{TimestampMS: tsMS, ID: s.Next, Value: v, Refs: 1}
	s.Next++
	if i := s.FreeEvent; i != noLink {
		s.FreeEvent = s.Events[i].Refs
		s.Events[i] = e
		return i
	}
	s.Events = append(s.Events, e)
	return int32(len(s.Events) - 1)
}

// extend makes a link with one reference. It takes a reference to prev and to the event.
func (s *keyState[T]) extend(event, stage, prev int32) int32 {
	s.Events[event].Refs++
	s.retain(prev)
	s.UsedLinks++
	l := chainLink{event, stage, prev, 1}
	if i := s.FreeLink; i != noLink {
		s.FreeLink = s.Links[i].Prev
		s.Links[i] = l
		return i
	}
	s.Links = append(s.Links, l)
	return int32(len(s.Links) - 1)
}

func (s *keyState[T]) retain(link int32) {
	if link != noLink {
		s.Links[link].Refs++
	}
}

// release drops one reference, and all that nothing refers to then.
func (s *keyState[T]) release(link int32) {
	for link != noLink {
		l := &s.Links[link]
		if l.Refs--; l.Refs > 0 {
			return
		}
		s.releaseEvent(l.Event)
		prev := l.Prev
		l.Prev, s.FreeLink = s.FreeLink, link
		s.UsedLinks--
		link = prev
	}
}

func (s *keyState[T]) releaseEvent(event int32) {
	e := &s.Events[event]
	if e.Refs--; e.Refs > 0 {
		return
	}
	s.freeEvent(event)
}

func (s *keyState[T]) freeEvent(event int32) {
	s.Events[event] = takenEvent[T]{Refs: s.FreeEvent}
	s.FreeEvent = event
	s.UsedEvents--
}

// compactFrom is the length below which free places are kept.
const compactFrom = 64

// compact moves links and events together when most places are free, as after a burst of partial matches.
func (s *keyState[T]) compact() {
	if len(s.Links) >= compactFrom && int(s.UsedLinks) < len(s.Links)/4 {
		s.compactLinks()
	}
	if len(s.Events) >= compactFrom && int(s.UsedEvents) < len(s.Events)/4 {
		s.compactEvents()
	}
}

func (s *keyState[T]) compactLinks() {
	moved := make([]int32, len(s.Links))
	links := make([]chainLink, 0, s.UsedLinks)
	for i := s.FreeLink; i != noLink; i = s.Links[i].Prev {
		moved[i] = noLink
		s.Links[i].Refs = 0
	}
	for i, l := range s.Links {
		if l.Refs > 0 {
			moved[i] = int32(len(links))
			links = append(links, l)
		}
	}
	for i := range links {
		if links[i].Prev != noLink {
			links[i].Prev = moved[links[i].Prev]
		}
	}
	for _, list := range [][]partialMatch{s.Partials, s.Completed} {
		for i := range list {
			if list[i].Link != noLink {
				list[i].Link = moved[list[i].Link]
			}
		}
	}
	s.Links, s.FreeLink = links, noLink
}

func (s *keyState[T]) compactEvents() {
	free := make([]bool, len(s.Events))
	for i := s.FreeEvent; i != noLink; i = s.Events[i].Refs {
		free[i] = true
	}
	moved := make([]int32, len(s.Events))
	events := make([]takenEvent[T], 0, s.UsedEvents)
	for i, e := range s.Events {
		if !free[i] {
			moved[i] = int32(len(events))
			events = append(events, e)
		}
	}
	freeLink := make([]bool, len(s.Links))
	for i := s.FreeLink; i != noLink; i = s.Links[i].Prev {
		freeLink[i] = true
	}
	for i := range s.Links {
		if !freeLink[i] {
			s.Links[i].Event = moved[s.Links[i].Event]
		}
	}
	s.Events, s.FreeEvent = events, noLink
}

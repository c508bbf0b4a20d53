package pattern

import (
	"fmt"
	"strings"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// stateCodec encodes the state of a key: with the derived codec, or with events as bytes of the user's codec.
func stateCodec[T any](events serde.Serde[T]) state.Option {
	if events == nil {
		return state.Codec[*keyState[T]](nil)
	}
	outer, err := serde.For[*keyState[[]byte]]()
	if err != nil {
		panic(fmt.Sprintf("pattern: the state has no codec: %v", err)) // fixed types
	}
	return state.Codec[*keyState[T]](&eventsCodec[T]{outer, events})
}

// eventsCodec encodes a key's state with a codec of the user's for the events.
type eventsCodec[T any] struct {
	outer  serde.Serde[*keyState[[]byte]]
	events serde.Serde[T]
}

// Schema names the codec of the events: the state of one codec is not read by another.
func (c *eventsCodec[T]) Schema() string { return "opaque:pattern:" + c.events.Schema() }

// Append implements serde.Serde.
func (c *eventsCodec[T]) Append(dst []byte, s *keyState[T]) ([]byte, error) {
	o := &keyState[[]byte]{Partials: s.Partials, Completed: s.Completed, Links: s.Links, FreeLink: s.FreeLink, FreeEvent: s.FreeEvent,
		UsedLinks: s.UsedLinks, UsedEvents: s.UsedEvents, Next: s.Next, SeenMS: s.SeenMS, TimerMS: s.TimerMS, Armed: s.Armed}
	for _, w := range s.Queue {
		raw, err := c.events.Append(nil, w.Value)
		if err != nil {
			return dst, err
		}
		o.Queue = append(o.Queue, waiting[[]byte]{w.TimestampMS, raw})
	}
	free := map[int32]bool{}
	for i := s.FreeEvent; i != noLink; i = s.Events[i].Refs {
		free[i] = true
	}
	for i, e := range s.Events {
		var raw []byte
		if !free[int32(i)] {
			var err error
			if raw, err = c.events.Append(nil, e.Value); err != nil {
				return dst, err
			}
		}
		o.Events = append(o.Events, takenEvent[[]byte]{e.TimestampMS, e.ID, raw, e.Refs})
	}
	return c.outer.Append(dst, o)
}

// Decode implements serde.Serde.
func (c *eventsCodec[T]) Decode(src []byte, v **keyState[T]) error {
	var o *keyState[[]byte]
	if err := c.outer.Decode(src, &o); err != nil {
		return err
	}
	if o == nil {
		return fmt.Errorf("pattern: the state of a key is null")
	}
	s := &keyState[T]{Partials: o.Partials, Completed: o.Completed, Links: o.Links, FreeLink: o.FreeLink, FreeEvent: o.FreeEvent,
		UsedLinks: o.UsedLinks, UsedEvents: o.UsedEvents, Next: o.Next, SeenMS: o.SeenMS, TimerMS: o.TimerMS, Armed: o.Armed}
	for _, w := range o.Queue {
		s.Queue = append(s.Queue, waiting[T]{TimestampMS: w.TimestampMS})
		if err := c.events.Decode(w.Value, &s.Queue[len(s.Queue)-1].Value); err != nil {
			return err
		}
	}
	free, err := freeEvents(o)
	if err != nil {
		return err
	}
	for i, e := range o.Events {
		s.Events = append(s.Events, takenEvent[T]{TimestampMS: e.TimestampMS, ID: e.ID, Refs: e.Refs})
		if free[int32(i)] {
			continue
		}
		if err := c.events.Decode(e.Value, &s.Events[i].Value); err != nil {
			return err
		}
	}
	*v = s
	return nil
}

// freeEvents are the free places of s.Events, which is not trusted.
func freeEvents[T any](s *keyState[T]) (map[int32]bool, error) {
	free := map[int32]bool{}
	for i := s.FreeEvent; i != noLink; i = s.Events[i].Refs {
		if i < 0 || int(i) >= len(s.Events) || free[i] {
			return nil, fmt.Errorf("pattern: the state of a key is damaged: its list of free events leads to %d of %d", i, len(s.Events))
		}
		free[i] = true
	}
	return free, nil
}

// shape is what the states of the automaton depend on: the stages with links and quantifiers. Conditions, times and the skip strategy may
// change while partial matches are kept.
func (p Pattern[T]) shape() string {
	var b strings.Builder
	for i := range p.stages {
		if i > 0 {
			b.WriteByte(' ')
		}
		p.stages[i].write(&b)
	}
	return b.String()
}

func (s *stage[T]) write(b *strings.Builder) {
	if s.group != nil {
		fmt.Fprintf(b, "%vGroup(%s)", s.link, s.group.shape())
	} else {
		fmt.Fprintf(b, "%v(%s)", s.link, s.name)
	}
	switch {
	case s.loop && s.min == 1:
		b.WriteString(".OneOrMore()")
	case s.loop:
		fmt.Fprintf(b, ".TimesOrMore(%d)", s.min)
	case s.quantified() && s.min == s.max:
		fmt.Fprintf(b, ".Times(%d)", s.min)
	case s.quantified():
		fmt.Fprintf(b, ".TimesRange(%d, %d)", s.min, s.max)
	}
	if s.until != nil {
		b.WriteString(".Until()")
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{s.inner == strict, "Consecutive"}, {s.inner == combinations, "AllowCombinations"}, {s.greedy, "Greedy"}, {s.optional, "Optional"}} {
		if f.on {
			b.WriteString("." + f.name + "()")
		}
	}
}

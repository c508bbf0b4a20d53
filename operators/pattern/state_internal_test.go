package pattern

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// checkCounts compares the counts of references with what leads to each link and event.
func checkCounts(s *keyState[int]) error {
	links, events := make([]int32, len(s.Links)), make([]int32, len(s.Events))
	for _, list := range [][]partialMatch{s.Partials, s.Completed} {
		for _, p := range list {
			if p.Link != noLink {
				links[p.Link]++
			}
		}
	}
	freeLinks, freeEvents := map[int32]bool{}, map[int32]bool{}
	for i := s.FreeLink; i != noLink; i = s.Links[i].Prev {
		freeLinks[i] = true
	}
	for i := s.FreeEvent; i != noLink; i = s.Events[i].Refs {
		freeEvents[i] = true
	}
	for i, l := range s.Links {
		if freeLinks[int32(i)] {
			continue
		}
		events[l.Event]++
		if l.Prev != noLink {
			links[l.Prev]++
		}
	}
	for i, n := range links {
		if free := freeLinks[int32(i)]; free != (n == 0) || !free && s.Links[i].Refs != n {
			return fmt.Errorf("link %d has %d references, counted %d, free %v", i, n, s.Links[i].Refs, free)
		}
	}
	for i, n := range events {
		if free := freeEvents[int32(i)]; free != (n == 0) || !free && s.Events[i].Refs != n {
			return fmt.Errorf("event %d has %d references, counted %d, free %v", i, n, s.Events[i].Refs, free)
		}
	}
	if int(s.UsedLinks) != len(s.Links)-len(freeLinks) || int(s.UsedEvents) != len(s.Events)-len(freeEvents) {
		return fmt.Errorf("%d links and %d events are in use, counted %d and %d", len(s.Links)-len(freeLinks), len(s.Events)-len(freeEvents), s.UsedLinks, s.UsedEvents)
	}
	return nil
}

// checkHeap compares each element with its parent.
func checkHeap(h []partialMatch) error {
	for i := 1; i < len(h); i++ {
		if h[i].before(&h[(i-1)/2]) {
			return fmt.Errorf("element %d is before its parent", i)
		}
	}
	return nil
}

// TestReferencesAreCounted: whatever happens, what nothing leads to is free, and nothing else is.
func TestReferencesAreCounted(t *testing.T) {
	is := func(n int) func(int) bool { return func(v int) bool { return v%4 == n } }
	p := Begin[int]("a").Where(is(0))
	patterns := []Pattern[int]{
		p.OneOrMore().AllowCombinations().FollowedBy("b").Where(is(1)),
		p.FollowedByAny("b").Where(is(1)).FollowedByAny("c").Where(is(2)).AfterMatch(SkipPastLastEvent()),
		p.NotFollowedBy("n").Where(is(3)).FollowedBy("b").Where(is(1)).OneOrMore().Optional().FollowedBy("c").Where(is(2)),
		BeginGroup(p.FollowedBy("b").Where(is(1))).OneOrMore().FollowedBy("c").Where(is(2)).AfterMatch(SkipToFirst("b")),
		p.OneOrMore().NotFollowedBy("n").Where(is(3)),
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(patterns).Draw(t, "pattern").Within(20 * 1e6)
		m := newMatcher(compile(&p, false), 50)
		m.match = func(Match[int], int64) error { return nil }
		m.expire = m.match
		s := &keyState[int]{}
		s.reset()
		m.load(s)
		now := int64(0)
		for _, v := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 120).Draw(t, "events") {
			now += rapid.Int64Range(0, 4).Draw(t, "forward")
			err := m.advanceTime(now)
			if err == nil {
				err = m.process(v, now)
			}
			if err != nil && err != errExplosion {
				t.Fatal(err)
			}
			s.compact()
			for _, err := range []error{checkCounts(s), checkHeap(s.Partials), checkHeap(s.Completed)} {
				if err != nil {
					t.Fatalf("%s, event %d at %d: %v", p.shape(), v, now, err)
				}
			}
		}
		if err := m.advanceTime(now + 20); err != nil || !s.idle() || s.UsedLinks != 0 || s.UsedEvents != 0 {
			t.Fatalf("%s: at the end %d partial matches, %d links and %d events are left: %v", p.shape(), len(s.Partials)-1, s.UsedLinks, s.UsedEvents, err)
		}
	})
}

// TestHeap: whatever is pushed and filtered, elements come out by first event, the start last.
func TestHeap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h []partialMatch
		for i, ms := range rapid.SliceOfN(rapid.Int64Range(0, 9), 0, 40).Draw(t, "starts") {
			h = push(h, partialMatch{StartMS: ms, StartID: int64(i % 3)})
		}
		h = push(h, partialMatch{StartID: noLink})
		limit := rapid.Int64Range(0, 9).Draw(t, "limit")
		h = filter(h, func(p *partialMatch) bool { return p.isStart() || p.StartMS != limit })
		if err := checkHeap(h); err != nil {
			t.Fatal(err)
		}
		for last := (partialMatch{StartMS: -1}); len(h) > 0; h = poll(h) {
			if h[0].before(&last) || h[0].StartMS == limit && !h[0].isStart() || h[0].isStart() != (len(h) == 1) {
				t.Fatalf("%+v after %+v with %d left", h[0], last, len(h))
			}
			last = h[0]
		}
	})
}

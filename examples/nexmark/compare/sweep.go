package main

import (
	"context"
	"slices"
	"time"
)

// sweepHeaps are tried in turn; the first is what the others are compared with.
var sweepHeaps = []string{"4g", "3g", "2g", "1536m", "1g", "768m", "512m", "384m", "256m", "192m", "128m"}

// sweepSlower is how much more CPU a heap may cost.
const sweepSlower = 1.10

// sweep finds the smallest heap for each variant that Flink runs, if -heap is auto: the last one, going down, before a run fails or takes more
// than 10 % more CPU per event. CPU decides, since a small heap is paid with work of the collector.
func (s *session) sweep(ctx context.Context, variants []variant) error {
	if s.o.Heap != autoHeap || !slices.Contains(s.o.Sides, flink) {
		return nil
	}
	for _, v := range variants {
		if v.rate > 0 || v.checkpoint > 0 {
			continue
		}
		if err := s.sweepOne(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) sweepOne(ctx context.Context, v variant) error {
	var first summary
	timeout := s.o.Timeout
	for i, heap := range sweepHeaps {
		for round := 1; round <= s.o.Rounds; round++ {
			r, err := s.one(ctx, job{variant: v, side: flink, events: events(s.o, v, flink), seed: s.o.Seed, heap: heap, timeout: timeout}, round, true)
			if err != nil {
				return err
			}
			if r.status != ok {
				return nil
			}
		}
		m := summarise(s.records, func(r record) bool { return r.sweep && r.variant == v && r.heap == heap })
		if i == 0 {
			first = m
			// A heap that is too small by far makes the collector run for hours.
			timeout = min(timeout, time.Minute+time.Duration(4*m.wall*float64(time.Second)))
		}
		if m.cpu > sweepSlower*first.cpu {
			return nil
		}
		s.heaps[v] = heap
	}
	return nil
}

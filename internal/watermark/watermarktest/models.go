// Package watermarktest holds slow versions of what package watermark does: each is told its definition once more, in the plainest way, and
// goes through its whole history at every step. Tests compare the two.
package watermarktest

import (
	"math"
	"slices"
	"strconv"
)

const (
	none = math.MinInt64
	end  = math.MaxInt64
)

// Kind is what an Event says.
type Kind int

// The kinds of events. Register, Unregister and Update are for the Multiplexer alone.
const (
	Watermark Kind = iota
	Idle
	Active
	Register
	Unregister
	Update
)

// Event is one thing that a channel, an input or a split says.
type Event struct {
	Kind Kind
	// From is the channel, input or split, ≥ 0.
	From int
	// MS is the watermark.
	MS int64
	// Later has it take effect with the next update; for the Multiplexer.
	Later bool
}

// history is what both merges of channels need to know of one of them.
type history struct {
	mark    int64
	idle    bool
	aligned bool
}

// Valve returns what comes out of a valve of the given number of channels at each event: texts as "10", "end", "idle", "active", in order.
func Valve(channels int, events []Event) [][]string {
	hs := make([]history, channels)
	for i := range hs {
		hs[i] = history{mark: none, aligned: true}
	}
	out, wasIdle := int64(none), false
	steps := make([][]string, len(events))
	for i, e := range events {
		h := &hs[e.From]
		flush := false // the newest of all counts if this leaves no channel that is active
		switch {
		case e.Kind == Watermark && !h.idle && e.MS > h.mark:
			h.mark = e.MS
			h.aligned = h.aligned || h.mark >= out
			flush = h.mark == end
		case e.Kind == Idle && !h.idle:
			h.idle, h.aligned = true, false
			flush = h.mark == out
		case e.Kind == Active && h.idle:
			h.idle, h.aligned = false, h.mark >= out
		default:
			continue
		}
		left := slices.DeleteFunc(slices.Clone(hs), func(h history) bool { return h.mark == end })
		active := slices.ContainsFunc(left, func(h history) bool { return !h.idle })
		low := int64(none)
		switch {
		case len(left) == 0:
			low, active = end, slices.ContainsFunc(hs, func(h history) bool { return !h.idle })
		case active:
			if counting := slices.DeleteFunc(slices.Clone(left), func(h history) bool { return h.idle || !h.aligned }); len(counting) > 0 {
				low = slices.MinFunc(counting, byMark).mark
			}
		case flush:
			low = slices.MaxFunc(left, byMark).mark
		}
		if low > out {
			out = low
			steps[i] = append(steps[i], text(out))
		}
		steps[i] = appendIdle(steps[i], wasIdle, !active)
		wasIdle = !active
	}
	return steps
}

// Combiner returns what comes out of a combiner of the given number of inputs at each event, as Valve does.
func Combiner(inputs int, events []Event) [][]string {
	hs := make([]history, inputs)
	for i := range hs {
		hs[i].mark = none
	}
	out, wasIdle := int64(none), false
	steps := make([][]string, len(events))
	for i, e := range events {
		h := &hs[e.From]
		h.idle = e.Kind == Idle
		if e.Kind == Watermark {
			if e.MS <= h.mark {
				continue // it wakes the input, which shows with the next event that changes something
			}
			h.mark = e.MS
		}
		left := slices.DeleteFunc(slices.Clone(hs), func(h history) bool { return h.mark == end })
		active := slices.DeleteFunc(slices.Clone(left), func(h history) bool { return h.idle })
		low, idle := int64(end), false
		switch {
		case len(active) > 0:
			low = slices.MinFunc(active, byMark).mark
		case len(left) > 0:
			low, idle = slices.MaxFunc(left, byMark).mark, true
		}
		if low > out {
			out = low
			steps[i] = append(steps[i], text(out))
		}
		if e.Kind != Watermark || e.MS == end { // a watermark that wakes the first input says enough by itself
			steps[i] = appendIdle(steps[i], wasIdle, idle)
		}
		wasIdle = idle
	}
	return steps
}

// Multiplexer returns what comes out of a multiplexer at each event; "idle" comes with every update that finds all splits idle.
func Multiplexer(events []Event) [][]string {
	hs := map[int]history{}
	out, idle := int64(none), false
	steps := make([][]string, len(events))
	for i, e := range events {
		h := hs[e.From]
		update := !e.Later
		switch e.Kind {
		case Register:
			h, update = history{mark: none}, false
		case Unregister:
			delete(hs, e.From)
			continue
		case Watermark:
			update = update && e.MS > h.mark && e.MS > out
			h.idle, h.mark = false, max(h.mark, e.MS)
		case Idle, Active:
			h.idle = e.Kind == Idle
		}
		if e.Kind != Update {
			hs[e.From] = h
		}
		if !update {
			continue
		}
		if len(hs) > 0 {
			var marks, active []int64
			for _, h := range hs {
				marks = append(marks, h.mark)
				if !h.idle {
					active = append(active, h.mark)
				}
			}
			low := slices.Max(marks)
			if idle = len(active) == 0; !idle {
				low = slices.Min(active)
			}
			if low > out {
				out = low
				steps[i] = append(steps[i], text(out))
			}
		}
		if idle {
			steps[i] = append(steps[i], "idle")
		}
	}
	return steps
}

func byMark(a, b history) int {
	switch {
	case a.mark < b.mark:
		return -1
	case a.mark > b.mark:
		return 1
	}
	return 0
}

func text(ms int64) string {
	if ms == end {
		return "end"
	}
	return strconv.FormatInt(ms, 10)
}

func appendIdle(step []string, was, is bool) []string {
	switch {
	case is && !was:
		return append(step, "idle")
	case was && !is:
		return append(step, "active")
	}
	return step
}

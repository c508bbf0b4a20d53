package operators

import "math"

// noDeadline is the time of a deadline that does not exist.
const noDeadline int64 = math.MaxInt64

// asyncTimers is a binary heap of elements by dueMS and, for one time, in the order of their first calls; each knows its place, so that one that is done is removed at once. A deadline that is later than
// all others, the common case, is added without a move.
type asyncTimers[In, Out any] struct{ heap []*asyncElement[In, Out] }

// next is the earliest time; ok is false when there is none.
func (h *asyncTimers[In, Out]) next() (ms int64, ok bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].dueMS, true
}

// set makes dueMS the time of e.
func (h *asyncTimers[In, Out]) set(e *asyncElement[In, Out], dueMS int64) {
	e.dueMS = dueMS
	if e.timer < 0 {
		e.timer = len(h.heap)
		h.heap = append(h.heap, e)
	}
	h.up(e.timer)
	h.down(e.timer)
}

// remove forgets the time of e, if it has one.
func (h *asyncTimers[In, Out]) remove(e *asyncElement[In, Out]) {
	i := e.timer
	if i < 0 {
		return
	}
	e.timer = -1
	last := len(h.heap) - 1
	moved := h.heap[last]
	h.heap[last] = nil
	h.heap = h.heap[:last]
	if i == last {
		return
	}
	h.heap[i], moved.timer = moved, i
	h.up(i)
	h.down(moved.timer)
}

func (h *asyncTimers[In, Out]) less(i, j int) bool {
	a, b := h.heap[i], h.heap[j]
	return a.dueMS < b.dueMS || a.dueMS == b.dueMS && a.begun < b.begun
}

func (h *asyncTimers[In, Out]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *asyncTimers[In, Out]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.heap); child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *asyncTimers[In, Out]) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].timer, h.heap[j].timer = i, j
}

package pattern

import "math"

// The functions here make a binary heap of partial matches, by their first event; the start of the automaton comes last. Matches with one
// first event have no order of their own: their places in the heap follow from what was done to it, as in Flink, where that decides which
// of them a skip strategy lets through.

// before reports whether p is to be polled before q.
func (p *partialMatch) before(q *partialMatch) bool { return p.compare(q) < 0 }

func (p *partialMatch) compare(q *partialMatch) int {
	pMS, pID := p.first()
	qMS, qID := q.first()
	switch {
	case pMS < qMS || pMS == qMS && pID < qID:
		return -1
	case pMS == qMS && pID == qID:
		return 0
	}
	return 1
}

func (p *partialMatch) first() (ms, id int64) {
	if p.isStart() {
		return math.MaxInt64, math.MaxInt64
	}
	return p.StartMS, p.StartID
}

func push(h []partialMatch, p partialMatch) []partialMatch {
	h = append(h, p)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !p.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = p
	return h
}

// poll removes the first element, h[0].
func poll(h []partialMatch) []partialMatch {
	n := len(h) - 1
	last := h[n]
	h = h[:n]
	if n > 0 {
		sink(h, 0, last)
	}
	return h
}

// sink puts p into the hole at i.
func sink(h []partialMatch, i int, p partialMatch) {
	for half := len(h) / 2; i < half; {
		child := 2*i + 1
		if right := child + 1; right < len(h) && h[right].before(&h[child]) {
			child = right
		}
		if !h[child].before(&p) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = p
}

// filter keeps the elements for which keep holds.
func filter(h []partialMatch, keep func(*partialMatch) bool) []partialMatch {
	kept := h[:0]
	for i := range h {
		if keep(&h[i]) {
			kept = append(kept, h[i])
		}
	}
	if len(kept) == len(h) {
		return h
	}
	for i := len(kept)/2 - 1; i >= 0; i-- {
		sink(kept, i, kept[i])
	}
	return kept
}

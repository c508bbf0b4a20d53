package sst

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
)

// Input is one table of a merge.
type Input struct {
	Name string // for errors
	// Rank says who wins where tables overlap: the lower one. Tables of one rank do not overlap.
	Rank int
	// Lo and Hi bound the keys that count, Lo ≤ key < Hi; nil for no bound.
	Lo, Hi []byte
	// Open opens the table. It is called when the merge comes to Lo, at most once.
	Open func(ctx context.Context) (Source, error)
}

// aheadBytes is what the tables that are open at a time may read ahead, together; each at least stepMin and at most stepMax.
const (
	aheadBytes = 64 << 20
	stepMin    = 64 << 10
	stepMax    = 1 << 20
)

// Merge reads tables as one: in ascending order of keys, of several versions the newest, without what was deleted. A table is open only
// while the merge is within its bounds. It is used by one goroutine.
type Merge struct {
	ctx     context.Context
	waiting []waiting // by lo, the next one last
	step    int
	heap    []*cursor // by key, then rank
	used    bool      // the entry of heap[0] was handed out or passed over
	key     []byte    // of that entry

	spanned []ranked // range deletes of the tables opened so far that are not behind
	// covered is the lowest rank with a range delete at the current key: entries of higher ranks are gone. It holds up to border; nil: to
	// the end.
	covered int
	border  []byte
	stale   bool // spanned has changed
}

type waiting struct {
	in  Input
	cur *cursor
}

// ranked are the range deletes of one table, ascending.
type ranked struct {
	rank  int
	spans []span
}

const uncovered = math.MaxInt

// NewMerge begins a merge. ctx bounds all reads.
func NewMerge(ctx context.Context, inputs []Input) *Merge {
	m := &Merge{ctx: ctx, covered: uncovered}
	ranks := map[int]bool{}
	for _, in := range inputs {
		if in.Hi != nil && bytes.Compare(in.Lo, in.Hi) >= 0 {
			continue
		}
		m.waiting = append(m.waiting, waiting{in, &cursor{name: in.Name, rank: in.Rank, lo: in.Lo, hi: in.Hi}})
		ranks[in.Rank] = true
	}
	slices.SortStableFunc(m.waiting, func(a, b waiting) int { return bytes.Compare(b.in.Lo, a.in.Lo) })
	m.step = min(max(aheadBytes/(2*max(1, len(ranks))), stepMin), stepMax)
	return m
}

// Next returns the next entry, valid until the next call, or ok false at the end.
func (m *Merge) Next() (key, value []byte, ok bool, err error) {
	for {
		if m.used {
			m.used = false
			if err := m.advance(); err != nil {
				return nil, nil, false, err
			}
		}
		if err := m.admit(); err != nil || len(m.heap) == 0 {
			return nil, nil, false, err
		}
		top := m.heap[0]
		m.used = true
		if m.key != nil && bytes.Equal(top.key, m.key) {
			continue // an older version
		}
		m.key = append(m.key[:0], top.key...)
		if m.stale || m.border != nil && bytes.Compare(m.key, m.border) >= 0 {
			m.cover()
		}
		if !top.deleted && top.rank <= m.covered {
			return top.key, top.value, true, nil
		}
	}
}

// At is the table of the entry that Next has returned, and the offset of what was read of it last.
func (m *Merge) At() (name string, off int64) { return m.heap[0].name, m.heap[0].in.last }

// admit opens the tables that begin at or before the next entry.
func (m *Merge) admit() error {
	for n := len(m.waiting) - 1; n >= 0; n-- {
		w := m.waiting[n]
		if len(m.heap) > 0 && bytes.Compare(w.in.Lo, m.heap[0].key) > 0 {
			return nil
		}
		m.waiting = m.waiting[:n]
		src, err := w.in.Open(m.ctx)
		if err != nil {
			return err
		}
		if err := w.cur.open(m.ctx, src, m.step); err != nil {
			return err
		}
		if len(w.cur.spans) > 0 {
			m.spanned = append(m.spanned, ranked{w.cur.rank, w.cur.spans})
			m.stale = true
		}
		if w.cur.key == nil {
			if err := w.cur.close(); err != nil {
				return err
			}
			continue
		}
		m.heap = append(m.heap, w.cur)
		m.up(len(m.heap) - 1)
	}
	return nil
}

// advance moves the first table on.
func (m *Merge) advance() error {
	top := m.heap[0]
	if err := top.advance(); err != nil {
		return err
	}
	if top.key == nil {
		n := len(m.heap) - 1
		m.heap[0], m.heap[n] = m.heap[n], nil
		m.heap = m.heap[:n]
		if err := top.close(); err != nil {
			return err
		}
	}
	m.down()
	return nil
}

// cover finds out which range deletes hold at the current key, and drops those behind it.
func (m *Merge) cover() {
	m.stale, m.covered, m.border = false, uncovered, nil
	kept := m.spanned[:0]
	for _, r := range m.spanned {
		for len(r.spans) > 0 && bytes.Compare(r.spans[0].hi, m.key) <= 0 {
			r.spans = r.spans[1:]
		}
		if len(r.spans) == 0 {
			continue
		}
		kept = append(kept, r)
		border := r.spans[0].lo
		if bytes.Compare(border, m.key) <= 0 {
			m.covered = min(m.covered, r.rank)
			border = r.spans[0].hi
		}
		if m.border == nil || bytes.Compare(border, m.border) < 0 {
			m.border = border
		}
	}
	clear(m.spanned[len(kept):])
	m.spanned = kept
}

func less(a, b *cursor) bool {
	c := bytes.Compare(a.key, b.key)
	return c < 0 || c == 0 && a.rank < b.rank
}

func (m *Merge) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !less(m.heap[i], m.heap[parent]) {
			return
		}
		m.heap[i], m.heap[parent] = m.heap[parent], m.heap[i]
		i = parent
	}
}

func (m *Merge) down() {
	h := m.heap
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && less(h[child+1], h[child]) {
			child++
		}
		if !less(h[child], h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// Close frees the tables that are open. The merge is of no use afterwards.
func (m *Merge) Close() error {
	var errs []error
	for _, c := range m.heap {
		errs = append(errs, c.close())
	}
	m.heap, m.waiting = nil, nil
	return errors.Join(errs...)
}

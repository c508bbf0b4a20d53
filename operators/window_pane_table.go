package operators

import (
	"slices"

	"github.com/millrace-io/millrace/state"
)

// paneTable holds the accumulators of the current key by the start of their pane, Unix ms. Between load and save nothing else becomes current.
type paneTable[Acc any] interface {
	// load is called first for each record and timer, save last, unless nothing has changed.
	load() error
	get(startMS int64) (acc Acc, ok bool, err error)
	put(startMS int64, acc Acc) error
	remove(startMS int64) error
	save() error
}

// compactPanes is the number of panes of a window up to which those of one key are one value of state: one look-up finds them all, and one
// write stores them. With more of them a record, which changes one, would have all of them stored.
const compactPanes = 16

func newPaneTable[K comparable, T, Acc, Out any](b *Keyed[K, T, Out], name string, perWindow int64) paneTable[Acc] {
	if perWindow > compactPanes {
		return paneMap[Acc]{b.Map[int64, Acc](name)}
	}
	return &paneList[Acc]{state: b.Value[[]pane[Acc]](name), room: int(perWindow)}
}

// paneMap keeps each pane as an entry of its own.
type paneMap[Acc any] struct{ m *state.Map[int64, Acc] }

func (paneMap[Acc]) load() error { return nil }
func (paneMap[Acc]) save() error { return nil }

func (p paneMap[Acc]) get(startMS int64) (Acc, bool, error) { return p.m.Get(startMS) }
func (p paneMap[Acc]) put(startMS int64, acc Acc) error     { return p.m.Put(startMS, acc) }
func (p paneMap[Acc]) remove(startMS int64) error           { return p.m.Remove(startMS) }

// pane is one accumulator of a paneList.
type pane[Acc any] struct {
	StartMS int64
	Acc     Acc
}

// paneList keeps all panes of a key as one value, in the order of time.
type paneList[Acc any] struct {
	state *state.Value[[]pane[Acc]]
	panes []pane[Acc] // of the current key
	room  int         // for which a first pane makes space
}

func (p *paneList[Acc]) load() (err error) {
	p.panes, err = p.state.Get()
	return err
}

func (p *paneList[Acc]) save() error {
	if len(p.panes) == 0 {
		return p.state.Clear()
	}
	return p.state.Set(p.panes)
}

// at is the index of the pane, or where it would be. Records mostly come to the last pane.
func (p *paneList[Acc]) at(startMS int64) (i int, ok bool) {
	for i = len(p.panes); i > 0 && p.panes[i-1].StartMS >= startMS; i-- {
	}
	return i, i < len(p.panes) && p.panes[i].StartMS == startMS
}

func (p *paneList[Acc]) get(startMS int64) (acc Acc, ok bool, err error) {
	i, ok := p.at(startMS)
	if ok {
		acc = p.panes[i].Acc
	}
	return acc, ok, nil
}

func (p *paneList[Acc]) put(startMS int64, acc Acc) error {
	i, ok := p.at(startMS)
	switch {
	case ok:
		p.panes[i].Acc = acc
		return nil
	case p.panes == nil:
		p.panes = make([]pane[Acc], 0, p.room)
	}
	p.panes = slices.Insert(p.panes, i, pane[Acc]{startMS, acc})
	return nil
}

func (p *paneList[Acc]) remove(startMS int64) error {
	if i, ok := p.at(startMS); ok {
		p.panes = slices.Delete(p.panes, i, i+1)
	}
	return nil
}

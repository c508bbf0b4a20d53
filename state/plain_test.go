package state_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/millrace-io/millrace/state"
)

// plainStore is a state.Store without any cleverness: a map that is sorted for each scan, and tables that are lists of changes. It stands for a
// backend whose contents a test can count, and holds callers to the contract. It is its own backend, for one Open.
type plainStore struct {
	cache   int64
	mu      sync.Mutex
	entries map[string][]byte
	tables  int // that were not removed
	failing func(what string) error
}

func newPlainStore(cache int64) *plainStore {
	return &plainStore{cache: cache, entries: map[string][]byte{}}
}

// plainStores is a backend that opens a plainStore for each.
type plainStores struct{ cache int64 }

func (p plainStores) Name() string    { return "plain" }
func (p plainStores) Validate() error { return nil }
func (p plainStores) Open(state.OpenOptions) (state.Store, error) {
	return newPlainStore(p.cache), nil
}

func (p *plainStore) Name() string                                { return "plain" }
func (p *plainStore) Validate() error                             { return nil }
func (p *plainStore) Open(state.OpenOptions) (state.Store, error) { return p, nil }
func (p *plainStore) Budget() *state.Budget                       { return state.NewBudget(p.cache) }
func (p *plainStore) Close() error                                { return nil }

func (p *plainStore) fault(what string) error {
	if p.failing == nil {
		return nil
	}
	return p.failing(what)
}

func (p *plainStore) Get(dst, key []byte) ([]byte, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.entries[string(key)]
	return append(dst, v...), ok, nil
}

func (p *plainStore) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	for _, c := range p.sorted(lo, hi) {
		if more, err := fn(c.Key, c.Value); !more || err != nil {
			return err
		}
	}
	return nil
}

// sorted are the entries in [lo, hi); a nil hi is no bound.
func (p *plainStore) sorted(lo, hi []byte) (all []state.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, v := range p.entries {
		if k >= string(lo) && (hi == nil || k < string(hi)) {
			all = append(all, state.Change{Key: []byte(k), Value: bytes.Clone(v)})
		}
	}
	slices.SortFunc(all, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

func (p *plainStore) Apply(changes []state.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		switch c.Kind {
		case state.ChangeSet:
			p.entries[string(c.Key)] = bytes.Clone(c.Value)
		case state.ChangeDelete:
			delete(p.entries, string(c.Key))
		case state.ChangeDeleteRange:
			for k := range p.entries {
				if k >= string(c.Key) && (c.End == nil || k < string(c.End)) {
					delete(p.entries, k)
				}
			}
		}
	}
	return nil
}

// plainTable is a list of changes.
type plainTable struct {
	p       *plainStore
	changes []state.Change
	done    bool
	removed bool
}

func (p *plainStore) NewTable() (state.Table, error) {
	if err := p.fault("new table"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tables++
	return &plainTable{p: p}, nil
}

func (t *plainTable) Add(c state.Change) error {
	if n := len(t.changes); n > 0 {
		last := &t.changes[n-1]
		if d := bytes.Compare(last.Key, c.Key); d > 0 || d == 0 && last.Kind != state.ChangeDeleteRange {
			return fmt.Errorf("change of %x after one of %x", c.Key, last.Key)
		}
	}
	if c.Kind == state.ChangeDeleteRange && bytes.Compare(c.Key, c.End) >= 0 {
		return fmt.Errorf("range [%x, %x) is empty", c.Key, c.End)
	}
	t.changes = append(t.changes, state.Change{Kind: c.Kind, Key: bytes.Clone(c.Key), Value: bytes.Clone(c.Value), End: bytes.Clone(c.End)})
	return nil
}

func (t *plainTable) Finish() (int64, error) {
	if len(t.changes) == 0 {
		return 0, errors.New("a table without changes")
	}
	t.done = true
	return int64(len(t.changes)), t.p.fault("finish")
}

func (t *plainTable) WriteTo(w io.Writer) (int64, error) {
	if !t.done || t.removed {
		return 0, errors.New("a table that is not there is written")
	}
	return 0, gob.NewEncoder(w).Encode(t.changes)
}

func (t *plainTable) Remove() error {
	if t.removed {
		return errors.New("a table is removed twice")
	}
	t.removed = true
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.tables--
	return nil
}

func (p *plainStore) Attach(ctx context.Context, files state.Files, handles []state.File, lo, hi []byte) error {
	if len(p.entries) > 0 {
		return errors.New("attach to a store that is not empty")
	}
	for _, h := range handles {
		r, err := files.Read(ctx, h)
		if err != nil {
			return err
		}
		var changes []state.Change
		if err := errors.Join(gob.NewDecoder(r).Decode(&changes), r.Close()); err != nil {
			return err
		}
		for _, bound := range [][]byte{h.Lo, lo} {
			changes = slices.DeleteFunc(changes, func(c state.Change) bool { return bytes.Compare(c.Key, bound) < 0 })
		}
		for _, bound := range [][]byte{h.Hi, hi} {
			changes = slices.DeleteFunc(changes, func(c state.Change) bool { return bound != nil && bytes.Compare(c.Key, bound) >= 0 })
		}
		// A range is deleted in what older tables have, not in this one.
		slices.SortStableFunc(changes, func(a, b state.Change) int {
			rank := func(c state.Change) int {
				if c.Kind == state.ChangeDeleteRange {
					return 0
				}
				return 1
			}
			return rank(a) - rank(b)
		})
		if err := p.Apply(changes); err != nil {
			return err
		}
	}
	return nil
}

// Base reads one key group after the other, so that what is applied meanwhile is in it or not.
func (p *plainStore) Base(ctx context.Context, lo, hi []byte, upload func(context.Context, state.GroupRange, func(io.Writer) error) (state.File, error)) (files []state.File, err error) {
	from := int(lo[0])<<8 | int(lo[1])
	to := int(hi[0])<<8 | int(hi[1])
	for g := from; g < to; g++ {
		if err := errors.Join(ctx.Err(), p.fault("base")); err != nil {
			return nil, err
		}
		changes := p.sorted([]byte{byte(g >> 8), byte(g)}, []byte{byte((g + 1) >> 8), byte(g + 1)})
		if len(changes) == 0 {
			continue
		}
		f, err := upload(ctx, state.GroupRange{Start: g, End: g + 1}, func(w io.Writer) error { return gob.NewEncoder(w).Encode(changes) })
		if err != nil {
			return nil, err
		}
		f.Kind, f.Level, f.Groups = state.FileBase, 6, state.GroupRange{Start: g, End: g + 1}
		files = append(files, f)
	}
	return files, nil
}

package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/millrace-io/millrace/state/internal/sst"
)

// ReadEntries calls fn for every entry that the files of one operator hold in the given key groups, each once: of several versions the newest,
// without what was deleted. State files are read one after the other, tables that stand together as one, each in ascending order of addresses: by key group, then
// state, then key; timers by time. fn gets the descriptors that Entry.State is an index of; they grow from call to call and are the
// result. Entries that have expired are handed out. r.Rename and r.Drop are not applied. Memory: some MB for each table that overlaps others; nothing of
// what lies outside the groups is read.
// An error of fn ends the reading and is returned as it is. What fn was given is to be trusted only when ReadEntries returns no error.
func ReadEntries(ctx context.Context, r Restore, groups GroupRange, fn func(states []Descriptor, e Entry) error) ([]Descriptor, error) {
	e := &entries{ctx: ctx, files: r.Files, groups: groups}
	e.fn = func(entry Entry) error { return fn(e.states, entry) }
	if err := e.read(r); err != nil {
		return nil, err
	}
	return e.states, nil
}

// read hands out the entries of all files.
func (e *entries) read(r Restore) error {
	rest := slices.DeleteFunc(slices.Clone(r.Handles), func(h File) bool { return !h.Groups.Overlaps(e.groups) })
	for len(rest) > 0 {
		n := 0
		for n < len(rest) && (rest[n].Kind == FileBase || rest[n].Kind == FileDelta) {
			n++
		}
		rows := 0
		for rows < len(rest) && rest[rows].Kind == FileRows {
			rows++
		}
		var err error
		switch {
		case n > 0:
			err = e.tables(rest[:n], r.States)
		case rows > 0:
			n = rows
			err = e.rows(rest[:n])
		case rest[0].Kind == FileEntries:
			n = 1
			err = e.file(rest[0])
		default:
			err = fmt.Errorf("state: read entries of %q: files of kind %q are not read here: %w", rest[0].Name, rest[0].Kind, errors.ErrUnsupported)
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// entries is one reading.
type entries struct {
	ctx    context.Context
	files  Files
	groups GroupRange
	fn     func(Entry) error
	states []Descriptor
	key    []byte
}

// index is the place of d in the descriptors that entries refer to. Descriptors of several files are the same but for their numbers,
// unless the program has changed between the files.
func (e *entries) index(d Descriptor) int {
	for i, have := range e.states {
		have.ID = d.ID
		if reflect.DeepEqual(have, d) {
			return i
		}
	}
	e.states = append(e.states, d)
	return len(e.states) - 1
}

// file reads a state file.
func (e *entries) file(h File) error {
	body, err := e.files.Read(e.ctx, h)
	if err != nil {
		return err
	}
	fr := &fileReader{r: body}
	head, err := fr.header()
	if err == nil {
		index := make([]int, len(head.States))
		for i, d := range head.States {
			index[i] = e.index(d)
		}
		err = fr.entries(func(entry Entry) error {
			if !e.groups.Contains(entry.Group) || !h.Groups.Contains(entry.Group) {
				return nil
			}
			entry.State = index[entry.State]
			return e.fn(entry)
		})
	}
	return errors.Join(named(err, h.Name), body.Close())
}

// tables reads tables as one.
func (e *entries) tables(handles []File, states []Descriptor) error {
	index := map[int]int{} // by state id
	timers := map[int]bool{}
	for _, d := range states {
		index[d.ID], timers[d.ID] = e.index(d), d.Kind == KindTimers
	}
	m := sst.NewMerge(e.ctx, e.inputs(handles))
	err := func() error {
		for {
			address, value, ok, err := m.Next()
			if err != nil || !ok {
				return namedDamage(err)
			}
			var entry Entry
			if err := e.parse(&entry, address, value, timers); err != nil {
				name, off := m.At()
				return &CorruptError{File: name, Offset: off, Err: fmt.Errorf("entry %x: %w", address, err)}
			}
			at, ok := index[entry.State]
			if !ok {
				name, off := m.At()
				return &CorruptError{File: name, Offset: off, Err: fmt.Errorf("entry %x is of state %d, the checkpoint names none with that number", address, entry.State)}
			}
			entry.State = at
			if err := e.fn(entry); err != nil {
				return err
			}
		}
	}()
	return errors.Join(err, m.Close())
}

// inputs are the tables of a merge: a delta wins over those before it and over every base, within a base the lower level wins, on level 0 the later
// table.
func (e *entries) inputs(handles []File) []sst.Input {
	inputs := make([]sst.Input, 0, len(handles))
	for i, h := range handles {
		in := sst.Input{Name: h.Name, Open: func(ctx context.Context) (sst.Source, error) { return openTable(ctx, e.files, h) }}
		switch {
		case h.Kind == FileDelta:
			in.Rank = -len(handles) - 1 - i
		case h.Level == 0:
			in.Rank = -i
		default:
			in.Rank = h.Level
		}
		lo, hi, ok := h.bounds(sst.GroupStart(e.groups.Start), sst.GroupStart(e.groups.End))
		if ok {
			in.Lo, in.Hi = lo, hi
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// bounds are the addresses of a table that count and lie within [lo, hi); ok says whether there are any.
func (f *File) bounds(lo, hi []byte) (boundLo, boundHi []byte, ok bool) {
	if lo, hi, ok = sst.Clip(lo, hi, sst.GroupStart(f.Groups.Start), sst.GroupStart(f.Groups.End)); !ok {
		return nil, nil, false
	}
	return sst.Clip(f.Lo, f.Hi, lo, hi)
}

func openTable(ctx context.Context, files Files, h File) (sst.Source, error) {
	if h.Name == "" {
		return sst.Bytes(h.Inline), nil
	}
	return files.Open(ctx, h)
}

// parse reads an entry of a table. Its State is the state id.
func (e *entries) parse(entry *Entry, address, value []byte, timers map[int]bool) error {
	if len(address) < addressHead {
		return errShort
	}
	entry.Group, entry.State = int(binary.BigEndian.Uint16(address)), int(binary.BigEndian.Uint16(address[2:]))
	rest := address[addressHead:]
	if timers[entry.State] {
		if len(rest) < timerSub {
			return errShort
		}
		entry.Sub, entry.Key = rest[:timerSub], rest[timerSub:]
	} else {
		var err error
		if e.key, entry.Sub, err = cutEscaped(e.key[:0], rest); err != nil {
			return err
		}
		entry.Key = e.key
	}
	head, encoded, err := cutValueHead(value)
	if err != nil {
		return err
	}
	entry.Hash, entry.ExpiresMS, entry.Schema, entry.Value = head.hash, head.expires, head.schema, encoded
	return nil
}

// namedDamage is err as a *CorruptError where it is about a damaged table.
func namedDamage(err error) error {
	var d *sst.DamageError
	if errors.As(err, &d) && !errors.Is(err, ErrCorrupt) {
		return &CorruptError{File: d.Name, Offset: d.Offset, Err: d.Err}
	}
	return err
}

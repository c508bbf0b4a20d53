package savepoint

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// stateOut writes the files of one state.
type stateOut struct {
	op        *opWriter
	d         state.Descriptor
	broadcast bool
	max       int // number of key groups
	edits     *sortedEdits

	schemas []string // in use, by the schema id in the new savepoint
	open    []*fileOut
	handles []*state.File // complete when the uploads are done
	last    *fileOut      // that the entry before went to
}

// fileOut is a file that is being written, for values of one schema.
type fileOut struct {
	schema string
	f      *checkpoint.SavepointFile
	w      *state.RowsWriter
	groups state.GroupRange // with rows
	handle *state.File
}

// take takes an entry of what is changed: it goes on unless it was changed, behind what was added before it.
func (s *stateOut) take(e *Entry) error {
	if s.edits != nil {
		if err := s.additions(&e.Entry); err != nil {
			return err
		}
		if s.edits.hides(&e.Entry) {
			return nil
		}
	}
	return s.add(&e.Entry, e.Schema)
}

// additions writes what was added and comes before e; nil for all that is left.
func (s *stateOut) additions(e *state.Entry) error {
	for s.edits != nil && len(s.edits.added) > 0 {
		a := s.edits.added[0]
		if e != nil && s.compare(&a.Entry, e) >= 0 {
			return nil
		}
		s.edits.added = s.edits.added[1:]
		if err := s.add(&a.Entry, a.Schema); err != nil {
			return err
		}
	}
	return nil
}

// compare orders entries as a file wants them. Timers of one group have no order.
func (s *stateOut) compare(a, b *state.Entry) int {
	if s.d.Kind == state.KindTimers {
		return cmp.Compare(a.Group, b.Group)
	}
	return compareEntries(a, b)
}

func compareEntries(a, b *state.Entry) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), bytes.Compare(a.Key, b.Key), bytes.Compare(a.Sub, b.Sub))
}

// add writes an entry to the file for its schema.
func (s *stateOut) add(e *state.Entry, schema string) error {
	f := s.last
	if f == nil || f.schema != schema {
		i := slices.IndexFunc(s.open, func(f *fileOut) bool { return f.schema == schema })
		if i < 0 {
			s.open = append(s.open, &fileOut{schema: schema})
			i = len(s.open) - 1
		}
		f = s.open[i]
		s.last = f
	}
	if f.w != nil && s.full(f, e.Group) {
		if err := s.close(f); err != nil {
			return err
		}
	}
	if f.w == nil {
		if err := s.begin(f, e.Group); err != nil {
			return err
		}
	}
	if err := f.w.Add(e); err != nil {
		return err
	}
	f.groups.End = e.Group + 1
	s.op.n++
	if s.op.n >= reportEvery {
		s.op.report()
		return s.op.ctx.Err()
	}
	return nil
}

// full reports whether a file ends before an entry of the given group.
func (s *stateOut) full(f *fileOut, group int) bool {
	want := s.op.w.o.fileBytes(s.op.edit.base)
	if group == f.groups.End-1 {
		want = max(want, groupBytesMax)
	}
	return f.f.Size() >= want
}

// begin makes f ready for rows from the given group on.
func (s *stateOut) begin(f *fileOut, group int) (err error) {
	id := slices.Index(s.schemas, f.schema)
	if id < 0 {
		s.schemas = append(s.schemas, f.schema)
		id = len(s.schemas) - 1
	}
	f.handle = &state.File{Rows: &state.Rows{State: s.d.Name, Schema: id}}
	s.handles = append(s.handles, f.handle)
	f.groups = state.GroupRange{Start: group, End: group}
	f.f = s.op.w.sw.Create(label(s.op.uid, s.d.Name))
	h := state.RowsHeader{UID: s.op.uid, State: s.d, Groups: state.GroupRange{Start: group, End: s.max}, MaxParallelism: s.max}
	h.State.ID, h.State.Schemas, h.State.Value = 0, nil, f.schema
	f.w, err = state.NewRowsWriter(f.f, h, s.op.w.o.Codec)
	return err
}

// close ends the file and sends it.
func (s *stateOut) close(f *fileOut) error {
	if err := f.w.Finish(); err != nil {
		return err
	}
	h, file := f.handle, f.f
	h.Groups = f.groups
	h.Rows.Entries, h.Rows.Bytes = f.w.Count()
	s.op.bytes += h.Rows.Bytes
	f.f, f.w = nil, nil
	s.op.uploads.Go(func() (err error) {
		*h, err = file.Finish(s.op.ctx, *h)
		return err
	})
	return nil
}

// finish ends all files.
func (s *stateOut) finish() error {
	for _, f := range s.open {
		if f.w == nil {
			continue
		}
		if err := s.close(f); err != nil {
			return err
		}
	}
	return nil
}

// discard frees what was not sent.
func (s *stateOut) discard() {
	for _, f := range s.open {
		if f.f != nil {
			f.f.Discard()
		}
	}
}

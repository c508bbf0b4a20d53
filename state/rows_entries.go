package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// rows reads rows files: state by state, in the order in which the states come first among the handles. Files of one state with different schemas are read
// side by side, since the elements of a list may be spread over them and have to come in order.
func (e *entries) rows(handles []File) error {
	type source struct {
		schema int
		files  []File
	}
	var order []string
	sources := map[string][]source{}
	for _, h := range handles {
		if h.Rows == nil {
			return &CorruptError{File: h.Name, Err: errors.New("the manifest does not say of which state its rows are")}
		}
		of, known := sources[h.Rows.State]
		if !known {
			order = append(order, h.Rows.State)
		}
		i := 0
		for i < len(of) && of[i].schema != h.Rows.Schema {
			i++
		}
		if i == len(of) {
			of = append(of, source{schema: h.Rows.Schema})
		}
		of[i].files = append(of[i].files, h)
		sources[h.Rows.State] = of
	}
	for _, name := range order {
		var m rowsMerge
		for _, s := range sources[name] {
			m.sources = append(m.sources, &rowsSource{e: e, files: s.files})
		}
		if err := errors.Join(m.run(e), m.close()); err != nil {
			return err
		}
	}
	return nil
}

// rowsSource reads files of one state and schema one after the other.
type rowsSource struct {
	e     *entries
	files []File // that are not finished; the first is open
	body  io.ReadCloser
	in    *rowsReader
	index int // of the file's state in e.states
	head  *Entry
}

// next makes head the next entry within the groups, nil at the end.
func (s *rowsSource) next() error {
	for s.head = nil; len(s.files) > 0; {
		if s.in == nil {
			if err := s.open(); err != nil {
				return err
			}
		}
		e, err := s.in.next()
		h := &s.files[0]
		switch {
		case errors.Is(err, io.EOF):
			if err := s.close(); err != nil {
				return err
			}
			s.files = s.files[1:]
		case err != nil:
			return named(err, h.Name)
		case s.e.groups.Contains(e.Group) && h.Groups.Contains(e.Group):
			e.State, e.Schema = s.index, 0
			s.head = e
			return nil
		}
	}
	return nil
}

func (s *rowsSource) open() (err error) {
	h := s.files[0]
	if s.body, err = s.e.files.Read(s.e.ctx, h); err != nil {
		return err
	}
	if s.in, err = newRowsReader(s.body); err != nil {
		return named(err, h.Name)
	}
	if d := s.in.h.State; d.Name != h.Rows.State {
		return &CorruptError{File: h.Name, Err: fmt.Errorf("it holds state %q, the manifest says %q", d.Name, h.Rows.State)}
	}
	s.index = s.e.index(s.in.h.State)
	return nil
}

func (s *rowsSource) close() error {
	if s.in != nil {
		s.in.close()
		s.in = nil
	}
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// named puts the name of the file into a *CorruptError.
func named(err error, file string) error {
	var c *CorruptError
	if errors.As(err, &c) && c.File == "" {
		c.File = file
	}
	return err
}

// rowsMerge reads the sources of one state side by side. There are as many as schemas: one, as a rule, and seldom more than a few.
type rowsMerge struct{ sources []*rowsSource }

func (m *rowsMerge) run(e *entries) error {
	for _, s := range m.sources {
		if err := s.next(); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		if n&0xfff == 0 && e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		var least *rowsSource
		for _, s := range m.sources {
			if s.head != nil && (least == nil || compareEntries(s.head, least.head) < 0) {
				least = s
			}
		}
		if least == nil {
			return nil
		}
		if err := e.fn(*least.head); err != nil {
			return err
		}
		if err := least.next(); err != nil {
			return err
		}
	}
}

func (m *rowsMerge) close() error {
	var errs []error
	for _, s := range m.sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// compareEntries orders entries of one state that is no timers.
func compareEntries(a, b *Entry) int {
	if c := a.Group - b.Group; c != 0 {
		return c
	}
	if c := bytes.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	return bytes.Compare(a.Sub, b.Sub)
}

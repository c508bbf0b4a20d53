package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// loaded is an entry of a snapshot with its key decoded. schema is the id of the value's schema, as the state's resolver numbers them.
type loaded[K comparable] struct {
	Entry
	key    K
	schema int
}

// UndeclaredStateError reports states in a snapshot that the operator does not declare.
type UndeclaredStateError struct {
	UID   string
	File  string
	Names []string // sorted
}

// Error names operator, states and remedy.
func (e *UndeclaredStateError) Error() string {
	return fmt.Sprintf("state: %q holds states %q that operator %q does not declare; declare them again, or drop them by name at restore", e.File, e.Names, e.UID)
}

// Restore loads the entries of the files whose key group is owned; see Operator.
func (s *Keyed[K]) Restore(ctx context.Context, r Restore) error {
	if !s.opened {
		return errors.New("state: Restore of keyed state that is not open")
	}
	for _, h := range r.Handles {
		if !h.Groups.Overlaps(s.groups) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.restoreFile(ctx, r.Files, h, r.Drop); err != nil {
			return err
		}
	}
	return nil
}

func (s *Keyed[K]) restoreFile(ctx context.Context, files Files, h File, drop []string) (err error) {
	r, err := files.Read(ctx, h)
	if err != nil {
		return fmt.Errorf("state: restore operator %q subtask %d: %w", s.uid, s.subtask, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f := &fileReader{r: r}
	head, err := f.header()
	if err == nil {
		var plan []member[K]
		if plan, err = s.plan(head, h.Name, drop); err != nil {
			return err
		}
		in := s.intake(plan, head)
		if err = f.entries(in.take); err == nil {
			err = in.finish()
		}
	}
	var c *CorruptError
	if errors.As(err, &c) {
		c.File = h.Name
		return err
	}
	if err != nil {
		return fmt.Errorf("state: restore operator %q subtask %d from %q: %w", s.uid, s.subtask, h.Name, err)
	}
	return nil
}

// plan matches the states of a file with the declared ones: plan[i] takes entries of state i, nil drops them.
func (s *Keyed[K]) plan(h Header, file string, drop []string) ([]member[K], error) {
	var errs []error
	if h.MaxParallelism != s.cfg.MaxParallelism {
		errs = append(errs, fmt.Errorf("state: %q of operator %q was written with max parallelism %d, the job has %d; it is fixed for the life of a state",
			file, s.uid, h.MaxParallelism, s.cfg.MaxParallelism))
	}
	plan := make([]member[K], len(h.States))
	var unknown []string
	for i, d := range h.States {
		j := slices.IndexFunc(s.members, func(m member[K]) bool { return m.descriptor().Name == d.Name })
		switch {
		case j >= 0:
			plan[i] = s.members[j]
			if err := s.match(plan[i], d); err != nil {
				errs = append(errs, err)
			}
		case !slices.Contains(drop, d.Name):
			unknown = append(unknown, d.Name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		errs = append(errs, &UndeclaredStateError{UID: s.uid, File: file, Names: unknown})
	}
	return plan, errors.Join(errs...)
}

// match checks that entries written as d can be read as m declares.
func (s *Keyed[K]) match(m member[K], d Descriptor) error {
	want := m.descriptor()
	if d.Kind != want.Kind {
		return fmt.Errorf("state: state %q of operator %q was a %s state and is declared as a %s state; declare another name and drop the old one", d.Name, s.uid, d.Kind, want.Kind)
	}
	for _, x := range []struct{ what, got, want string }{{"operator key", d.Key, want.Key}, {"map key", d.Sub, want.Sub}} {
		if x.got != x.want {
			return fmt.Errorf("state: state %q of operator %q was written with %s schema %s and is declared with %s; key schemas cannot change: give the old codec, or declare another name and drop the old one", d.Name, s.uid, x.what, x.got, x.want)
		}
	}
	for _, schema := range d.schemas() {
		if _, err := m.resolve(schema); err != nil {
			return fmt.Errorf("state: state %q of operator %q was written with schema %s and is declared with %s: %w", d.Name, s.uid, schema, want.Value, err)
		}
	}
	return nil
}

// intake takes the entries of one file in.
type intake[K comparable] struct {
	s    *Keyed[K]
	plan []member[K]
	head Header
	e    loaded[K]
	raw  []byte // the key that e.key is decoded from
	have bool
	sink *storeWriter // nil on the memory backend
}

func (s *Keyed[K]) intake(plan []member[K], head Header) *intake[K] {
	in := &intake[K]{s: s, plan: plan, head: head}
	if s.store != nil {
		in.sink = &storeWriter{store: s.store}
	}
	return in
}

func (in *intake[K]) take(e Entry) error {
	m := in.plan[e.State]
	if m == nil || !in.s.groups.Contains(e.Group) {
		return nil
	}
	if g := GroupOf(e.Hash, in.s.cfg.MaxParallelism); g != e.Group {
		return fmt.Errorf("an entry of key group %d has a hash of group %d; the file was written with another number of key groups", e.Group, g)
	}
	if !in.have || !bytes.Equal(in.raw, e.Key) {
		var key K
		if err := in.s.codec.Decode(e.Key, &key); err != nil {
			return fmt.Errorf("decode operator key %x of state %q: %w", e.Key, in.head.States[e.State].Name, err)
		}
		in.e.key, in.raw, in.have = key, append(in.raw[:0], e.Key...), true
	}
	in.e.Entry = e
	var err error
	if in.e.schema, err = in.schema(m, e); err != nil {
		return err
	}
	if in.head.States[e.State].EventTimeTTL != m.descriptor().EventTimeTTL {
		in.e.ExpiresMS = 0 // a stamp of another clock: the state gains its TTL now
	}
	if in.sink != nil && m.descriptor().Kind != KindTimers {
		err = in.s.takeToStore(in.sink, m, &in.e)
	} else {
		err = m.load(&in.e)
	}
	if err != nil {
		return fmt.Errorf("restore %s state %q: %w", m.descriptor().Kind, m.descriptor().Name, err)
	}
	return nil
}

// schema is the id by which m reads the value of e.
func (in *intake[K]) schema(m member[K], e Entry) (int, error) {
	schemas := in.head.States[e.State].schemas()
	if e.Schema < 0 || e.Schema >= len(schemas) {
		return 0, fmt.Errorf("%w: schema id %d of an entry; state %q has %d", errCorrupt, e.Schema, in.head.States[e.State].Name, len(schemas))
	}
	return m.resolve(schemas[e.Schema])
}

func (in *intake[K]) finish() error {
	if in.sink == nil {
		return nil
	}
	return in.sink.flush()
}

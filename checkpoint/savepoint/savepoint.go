package savepoint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// Savepoint is a savepoint or a checkpoint that is open for reading. Nothing of its content is in memory but the manifest. It may be used from many
// goroutines.
type Savepoint struct {
	uri   string
	m     *checkpoint.Manifest
	files state.Files
}

// Open reads the manifest of a portable savepoint, a native one, or a checkpoint; uri as for checkpoint.Load. Of a running job, a checkpoint may be
// pruned while it is read: it then fails with an error about a missing object.
func Open(ctx context.Context, uri string) (*Savepoint, error) {
	m, files, err := checkpoint.Load(ctx, uri)
	if err != nil {
		return nil, err
	}
	return From(uri, m, files), nil
}

// From is a checkpoint or savepoint whose manifest is at hand. uri is for messages. The manifest is not changed and must not change.
func From(uri string, m *checkpoint.Manifest, files state.Files) *Savepoint {
	return &Savepoint{uri: uri, m: m, files: files}
}

// URI is where it was opened.
func (s *Savepoint) URI() string { return s.uri }

// Manifest is what it holds beside entries. It is shared: nobody changes it.
func (s *Savepoint) Manifest() *checkpoint.Manifest { return s.m }

// UIDs are its operators, sorted.
func (s *Savepoint) UIDs() []string {
	uids := make([]string, len(s.m.Operators))
	for i, o := range s.m.Operators {
		uids[i] = o.UID
	}
	return uids
}

// UnknownError says that a savepoint has no operator or state of a name.
type UnknownError struct {
	URI, UID, State string   // State is "" when there is no such operator
	Have            []string // names that there are, sorted
}

// Error names what there is.
func (e *UnknownError) Error() string {
	if e.State == "" {
		return fmt.Sprintf("savepoint: %s has no operator %q, it has %q", e.URI, e.UID, e.Have)
	}
	return fmt.Sprintf("savepoint: operator %q of %s has no state %q, it has %q", e.UID, e.URI, e.State, e.Have)
}

func (s *Savepoint) operator(uid string) (*checkpoint.OperatorState, error) {
	i, ok := slices.BinarySearchFunc(s.m.Operators, uid, func(o checkpoint.OperatorState, uid string) int { return strings.Compare(o.UID, uid) })
	if !ok {
		return nil, &UnknownError{URI: s.uri, UID: uid, Have: s.UIDs()}
	}
	return &s.m.Operators[i], nil
}

// Descriptor is what is known of a state of an operator. An *UnknownError when there is none of that name.
func (s *Savepoint) Descriptor(uid, name string) (state.Descriptor, error) {
	o, err := s.operator(uid)
	if err != nil {
		return state.Descriptor{}, err
	}
	return descriptorOf(s.uri, o, name)
}

func descriptorOf(uri string, o *checkpoint.OperatorState, name string) (state.Descriptor, error) {
	have := make([]string, 0, len(o.States))
	for _, d := range o.States {
		if d.Name == name {
			return d, nil
		}
		have = append(have, d.Name)
	}
	return state.Descriptor{}, &UnknownError{URI: uri, UID: o.UID, State: name, Have: have}
}

// Entry is one entry of a state: a value, an element of a list, an entry of a map, or a timer. It is valid during the call that hands it out.
type Entry struct {
	state.Entry
	// Of describes the state. Its Value is the schema of the program that took the savepoint, Schema that of this very value.
	Of     *state.Descriptor
	Schema string
	// Broadcast says that it is one of the entries that every subtask holds.
	Broadcast bool
}

// Entries calls fn for every entry of an operator, those of broadcast states last. Within one state they ascend by key group, then by encoded key and
// sub key; timers by key group only. What has expired and is still there is handed out. An error of fn ends it and is returned as it is. What fn was given is to be
// trusted only when Entries returns no error: a checksum may come last.
func (s *Savepoint) Entries(ctx context.Context, uid string, fn func(*Entry) error) error {
	return s.entries(ctx, uid, "", fn)
}

// EntriesOf is Entries for one state. Of a portable savepoint nothing else is read; in any other form all states of an operator stand together.
func (s *Savepoint) EntriesOf(ctx context.Context, uid, name string, fn func(*Entry) error) error {
	if _, err := s.Descriptor(uid, name); err != nil {
		return err
	}
	return s.entries(ctx, uid, name, func(e *Entry) error {
		if e.Of.Name != name {
			return nil
		}
		return fn(e)
	})
}

// entries reads the operator; name is the one state that is wanted, "" for all.
func (s *Savepoint) entries(ctx context.Context, uid, name string, fn func(*Entry) error) error {
	o, err := s.operator(uid)
	if err != nil {
		return err
	}
	for _, t := range o.Subtasks {
		if err := s.read(ctx, o, t.Groups, wanted(t.Files, name), false, fn); err != nil {
			return err
		}
	}
	for _, t := range o.Subtasks {
		if err := s.read(ctx, o, state.GroupRange{Start: 0, End: s.m.MaxParallelism}, wanted(t.Broadcast, name), true, fn); err != nil {
			return err
		}
	}
	return nil
}

// wanted leaves files out that are known to hold another state.
func wanted(files []state.File, name string) []state.File {
	if name == "" {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), func(f state.File) bool { return f.Rows != nil && f.Rows.State != name })
}

func (s *Savepoint) read(ctx context.Context, o *checkpoint.OperatorState, groups state.GroupRange, files []state.File, broadcast bool, fn func(*Entry) error) error {
	if len(files) == 0 {
		return nil
	}
	r := state.Restore{Files: s.files, Handles: files, States: o.States, MaxParallelism: s.m.MaxParallelism}
	of := map[string]*state.Descriptor{}
	for i := range o.States {
		of[o.States[i].Name] = &o.States[i]
	}
	var resolved []*state.Descriptor
	var out Entry
	_, err := state.ReadEntries(ctx, r, groups, func(states []state.Descriptor, e state.Entry) error {
		for len(resolved) < len(states) {
			d := of[states[len(resolved)].Name]
			if d == nil {
				return fmt.Errorf("savepoint: operator %q of %s holds entries of state %q, which its manifest does not name", o.UID, s.uri, states[len(resolved)].Name)
			}
			resolved = append(resolved, d)
		}
		out.Entry, out.Of, out.Broadcast = e, resolved[e.State], broadcast
		var err error
		if out.Schema, err = schemaOf(&states[e.State], e.Schema); err != nil {
			return fmt.Errorf("savepoint: operator %q of %s: %w", o.UID, s.uri, err)
		}
		return fn(&out)
	})
	return err
}

// schemaOf is the schema with the given id.
func schemaOf(d *state.Descriptor, id int) (string, error) {
	switch {
	case id < len(d.Schemas):
		return d.Schemas[id], nil
	case id == 0:
		return d.Value, nil
	}
	return "", fmt.Errorf("an entry of state %q has the schema id %d, of %d", d.Name, id, len(d.Schemas))
}

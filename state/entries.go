package state

import (
	"context"
	"errors"
	"fmt"
)

// ReadEntries calls fn for every entry that the files of one operator hold in the given key groups, in ascending order of (group, state,
// key, sub key) where the files are tables of one operator or one state file, each entry once: of several versions the newest, without what was deleted.
// It returns the descriptors that Entry.State is an index of. Entries that have expired are handed out. r.Rename and r.Drop are not applied.
// An error of fn ends the reading and is returned as it is. What fn was given is to be trusted only when ReadEntries returns no error.
func ReadEntries(ctx context.Context, r Restore, groups GroupRange, fn func(Entry) error) ([]Descriptor, error) {
	var states []Descriptor
	for _, h := range r.Handles {
		if !h.Groups.Overlaps(groups) {
			continue
		}
		if h.Kind != FileEntries {
			return nil, fmt.Errorf("state: read entries of %q: %s files: %w", h.Name, h.Kind, errors.ErrUnsupported)
		}
		body, err := r.Files.Read(ctx, h)
		if err != nil {
			return nil, err
		}
		head, err := ReadFile(body, func(e Entry) error {
			if !groups.Contains(e.Group) || !h.Groups.Contains(e.Group) {
				return nil
			}
			return fn(e)
		})
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
		states = head.States
	}
	return states, nil
}

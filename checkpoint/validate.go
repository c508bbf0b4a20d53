package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/state"
)

// Validate reports the first way in which the manifest contradicts itself.
func (m *Manifest) Validate() error {
	switch {
	case m.Version < 1 || m.Version > FormatVersion:
		return fmt.Errorf("checkpoint: manifest: version is %d, want 1 to %d", m.Version, FormatVersion)
	case m.ID < 1:
		return fmt.Errorf("checkpoint: manifest: id is %d, want at least 1", m.ID)
	case m.Epoch < 1:
		return fmt.Errorf("checkpoint: manifest %d: epoch is %d, want at least 1", m.ID, m.Epoch)
	case m.MaxParallelism < 1:
		return fmt.Errorf("checkpoint: manifest %d: max parallelism is %d, want at least 1", m.ID, m.MaxParallelism)
	}
	for i, o := range m.Operators {
		if i > 0 && m.Operators[i-1].UID >= o.UID {
			return fmt.Errorf("checkpoint: manifest %d: uid %q comes after %q, want ascending order", m.ID, o.UID, m.Operators[i-1].UID)
		}
		if err := errors.Join(o.validate(m.MaxParallelism), o.validateEarlier(m.ID)); err != nil {
			return fmt.Errorf("checkpoint: manifest %d: uid %q: %w", m.ID, o.UID, err)
		}
	}
	for i := range m.Channels {
		if m.Savepoint {
			return fmt.Errorf("checkpoint: manifest %d: a savepoint has records in flight on edge %q, want none", m.ID, m.Channels[i].Edge)
		}
		if err := m.Channels[i].validate(m.MaxParallelism); err != nil {
			return fmt.Errorf("checkpoint: manifest %d: %w", m.ID, err)
		}
	}
	return nil
}

// validateEarlier checks what was prepared for checkpoints before id.
func (o *OperatorState) validateEarlier(id int64) error {
	last := int64(0)
	for _, p := range o.Earlier {
		if p.ID <= last || p.ID >= id {
			return fmt.Errorf("it has earlier committables of %d after those of %d, want ascending ids below %d", p.ID, last, id)
		}
		last = p.ID
	}
	return nil
}

func (o *OperatorState) validate(maxParallelism int) error {
	if o.Parallelism < 1 || o.Parallelism > maxParallelism || len(o.Subtasks) != o.Parallelism {
		return fmt.Errorf("parallelism is %d with %d subtasks, want equal numbers from 1 to %d", o.Parallelism, len(o.Subtasks), maxParallelism)
	}
	for i, d := range o.States {
		if i > 0 && o.States[i-1].Name >= d.Name {
			return fmt.Errorf("state %q comes after %q, want ascending order", d.Name, o.States[i-1].Name)
		}
	}
	splits := map[string]bool{}
	for i, s := range o.Subtasks {
		if want := state.RangeOf(i, o.Parallelism, maxParallelism); s.Groups != want {
			return fmt.Errorf("subtask %d has key groups [%d,%d), want [%d,%d)", i, s.Groups.Start, s.Groups.End, want.Start, want.End)
		}
		for _, f := range s.objects() {
			if err := validFile(f, maxParallelism); err != nil {
				return fmt.Errorf("subtask %d: %w", i, err)
			}
		}
		for _, name := range s.Pending {
			if err := ValidName(name); err != nil {
				return fmt.Errorf("subtask %d: pending: %w", i, err)
			}
		}
		for _, p := range s.Splits {
			if splits[p.ID] {
				return fmt.Errorf("split %q is there twice", p.ID)
			}
			splits[p.ID] = true
		}
	}
	return nil
}

// levelMax is the highest level of a table of a base.
const levelMax = 6

// objectBytesMax bounds the content of one object, so that what only looks like a handle does not make anybody reserve memory for its table of
// checksums. The largest object that a store takes at once has 5 GB.
const objectBytesMax = 1 << 40

func validFile(f state.File, maxParallelism int) error {
	if f.Name == "" {
		if int64(len(f.Inline)) != f.Size || f.Size > InlineBytesMax || f.Sums != "" {
			return fmt.Errorf("a file has no name and %d bytes inline of %d with checksums %q, want all of its content inline, of at most %d bytes, and no checksums",
				len(f.Inline), f.Size, f.Sums, InlineBytesMax)
		}
	} else if err := ValidName(f.Name); err != nil {
		return err
	} else if len(f.Inline) > 0 {
		return fmt.Errorf("file %q has %d bytes inline as well", f.Name, len(f.Inline))
	}
	if _, err := hex.DecodeString(f.SHA256); err != nil || len(f.SHA256) != 2*sha256.Size {
		return fmt.Errorf("file %q has SHA-256 %q, want %d hex digits", f.Name, f.SHA256, 2*sha256.Size)
	}
	if _, err := hex.DecodeString(f.Sums); err != nil || len(f.Sums) != 0 && len(f.Sums) != 8 {
		return fmt.Errorf("file %q has checksums %q, want 8 hex digits or none", f.Name, f.Sums)
	}
	if f.Size > objectBytesMax {
		return fmt.Errorf("file %q has %d bytes, want at most %d", f.Name, f.Size, int64(objectBytesMax))
	}
	if f.Size < 0 || f.Groups.Start < 0 || f.Groups.End < f.Groups.Start || f.Groups.End > maxParallelism {
		return fmt.Errorf("file %q has size %d and key groups [%d,%d), want a size of 0 or more and a range within [0,%d)",
			f.Name, f.Size, f.Groups.Start, f.Groups.End, maxParallelism)
	}
	return validKind(f)
}

// validKind checks what depends on the kind.
func validKind(f state.File) error {
	switch f.Kind {
	case state.FileBase, state.FileDelta:
		if f.Lo != nil && f.Hi != nil && bytes.Compare(f.Lo, f.Hi) >= 0 {
			return fmt.Errorf("file %q has the bounds [%x,%x), want the first below the second", f.Name, f.Lo, f.Hi)
		}
	case state.FileEntries, state.FileRows:
		if f.Lo != nil || f.Hi != nil {
			return fmt.Errorf("file %q of kind %q has the bounds [%x,%x), which only tables have", f.Name, f.Kind, f.Lo, f.Hi)
		}
	default:
		return fmt.Errorf("file %q has the kind %q, which this release does not know", f.Name, f.Kind)
	}
	if f.Level < 0 || f.Level > levelMax || f.Level > 0 && f.Kind != state.FileBase {
		return fmt.Errorf("file %q of kind %q has level %d, want 0, or up to %d for a table of a base", f.Name, f.Kind, f.Level, levelMax)
	}
	return nil
}

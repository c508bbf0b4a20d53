package file

import (
	"errors"
	"fmt"
)

// Conditions of objects, wrapped with the name of the object.
var (
	errExists   = errors.New("object exists already")
	errNotFound = errors.New("object does not exist")
)

// ErrCorrupt marks every *CorruptFileError.
var ErrCorrupt = errors.New("file: corrupt file")

// CorruptFileError says that a file of an archive is not what was once written. errors.Is(err, ErrCorrupt) finds it.
type CorruptFileError struct {
	// Path of the file below the archive's root.
	Path string
	// Record is the index of the first record that could not be read; records before it are good.
	Record int64
	// Err is what was found.
	Err error
}

// Error names the file, the record and the remedies.
func (e *CorruptFileError) Error() string {
	return fmt.Sprintf("file: %q is corrupt at record %d: %v; restore the file from a copy, or set SourceOptions.OnCorrupt to DeadLetterCorrupt", e.Path, e.Record, e.Err)
}

// Unwrap returns what was found.
func (e *CorruptFileError) Unwrap() error { return e.Err }

// Is reports whether target is ErrCorrupt.
func (e *CorruptFileError) Is(target error) bool { return target == ErrCorrupt }

// ForeignManifestError says that the manifest of a checkpoint exists and lists other files than those to be committed: two
// coordinators believe that they completed the same checkpoint of the same attempt. Nothing was changed.
type ForeignManifestError struct {
	// Manifest is the name of the manifest below the archive's root.
	Manifest   string
	Checkpoint int64
	// Theirs and Ours are the first listed file that differs; empty when that list is shorter.
	Theirs, Ours string
}

// Error names the manifest and the first difference.
func (e *ForeignManifestError) Error() string {
	return fmt.Sprintf("file: checkpoint %d was committed by another coordinator: manifest %q lists %q where this one has %q; "+
		"stop the other job, or give this one its own archive or checkpoint storage", e.Checkpoint, e.Manifest, e.Theirs, e.Ours)
}

// LostFileError says that a file which a completed checkpoint lists is neither at its staged nor at its visible name.
type LostFileError struct {
	// Staged and Path are the two names below the archive's root.
	Staged, Path string
	// Records is how many records the file held.
	Records int64
}

// Error names both places.
func (e *LostFileError) Error() string {
	return fmt.Sprintf("file: %d committed records are lost: neither %q nor %q exists; restore one from a copy, "+
		"or start from an older checkpoint", e.Records, e.Staged, e.Path)
}

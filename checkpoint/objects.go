package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/millrace-io/millrace/state"
)

// Storage is where checkpoints live. It is a description: a value that holds options and starts nothing. Dir and S3 return one;
// another store needs these three methods and has to pass checkpointtest.Conformance.
//
// One Storage belongs to one job. Two jobs need two directories or prefixes: the second leader fences the first.
type Storage interface {
	// Validate reports every fault of the options at once, without I/O.
	Validate() error
	// Open connects to the store. It makes nothing: a directory that does not exist is made by the first write, a bucket never.
	Open(ctx context.Context) (Objects, error)
	// URL names the storage for OpenURL, Load and messages. It holds no secret.
	URL() string
}

// Objects is an object store with conditional writes.
//
// Contract:
//  1. Put never changes an object that exists, and of two concurrent calls with one name exactly one succeeds.
//  2. Swap changes an object only when its tag is the one given; of two concurrent calls with one tag exactly one succeeds. A tag is
//     never reused for other content. Only names without a slash are ever swapped, and they are never Put: Get may return an empty
//     tag for others.
//  3. A call that returns nil is durable, and seen by every later Get and List from anywhere.
//  4. Nobody ever sees part of an object.
//  5. An error that leaves open whether the call took effect, or that may be gone when tried again, wraps ErrTransient. Swap's error wraps
//     ErrUnknownOutcome instead when the effect may be seen and is not durable: it is not tried again.
//  6. All methods may be called from many goroutines and processes at once.
//
// Names are slash-separated, valid for fs.ValidPath, of letters, digits, '.', '_' and '-'. No name is a folder of another.
type Objects interface {
	// Put creates the object with the size bytes that body holds, and fails with ErrExists when there is one of that name.
	Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error
	// Swap replaces the content of the object whose tag is tag and returns the new tag; ErrConflict when its tag is another one or
	// the object does not exist. The empty tag creates the object; ErrConflict when it exists.
	Swap(ctx context.Context, name, tag string, data []byte) (newTag string, err error)
	// Get opens the object; ErrNotFound when there is none. The caller closes body.
	Get(ctx context.Context, name string) (body io.ReadCloser, tag string, err error)
	// GetRange opens the n bytes of the object from off on, fewer when it ends before, none when off is at or behind its end; ErrNotFound
	// when there is none, which a call with n = 0 need not find out. off and n are not negative. The caller closes the body.
	GetRange(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error)
	// List returns the names that start with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes the object. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// Errors of Objects. Implementations wrap them with the name of the object.
var (
	ErrExists   = errors.New("object exists")
	ErrNotFound = errors.New("object not found")
	ErrConflict = errors.New("object was changed by another writer")
	// ErrTransient marks an error after which the outcome is unknown or a further try may succeed.
	ErrTransient = errors.New("transient")
)

// Errors of Journal.
var (
	// ErrFenced says that another leader has taken over: this one must stop. Starting the job again makes it the leader.
	ErrFenced = errors.New("checkpoint: another leader has taken over the storage")
	// ErrUnknownOutcome says that the storage did not answer and a write may or may not be there. The Journal is unusable from then
	// on; Lead makes a new one that knows.
	ErrUnknownOutcome = errors.New("checkpoint: the storage has not answered, a write may or may not have taken effect")
	// ErrCorrupt marks every *CorruptError, and every *state.CorruptError: it is state.ErrCorrupt.
	ErrCorrupt = state.ErrCorrupt
)

// CorruptError says that an object of a storage is not what was once written. errors.Is(err, ErrCorrupt) finds it.
type CorruptError struct {
	Object string // name, with the URL of the storage where known
	// Offset and Length are the bytes of the object among which the fault is; Length is 0 when that is not known.
	Offset, Length int64
	Reason         string
	Remedy         string // may be empty
}

// Error names the object and the place.
func (e *CorruptError) Error() string {
	at := ""
	if e.Length > 0 {
		at = fmt.Sprintf(" at offset %d (%d bytes)", e.Offset, e.Length)
	}
	s := fmt.Sprintf("checkpoint: object %q is corrupt%s: %s", e.Object, at, e.Reason)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// ValidName reports whether name may name an object, as an error that says why not. Implementations of Objects that map names to
// file names check it: a damaged manifest must not lead outside of the storage.
func ValidName(name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' || r == '/')
	}
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("checkpoint: %q is not the name of an object: want slash-separated parts, none of them \".\" or \"..\"", name)
	}
	for _, r := range name {
		if bad(r) {
			return fmt.Errorf("checkpoint: %q is not the name of an object: it holds %q", name, r)
		}
	}
	return nil
}

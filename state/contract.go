// Package state holds the keyed state of operators: values, lists, maps, reducing and aggregating states and timers, partitioned by
// key group, with the backends memstate and pebblestate beneath one conformance suite.
//
// State belongs to one operator in one subtask and is used by that task's goroutine only; nothing here takes a lock on the
// record path. Everything that names state (Descriptor) is known before anything starts.
package state

import (
	"context"
	"io"
	"time"
)

// DefaultMaxParallelism is the number of key groups when none is chosen.
const DefaultMaxParallelism = 128

// maxMaxParallelism is the largest number of key groups.
const maxMaxParallelism = 1 << 15

// DefaultMaxParallelismFor is a number of key groups that leaves a job of the given parallelism, at least 1, room to grow by half and more, and
// divides its keys evenly enough: the power of two at or above 1.5 × parallelism, at least DefaultMaxParallelism and at most 32768. It is for
// the start of a new job: the number of key groups is fixed for the life of its state, whatever its parallelism becomes.
// Source: Flink KeyGroupRangeAssignment.computeDefaultMaxParallelism.
func DefaultMaxParallelismFor(parallelism int) int {
	n := DefaultMaxParallelism
	for n < parallelism+parallelism/2 && n < maxMaxParallelism {
		n *= 2
	}
	return n
}

// GroupRange is the half-open range [Start, End) of key groups that one subtask owns.
type GroupRange struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// Contains reports whether group g lies in the range.
func (r GroupRange) Contains(g int) bool { return g >= r.Start && g < r.End }

// Overlaps reports whether the two ranges share a group.
func (r GroupRange) Overlaps(o GroupRange) bool { return r.Start < o.End && o.Start < r.End }

// GroupOf is the key group, in [0, maxParallelism), of a key with the given hash. It takes the high bits by a multiply, so it
// is monotone in the hash and needs no division.
func GroupOf(hash uint64, maxParallelism int) int {
	return int((hash >> 32) * uint64(maxParallelism) >> 32)
}

// RangeOf is the range of key groups of one subtask. The ranges of subtasks 0…parallelism-1 are disjoint and cover
// [0, maxParallelism).
// Source: Flink KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex, with a half-open end.
func RangeOf(subtask, parallelism, maxParallelism int) GroupRange {
	return GroupRange{
		Start: (subtask*maxParallelism + parallelism - 1) / parallelism,
		End:   ((subtask+1)*maxParallelism + parallelism - 1) / parallelism,
	}
}

// SubtaskOf is the subtask that owns key group g.
func SubtaskOf(g, parallelism, maxParallelism int) int { return g * parallelism / maxParallelism }

// Kind is the kind of a state.
type Kind string

// The kinds of state.
const (
	KindValue       Kind = "value"
	KindList        Kind = "list"
	KindMap         Kind = "map"
	KindReducing    Kind = "reducing"
	KindAggregating Kind = "aggregating"
	KindTimers      Kind = "timers"
)

// Descriptor is what is known of one state before anything starts; it is kept in every checkpoint.
type Descriptor struct {
	Name string `json:"name"` // unique within the operator
	// ID is the number that stands for the state in the addresses of a store and of the tables of a checkpoint. It stays with the state
	// for as long as checkpoints follow on one another, whatever states are declared before or after it; see Assign.
	ID    int           `json:"id,omitempty"`
	Kind  Kind          `json:"kind"`
	Key   string        `json:"key"`           // schema of the operator's key
	Sub   string        `json:"sub,omitempty"` // schema of the map key
	Value string        `json:"value"`         // schema of the value, element or accumulator, as this program writes it
	TTL   time.Duration `json:"ttl,omitempty"` // 0: never expires
	// EventTimeTTL says that TTL is measured in event time.
	EventTimeTTL bool `json:"event_time_ttl,omitempty"`
	// Schemas are the schemas of all values that may be stored, by the schema id that stored values carry; empty for Value alone. Value
	// is among them.
	Schemas []string `json:"schemas,omitempty"`
	// Reads is what the program that declares the state can read; it is not stored.
	Reads Reads `json:"-"`
}

// Backend makes the keyed state of subtasks. memstate.New and pebblestate.Dir return one.
type Backend interface {
	// Name is "memory" or "pebble"; it is printed, never compared.
	Name() string
	// Validate reports every fault of the backend's options.
	Validate() error
	// Open makes the empty store of one operator in one subtask. A nil Store means that the decoded tables are the state.
	Open(o OpenOptions) (Store, error)
}

// OpenOptions says whose store is opened.
type OpenOptions struct {
	UID     string
	Subtask int
	Groups  GroupRange
	// Attempt is different for each (re)start of the job; a store never sees the files of another attempt.
	Attempt string
	// States are the declared states as Assign has numbered them, in any order; nil numbers them in the order of their declaration.
	States []Descriptor
	// NoSnapshots says that no snapshot will be taken: changes need not be remembered for one.
	NoSnapshots bool
	// MaxDeltas is the number of deltas from which on a new base is made, whatever their size: a restore attaches each of them, and reads pay for them until
	// they are compacted. 0 for DefaultMaxDeltas.
	MaxDeltas int
	// BaseLimit limits the rate at which a new base is uploaded. Default LimitTo(BaseBytesPerSecond) for each store.
	BaseLimit Limit
}

// Snapshot is the image of one operator's state in one subtask at a barrier. It is taken by the task's goroutine; Write and Release
// are called afterwards from another goroutine while the task goes on. Above a store the task has to go on calling Operator.Background
// for Write to come to its end.
type Snapshot interface {
	// Write stores the image through files and returns what a checkpoint must keep to restore it. Handles of files written by an
	// earlier checkpoint are returned again: whether that one was completed does not matter.
	Write(ctx context.Context, files Files) (Written, error)
	// Release frees what the image holds. It is called once, after Write or instead of it. What a Write that failed or was never called has
	// not stored is part of the next snapshot.
	Release()
}

// Written is what Snapshot.Write has stored.
type Written struct {
	// Files are everything that a restore needs, in the order in which Restore wants them.
	Files []File
	// Pending are names of objects that no checkpoint names yet and a later one will, for instance of a base that is being uploaded. A
	// checkpoint has to list them: what nobody lists is garbage.
	Pending []string
	// Bytes is the size of what was stored for this checkpoint alone, BaseBytes of what was stored of a new base since the last
	// snapshot.
	Bytes, BaseBytes int64
	// BaseError is why the attempt to make a new base failed that ended since the last snapshot; it is tried again. The files are complete without.
	BaseError error
}

// FileKind says what an object with state holds.
type FileKind string

// The kinds of files.
const (
	// FileEntries is a state file: all entries of a subtask, see file.go. It does not depend on the backend.
	FileEntries FileKind = ""
	// FileBase is a table of the base of a subtask: sorted, at most one version of each address. Tables of one level do not overlap,
	// except on level 0, where a later one wins; a lower level number wins over a higher one.
	FileBase FileKind = "base"
	// FileDelta is a table with what changed between two barriers: full values and tombstones. It wins over the base and over the deltas
	// before it.
	FileDelta FileKind = "delta"
	// FileRows is an Avro container file of a savepoint: the entries of one state in some key groups, all with one schema.
	FileRows FileKind = "rows"
)

// File is the handle of one immutable object of a checkpoint.
type File struct {
	Name   string     `json:"name,omitempty"` // relative to the storage root, never reused; "" when Inline holds the content
	Size   int64      `json:"size"`           // bytes of content; the object itself may be longer, see Sums
	SHA256 string     `json:"sha256"`         // of the content
	Groups GroupRange `json:"groups"`         // key groups with entries inside that count
	Kind   FileKind   `json:"kind,omitempty"`
	Level  int        `json:"level,omitempty"` // of a FileBase: 0…6
	// Lo and Hi bound the addresses of a table that count: Lo ≤ address < Hi; nil for no bound. Others in it are somebody else's, and stale.
	Lo []byte `json:"lo,omitempty"`
	Hi []byte `json:"hi,omitempty"`
	// Sums is the CRC32C, 8 hex digits, of the table of checksums that follows the content in the object, by which parts of it are
	// checked; "" for an object without one.
	Sums string `json:"sums,omitempty"`
	// Elements is above the number of every element of a list state that a table, or one before it of the same subtask, may hold.
	Elements uint64 `json:"elements,omitempty"`
	// Inline is the content of a small object that is kept in the manifest itself.
	Inline []byte `json:"inline,omitempty"`
	// Rows says what a FileRows holds; nil for all others.
	Rows *Rows `json:"rows,omitempty"`
}

// Rows is what a manifest says of a FileRows, so that it can be left closed when its content is not needed.
type Rows struct {
	State   string `json:"state"`            // name
	Schema  int    `json:"schema,omitempty"` // index in Descriptor.Schemas of the schema of its values
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"` // of the rows before compression
	// Sums are the checksums of its content, CRC32C of each 64 KiB, big-endian. They stand here, not behind the content, since an Avro tool takes
	// what follows the last block for another one.
	Sums []byte `json:"sums"`
}

// Files stores and reads the objects of checkpoints. Implemented by package checkpoint. All methods may be called from many goroutines.
type Files interface {
	// Write stores one object under a new unique name; fill writes its content. Content of up to inline bytes may come back in the
	// handle instead (File.Inline); 0 for never. The handle has Name or Inline, Size, SHA256, Groups and Sums.
	Write(ctx context.Context, groups GroupRange, inline int, fill func(w io.Writer) error) (File, error)
	// Read opens the content from its start. The reader fails with an error that names the object when size or checksum differ, at the
	// latest at its end; the caller reads to the end before it trusts what it has read.
	Read(ctx context.Context, f File) (io.ReadCloser, error)
	// Open opens the content for reading at any place.
	Open(ctx context.Context, f File) (Object, error)
	// Later is the Files of the checkpoint after this one: an object written through it is not garbage before that one is completed.
	Later() Files
}

// Object is the content of a file, open for reading at any place, from many goroutines.
type Object interface {
	// ReadAt fills p with the content from off on. off+len(p) is at most Size. Every byte has been checked: a damaged part is an
	// error that names object and offset and wraps ErrCorrupt.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Size is that of the content in bytes.
	Size() int64
	// Local says that reading is as cheap as from a local file: keeping a copy is of no use.
	Local() bool
	// Close frees the object; no ReadAt may be under way.
	Close() error
}

// Restore is what one operator in one subtask gets back from a checkpoint.
type Restore struct {
	Files Files
	// Handles of the files that hold groups of the subtask; those of one old subtask stand together and in their order.
	Handles []File
	// States are the descriptors of the checkpoint, by which addresses and schema ids in tables are read. State files and rows
	// carry their own.
	States []Descriptor
	// MaxParallelism is the number of key groups when the files were written; 0: the operator's own.
	MaxParallelism int
	// Rename maps names of states in the files to those that the operator declares.
	Rename map[string]string
	// Drop names states in the files to be left behind.
	Drop []string
}

// Operator is the keyed state of one operator in one subtask as the runtime sees it. *Keyed implements it.
//
// Order of calls: Descriptors at any time; Open once; Restore at most once; then Snapshot at each barrier, and Background between batches;
// Close once.
type Operator interface {
	// Descriptors lists the declared states, sorted by name.
	Descriptors() []Descriptor
	// Open makes the state ready and empty, for the key groups in o.
	Open(b Backend, o OpenOptions) error
	// Restore loads the entries of files whose group lies in the range given to Open. States in the files that are not declared
	// are skipped when their name is in Drop, and otherwise an error that names them.
	Restore(ctx context.Context, r Restore) error
	// Snapshot takes the image of the state as it is now.
	Snapshot() (Snapshot, error)
	// Background does work that a snapshot has left for the task's goroutine, for about the given time, and reports whether there is more.
	// The host calls it between batches while it says so, and without a pause while the input is dry. Without work it costs a few ns. While the
	// task waits for room downstream it is called in the middle of a record, of a timer or of an iteration over a state: between two calls of
	// handles, never within one, and what a handle has handed out must stay valid.
	Background(slice time.Duration) (more bool, err error)
	// Close frees resources; snapshots taken before stay usable until they are released. A Write that waits for Background fails.
	Close() error
}

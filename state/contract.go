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
	Name  string        `json:"name"` // unique within the operator
	Kind  Kind          `json:"kind"`
	Key   string        `json:"key"`           // schema of the operator's key
	Sub   string        `json:"sub,omitempty"` // schema of the map key
	Value string        `json:"value"`         // schema of the value, element or accumulator
	TTL   time.Duration `json:"ttl,omitempty"` // 0: never expires
	// EventTimeTTL says that TTL is measured in event time.
	EventTimeTTL bool `json:"event_time_ttl,omitempty"`
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
}

// Snapshot is the image of one operator's state in one subtask at a barrier. It is taken by the task's goroutine; Write and Release
// are called afterwards from another goroutine while the task goes on.
type Snapshot interface {
	// Write stores the image through files and returns the handles that a checkpoint must keep to restore it. Handles of files
	// written by an earlier checkpoint may be returned again (incremental backends).
	Write(ctx context.Context, files Files) ([]File, error)
	// Release frees what the image holds. It is called once, after Write or instead of it.
	Release()
}

// File is the handle of one immutable object of a checkpoint.
type File struct {
	Name   string     `json:"name"` // relative to the storage root; never reused
	Size   int64      `json:"size"` // bytes
	SHA256 string     `json:"sha256"`
	Groups GroupRange `json:"groups"` // key groups with entries inside
}

// Files stores and reads the objects of checkpoints. Implemented by package checkpoint.
type Files interface {
	// Write stores one object under a new unique name; fill writes its content.
	Write(ctx context.Context, groups GroupRange, fill func(w io.Writer) error) (File, error)
	// Read opens the object. The reader fails with an error that names the object when size or checksum differ, at the latest at
	// its end; the caller reads to the end before it trusts what it has read.
	Read(ctx context.Context, f File) (io.ReadCloser, error)
}

// Operator is the keyed state of one operator in one subtask as the runtime sees it. *Keyed implements it.
//
// Order of calls: Descriptors at any time; Open once; Restore at most once; then Snapshot at each barrier; Close once.
type Operator interface {
	// Descriptors lists the declared states, sorted by name.
	Descriptors() []Descriptor
	// Open makes the state ready and empty, for the key groups in o.
	Open(b Backend, o OpenOptions) error
	// Restore loads the entries of files whose group lies in the range given to Open. States in the files that are not declared
	// are skipped when their name is in drop, and otherwise an error that names them.
	Restore(ctx context.Context, files Files, handles []File, drop []string) error
	// Snapshot takes the image of the state as it is now.
	Snapshot() (Snapshot, error)
	// Close frees resources; snapshots taken before stay usable until they are released.
	Close() error
}

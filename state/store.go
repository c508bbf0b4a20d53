package state

import (
	"context"
	"io"
)

// Store is the ordered byte store beneath the decoded tables of one operator in one subtask. It is disposable: whatever it keeps on
// disk belongs to one attempt and is never read by another. Keys are ordered as bytes.Compare orders them.
//
// Contract:
//  1. Only the task's goroutine calls Get, Scan, Apply, Attach and Close. NewTable, a Table and Base are used by other goroutines at the
//     same time, one of each.
//  2. Apply is atomic and is seen by every later Get and Scan. Nothing is durable: a checkpoint is what survives.
//  3. Slices given to a Store are not kept; slices given to a callback are valid only during the call.
//  4. No image of the whole store is ever held open: tables of it are attached to other stores, which must find one version of each
//     address in each of them.
type Store interface {
	// Get appends the value of key to dst and returns it with true, or dst and false when the key is absent.
	Get(dst, key []byte) ([]byte, bool, error)
	// Scan calls fn for the entries with lo ≤ key < hi in ascending order until fn returns false or an error. fn must not call
	// the store.
	Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error
	// Apply makes the changes in the given order.
	Apply(changes []Change) error
	// NewTable begins a table of changes, in the store's own directory.
	NewTable() (Table, error)
	// Attach makes the entries of tables of a checkpoint, FileBase and FileDelta, readable as if they had been written here, within the bounds of
	// the handles and the addresses [lo, hi). Handles are in the order of Restore.Handles. The store is empty. Content is read when it is
	// needed, and in the background; ctx bounds the call only. An error of later reads comes out of Get and Scan.
	Attach(ctx context.Context, files Files, handles []File, lo, hi []byte) error
	// Base makes everything that was applied before the call part of a base within [lo, hi), and returns the handles of its tables. What is applied during the call
	// may be part of it or not. upload stores a table that no earlier base or Attach has stored. It takes long and uses no time of the
	// task's goroutine.
	Base(ctx context.Context, lo, hi []byte, upload func(ctx context.Context, groups GroupRange, fill func(w io.Writer) error) (File, error)) ([]File, error)
	// Budget is the memory that the decoded tables and timers above the store share with others, an estimate.
	Budget() *Budget
	// Close frees the store with its files; it waits for nobody. A Table stays usable until it is removed, and what it needs is
	// freed with the last of them. Base fails.
	Close() error
}

// Table is a sorted table of changes that a store writes on a local disk, to be stored as a FileDelta. One goroutine uses it.
type Table interface {
	// Add adds changes in ascending order of Key, each Key once. A ChangeDeleteRange comes before the changes within its range, which it does not touch: it
	// removes what older tables have.
	Add(c Change) error
	// Finish ends the table and returns its size in bytes.
	Finish() (int64, error)
	// WriteTo writes the finished table to w, any number of times.
	WriteTo(w io.Writer) (int64, error)
	// Remove frees the table, finished or not.
	Remove() error
}

// Change is one change of a Store.
type Change struct {
	Kind  ChangeKind
	Key   []byte
	Value []byte // of ChangeSet
	End   []byte // of ChangeDeleteRange: exclusive
}

// ChangeKind says what a Change does.
type ChangeKind uint8

// The kinds of Change.
const (
	ChangeSet         ChangeKind = iota // Key becomes Value
	ChangeDelete                        // Key becomes absent
	ChangeDeleteRange                   // every key in [Key, End) becomes absent
)

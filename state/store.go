package state

// Store is the ordered byte store beneath the decoded tables of one operator in one subtask. It is disposable: whatever it keeps on
// disk belongs to one attempt and is never read by another. Keys are ordered as bytes.Compare orders them.
//
// Contract:
//  1. Only the task's goroutine calls Get, Scan, Apply, Snapshot and Close; a StoreSnapshot is used by one other goroutine.
//  2. Apply is atomic and is seen by every later Get, Scan and Snapshot. Nothing is durable: a checkpoint is what survives.
//  3. Slices given to a Store are not kept; slices given to a callback are valid only during the call.
type Store interface {
	// Get appends the value of key to dst and returns it with true, or dst and false when the key is absent.
	Get(dst, key []byte) ([]byte, bool, error)
	// Scan calls fn for the entries with lo ≤ key < hi in ascending order until fn returns false or an error. fn must not call
	// the store.
	Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error
	// Apply makes the changes in the given order.
	Apply(changes []Change) error
	// Snapshot is the image of the store as it is now; later changes do not show in it.
	Snapshot() (StoreSnapshot, error)
	// CacheBytes is how much memory the decoded tables above the store may take, an estimate in bytes.
	CacheBytes() int64
	// Close frees the store with its files. While a StoreSnapshot is open, that one stays readable, and what it needs is freed
	// with the last of them.
	Close() error
}

// StoreSnapshot is an unchanging image of a Store.
type StoreSnapshot interface {
	// Scan is Store.Scan over the image.
	Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error
	// Close frees the image.
	Close() error
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

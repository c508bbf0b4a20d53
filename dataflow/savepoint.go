package dataflow

import (
	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/internal/runtime"
)

// SavepointOption is a detail of the savepoint that Job.Savepoint and Job.Stop take.
type SavepointOption func(*runtime.SavepointOptions)

// NativeSavepoint leaves the savepoint in the form of a checkpoint: there at once, whatever the size of the state, in the job's own storage and pinned
// there for ever. It names the objects that checkpoints share, so it cannot be moved on its own. Use it for an upgrade in place.
func NativeSavepoint() SavepointOption { return func(o *runtime.SavepointOptions) { o.Native = true } }

// SavepointTo writes the portable savepoint to st, which must hold nothing else; see checkpoint.Under. Default: a folder of its own below "sp" in the job's
// storage.
func SavepointTo(st checkpoint.Storage) SavepointOption {
	return func(o *runtime.SavepointOptions) { o.To = st }
}

// SavepointAs sets codec, size of files and more of the portable savepoint.
func SavepointAs(p savepoint.Options) SavepointOption {
	return func(o *runtime.SavepointOptions) { o.Portable = p }
}

func savepointOptions(opts []SavepointOption) runtime.SavepointOptions {
	var o runtime.SavepointOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

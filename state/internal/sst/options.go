// Package sst writes and reads the sorted tables of checkpoints without a store: Pebble's table format, with full values, point deletes and
// range deletes. Several tables are read as one by Merge.
package sst

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// BlockBytes is the size of a data block before compression. A larger one makes each read of a single key dearer.
	BlockBytes = 8 << 10
	// FilterBits is the size of the Bloom filter per key.
	FilterBits = 10
	// Format is the version of Pebble's store format, and thereby of its tables, that checkpoints are written with.
	Format = pebble.FormatNewest
)

// deltaOptions are the writer options of a table of changes. They are those of level 0: options of the last level would mark its
// tombstones as obsolete, and the store that the table is attached to would not see them.
func deltaOptions() sstable.WriterOptions {
	return sstable.WriterOptions{
		TableFormat:  Format.MaxTableFormat(),
		BlockSize:    BlockBytes,
		FilterPolicy: bloom.FilterPolicy(FilterBits),
		FilterType:   sstable.TableFilter,
		Compression:  sstable.BalancedCompression, // zstd level 1 for data
	}
}

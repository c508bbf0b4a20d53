// Package bench runs one query of the benchmark and measures it.
package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/queries"
)

// Config says what is run.
type Config struct {
	// Query is one of queries.Names.
	Query string
	// Events is the number of events, at least 1; Seed draws them.
	Events int64
	Seed   uint64
	// Parallelism is the number of subtasks of every step, 1…128. Default 1.
	Parallelism int
	// Splits is the number of splits of the source. Default Parallelism.
	Splits int
	// Backend is "memory" (default) or "pebble".
	Backend string
	// CacheBytes and BlockCacheBytes are those of pebblestate.Options, over all steps. Defaults 640 MiB and 256 MiB: with the memtables about the
	// 1 GB of managed memory that the benchmark gives Flink for RocksDB.
	CacheBytes, BlockCacheBytes int64
	// Transport is "memory" (default) or "tcp", see dataflow.Options.
	Transport string
	// Checkpoint is the interval of checkpoints, to a local directory; 0 takes none.
	Checkpoint time.Duration
	// Rate is the number of events per second; 0 is as fast as possible. With a rate, latencies are measured.
	Rate float64
	// RestoreAt stops the job with a savepoint once so many events have been emitted, and goes on from it with RestoreParallelism subtasks (default
	// Parallelism). Default 0: it runs through.
	RestoreAt          int64
	RestoreParallelism int
	// Dir is where state and checkpoints are kept, in a folder that is removed afterwards. Default: the directory for temporary files.
	Dir string
}

// WithDefaults is c with what is not set at its default.
func (c Config) WithDefaults() Config {
	if c.Parallelism == 0 {
		c.Parallelism = 1
	}
	if c.Splits == 0 {
		c.Splits = c.Parallelism
	}
	if c.Backend == "" {
		c.Backend = "memory"
	}
	if c.Transport == "" {
		c.Transport = "memory"
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 640 << 20
	}
	if c.BlockCacheBytes == 0 {
		c.BlockCacheBytes = 256 << 20
	}
	if c.RestoreParallelism == 0 {
		c.RestoreParallelism = c.Parallelism
	}
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("nexmark: "+format, args...)) }
	if !slices.Contains(queries.Names(), c.Query) {
		fault("there is no query %q; there are %s", c.Query, strings.Join(queries.Names(), ", "))
	}
	if c.Events < 1 {
		fault("events is %d, want at least 1", c.Events)
	}
	if c.Backend != "memory" && c.Backend != "pebble" {
		fault("there is no backend %q; there are memory and pebble", c.Backend)
	}
	if c.Transport != "memory" && c.Transport != "tcp" {
		fault("there is no transport %q; there are memory and tcp", c.Transport)
	}
	if c.Rate < 0 {
		fault("rate is %v events per second, want 0 (as fast as possible) or more", c.Rate)
	}
	if c.RestoreAt < 0 || c.RestoreAt >= c.Events {
		fault("restore-at is %d, want 0 (never) or less than the %d events", c.RestoreAt, c.Events)
	}
	return errors.Join(errs...) // the rest is dataflow.Options' to judge
}

// Package pebblestate is the state backend for state that does not fit in memory: a bounded write-back cache of decoded values over
// one Pebble instance for each operator and subtask.
//
// The files are scratch space: no write-ahead log, nothing is synced on purpose, and a store never reads what another attempt
// wrote. What survives a crash is the last checkpoint. Copies of objects of checkpoints are the exception: they are checked and then used again.
//
// A store whose disk refuses a write, or that cannot read an object in the background, has failed: every later call returns the reason. The process goes on.
package pebblestate

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// Options of the backend. The zero value of every field but Dir works.
type Options struct {
	// Dir is the directory beneath which each store makes its own, and removes it when it is closed. Two running jobs may share it
	// when their operators have different uids.
	Dir string
	// FS is where Dir is. Default the operating system's file system; tests give one in memory.
	FS vfs.FS
	// CacheBytes is what the decoded values and the timers in memory of all stores of the backend may take together, an estimate in bytes. A store alone may
	// use nearly all of it; where several are busy each has its part. Up to a quarter is for timers. A map or list that is being ranged over may
	// exceed it. Default 256 MB, at least 4 kB.
	CacheBytes int64
	// BlockCacheBytes is the memory for blocks of files, shared by all stores of the backend. Default 64 MB, at least 64 kB.
	BlockCacheBytes int64
	// MemTableBytes is the size of one memtable; a store has up to two. A larger one makes reads slower. Default 16 MB, at least 64 kB,
	// below 1 GB.
	MemTableBytes int64
	// ObjectCacheBytes bounds the local copies of objects of checkpoints that stores were restored from, all stores of the backend together. They are kept beneath Dir,
	// also when the process ends, so that a restart on the same machine reads them again. Objects in use that find no room are read from the storage each time. Default 1 TB, at
	// least 1 MB.
	ObjectCacheBytes int64
	// Prefetches is how many objects one store copies at a time after a restore. What is read meanwhile does not wait for them. Default 4, negative for
	// none: only what is read is fetched.
	Prefetches int
	// PrefetchBytesPerSecond limits the copying of one store. Default 0: no limit.
	PrefetchBytesPerSecond int64
	// Log takes Pebble's own errors. Default: none.
	Log *zap.Logger
}

const (
	defaultCacheBytes      = 256 << 20
	defaultBlockCacheBytes = 64 << 20
	defaultMemTableBytes   = 16 << 20
	defaultObjectCache     = 1 << 40
	defaultPrefetches      = 4
)

// Validate reports every fault of the options.
func (o Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("pebblestate: Options.Dir is empty; give a directory on a local disk"))
	}
	for _, f := range []struct {
		name       string
		value      int64
		least, top int64
	}{
		{"CacheBytes", o.CacheBytes, 4 << 10, 1 << 50},
		{"BlockCacheBytes", o.BlockCacheBytes, 64 << 10, 1 << 50},
		{"MemTableBytes", o.MemTableBytes, 64 << 10, 1<<30 - 1},
		{"ObjectCacheBytes", o.ObjectCacheBytes, 1 << 20, 1 << 60},
		{"PrefetchBytesPerSecond", o.PrefetchBytesPerSecond, 1, 1 << 50},
	} {
		if f.value != 0 && (f.value < f.least || f.value > f.top) {
			errs = append(errs, fmt.Errorf("pebblestate: Options.%s is %d, want 0 for the default or %d…%d", f.name, f.value, f.least, f.top))
		}
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	for _, f := range []struct {
		value *int64
		or    int64
	}{{&o.CacheBytes, defaultCacheBytes}, {&o.BlockCacheBytes, defaultBlockCacheBytes}, {&o.MemTableBytes, defaultMemTableBytes}, {&o.ObjectCacheBytes, defaultObjectCache}} {
		if *f.value == 0 {
			*f.value = f.or
		}
	}
	if o.Prefetches == 0 {
		o.Prefetches = defaultPrefetches
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// Dir is the backend with its files beneath dir and every other option at its default.
func Dir(dir string) state.Backend { return New(Options{Dir: dir}) }

// New is the backend with the given options. Faults are reported by its Validate, before anything starts.
func New(o Options) state.Backend {
	d := o.withDefaults()
	return &backend{given: o, opts: d, budget: state.NewBudget(d.CacheBytes), copies: copies{fs: d.FS, root: d.Dir, bound: d.ObjectCacheBytes, log: d.Log}}
}

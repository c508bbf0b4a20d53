package pebblestate_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
	"github.com/millrace-io/millrace/state/statetest"
)

func TestConformance(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Backend {
		return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), MemTableBytes: 256 << 10})
	})
}

// TestConformanceTinyCache runs the suite with a cache that holds a few values only, so that everything is evicted and read again.
func TestConformanceTinyCache(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Backend {
		return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), MemTableBytes: 256 << 10, CacheBytes: 4 << 10})
	})
}

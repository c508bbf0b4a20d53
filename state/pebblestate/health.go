package pebblestate

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// health is what became of a store. Pebble's own answer to a failed write of a flush or of its list of files is to try again at once and for ever, or to end the
// process. A store is disposable: the first such failure ends the store instead. Every later call returns the reason, and what Pebble tries meanwhile is held back:
// writes wait until the store is closed (guardFS), compactions are not begun (scheduler).
type health struct {
	dir string
	log *zap.Logger

	ended   atomic.Bool // read on every access of the store
	mu      sync.Mutex
	cause   error
	failed  chan struct{} // closed with the first failure
	closing chan struct{} // closed when the store is about to be closed
	shut    atomic.Bool   // closing is closed
	// progress gets a signal, which it keeps, when a flush or compaction has ended.
	progress chan struct{}
}

func newHealth(dir string, log *zap.Logger) *health {
	return &health{dir: dir, log: log, failed: make(chan struct{}), closing: make(chan struct{}), progress: make(chan struct{}, 1)}
}

// fail ends the store, the first time.
func (h *health) fail(err error) {
	if h.shut.Load() {
		return // whatever breaks off because the store is closed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return
	}
	h.cause = fmt.Errorf("pebblestate: the store in %s has failed: %w; restart from the last checkpoint", h.dir, err)
	h.ended.Store(true)
	close(h.failed)
	h.log.Error("store failed", zap.String("dir", h.dir), zap.Error(err))
}

// err is the reason for which the store has ended, nil as long as it has not.
func (h *health) err() error {
	if !h.ended.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// close makes everything that is held back fail.
func (h *health) close() {
	h.shut.Store(true)
	close(h.closing)
}

func (h *health) advanced() {
	select {
	case h.progress <- struct{}{}:
	default:
	}
}

// listener hears of what happens in Pebble's background. It is called with locks held and must not wait.
func (h *health) listener() *pebble.EventListener {
	// A flush or compaction reports its end, and then its error if that was one: it may also have ended without a table, or been cancelled.
	var mu sync.Mutex
	var flushed, compacted error
	return &pebble.EventListener{
		FlushEnd: func(i pebble.FlushInfo) {
			mu.Lock()
			flushed = i.Err
			mu.Unlock()
			h.advanced()
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			mu.Lock()
			compacted = i.Err
			mu.Unlock()
			h.advanced()
		},
		BackgroundError: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case flushed != nil && errors.Is(err, flushed):
				h.fail(fmt.Errorf("flush: %w", err))
			case compacted != nil && errors.Is(err, compacted):
				h.fail(fmt.Errorf("compaction: %w", err))
			default: // statistics about tables, for instance: they cost nothing but efficiency
				h.log.Debug("in the background", zap.Error(err))
			}
		},
		// Whoever reads gets the error itself.
		DataCorruption: func(pebble.DataCorruptionInfo) {},
	}
}

// logger passes Pebble's errors on. Its information, dozens of lines a minute, is dropped.
type logger struct {
	*zap.SugaredLogger
	h *health
}

func (l logger) Infof(string, ...any) {}

// Fatalf is called when Pebble cannot go on, for instance when the disk refuses the list of files. It comes back, unlike what Pebble's own does: Pebble then
// returns the error to its caller, and nothing of the store is believed any more.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	l.h.fail(err)
}

// errClosing is what a write of Pebble gets while its store is being closed.
var errClosing = errors.New("the store is being closed")

// unsynced is a file that nobody needs after a crash: Pebble syncs its list of files at each change, which would cost milliseconds for each table that is attached.
type unsynced struct{ vfs.File }

// Sync does nothing.
func (unsynced) Sync() error { return nil }

// SyncData does nothing.
func (unsynced) SyncData() error { return nil }

// SyncTo does nothing.
func (unsynced) SyncTo(int64) (bool, error) { return false, nil }

// guardFS is the file system that Pebble writes through.
type guardFS struct {
	vfs.FS
	h *health
}

// Unwrap hides nothing: Pebble asks for the file system beneath to find out about the disk.
func (g guardFS) Unwrap() vfs.FS { return g.FS }

// Create makes a file. After a failure it waits for the store to be closed, or else Pebble would fail and try again without a pause.
func (g guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if g.h.ended.Load() {
		<-g.h.closing
	}
	if g.h.shut.Load() {
		return nil, errClosing
	}
	f, err := g.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".sst") {
		return guardFile{unsynced{f}, g.h}, nil
	}
	return unsynced{f}, nil
}

// OpenDir opens a directory.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

// guardFile is a table that Pebble writes.
type guardFile struct {
	vfs.File
	h *health
}

// Write makes a flush or compaction that is under way end soon when the store is closed.
func (f guardFile) Write(p []byte) (int, error) {
	if f.h.shut.Load() {
		return 0, errClosing
	}
	return f.File.Write(p)
}

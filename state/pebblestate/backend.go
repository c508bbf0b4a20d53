package pebblestate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/remote"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

// backend opens stores. It is used by several tasks at once.
type backend struct {
	given  Options
	opts   Options
	budget *state.Budget

	mu    sync.Mutex
	cache *pebble.Cache     // blocks of all open stores; nil while there is none
	files *pebble.FileCache // open files of all open stores
	users int

	copies copies
}

func (b *backend) Name() string { return "pebble" }

func (b *backend) Validate() error { return b.given.Validate() }

// Open makes the empty store of one operator in one subtask, in a directory of its own:
//
//	Dir/uid/subtask/attempt
//
// Directories of other attempts of that subtask that no running store holds are leftovers of a crash and are removed.
func (b *backend) Open(o state.OpenOptions) (state.Store, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	fs := b.opts.FS
	parent := fs.PathJoin(b.opts.Dir, segment(o.UID), strconv.Itoa(o.Subtask))
	dir := fs.PathJoin(parent, segment(o.Attempt))
	if err := fs.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("pebblestate: make %s: %w", parent, err)
	}
	if err := b.sweep(parent); err != nil {
		return nil, err
	}
	if _, err := fs.Stat(dir); err == nil {
		return nil, fmt.Errorf("pebblestate: %s is in use by a running store; every attempt needs its own name, and every running job its own directory or uids", dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("pebblestate: look for %s: %w", dir, err)
	}
	return b.open(dir, b.opts.Log.With(zap.String("uid", o.UID), zap.Int("subtask", o.Subtask)))
}

// open makes the store in dir, which does not exist.
func (b *backend) open(dir string, log *zap.Logger) (_ *store, err error) {
	fs := b.opts.FS
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("pebblestate: make %s: %w", dir, err)
	}
	s := &store{b: b, dir: dir, health: newHealth(dir, log), users: 1, keepers: 1, objects: newObjects(b)}
	if s.lock, err = fs.Lock(fs.PathJoin(dir, lockName)); err != nil {
		return nil, errors.Join(fmt.Errorf("pebblestate: lock %s: %w", dir, err), fs.RemoveAll(dir))
	}
	s.db, err = pebble.Open(fs.PathJoin(dir, "db"), b.pebbleOptions(s.health, s.objects))
	if err == nil {
		err = s.health.err()
	}
	if err != nil {
		s.health.close()
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, errors.Join(fmt.Errorf("pebblestate: open %s: %w", dir, err), b.release(), fs.RemoveAll(dir), s.lock.Close())
	}
	return s, nil
}

// lockName is the file in the directory of a store that is locked as long as the store or one of its tables is in use.
const lockName = "LOCK"

// sweep removes the directories of stores that no process holds.
func (b *backend) sweep(parent string) error {
	fs := b.opts.FS
	names, err := fs.List(parent)
	if err != nil {
		return fmt.Errorf("pebblestate: list %s: %w", parent, err)
	}
	for _, name := range names {
		dir := fs.PathJoin(parent, name)
		lock, err := fs.Lock(fs.PathJoin(dir, lockName))
		if err != nil {
			continue
		}
		if err := errors.Join(lock.Close(), fs.RemoveAll(dir)); err != nil {
			return fmt.Errorf("pebblestate: remove %s, left by an earlier attempt: %w", dir, err)
		}
	}
	return nil
}

// segmentMax keeps names of directories below the 255 bytes that file systems take.
const segmentMax = 100

// segment is a name of a directory for any string, different for different strings.
func segment(s string) string {
	p := "=" + url.PathEscape(s) // never "." or ".."
	if len(p) > segmentMax {
		sum := sha256.Sum256([]byte(s))
		return "#" + hex.EncodeToString(sum[:16])
	}
	return p
}

// pebbleOptions takes part in the shared caches until release.
func (b *backend) pebbleOptions(h *health, objects *objects) *pebble.Options {
	cache, files := b.acquire()
	o := &pebble.Options{
		FS:                 guardFS{b.opts.FS, h},
		Cache:              cache,
		FileCache:          files,
		DisableWAL:         true,
		FormatMajorVersion: sst.Format,
		MemTableSize:       uint64(b.opts.MemTableBytes),
		// A writer that Pebble makes wait never hears of a failure, so these are out of reach: see store.room.
		MemTableStopWritesThreshold: 1 << 20,
		L0StopWritesThreshold:       1 << 20,
		L0CompactionThreshold:       4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		EventListener:               h.listener(),
		Logger:                      logger{h.log.Sugar(), h},
	}
	o.Experimental.CompactionScheduler = newScheduler(h)
	o.Experimental.RemoteStorage = remote.MakeSimpleFactory(map[remote.Locator]remote.Storage{"": objects})
	for i := range o.Levels {
		o.Levels[i].BlockSize = sst.BlockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(sst.FilterBits)
		o.Levels[i].FilterType = pebble.TableFilter
	}
	return o
}

// maxOpenFiles bounds the files, of all stores of a backend, that are kept open for reading.
const maxOpenFiles = 1000

// acquire is the shared caches, made for the first store.
func (b *backend) acquire() (*pebble.Cache, *pebble.FileCache) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users == 0 {
		b.cache = pebble.NewCache(b.opts.BlockCacheBytes)
		b.files = pebble.NewFileCache(runtime.GOMAXPROCS(0), maxOpenFiles)
	}
	b.users++
	return b.cache, b.files
}

// release frees the caches with the last store, and lets the local copies of objects go.
func (b *backend) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users > 0 {
		return nil
	}
	b.files.Unref()
	b.cache.Unref()
	b.cache, b.files = nil, nil
	return b.copies.close()
}

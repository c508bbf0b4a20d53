package pebblestate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// backend opens stores. It is used by several tasks at once.
type backend struct {
	given Options
	opts  Options

	mu    sync.Mutex
	cache *pebble.Cache // of all open stores; nil while there is none
	users int
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
	s := &store{b: b, dir: dir, log: b.opts.Log.With(zap.String("uid", o.UID), zap.Int("subtask", o.Subtask))}
	db, err := pebble.Open(dir, b.pebbleOptions(b.acquire(), s.log))
	if err != nil {
		b.release()
		return nil, errors.Join(fmt.Errorf("pebblestate: open %s: %w", dir, err), fs.RemoveAll(dir))
	}
	s.db, s.users = db, 1
	return s, nil
}

// sweep removes the directories of stores that no process holds.
func (b *backend) sweep(parent string) error {
	fs := b.opts.FS
	names, err := fs.List(parent)
	if err != nil {
		return fmt.Errorf("pebblestate: list %s: %w", parent, err)
	}
	for _, name := range names {
		dir := fs.PathJoin(parent, name)
		lock, err := fs.Lock(fs.PathJoin(dir, "LOCK")) // Pebble holds this one while it is open
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

func (b *backend) pebbleOptions(cache *pebble.Cache, log *zap.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:                          b.opts.FS,
		Cache:                       cache,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(b.opts.MemTableBytes),
		MemTableStopWritesThreshold: 2,
		L0CompactionThreshold:       4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		MaxOpenFiles:                500,
		Logger:                      logger{log.Sugar()},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].FilterType = pebble.TableFilter
	}
	return o
}

// acquire is the shared block cache, made for the first store.
func (b *backend) acquire() *pebble.Cache {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users == 0 {
		b.cache = pebble.NewCache(b.opts.BlockCacheBytes)
	}
	b.users++
	return b.cache
}

// release frees the block cache with the last store.
func (b *backend) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users == 0 {
		b.cache.Unref()
		b.cache = nil
	}
}

// logger passes Pebble's errors on. Its information, dozens of lines a minute, is dropped.
type logger struct{ *zap.SugaredLogger }

func (l logger) Infof(string, ...any) {}

// Fatalf is called when Pebble cannot go on, for instance when the disk refuses the list of files. Pebble relies on its not coming back.
func (l logger) Fatalf(format string, args ...any) {
	panic("pebblestate: " + fmt.Sprintf(format, args...))
}

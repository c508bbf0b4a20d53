package pebblestate

import (
	"context"
	"errors"

	"github.com/millrace-io/millrace/state"
)

// Compact rewrites everything that a store holds into its last level.
func Compact(s state.Store) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := s.(*store).health
	go func() {
		select {
		case <-h.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return errors.Join(s.(*store).db.Compact(ctx, []byte{0}, []byte{0xff, 0xff, 0xff}, false), h.err())
}

// Flush writes what was applied to level 0.
func Flush(s state.Store) error { return s.(*store).flush(context.Background()) }

// Fail makes a store fail as an error in Pebble's background does.
func Fail(s state.Store, err error) { s.(*store).health.fail(err) }

// ReadObject reads an attached object as Pebble does.
func ReadObject(s state.Store, name string, p []byte, off int64) error {
	ob, err := s.(*store).objects.find(name)
	if err != nil {
		return err
	}
	return ob.ReadAt(context.Background(), p, off)
}

// ChunkBytes is the unit of fetching.
const ChunkBytes = chunkBytes

// RewrittenBase is Base of a store with a table that cannot be attached elsewhere.
func RewrittenBase(ctx context.Context, s state.Store, lo, hi []byte, upload uploadFunc) ([]state.File, error) {
	return s.(*store).base(ctx, lo, hi, upload, true)
}

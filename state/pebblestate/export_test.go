package pebblestate

import (
	"context"

	"github.com/millrace-io/millrace/state"
)

// Compact rewrites everything that a store holds into its last level.
func Compact(s state.Store) error {
	return s.(*store).db.Compact(context.Background(), []byte{0}, []byte{0xff, 0xff, 0xff}, false)
}

// Flush writes what was applied to level 0.
func Flush(s state.Store) error { return s.(*store).flush(context.Background()) }

// Fail makes a store fail as an error in Pebble's background does.
func Fail(s state.Store, err error) { s.(*store).health.fail(err) }

package state

import (
	"errors"
	"fmt"
)

// Error is a failure of an access to state: of a codec or of the store beneath. It is never an error of a function that the user gave.
type Error struct {
	State string // name
	Kind  Kind
	Op    string // what failed, e.g. "read"
	Err   error
}

// Error names state, operation and cause.
func (e *Error) Error() string {
	return fmt.Sprintf("state: %s %s state %q: %v", e.Op, e.Kind, e.State, e.Err)
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed is err as an *Error of the state d; nil stays nil.
func (d *Descriptor) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{State: d.Name, Kind: d.Kind, Op: op, Err: err}
}

// errCorrupt is what every error about bytes that no writer of this package makes wraps.
var errCorrupt = errors.New("corrupt entry")

// Package memstate is the state backend that keeps everything in memory, decoded. It is the fastest one; state must fit in memory, and
// twice in the worst case while a snapshot is stored.
package memstate

import "github.com/millrace-io/millrace/state"

// New is the memory backend.
func New() state.Backend { return backend{} }

type backend struct{}

func (backend) Name() string { return "memory" }

func (backend) Validate() error { return nil }

// Open returns no store: the decoded tables are the state.
func (backend) Open(state.OpenOptions) (state.Store, error) { return nil, nil }

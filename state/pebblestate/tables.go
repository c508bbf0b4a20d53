package pebblestate

import (
	"context"
	"errors"
	"io"

	"github.com/millrace-io/millrace/state"
)

func (s *store) NewTable() (state.Table, error) { return nil, errors.ErrUnsupported }

func (s *store) Attach(context.Context, state.Files, []state.File, []byte, []byte) error {
	return errors.ErrUnsupported
}

func (s *store) Base(context.Context, []byte, []byte, func(context.Context, state.GroupRange, func(io.Writer) error) (state.File, error)) ([]state.File, error) {
	return nil, errors.ErrUnsupported
}

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Under is the part of a storage whose objects lie in a folder, as a storage of its own, to hold a savepoint. It has no HEAD and cannot hold the
// checkpoints of a job: Swap fails.
func Under(st Storage, folder string) Storage { return under{Storage: st, folder: folder} }

type under struct {
	Storage
	folder string
}

// Validate reports the faults of the storage and of the folder's name.
func (u under) Validate() error { return errors.Join(u.Storage.Validate(), ValidName(u.folder)) }

// URL is the storage's, with the folder behind its path.
func (u under) URL() string { return joinURL(u.Storage.URL(), u.folder) }

// Open connects to the storage.
func (u under) Open(ctx context.Context) (Objects, error) {
	if err := u.Validate(); err != nil {
		return nil, err
	}
	o, err := u.Storage.Open(ctx)
	if err != nil {
		return nil, err
	}
	b := underObjects{o: o, prefix: u.folder + "/"}
	if s, ok := o.(spooler); ok {
		return spoolingUnder{b, s}, nil
	}
	return b, nil
}

type underObjects struct {
	o      Objects
	prefix string
}

func (u underObjects) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	return u.o.Put(ctx, u.prefix+name, body, size)
}

func (u underObjects) Swap(context.Context, string, string, []byte) (string, error) {
	return "", fmt.Errorf("checkpoint: folder %q is part of a storage and has no HEAD: %w", u.prefix, errors.ErrUnsupported)
}

func (u underObjects) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	return u.o.Get(ctx, u.prefix+name)
}

func (u underObjects) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	return u.o.GetRange(ctx, u.prefix+name, off, n)
}

func (u underObjects) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := u.o.List(ctx, u.prefix+prefix)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], u.prefix)
	}
	return names, err
}

func (u underObjects) Delete(ctx context.Context, name string) error {
	return u.o.Delete(ctx, u.prefix+name)
}

// spoolingUnder also passes on where large files are collected.
type spoolingUnder struct {
	underObjects
	s spooler
}

func (u spoolingUnder) spool(name string) (tempFile, error) { return u.s.spool(u.prefix + name) }

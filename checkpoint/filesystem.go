package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// fileSystem is what a directory of checkpoints changes on disk.
type fileSystem interface {
	OpenFile(path string, flag int, perm fs.FileMode) (tempFile, error)
	Link(oldPath, newPath string) error
	Rename(oldPath, newPath string) error
	Remove(path string) error
	Mkdir(path string, perm fs.FileMode) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
}

// osFiles is the file system of the operating system.
type osFiles struct{}

func (osFiles) OpenFile(path string, flag int, perm fs.FileMode) (tempFile, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err // and no *os.File that is nil
	}
	return f, nil
}

func (osFiles) Link(oldPath, newPath string) error        { return os.Link(oldPath, newPath) }
func (osFiles) Rename(oldPath, newPath string) error      { return os.Rename(oldPath, newPath) }
func (osFiles) Remove(path string) error                  { return os.Remove(path) }
func (osFiles) Mkdir(path string, perm fs.FileMode) error { return os.Mkdir(path, perm) }

func (osFiles) SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// failed is err with what was done to which path, and what helps against the usual causes.
func failed(what, path string, err error) error {
	return fmt.Errorf("checkpoint: %s of %q: %w%s", what, path, err, remedy(err))
}

// remedy says what to do about an error of the file system; "" when nothing general can be said.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free room there, retain fewer checkpoints, or move the storage: completed checkpoints are intact"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "; the directory has to be writable for this process: completed checkpoints are intact"
	}
	return ""
}

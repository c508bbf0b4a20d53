package file

import (
	"context"
	"io"
	"time"
)

// objects is a directory or a bucket with a prefix, seen as a set of whole objects with slash-separated names.
//
// Contract:
//  1. An object is seen whole or not at all.
//  2. What returned nil is durable, and seen by every later call from anywhere. Staged objects are durable once settle has returned.
//  3. Transient trouble is retried inside until ctx ends; an error is final.
//  4. All methods may be called from many goroutines and processes at once.
type objects interface {
	// stage begins a new object. The name must never have been used.
	stage(ctx context.Context, name string) (stagedObject, error)
	// settle makes the names of all objects staged below dir durable.
	settle(ctx context.Context, dir string) error
	// create makes an object that must not exist: errExists when it does, whatever it holds.
	create(ctx context.Context, name string, data []byte) error
	// read returns a small object whole; errNotFound when there is none.
	read(ctx context.Context, name string) ([]byte, error)
	// open gives random access to an object; errNotFound when there is none.
	open(ctx context.Context, name string) (object, error)
	// publish moves objects to their final names. A move whose source is gone and whose target exists with the right size is done;
	// if neither exists the error is a *LostFileError.
	publish(ctx context.Context, files []stagedFile) error
	// list calls f for each object below dir, in no particular order, until f fails.
	list(ctx context.Context, dir string, f func(objectInfo) error) error
	// remove deletes an object; that there is none is no error.
	remove(ctx context.Context, name string) error
	// url names the object for messages. It holds no secret.
	url(name string) string
}

// objectInfo is what a listing tells of an object.
type objectInfo struct {
	name     string
	size     int64
	modified time.Time
}

// object is an open object; Close releases it.
type object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// stagedObject takes the content of one new object.
type stagedObject interface {
	io.Writer
	// commit stores the object durably (see settle for its name). The object must not be used afterwards.
	commit(ctx context.Context) error
	// abort gives the object up and frees what it holds. After commit it does nothing.
	abort()
}

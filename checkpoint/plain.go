package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/millrace-io/millrace/state"
)

// readPlain reads an object without a table of checksums, as checkpoints of format version 1 have them.
func (f *files) readPlain(ctx context.Context, h state.File, object string) (io.ReadCloser, error) {
	open := func(off int64) (body io.ReadCloser, err error) {
		// The time limit of a try would end the reading of the body too: only ctx bounds it.
		err = f.s.retry(ctx, "get", h.Name, h.Size, func(context.Context) (err error) {
			// One byte more than there should be shows an object that is too long.
			body, err = f.s.o.GetRange(ctx, h.Name, off, h.Size-off+1)
			return err
		})
		return body, err
	}
	body, err := open(0)
	if err != nil {
		return nil, missing(object, h.Size, err)
	}
	return &verifyingReader{ctx: ctx, body: body, open: open, file: h, object: object, hash: sha256.New()}, nil
}

// verifyingReader passes content on and compares size and checksum at the end.
type verifyingReader struct {
	ctx    context.Context
	body   io.ReadCloser
	open   func(off int64) (io.ReadCloser, error)
	breaks int // of the connection
	file   state.File
	object string
	hash   hash.Hash
	n      int64
	err    error
}

func (r *verifyingReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	switch {
	case r.n > r.file.Size:
		r.err = corruptFile(r.object, r.file.Size, 1, fmt.Sprintf("it is longer than the %d bytes that the manifest says", r.file.Size))
		return 0, r.err
	case err == io.EOF: // itself: a wrapped one is a connection that was closed
		if r.err = r.verify(); r.err == nil {
			r.err = io.EOF
		}
	case err != nil:
		if r.err = r.reopen(err); r.err == nil {
			return n, nil
		}
	}
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return n, r.err
	}
	return n, err
}

// reopen goes on where the body broke off with cause.
func (r *verifyingReader) reopen(cause error) error {
	cause = fmt.Errorf("checkpoint: read of %q after %d bytes: %w", r.object, r.n, cause)
	if r.breaks++; r.breaks > readBreaksMax || r.ctx.Err() != nil {
		return cause
	}
	body, err := r.open(r.n)
	if err != nil {
		return errors.Join(cause, err)
	}
	_ = r.body.Close() // it has failed already
	r.body = body
	return nil
}

func (r *verifyingReader) verify() error {
	if r.n != r.file.Size {
		return corruptFile(r.object, r.n, r.file.Size-r.n, fmt.Sprintf("it has %d bytes, the manifest says %d", r.n, r.file.Size))
	}
	if sum := r.hash.Sum(nil); hex.EncodeToString(sum) != r.file.SHA256 {
		return corruptSHA(r.object, r.file, sum)
	}
	return nil
}

func (r *verifyingReader) Close() error { return r.body.Close() }

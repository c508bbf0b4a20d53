package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
)

// spoolBytesMax is how much of a file is kept in memory; a larger one goes through a temporary file, since a further try has to be
// able to send it again, and an object store wants to know the size first.
const spoolBytesMax = 8 << 20

// spooler is implemented by Objects that have a better place for a large file than TMPDIR.
type spooler interface {
	// spool makes the temporary file that is going to be Put as the object name. The caller closes and removes it.
	spool(name string) (tempFile, error)
}

// tempFile is what is needed of an *os.File.
type tempFile interface {
	io.ReadWriteSeeker
	io.Closer
	Name() string
	Sync() error
	Stat() (os.FileInfo, error)
}

// spool collects the content of an object before it is sent.
type spool struct {
	temp func() (tempFile, error)
	hash hash.Hash
	sums chunkSums
	buf  bytes.Buffer
	file tempFile
	size int64
}

func newSpool(o Objects, name string) *spool {
	s := &spool{hash: sha256.New()}
	s.temp = func() (tempFile, error) { return os.CreateTemp("", "millrace-checkpoint-*") }
	if o, ok := o.(spooler); ok {
		s.temp = func() (tempFile, error) { return o.spool(name) }
	}
	return s
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.buf.Len()+len(p) > spoolBytesMax {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	var n int
	var err error
	if s.file != nil {
		if n, err = s.file.Write(p); err != nil {
			err = s.failed(err)
		}
	} else {
		n, err = s.buf.Write(p)
	}
	s.hash.Write(p[:n])
	s.sums.add(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *spool) failed(err error) error {
	at := "a temporary file"
	if s.file != nil {
		at = fmt.Sprintf("temporary file %q", s.file.Name())
	}
	return fmt.Errorf("checkpoint: cannot write %s for a large state file: %w; its directory (TMPDIR for S3) has to be writable and needs room", at, err)
}

func (s *spool) spill() error {
	file, err := s.temp()
	if err != nil {
		return s.failed(err)
	}
	s.file = file
	if _, err = s.buf.WriteTo(file); err != nil {
		return s.failed(err)
	}
	s.buf = bytes.Buffer{}
	return nil
}

func (s *spool) body() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes()), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *spool) close() {
	if s.file != nil {
		// What fails here leaves a file in TMPDIR and nothing else.
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}

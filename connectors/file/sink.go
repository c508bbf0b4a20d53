package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"

	"github.com/millrace-io/millrace/connectors"
)

// Sink archives records of type T. It implements connectors.Sink and connectors.CommittingSink, and starts nothing.
type Sink[T any] struct {
	options Options[T]
	// connect makes the store; tests put faults in between.
	connect func() (objects, error)
}

// NewSink makes the sink. Faults of the options are reported by Validate.
func NewSink[T any](o Options[T]) *Sink[T] {
	return &Sink[T]{options: o, connect: func() (objects, error) { return connect(o.URL, o.S3, o.SpoolDir) }}
}

var (
	_ connectors.Sink[int]      = (*Sink[int])(nil)
	_ connectors.CommittingSink = (*Sink[int])(nil)
)

// Validate reports every fault of the options at once, without I/O.
func (s *Sink[T]) Validate() error { return s.options.Validate() }

// NewWriter makes the writer of one subtask.
func (s *Sink[T]) NewWriter(c connectors.WriterContext) (connectors.Writer[T], error) {
	o, err := s.options.withDefaults()
	if err = errors.Join(err, s.options.Validate()); err != nil {
		return nil, err
	}
	f, err := newFormat(o.Format, o.Compression, o.Serde.Schema())
	if err != nil {
		return nil, err
	}
	store, err := s.connect()
	if err != nil {
		return nil, err
	}
	return &writer[T]{
		options: o, context: c, store: store, format: f, open: map[int64]*openFile{}, name: randomName, metrics: newWriterMetrics(c.Metrics),
	}, nil
}

// PreparesAhead implements connectors.PreparesAhead: staged files wait for as long as it takes.
func (s *Sink[T]) PreparesAhead() bool { return true }

// NewCommitter makes the committer of the job.
func (s *Sink[T]) NewCommitter(c connectors.Context) (connectors.Committer, error) {
	o, err := s.options.withDefaults()
	if err = errors.Join(err, s.options.Validate()); err != nil {
		return nil, err
	}
	store, err := s.connect()
	if err != nil {
		return nil, err
	}
	return &committer{context: c, store: store, grace: o.OrphanGrace, metrics: newCommitterMetrics(c.Metrics)}, nil
}

// randomName is 64 random bits in hexadecimal: enough that no two files of one attempt, subtask and archive ever share it.
func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

// openFile is a file that is being filled.
type openFile struct {
	file   stagedFile // Path, Bytes and SHA256 are known at the end
	hour   int64      // Unix hours of every record in it
	seq    int64      // order of opening
	staged stagedObject
	count  *counter
	enc    encoder
	buffer int // encoded bytes that enc may still hold in memory
}

// finish ends the file and stores it durably.
func (f *openFile) finish(ctx context.Context) error {
	if err := f.enc.close(); err != nil {
		f.staged.abort()
		return fmt.Errorf("file: ending %q: %w", f.file.Staged, err)
	}
	f.file.Bytes, f.file.SHA256 = f.count.n, f.count.sum()
	if err := f.staged.commit(ctx); err != nil {
		f.staged.abort()
		return err
	}
	return nil
}

// partName is the visible name of a file. The random part of the staged name keeps apart what a fresh start with the same checkpoint
// numbers writes.
func partName(hour int64, checkpoint int64, subtask, n int, staged string, f Format) string {
	t := hourStart(hour)
	return path.Join(t.Format("dt=2006-01-02"), t.Format("hh=15"),
		fmt.Sprintf("part-%d-%d-%d-%s.%s", checkpoint, subtask, n, staged[len(staged)-randomLen:], f))
}

// randomLen is how much of the random name goes into the visible one: 48 bits.
const randomLen = 12
